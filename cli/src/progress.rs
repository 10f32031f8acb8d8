//! How far a long command is, on standard error and only on a terminal: one line that is written over, and gone at the end.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::render;

/// Between two lines. More often than the eye can follow only costs time.
const EVERY: Duration = Duration::from_millis(100);

/// One line of progress.
pub struct Progress {
    action: &'static str,
    done: u64,
    whole: u64,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Of so many bytes; shows nothing yet.
    #[must_use]
    pub fn of(action: &'static str, whole: u64) -> Self {
        Self { action, done: 0, whole, shown: None, terminal: std::io::stderr().is_terminal() }
    }

    /// So many bytes more are done.
    pub fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if self.terminal && self.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", self.line());
        }
    }

    fn line(&self) -> String {
        let percent = self.done.saturating_mul(100).checked_div(self.whole).unwrap_or(100);
        format!(
            "{}: {} of {} ({percent}%)",
            self.action,
            render::units::bytes(self.done),
            render::units::bytes(self.whole)
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_is_done_of_how_much() {
        let mut progress = Progress { terminal: false, ..Progress::of("saving", 4 << 20) };
        progress.add(1 << 20);
        assert_eq!(progress.line(), "saving: 1.0MiB of 4.0MiB (25%)");
        assert_eq!(Progress::of("saving", 0).line(), "saving: 0B of 0B (100%)");
    }
}
