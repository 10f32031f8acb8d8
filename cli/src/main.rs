//! The `penstock` program: reads the command line, runs one command, prints its answer and ends with its exit code.
//! Holds no rule: what is typed is understood in `args`, done in `commands`, written by `render`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::process::use_small_pages();
    cli::run(std::env::args_os())
}
