//! `penstock simulate`: a scenario lived through by the real rules of the mesh under simulated faults, once or by many seeds.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use simulation::{Failure as Broken, Measured, Scenario, picture, run_measured, shrunk};

use crate::answer::{Answer, Exit, Failure};
use crate::args::{SimulateArgs, SimulateForm};
use crate::render::{self, Simulated};

/// The scenarios that come along, by name.
const SHIPPED: [(&str, &str); 6] = [
    ("control-plane-blackout", include_str!("../../../examples/simulate/control-plane-blackout.scenario")),
    ("leader-crash", include_str!("../../../examples/simulate/leader-crash.scenario")),
    ("reconnect-storm", include_str!("../../../examples/simulate/reconnect-storm.scenario")),
    ("rolling-upgrade", include_str!("../../../examples/simulate/rolling-upgrade.scenario")),
    ("slow-disk", include_str!("../../../examples/simulate/slow-disk.scenario")),
    ("zone-loss", include_str!("../../../examples/simulate/zone-loss.scenario")),
];

/// Runs spent on making a failure small.
const SHRINK_RUNS: u32 = 100;

pub(super) fn run(args: &SimulateArgs) -> Result<Answer, Failure> {
    if args.list {
        return Ok(Answer::fine(listed()));
    }
    if let Some(name) = &args.show {
        let text = shipped(name).ok_or_else(|| unknown(name))?;
        return Ok(Answer::fine(text.to_owned()));
    }
    let named = args.scenario.as_deref().unwrap_or_default();
    let scenario = read(named)?;
    let first = args.seed.unwrap_or(scenario.seed);
    let mut all = Vec::new();
    let mut worst: Option<(u64, Measured)> = None;
    for seed in first..first.saturating_add(args.seeds) {
        progress(seed - first, args.seeds);
        let scenario = Scenario { seed, ..scenario.clone() };
        let (outcome, measured) = run_measured(&scenario);
        match outcome {
            Ok(report) => all.push(Simulated::new(seed, &report, &measured)),
            Err(broken) => return Ok(broke(&scenario, broken)),
        }
        if worst.as_ref().is_none_or(|(_, worst)| measured.longest_gap() > worst.longest_gap()) {
            worst = Some((seed, measured));
        }
    }
    progress(args.seeds, args.seeds);
    let (seed, measured) = worst.expect("at least one seed was run");
    if let Some(file) = &args.picture {
        let title = format!("{named}, seed {seed}");
        write(file, &picture(&title, &scenario.shape, &measured))?;
    }
    let text = match args.output {
        SimulateForm::Text => {
            render::simulated(named, &scenario, &all, (args.seeds == 1).then_some(&measured))
        }
        SimulateForm::Json => render::simulated_json(named, &scenario, &all),
    };
    let answer = Answer::fine(text);
    Ok(match &args.picture {
        Some(file) => answer.noting(format!("drawn: {} (seed {seed})", file.display())),
        None => answer,
    })
}

fn listed() -> String {
    let line = |(name, text): &(&str, &str)| {
        let about = text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']);
        format!("{name:<24}{about}\n")
    };
    SHIPPED.iter().map(line).collect()
}

fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

fn unknown(name: &str) -> Failure {
    Failure::Usage(format!(
        "there is no scenario {name:?}; `penstock simulate --list` tells those that there are"
    ))
}

/// A scenario that comes along, or else a file.
fn read(named: &str) -> Result<Scenario, Failure> {
    let text = match shipped(named) {
        Some(text) => text.to_owned(),
        None => std::fs::read_to_string(named).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::Usage(format!(
                "{named:?} is no file, and no scenario of that name comes along; `penstock simulate --list` tells those that do"
            )),
            _ => Failure::Usage(format!("cannot read {named}: {error}")),
        })?,
    };
    Scenario::read(&text).map_err(|error| Failure::Usage(format!("{named}: {error}")))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::Refused(format!("cannot write {}: {error}", file.display()));
    std::fs::write(file, text).map_err(failed)
}

/// Tells a person who waits how far it is.
#[allow(clippy::print_stderr)] // progress, on a terminal alone
fn progress(done: u64, all: u64) {
    let mut aside = std::io::stderr();
    if all == 1 || !aside.is_terminal() {
        return;
    }
    eprint!("\r{done} of {all} seeds{}", if done == all { "\n" } else { "" });
    let _best_effort = aside.flush();
}

/// Something that must never be was: told small, with what runs it again.
fn broke(scenario: &Scenario, broken: Broken) -> Answer {
    let small = shrunk(scenario, broken, SHRINK_RUNS);
    let (failure, scenario) = (&small.failure, &small.scenario);
    let text = format!(
        "{}{:>9.3}s  {}\n\nThis is a fault of Penstock. These lines, in a file, run it again by `penstock simulate FILE`; please \
report them with the version.\n\n# {}\n{scenario}",
        failure.story,
        failure.at.as_secs_f64(),
        failure.violation,
        failure.violation.invariant,
    );
    Answer {
        text,
        notes: vec![format!("error: seed {} broke an invariant", scenario.seed)],
        exit: Exit::Failed,
    }
}
