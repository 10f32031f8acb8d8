//! `penstock-control`: a control node and nothing else, for images. People use `penstock control`, which has flags and help.
//! Takes its settings from `PENSTOCK_*` and from the file that its one argument names.

use std::path::Path;
use std::process::ExitCode;

use control::Settings;
use runtime::settings::Sources;

#[allow(clippy::print_stderr)] // before the log stands there is nowhere else to say why
fn main() -> ExitCode {
    let mut sources = Sources::new().with_environment(std::env::vars_os());
    if let Some(file) = std::env::args_os().nth(1) {
        sources = sources.with_file_at(Path::new(&file));
    }
    let settings = match Settings::read(sources) {
        Ok(settings) => settings,
        Err(complaints) => {
            eprintln!("{complaints}");
            return ExitCode::from(64); // EX_USAGE
        }
    };
    if let Err(error) = runtime::telemetry::install(&settings.log, settings.log_format) {
        eprintln!("{error}");
    }
    runtime::panic_hook::install();
    if let Err(error) = runtime::rlimit::raise_open_files() {
        tracing::warn!(%error, "fewer connections can be served");
    }
    match control::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the node did not start");
            ExitCode::FAILURE
        }
    }
}
