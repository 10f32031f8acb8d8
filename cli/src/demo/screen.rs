//! What the demo shows while it runs: lines of progress, then a table that is drawn again in its place on a terminal,
//! and printed once for each window elsewhere.

use std::io::{IsTerminal, Write};

use crate::answer::coloured;
use crate::render::Ink;

/// The screen, or what stands for it.
pub(super) struct Screen {
    /// Everything goes to standard error: standard output belongs to a document for programs.
    aside: bool,
    terminal: bool,
    /// Lines of the table that stand on the screen.
    drawn: usize,
    last: String,
    /// Nobody reads any more.
    closed: bool,
}

impl Screen {
    /// The screen of a person, or with `aside`, of a log beside a document.
    pub(super) fn new(aside: bool) -> Self {
        let terminal = if aside { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        Self { aside, terminal, drawn: 0, last: String::new(), closed: false }
    }

    /// Whether colours are shown.
    pub(super) fn ink(&self) -> Ink {
        let shown = if self.aside { coloured(&std::io::stderr()) } else { coloured(&std::io::stdout()) };
        if shown { Ink::Coloured } else { Ink::Plain }
    }

    /// Whether somebody still reads; a demo that writes into a broken pipe should end.
    pub(super) fn open(&self) -> bool {
        !self.closed
    }

    /// A line that stays.
    pub(super) fn progress(&mut self, line: &str) {
        let erase = self.erase();
        self.write(&format!("{erase}{line}\n"));
    }

    /// Draws the table in the place of the last one; a log gets it only when `window` is new to it.
    pub(super) fn table(&mut self, window: &str, table: &str) {
        if self.terminal {
            let erase = self.erase();
            self.drawn = table.lines().count();
            // Without wrapping, a narrow terminal cuts lines off, and a line drawn is a line to erase.
            self.write(&format!("{erase}\u{1b}[?7l{table}\u{1b}[?7h"));
        } else if window != self.last {
            window.clone_into(&mut self.last);
            self.write(table);
        }
    }

    /// The sequence that takes the drawn table away: cursor up, then clear to the end of the screen.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\u{1b}[J"),
        }
    }

    fn write(&mut self, text: &str) {
        let written = if self.aside {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        self.closed |= written.is_err();
    }
}
