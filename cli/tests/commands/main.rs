//! The `penstock` program as it is run by people and scripts, against a control node that gives set answers: exit codes,
//! what goes to which stream, several addresses, a broken pipe.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod backups;
mod simulations;
mod stand_in;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use stand_in::{StandIn, refusing_address};

/// Runs the program with `words`, nothing of our own environment's settings, and `input` as its standard input.
fn penstock_reading(words: &[&str], input: &str) -> Output {
    let mut child =
        command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn penstock(words: &[&str]) -> Output {
    penstock_reading(words, "")
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(words).env_remove("PENSTOCK_CONTROL");
    command
}

fn send(signal: Signal, child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stdout:\n{}\nstderr:\n{}", out(output), err(output));
}

#[test]
fn an_answer_goes_to_standard_output_and_ends_with_zero() {
    let node = StandIn::start();
    let output = penstock(&["members", "--control", &node.address]);
    assert_exit(&output, 0);
    assert!(out(&output).starts_with("NODE  ROLE"), "{}", out(&output));
    assert_eq!(err(&output), "");
}

#[test]
fn who_bears_an_old_answer_is_told_how_old_it_is_and_nobody_else_gets_one() {
    let node = StandIn::start();
    let services = |words: &[&str]| {
        let output =
            command(&["services"]).args(words).env("PENSTOCK_CONTROL", &node.address).output().unwrap();
        assert_exit(&output, 0);
        output
    };
    assert_eq!(err(&services(&["--stale", "5s"])), "note: may miss changes of the last 1.2 s\n");
    assert!(out(&services(&["--stale", "5s", "-o", "json"])).contains("\"stale_ms\": 1234"));
    for fresh in [&["--stale", "1s"][..], &[]] {
        assert_eq!(err(&services(fresh)), "");
    }
}

#[test]
fn the_next_address_is_asked_when_one_does_not_answer() {
    let node = StandIn::start();
    let control = format!("{},{}", refusing_address(), node.address);
    for words in [["services"], ["endpoints"], ["members"], ["proxies"], ["stat"], ["edges"]] {
        let output = command(&words).env("PENSTOCK_CONTROL", &control).output().unwrap();
        assert_exit(&output, 0);
    }
}

#[test]
fn when_nobody_answers_the_exit_code_is_three_and_every_address_is_named() {
    let (one, two) = (refusing_address(), refusing_address());
    let output = penstock(&["stat", "--control", &one, "--control", &two]);
    assert_exit(&output, 3);
    assert!(err(&output).contains(&one) && err(&output).contains(&two), "{}", err(&output));
    assert_eq!(out(&output), "");
    assert_exit(&penstock(&["check", "--control", &one]), 3);
}

#[test]
fn what_cannot_be_meant_ends_with_two_before_anything_is_asked() {
    for words in [
        &["stat", "--window", "15s"][..],
        &["stat", "pod/web"],
        &["services", "-n", "No_Namespace"],
        &["members", "--control", "host:99999"],
        &["delete", "service"],
        &["snapshot"],
        &["snapshot", "save"],
        &["snapshot", "restore", "file", "--node", "zero"],
        &["delete", "all", "web"],
        &["demo", "-o", "json"],
        &["nonsense"],
        &[],
    ] {
        let output = penstock(words);
        assert_exit(&output, 2);
        assert!(!err(&output).is_empty() && out(&output).is_empty(), "{words:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let node = StandIn::start();
    for words in [&["stat", "--control", &node.address][..], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(words).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_exit(&output, 0);
        assert_eq!(err(&output), "", "{words:?}");
    }
}

#[test]
fn an_empty_answer_is_a_sentence_for_people_and_a_document_for_programs() {
    let node = StandIn::start();
    let output = penstock(&["stat", "--to", "nobody", "--control", &node.address]);
    assert_exit(&output, 0);
    assert!(
        out(&output).is_empty() && err(&output).contains("no traffic in the last 1m"),
        "{}",
        err(&output)
    );
    let output = penstock(&["stat", "--to", "nobody", "-o", "json", "--control", &node.address]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["rows"], serde_json::json!([]));
    assert_eq!(err(&output), "");
}

#[test]
fn a_service_that_does_not_exist_is_refused_in_the_nodes_own_words() {
    let node = StandIn::start();
    let output = penstock(&["endpoints", "nobody", "--control", &node.address]);
    assert_exit(&output, 1);
    assert_eq!(err(&output), "error: no service is named nobody.default\n");
}

#[test]
fn complaints_of_an_apply_are_shown_with_their_places_and_nothing_is_said_to_be_done() {
    let node = StandIn::start();
    let bad = "kind: Service\nmetadata: {name: BAD}\n";
    let output = penstock_reading(&["apply", "-f", "-", "--control", &node.address], bad);
    assert_exit(&output, 1);
    assert_eq!(out(&output), "");
    assert_eq!(
        err(&output),
        "-:2:12: metadata.name: \"BAD\" is no name\nerror: 1 complaint: nothing was changed\n"
    );
    let output = penstock_reading(&["apply", "-f", "-", "-o", "json", "--control", &node.address], bad);
    assert_exit(&output, 1);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["complaints"][0]["line"], 2);
}

#[test]
fn an_apply_tells_what_it_did_to_each_document() {
    let node = StandIn::start();
    let good = "kind: Service\nmetadata: {name: web}\n";
    let output = penstock_reading(&["apply", "-f", "-", "--dry-run", "--control", &node.address], good);
    assert_exit(&output, 0);
    assert_eq!(out(&output), "Service web.default created (dry run)\n");
    let output = penstock(&["apply", "-f", "/nonexistent.yaml", "--control", &node.address]);
    assert_exit(&output, 1);
    assert!(err(&output).contains("cannot read /nonexistent.yaml"), "{}", err(&output));
}

#[test]
fn deleting_goes_through_a_file_from_its_end_and_forgives_absence_only_when_asked() {
    let node = StandIn::start();
    let both = "kind: Service\nmetadata: {name: web}\n---\nkind: HTTPRoute\nmetadata: {name: gone}\n";
    let output = penstock_reading(&["delete", "-f", "-", "--control", &node.address], both);
    assert_exit(&output, 1);
    assert_eq!(out(&output), "Service web.default deleted\n");
    assert_eq!(err(&output), "error: no HTTPRoute is named gone.default\n");
    let words = ["delete", "-f", "-", "--ignore-not-found", "--control", &node.address];
    let output = penstock_reading(&words, both);
    assert_exit(&output, 0);
    assert_eq!(out(&output), "HTTPRoute gone.default was not there\nService web.default deleted\n");
}

#[test]
fn documents_come_back_as_they_can_be_applied_again() {
    let node = StandIn::start();
    let output = penstock(&["get", "all", "--control", &node.address]);
    assert_exit(&output, 0);
    let again = penstock_reading(&["apply", "-f", "-", "--control", &node.address], &out(&output));
    assert_exit(&again, 0);
    let output = penstock(&["get", "httproute", "nobody", "--control", &node.address]);
    assert_exit(&output, 1);
    assert!(err(&output).contains("no HTTPRoute is named nobody"), "{}", err(&output));
}

#[test]
fn a_healthy_mesh_checks_with_zero_and_one_without_leader_with_one() {
    let node = StandIn::start();
    assert_exit(&penstock(&["check", "--control", &node.address]), 0);
    let leaderless = StandIn::leaderless();
    let output = penstock(&["check", "--control", &leaderless.address]);
    assert_exit(&output, 1);
    assert!(out(&output).contains("× a node leads"), "{}", out(&output));
    let output = penstock(&["members", "--control", &leaderless.address]);
    assert_exit(&output, 0);
    assert!(err(&output).contains("knows no leader"), "{}", err(&output));
}
