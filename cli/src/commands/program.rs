//! `penstock control` and `penstock proxy`: reads settings, sets up the process, and runs the program until it is told to
//! stop. What the programs do is theirs; here is only how a process of ours begins and ends.

use std::ffi::OsString;

use runtime::process::end_with_parent;
use runtime::settings::{Complaints, Sources};
use runtime::signals::{Signals, Stop};
use runtime::telemetry::{self, Filter, Format};

use crate::answer::{Answer, Failure};
use crate::args::{ControlArgs, ProcessArgs, ProxyArgs, ProxyCommand, ProxyLine};

/// The variable that tells clients where control nodes are; a control node itself has no use for it.
const CLIENTS_VARIABLE: &str = "PENSTOCK_CONTROL";

/// Runs a control node until SIGTERM or SIGINT, and drains it.
pub(super) fn control(args: &ControlArgs) -> Answer {
    let run = || {
        let settings = settings(|environment| args.sources(environment))?;
        begin(&args.process, &settings.log, settings.log_format)?;
        control::run(settings).map_err(|error| Failure::Refused(error.to_string()))
    };
    ended(run())
}

/// Settings of a control node, from its flags, file and environment.
pub(super) fn settings(
    sources: impl FnOnce(Vec<(OsString, OsString)>) -> Sources,
) -> Result<control::Settings, Failure> {
    let environment = std::env::vars_os().filter(|(variable, _)| variable != CLIENTS_VARIABLE).collect();
    control::Settings::read(sources(environment)).map_err(|wrong| usage(&wrong))
}

/// Runs a proxy until SIGTERM or SIGINT, and drains it; `upgrade` runs one in the place of another.
pub fn proxy(line: &ProxyLine) -> Answer {
    let (args, start): (&ProxyArgs, Start) = match &line.command {
        Some(ProxyCommand::Init(args)) => return super::init::run(args),
        None => (&line.flags, proxy::start),
        Some(ProxyCommand::Upgrade(upgrade)) => (&upgrade.flags, proxy::take_over),
    };
    let run = || {
        let settings =
            proxy::Settings::read(args.sources(std::env::vars_os())).map_err(|wrong| usage(&wrong))?;
        begin(&args.process, &settings.log, settings.log_format)?;
        carry(settings, start)
    };
    ended(run())
}

/// How a proxy is started.
type Start = fn(proxy::Settings) -> Result<proxy::Running, proxy::StartError>;

/// Starts a proxy, waits for a signal (or until it wants to end by itself), and drains; a second signal cuts the drain short.
fn carry(settings: proxy::Settings, start: Start) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::Refused(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| refused(&error))?.block_on(async {
        let mut signals = Signals::listen().map_err(|error| refused(&error))?;
        let mut running = start(settings).map_err(|error| refused(&error))?;
        let stop = tokio::select! {
            stop = signals.next() => Some(stop),
            _ = running.ends() => None,
        };
        if let Some(stop) = stop {
            tracing::info!(%stop, "stopping");
        }
        let cut_short = async {
            let stop = signals.next().await;
            tracing::warn!(%stop, "asked to stop once more; what still runs is cut off");
        };
        match stop {
            // A supervisor stops the application as well, which may still need its proxy; a person wants an end.
            Some(Stop::Terminate) => running.drain_after_application(cut_short).await,
            Some(Stop::Interrupt) | None => running.drain(cut_short).await,
        };
        Ok(())
    })
}

fn usage(complaints: &Complaints) -> Failure {
    Failure::Usage(complaints.to_string())
}

fn ended(outcome: Result<(), Failure>) -> Answer {
    outcome.map_or_else(Answer::from, |()| Answer::fine(String::new()))
}

/// What each process of ours does first.
fn begin(process: &ProcessArgs, log: &Filter, format: Format) -> Result<(), Failure> {
    if let Some(parent) = process.end_with_parent {
        end_with_parent(parent).map_err(|error| Failure::Refused(error.to_string()))?;
    }
    telemetry::install(log, format).map_err(|error| Failure::Refused(error.to_string()))?;
    runtime::panic_hook::install();
    if let Err(error) = runtime::rlimit::raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays low");
    }
    Ok(())
}
