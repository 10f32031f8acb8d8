//! From a command line to the command that answers it.

use std::future::Future;

use super::{
    apply, check, completions, debug, delete, edges, endpoints, get, members, program, proxies, recover,
    services, simulate, snapshot, stat,
};
use crate::answer::{Answer, Failure};
use crate::args::{Args, Command};

/// Runs one command to its end.
#[must_use]
pub fn run(args: Args) -> Answer {
    match args.command {
        Command::Control(args) => program::control(&args),
        Command::Proxy(args) => program::proxy(&args),
        Command::Demo(args) => asked(crate::demo::run(args)),
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
        Command::Snapshot(args) => asked(snapshot::run(args)),
        Command::Recover(args) => recover::run(&args).unwrap_or_else(Answer::from),
        Command::Debug(args) => debug::run(&args).unwrap_or_else(Answer::from),
        Command::Simulate(args) => simulate::run(&args).unwrap_or_else(Answer::from),
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
