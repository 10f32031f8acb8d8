//! The `penstock-proxy` program: `penstock proxy` alone, for images and for hosts that count megabytes. There is a proxy
//! beside every workload, and the code of the other commands would be a third of what it holds. Holds no rule.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::process::use_small_pages();
    cli::run_proxy(std::env::args_os())
}
