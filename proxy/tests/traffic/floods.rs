//! Floods over HTTP/2 by Go's framer (`programs/floods`), and tiny windows by nghttp2's client: who floods is sent away with the
//! code that says why, or is not read any more; curl is served meanwhile, by either listener.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::{program, said};
use crate::sides::{Side, on_either_side};

/// The flooder, which `.ci/run tools` builds.
fn floods(kind: &str, side: &Side) -> Command {
    let told = std::env::var_os("PENSTOCK_PEER_FLOODS").map(PathBuf::from);
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/floods");
    let floods = told.unwrap_or_else(built);
    assert!(floods.exists(), "{} is missing: run `bash .ci/run tools peers`", floods.display());
    let mut command = program(&floods.display().to_string());
    command.args([kind, &side.address.to_string()]);
    command
}

/// Each listener ends a flood of this `kind` as one of `ends`; at most so many of its requests reach the application.
fn is_ended(kind: &str, ends: &[&str], reached_max: usize) {
    on_either_side("well", async |well, side| {
        let before = well.asked().await;
        let told = said(floods(kind, &side)).await;
        assert!(ends.contains(&told.trim()), "{}: {told}", side.name());
        let reached = well.asked().await - before;
        assert!(reached <= reached_max, "{}: {reached} requests came to the application", side.name());
        side.serves_beside(async {}).await;
    });
}

#[test]
fn streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection() {
    is_ended("resets", &["goaway ENHANCE_YOUR_CALM"], 2_000);
}

#[test]
fn streams_that_the_proxy_must_reset_end_the_connection() {
    is_ended("faults", &["goaway ENHANCE_YOUR_CALM"], 2_000);
}

#[test]
fn heads_that_are_continued_without_end_end_the_connection() {
    is_ended("continuations", &["goaway ENHANCE_YOUR_CALM"], 0);
    is_ended("empty-continuations", &["goaway ENHANCE_YOUR_CALM"], 0);
}

#[test]
fn empty_pieces_of_a_body_without_end_end_the_connection() {
    is_ended("empty-data", &["goaway ENHANCE_YOUR_CALM"], 1);
}

#[test]
fn pings_and_settings_of_one_who_reads_no_answer_are_not_taken() {
    on_either_side("well", async |_, side| {
        for kind in ["pings", "settings"] {
            let told = side.serves_beside(said(floods(kind, &side))).await;
            assert!(["unread", "closed"].contains(&told.trim()), "{kind} {}: {told}", side.name());
        }
    });
}

#[test]
fn answers_for_which_no_window_opens_are_given_up() {
    on_either_side("well", async |_, side| {
        let told = side.serves_beside(said(floods("windows", &side))).await;
        assert_eq!(told.trim(), "streams CANCEL", "{}", side.name());
        let counters = side.counters().await;
        assert_eq!((counters.stalled_total, counters.requests_running), (50, 0), "{}", side.name());
    });
}

/// One byte at a time for each stream and for all of them.
#[test]
fn a_caller_with_the_smallest_windows_gets_every_answer() {
    on_either_side("well", async |_, side| {
        let (at, own) = (format!("http://{}/", side.address), "--header=:authority: web");
        let mut h2load = program("h2load");
        h2load.args(["-n", "200", "-c", "2", "-m", "20", "-w", "1", "-W", "1", own, &at]);
        let told = side.serves_beside(said(h2load)).await;
        assert!(told.contains("status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx"), "{}: {told}", side.name());
    });
}
