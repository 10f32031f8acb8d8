//! The `penstock` command: what is typed (`args`) becomes calls to a control node (`connection`, `commands`), and the
//! answers become text (`render`, pure). `control` and `proxy` are only started from here, never reached into.

pub mod answer;
pub mod args;
pub mod commands;
pub mod connection;
pub mod demo;
pub mod progress;
pub mod render;
pub mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::answer::{Answer, Exit};
use crate::args::{Args, ProxyProgram};

/// Runs one command line, the program's name first, and prints its answer.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    told(&match Args::try_parse_from(words) {
        Ok(args) => commands::run(args),
        Err(error) => answer::of_parser(&error),
    })
}

/// Runs the command line of a program that is the proxy alone.
pub fn run_proxy(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    told(&match ProxyProgram::try_parse_from(words) {
        Ok(program) => commands::proxy(&program.line),
        Err(error) => answer::of_parser(&error),
    })
}

/// Prints an answer, and ends as it says.
fn told(answer: &Answer) -> ExitCode {
    match answer.print() {
        Ok(exit) => exit.into(),
        // Whoever read our output has seen enough (`penstock stat | head -1`): that is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Fine.into(),
        Err(_) => Exit::Failed.into(),
    }
}
