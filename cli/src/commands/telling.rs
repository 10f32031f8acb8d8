//! What commands share when they word an answer.

use crate::answer::{Answer, Exit, coloured};
use crate::render::Ink;

/// Colours for a person at a terminal.
pub(super) fn ink() -> Ink {
    if coloured(&std::io::stdout()) { Ink::Coloured } else { Ink::Plain }
}

/// Unix milliseconds of this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An answer that is empty on the screen, with a note that says why; programs get their empty document alone.
pub(super) fn noting_if_empty(
    answer: Answer,
    empty: bool,
    for_people: bool,
    note: impl Into<String>,
) -> Answer {
    if empty && for_people { Answer { text: String::new(), ..answer }.noting(note) } else { answer }
}

/// The answer, with a note that says how old it may be, if it is not of now.
pub(super) fn noting_age(answer: Answer, stale_ms: u64) -> Answer {
    match stale_ms {
        0 => answer,
        1..1000 => answer.noting(format!("note: may miss changes of the last {stale_ms} ms")),
        _ => answer.noting(format!(
            "note: may miss changes of the last {}.{} s",
            stale_ms / 1000,
            stale_ms % 1000 / 100
        )),
    }
}

/// An answer that says no.
pub(super) fn failed(text: String) -> Answer {
    Answer { exit: Exit::Failed, ..Answer::fine(text) }
}
