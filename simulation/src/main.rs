//! Runs seeds of the core simulation and prints one line each, so that two processes can be compared byte by byte.

use std::process::ExitCode;

use simulation::{RunSettings, run};

const USAGE: &str = "\
Runs the mesh under simulated faults, one line per seed.

Usage: simulate [--seed FIRST] [--seeds COUNT]

The same seed gives the same trace, in every process. Exit code 1 when a seed breaks an invariant, 2 for bad usage.";

fn parsed(mut arguments: impl Iterator<Item = String>) -> Result<(u64, u64), String> {
    let (mut first, mut count) = (1, 1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = value.parse().map_err(|_| format!("{name} {value}: must be a number"))?;
        match name.as_str() {
            "--seed" => first = number,
            "--seeds" => count = number,
            _ => return Err(format!("{name} is not an option")),
        }
    }
    Ok((first, count))
}

#[allow(clippy::print_stdout, clippy::print_stderr)] // a command for people
fn main() -> ExitCode {
    let (first, count) = match parsed(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(complaint) => {
            eprintln!("simulate: {complaint}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut broken = 0_u64;
    for seed in first..first.saturating_add(count) {
        match run(seed, &RunSettings::default()) {
            Ok(report) => println!(
                "seed {seed} trace {:016x} events {} leaders {} crashes {} entries {} acknowledged {} requests {}",
                report.trace,
                report.events,
                report.leaders,
                report.crashes,
                report.entries,
                report.acknowledged,
                report.requests
            ),
            Err(failure) => {
                broken += 1;
                println!("{failure}");
            }
        }
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
