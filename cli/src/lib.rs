//! The `penstock` command: what is typed (`args`) becomes calls to a control node (`connection`, `commands`), and the
//! answers become text (`render`, pure). `control` and `proxy` are only started from here, never reached into.

pub mod answer;
pub mod args;
pub mod commands;
pub mod connection;
pub mod demo;
pub mod ports;
pub mod progress;
pub mod render;
pub mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::answer::Exit;
use crate::args::Args;

/// Runs one command line, the program's name first, and prints its answer.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let answer = match Args::try_parse_from(words) {
        Ok(args) => commands::run(args),
        Err(error) => answer::of_parser(&error),
    };
    match answer.print() {
        Ok(exit) => exit.into(),
        // Whoever read our output has seen enough (`penstock stat | head -1`): that is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Fine.into(),
        Err(_) => Exit::Failed.into(),
    }
}
