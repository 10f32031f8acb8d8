//! `penstock simulate` as people run it: files that are wrong, runs that somebody ends, what is told of one run.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::{assert_exit, command, err, out, penstock, send};

/// A mesh so small that a debug build lives through it in a moment.
const SMALL: &str = "shape nodes=1 zones=1 proxies=1 services=1 instances=1 clients=1 requests_per_second=5 workloads=0 safety=1s healing=5s\n";

/// A file of this test alone, empty.
fn file(name: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _absent = std::fs::remove_file(&file);
    file
}

fn scenario(name: &str, text: &str) -> String {
    let file = file(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Ready once an interrupt would not end the process by itself.
fn until_it_listens(child: &Child) {
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
        u64::from_str_radix(mask, 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
    };
    while !caught() {
        std::thread::yield_now();
    }
}

#[test]
fn every_scenario_that_comes_along_can_be_shown_and_read() {
    let listed = penstock(&["simulate", "--list"]);
    assert_exit(&listed, 0);
    let names: Vec<String> =
        out(&listed).lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let shown = penstock(&["simulate", "--show", &name]);
        assert_exit(&shown, 0);
        simulation::Scenario::read(&out(&shown)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_wrong_file_is_refused_with_its_line_before_anything_runs() {
    for (text, told) in [
        ("1s kill node=nobody dead=1s", "line 1: kill: node=nobody: expected a whole number"),
        ("shape nodes=3\n1s kill node=9 dead=1s", "line 2: kill: node=9: must be 0 to 3"),
        ("shape nodes=1000000000", "line 1: shape: nodes: must be 1 to 9"),
        ("shape cats=3", "line 1: shape: names a field that is none of nodes, zones,"),
        ("9m kill node=1 dead=1s", "line 1: kill: at 540s, but faults end at 20s"),
        ("{\"seed\": 1}", "line 1: "),
    ] {
        let output = penstock(&["simulate", &scenario("wrong.scenario", text)]);
        assert_exit(&output, 2);
        assert!(err(&output).contains(told), "{text}: {}", err(&output));
    }
}

#[test]
fn a_picture_that_cannot_be_written_is_told_before_the_runs() {
    let unwritable = format!("{}/no/such/folder.svg", env!("CARGO_TARGET_TMPDIR"));
    let output = penstock(&["simulate", "leader-crash", "--seeds", "1000000", "--picture", &unwritable]);
    assert_exit(&output, 1);
    assert!(err(&output).contains("folder.svg"), "{}", err(&output));
    let seed = u64::MAX.to_string();
    assert_exit(&penstock(&["simulate", "leader-crash", "--seeds", "2", "--seed", &seed]), 2);
}

#[test]
fn who_interrupts_many_seeds_is_told_what_came_of_those_that_were_run() {
    let (scenario, drawn) = (scenario("interrupted.scenario", SMALL), file("interrupted.svg"));
    let words = ["simulate", &scenario, "--seeds", "1000000", "--picture", drawn.to_str().unwrap()];
    let child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_it_listens(&child);
    send(Signal::INT, &child);
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 1);
    assert!(err(&output).contains(" of 1000000 seeds were run"), "{}", err(&output));
    assert!(out(&output).contains("INVARIANTS   all held in"), "{}", out(&output));
    assert!(std::fs::read_to_string(drawn).unwrap().ends_with("</svg>\n"));
}

#[test]
fn who_ends_runs_at_once_finds_no_empty_picture_and_the_one_that_stood_there_as_it_was() {
    let large = "shape nodes=9 proxies=200 services=50 requests_per_second=1000 safety=300s\n";
    let (scenario, drawn) = (scenario("ended.scenario", large), file("ended.svg"));
    for stands in [None, Some("<svg/>")] {
        stands.into_iter().for_each(|text| std::fs::write(&drawn, text).unwrap());
        let words = ["simulate", &scenario, "--seeds", "1000", "--picture", drawn.to_str().unwrap()];
        let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until_it_listens(&child);
        let status = loop {
            send(Signal::INT, &child); // two that come together are one
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
        };
        assert_eq!(status.code(), Some(1));
        assert_eq!(std::fs::read_to_string(&drawn).ok().as_deref(), stands);
    }
}

#[test]
fn a_replay_tells_the_story_and_a_deliberate_fault_is_not_called_a_fault_of_penstock() {
    let told = format!("{SMALL}500ms kill node=1 dead=300ms\n");
    let output = penstock(&["simulate", &scenario("replayed.scenario", &told), "--replay"]);
    assert_exit(&output, 0);
    assert!(out(&output).contains("0.800s  node 1 starts") && out(&output).contains("everything heals"));
    let sabotaged = format!("sabotage no-sync\n{told}");
    let output = penstock(&["simulate", &scenario("sabotaged.scenario", &sabotaged), "--replay"]);
    assert_exit(&output, 1);
    assert!(out(&output).contains("This is the deliberate fault of the file"), "{}", out(&output));
}
