//! What a command answers: text for standard output, notes for standard error, and an exit code.
//! The last step of every command; nothing else in this crate writes to the terminal, but the
//! demo, `progress`, and the questions of `recover`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// How a command ended. The numbers are promised in `docs/cli.md`: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or healthy.
    Fine = 0,
    /// The mesh said no: refused, not found, unhealthy.
    Failed = 1,
    /// The command line, a settings file or the environment is wrong; nothing was tried.
    Usage = 2,
    /// No control node answered in time.
    Unreachable = 3,
    /// Somebody ended it by a signal before it was done (128 and the number of SIGINT, as shells have it).
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a command has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For standard output: the answer itself.
    pub text: String,
    /// For standard error: what the reader should know about the answer, each a whole line.
    pub notes: Vec<String>,
    /// How it ended.
    pub exit: Exit,
}

impl Answer {
    /// A good answer.
    #[must_use]
    pub fn fine(text: String) -> Self {
        Self { text, notes: Vec::new(), exit: Exit::Fine }
    }

    /// The same answer with one more note.
    #[must_use]
    pub fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Writes text and notes.
    ///
    /// # Errors
    /// If standard output cannot be written to; a broken standard error is borne.
    pub fn print(&self) -> std::io::Result<Exit> {
        let mut out = std::io::stdout().lock();
        out.write_all(self.text.as_bytes())?;
        out.flush()?;
        let mut notes = std::io::stderr().lock();
        for note in &self.notes {
            let _ = writeln!(notes, "{note}");
        }
        Ok(self.exit)
    }
}

/// Why a command gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What was typed or configured cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The mesh, or this machine, refused.
    #[error("{0}")]
    Refused(String),
    /// Every control node was tried.
    #[error("{0}")]
    Unreachable(String),
    /// A signal came; what was half done is undone.
    #[error("{0}")]
    Interrupted(String),
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        let exit = match failure {
            Failure::Usage(_) => Exit::Usage,
            Failure::Refused(_) => Exit::Failed,
            Failure::Unreachable(_) => Exit::Unreachable,
            Failure::Interrupted(_) => Exit::Interrupted,
        };
        Self { text: String::new(), notes: vec![format!("error: {failure}")], exit }
    }
}

/// The answer to a command line that the parser ended itself: help, version, or a complaint.
#[must_use]
pub fn of_parser(error: &clap::Error) -> Answer {
    let rendered = error.render();
    if error.use_stderr() {
        let colours = coloured(&std::io::stderr());
        let said = if colours { rendered.ansi().to_string() } else { rendered.to_string() };
        return Answer { text: String::new(), notes: vec![said.trim_end().to_owned()], exit: Exit::Usage };
    }
    let colours = coloured(&std::io::stdout());
    Answer::fine(if colours { rendered.ansi().to_string() } else { rendered.to_string() })
}

/// Whether `stream` shows colours: a terminal, and neither `NO_COLOR` (<https://no-color.org>) nor `TERM=dumb`.
pub fn coloured(stream: &impl IsTerminal) -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    stream.is_terminal() && wanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
