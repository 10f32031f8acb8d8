//! `penstock simulate`: a scenario lived through by the real rules of the mesh under simulated faults, once or by many seeds.

use std::io::{IsTerminal as _, Write as _};
use std::ops::RangeInclusive;
use std::path::Path;

use simulation::{Failure as Broken, Measured, Scenario, picture, run_measured, shrunk};

use super::interrupted::Interrupted;
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
    let seeds = seeds(args, &scenario)?;
    let interrupted = if args.seeds > 1 { Interrupted::watched()? } else { Interrupted::default() };
    if let Some(file) = &args.picture {
        drawable(file)?;
    }
    let mut all = Vec::new();
    let mut worst: Option<(u64, Measured)> = None;
    let mut told = String::new();
    for seed in seeds {
        progress(all.len() as u64, args.seeds);
        let scenario = Scenario { seed, ..scenario.clone() };
        let (outcome, measured) = run_measured(&scenario);
        match outcome {
            Ok(report) => {
                all.push(Simulated::new(seed, &report, &measured));
                if args.replay {
                    told = format!("{}\n", report.story);
                }
            }
            Err(broken) => {
                end_of_progress(args.seeds);
                return drawn(args, named, &scenario, &measured, broke(&scenario, broken, args.replay));
            }
        }
        if worst.as_ref().is_none_or(|(_, worst)| measured.longest_gap() > worst.longest_gap()) {
            worst = Some((seed, measured));
        }
        if interrupted.is_set() {
            break;
        }
    }
    progress(all.len() as u64, args.seeds);
    end_of_progress(args.seeds);
    let (seed, measured) = worst.expect("at least one seed was run");
    let one = (args.seeds == 1).then_some(&measured);
    let text = match args.output {
        SimulateForm::Text => told + &render::simulated(named, &scenario, &all, one),
        SimulateForm::Json => render::simulated_json(named, &scenario, &all),
    };
    let answer = drawn(args, named, &Scenario { seed, ..scenario }, &measured, Answer::fine(text))?;
    if all.len() as u64 == args.seeds {
        return Ok(answer);
    }
    let note = format!("interrupted: {} of {} seeds were run", all.len(), args.seeds);
    Ok(Answer { exit: Exit::Failed, ..answer.noting(note) })
}

/// The seeds to run.
fn seeds(args: &SimulateArgs, scenario: &Scenario) -> Result<RangeInclusive<u64>, Failure> {
    let first = args.seed.unwrap_or(scenario.seed);
    let last = first.checked_add(args.seeds - 1);
    let last =
        last.ok_or_else(|| Failure::Usage(format!("--seed {first}: no {} seeds follow it", args.seeds)))?;
    Ok(first..=last)
}

/// Draws the run, if that is asked for, and says so.
fn drawn(
    args: &SimulateArgs,
    named: &str,
    scenario: &Scenario,
    measured: &Measured,
    answer: Answer,
) -> Result<Answer, Failure> {
    let Some(file) = &args.picture else { return Ok(answer) };
    let title = format!("{named}, seed {}", scenario.seed);
    std::fs::write(file, picture(&title, &scenario.shape, measured))
        .map_err(|error| unwritable(file, &error))?;
    Ok(answer.noting(format!("drawn: {} (seed {})", file.display(), scenario.seed)))
}

/// Whether the picture can be written, before the runs, which may take an hour. What stands there stays, and what does not
/// is not left empty by runs that are ended.
fn drawable(file: &Path) -> Result<(), Failure> {
    let stood = file.symlink_metadata().is_ok();
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
    let tried = opened.and_then(|_| if stood { Ok(()) } else { std::fs::remove_file(file) });
    tried.map_err(|error| unwritable(file, &error))
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Refused(format!("cannot write {}: {error}", file.display()))
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

/// Tells a person who waits how far it is.
#[allow(clippy::print_stderr)] // progress, on a terminal alone
fn progress(done: u64, all: u64) {
    let mut aside = std::io::stderr();
    if all == 1 || !aside.is_terminal() {
        return;
    }
    eprint!("\r{done} of {all} seeds");
    let _best_effort = aside.flush();
}

/// What comes next begins on a line of its own.
#[allow(clippy::print_stderr)] // progress, on a terminal alone
fn end_of_progress(all: u64) {
    if all > 1 && std::io::stderr().is_terminal() {
        eprintln!();
    }
}

/// Something that must never be was: told with what runs it again, and small, unless it is replayed as it is.
#[allow(clippy::print_stderr)] // progress, on a terminal alone
fn broke(scenario: &Scenario, broken: Broken, replay: bool) -> Answer {
    if !replay && std::io::stderr().is_terminal() {
        eprintln!(
            "seed {} broke an invariant; it is made small by up to {SHRINK_RUNS} more runs",
            scenario.seed
        );
    }
    let small = shrunk(scenario, broken, if replay { 0 } else { SHRINK_RUNS });
    let (failure, scenario) = (&small.failure, &small.scenario);
    let whose = match scenario.sabotage {
        Some(sabotage) => format!("This is the deliberate fault of the file, found: {}.", sabotage.what()),
        None => "This is a fault of Penstock; please report these lines with the version.".to_owned(),
    };
    let text = format!(
        "{}{:>9.3}s  {}\n\n{whose} In a file, they run it again by `penstock simulate FILE`:\n\n# {}\n{scenario}",
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
