//! How fast the simulation is: simulated seconds per second of one core, with faults, at about 200 commits a second. It has no
//! peer; what others publish is FoundationDB's 10 and TigerBeetle's 1000 (docs/simulation.md).

use std::path::Path;
use std::process::Command;

use crate::process::Failed;
use crate::table;

/// Seeds of one round; each runs for half a simulated minute.
const SEEDS: u64 = 10;

/// Loads that give about 200 commits a second outside of outages.
const SHAPES: [(&str, &str); 3] = [
    ("3 nodes, 5 proxies", "nodes=3 proxies=5"),
    ("3 nodes, 20 proxies", "nodes=3 proxies=20"),
    ("5 nodes, 20 proxies", "nodes=5 proxies=20"),
];
const LOAD: &str = "requests_per_second=260 reads_per_mille=100 safety=20s healing=12s";

/// What one round came to.
struct Round {
    /// Simulated seconds per second of the core.
    speed: f64,
    commits_per_second: f64,
}

/// Runs the scenario of the target of design.md, section 2.
pub(crate) fn run(simulate: &Path, rounds: usize) -> Result<(), Failed> {
    let mut rows = Vec::new();
    for (name, hosts) in SHAPES {
        let taken: Vec<Round> = (0..rounds as u64)
            .map(|round| one(simulate, hosts, round * SEEDS + 1))
            .collect::<Result<_, _>>()?;
        let of =
            |figure: fn(&Round) -> f64| format!("{:.0}", table::median(taken.iter().map(figure).collect()));
        rows.push(vec![name.to_owned(), of(|round| round.speed), of(|round| round.commits_per_second)]);
    }
    table::print("Simulation", &["shape", "simulated s per core s", "commits per simulated s"], &rows);
    Ok(())
}

fn one(simulate: &Path, hosts: &str, first: u64) -> Result<Round, Failed> {
    let output = Command::new(simulate)
        .args(["--seed", &first.to_string(), "--seeds", &SEEDS.to_string(), "--shrink", "0"])
        .args(["--shape", &format!("{hosts} {LOAD}")])
        .output()
        .map_err(|source| Failed::Start { program: simulate.display().to_string(), source })?;
    let (said, speed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(Failed::Other(format!("{} failed:\n{said}{speed}", simulate.display())));
    }
    let entries: f64 = said.lines().filter_map(|line| after(line, "entries")).sum();
    let figure = |word| speed.lines().find_map(|line| after(line, word));
    let told = figure("simulated").zip(figure("core:"));
    let (simulated, speed) = told.ok_or_else(|| Failed::Other(format!("no speed was told: {speed}")))?;
    Ok(Round { speed, commits_per_second: entries / simulated })
}

/// The number that follows a word.
fn after(line: &str, word: &str) -> Option<f64> {
    let mut words = line.split_whitespace();
    words.find(|found| *found == word)?;
    words.next()?.parse().ok()
}
