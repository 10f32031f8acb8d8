//! `penstock completions`: a script that completes the command line of `args` in a shell.

use clap::CommandFactory;

use crate::answer::Answer;
use crate::args::{Args, CompletionsArgs};

pub(super) fn run(args: &CompletionsArgs) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "penstock", &mut script);
    Answer::fine(String::from_utf8(script).expect("completion scripts are text"))
}
