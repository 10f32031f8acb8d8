//! Measuring a run: it must tell what happened, and change nothing of it.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::time::Duration;

use simulation::{Scenario, run, run_measured};

/// A small world whose leader is killed.
fn leader_crash() -> Scenario {
    let text =
        "seed 3\nshape proxies=4 services=2 workloads=0 safety=4s healing=6s\n2s kill node=0 dead=1s\n";
    Scenario::read(text).unwrap()
}

#[test]
fn a_measured_run_has_the_same_trace_as_one_that_is_not() {
    let (report, _) = run_measured(&leader_crash());
    assert_eq!(report.unwrap(), run(&leader_crash()).unwrap());
}

#[test]
fn a_killed_leader_shows_in_every_figure() {
    let (report, measured) = run_measured(&leader_crash());
    assert!(report.unwrap().crashes == 1);
    let kill = Duration::from_secs(2);
    let [(node, down)] = measured.down[..] else { panic!("one node was dead once: {:?}", measured.down) };
    assert_eq!((down.from, down.to), (kill, kill + Duration::from_secs(1)));
    let led = measured.leaders.iter().rev().find(|(at, ..)| *at < kill).unwrap().1;
    assert_eq!(node, led, "node 0 is whichever leads");
    assert_eq!(measured.acts, [(kill, format!("node {node} is killed and stays dead for 1s"))]);
    assert!(measured.leaders.last().unwrap().0 > kill, "another one leads: {:?}", measured.leaders);
    assert!(!measured.acknowledged.is_empty() && !measured.propagation.is_empty());
    let (sent, failed, _) = measured.request_sums();
    assert!(sent > 0 && failed < sent, "{failed} of {sent}");
}

#[test]
fn a_leader_that_is_told_to_stop_costs_no_outage() {
    let text = "seed 3\nshape proxies=4 services=2 workloads=0 safety=6s healing=6s\n2s stop node=0 dead=1s\n4s stop node=0 dead=1s\n";
    let (report, measured) = run_measured(&Scenario::read(text).unwrap());
    let report = report.unwrap();
    assert_eq!((report.crashes, measured.down.len()), (0, 2), "{}", report.story);
    assert!(report.story.to_string().contains("ends, for another leads"), "{}", report.story);
    assert_eq!(measured.outages(), [], "{}", report.story);
}

/// The story of a rolling upgrade killed nodes that had been stopped in peace.
#[test]
fn a_node_that_is_down_already_is_not_said_to_be_killed() {
    let text = "seed 3\nshape proxies=1 services=1 workloads=0 older=3 safety=6s healing=6s\n\
        1s stop node=1 dead=3s\n2s upgrade node=1 dead=2s\n3s kill node=1 dead=1s\n5s kill node=1 dead=100ms\n";
    let (report, measured) = run_measured(&Scenario::read(text).unwrap());
    let said: Vec<&str> = measured.acts.iter().map(|(_, said)| said.as_str()).collect();
    let expected = [
        "node 1 is told to stop, hands over what it leads, and starts again 3s after its end",
        "node 1 is down, and is to start with the newer program",
        "(kill comes too late: node 1 is down already)",
        "node 1 is killed and stays dead for 100ms",
    ];
    assert_eq!(said, expected, "{}", report.unwrap().story);
}

#[test]
fn all_proxies_lose_their_connections_at_once_and_follow_again() {
    let text = "seed 3\nshape proxies=40 services=2 workloads=0 safety=4s healing=6s\n2s storm times=2\n";
    let (report, measured) = run_measured(&Scenario::read(text).unwrap());
    report.unwrap();
    let (sent, failed, _) = measured.request_sums();
    assert!(sent > 0 && failed == 0, "{failed} of {sent}");
}

#[test]
fn a_leader_whose_disk_is_full_hands_over_and_writes_go_on_long_before_there_is_space() {
    let full = Duration::from_secs(4);
    let text =
        "seed 3\nshape proxies=4 services=2 workloads=0 safety=8s healing=6s\n2s fill-disk node=0 lasts=4s\n";
    let (report, measured) = run_measured(&Scenario::read(text).unwrap());
    let story = report.unwrap().story.to_string();
    assert!(story.contains("has no room for writes, and hands leadership over"), "{story}");
    let gap = measured.longest_gap();
    assert!(gap < full / 4, "{gap:?} without a write, as long as the disk was full: {story}");
}
