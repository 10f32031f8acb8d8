//! The story of a run: each fault and what came of it, a line each, for whoever wants to know why a seed failed. Told by the
//! world; nothing reads it back.

use std::time::Duration;

/// Lines kept, the newest: a story longer than this is nobody's to read, and what broke stands at its end.
const LINES_MAX: usize = 400;

/// What happened, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Story {
    lines: std::collections::VecDeque<(Duration, String)>,
    dropped: usize,
}

impl Story {
    /// Adds a line.
    pub fn tell(&mut self, at: Duration, line: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back((at, line));
    }
}

impl std::fmt::Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.dropped > 0 {
            writeln!(f, "  ({} earlier lines are left out)", self.dropped)?;
        }
        self.lines.iter().try_for_each(|(at, line)| writeln!(f, "{:>9.3}s  {line}", at.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_the_others_counted() {
        let mut story = Story::default();
        for number in 0..LINES_MAX as u64 + 2 {
            story.tell(Duration::from_millis(number), format!("line {number}"));
        }
        let text = story.to_string();
        assert!(text.starts_with("  (2 earlier lines are left out)\n    0.002s  line 2\n"), "{text}");
        assert_eq!(text.lines().count(), LINES_MAX + 1);
    }
}
