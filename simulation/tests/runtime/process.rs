//! One process for each scenario and seed: what a crashed host leaves behind in the process' own state (task numbers, of
//! which tokio orders drops) would otherwise reach the next run.

use std::process::Command;

/// Says which seed this process is to run.
const SEED: &str = "PENSTOCK_SEED";
/// Set in the processes that this one starts.
const INNER: &str = "PENSTOCK_SEED_INNER";

/// Seeds of each scenario when none is asked for.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=2;

/// Runs `scenario`, the body of the test `name`, once for each seed, each in a process of its own.
///
/// # Panics
/// If a seed fails; what its process printed is printed.
pub(crate) fn each_seed(name: &str, scenario: fn(u64)) {
    let asked = std::env::var(SEED).ok().map(|seed| seed.parse().expect("PENSTOCK_SEED is a number"));
    if let (Some(seed), Ok(_)) = (asked, std::env::var(INNER)) {
        return scenario(seed);
    }
    let seeds: Vec<u64> = asked.map_or_else(|| SEEDS.collect(), |seed| vec![seed]);
    for seed in seeds {
        let run = inner(name, seed);
        assert!(
            run.status.success(),
            "seed {seed} failed; again: {SEED}={seed} cargo test --workspace --test runtime {name} -- --exact\n{}{}",
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr),
        );
    }
}

/// What one seed of the test `name` prints, from a process of its own.
pub(crate) fn inner(name: &str, seed: u64) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(SEED, seed.to_string()).env(INNER, "1").output().unwrap()
}
