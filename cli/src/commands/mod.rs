//! One file for each command: arguments in, calls to a control node, an answer out.
//! No command prints by itself, but the demo, which lives on the screen; none holds state.

mod apply;
mod check;
mod completions;
mod delete;
mod edges;
mod endpoints;
mod files;
mod get;
mod health;
mod members;
mod preflight;
mod proxies;
mod services;
mod stat;
mod write_id;

use std::future::Future;

pub use health::{Facts, Sighting, judge};

use crate::answer::{Answer, Exit, Failure, coloured};
use crate::args::{Args, Command};
use crate::render::Ink;

/// Runs one command to its end.
#[must_use]
pub fn run(args: Args) -> Answer {
    match args.command {
        Command::Control(_) | Command::Proxy(_) | Command::Demo(_) => {
            Failure::Refused("this command is not built in yet".to_owned()).into()
        }
        Command::Stat(args) => asked(stat::run(args)),
        Command::Edges(args) => asked(edges::run(args)),
        Command::Services(args) => asked(services::run(args)),
        Command::Endpoints(args) => asked(endpoints::run(args)),
        Command::Members(args) => asked(members::run(args)),
        Command::Proxies(args) => asked(proxies::run(args)),
        Command::Apply(args) => asked(apply::run(args)),
        Command::Get(args) => asked(get::run(args)),
        Command::Delete(args) => asked(delete::run(args)),
        Command::Check(args) => asked(check::run(args)),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Drives one command on a runtime of its own.
fn asked(command: impl Future<Output = Result<Answer, Failure>>) -> Answer {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command).unwrap_or_else(Answer::from),
        Err(error) => {
            Failure::Refused(format!("cannot start: {error}; are file descriptors exhausted?")).into()
        }
    }
}

/// Colours for a person at a terminal.
fn ink() -> Ink {
    if coloured(&std::io::stdout()) { Ink::Coloured } else { Ink::Plain }
}

/// Unix milliseconds of this machine's clock.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An answer that is empty on the screen, with a note that says why; programs get their empty document alone.
fn noting_if_empty(answer: Answer, empty: bool, for_people: bool, note: impl Into<String>) -> Answer {
    if empty && for_people { Answer { text: String::new(), ..answer }.noting(note) } else { answer }
}

/// An answer that says no.
fn failed(text: String) -> Answer {
    Answer { exit: Exit::Failed, ..Answer::fine(text) }
}
