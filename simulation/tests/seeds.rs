//! Runs of the core simulation: a few seeds here, more in `.ci/run` (in two processes), many in a night.

use simulation::{Scenario, Shape, run};

/// Few, because a debug build is slow; they differ from those that `.ci/run` begins with.
const SEEDS: std::ops::Range<u64> = 1000..1004;

#[test]
fn no_seed_breaks_an_invariant() {
    for seed in SEEDS {
        if let Err(failure) = run(&Scenario::from_seed(seed)) {
            panic!(
                "{failure}\n{}\nrun it again: cargo run --release --bin simulate -- --seed {seed}",
                failure.story
            );
        }
    }
}

#[test]
fn the_same_seed_leaves_the_same_trace_and_another_seed_another() {
    let short = Shape { safety: std::time::Duration::from_secs(4), ..Shape::default() };
    let trace = |seed| run(&Scenario::of_shape(seed, short.clone())).map(|report| report.trace);
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn a_scenario_that_is_written_and_read_again_leaves_the_same_trace() {
    let scenario = Scenario::from_seed(1005);
    let read = Scenario::read(&scenario.to_string()).expect("what was written can be read");
    assert_eq!(run(&scenario).map(|report| report.trace), run(&read).map(|report| report.trace));
}

#[test]
fn whoever_reads_the_seeds_may_have_seen_enough_before_the_last() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let shape = "nodes=1 zones=1 proxies=1 services=1 instances=1 clients=1 workloads=0 safety=1s healing=5s";
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_simulate"))
        .args(["--seeds", "1000000", "--shape", shape])
        .stdout(writer)
        .output()
        .expect("it can be started");
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
