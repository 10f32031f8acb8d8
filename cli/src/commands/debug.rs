//! `penstock debug log`: what a node's log says, from its data directory.

use control::backup::{LogPageError, log_page};

use crate::answer::{Answer, Failure};
use crate::args::{DebugArgs, DebugCommand, DebugLogArgs};
use crate::render;

pub(super) fn run(args: &DebugArgs) -> Result<Answer, Failure> {
    match &args.command {
        DebugCommand::Log(args) => log(args),
    }
}

fn log(args: &DebugLogArgs) -> Result<Answer, Failure> {
    let page = log_page(&args.data_directory, args.from, args.to).map_err(|error| match error {
        LogPageError::Backwards { .. } => Failure::Usage(error.to_string()),
        LogPageError::Open(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Failure::Refused(format!("{error}{}", cause.unwrap_or_default()))
        }
        LogPageError::Absent { .. }
        | LogPageError::Empty { .. }
        | LogPageError::Before { .. }
        | LogPageError::Behind { .. } => Failure::Refused(error.to_string()),
    })?;
    let answer = Answer::fine(render::log(&page, args.output));
    Ok(match page.next {
        Some(next) => answer.noting(format!("note: more follows; go on by --from {next}")),
        None => answer,
    })
}
