//! Tests of [`super::Partials`]: what is merged, what is acknowledged and when, what a retry and a loss do.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use api::log::v1::{AlreadyCounted, Done, OutsideHistory};

use super::*;

const SOON: Duration = Duration::from_secs(1);

fn edge(callee: &str) -> Edge {
    Edge {
        direction: mesh::Direction::Outbound,
        caller: Some("web".parse().unwrap()),
        authority: format!("{callee}:80").parse().unwrap(),
        callee: Some(callee.parse().unwrap()),
    }
}

fn report(proxy: &str, windows: &[u64]) -> TrafficReport {
    let traffic = EdgeTraffic { successes: 1, ..EdgeTraffic::default() };
    let window = |window: &u64| WindowTraffic {
        window: Window(*window),
        edges: vec![(edge("books"), traffic.clone())],
    };
    let proxy = ProxyId { name: proxy.to_owned(), incarnation: 1 };
    TrafficReport { proxy, windows: windows.iter().map(window).collect() }
}

fn outcome(result: outcome::Result) -> Outcome {
    Outcome { result: Some(result), index: 9, epoch: 1 }
}

fn done() -> Outcome {
    outcome(outcome::Result::Done(Done { actions: Vec::new() }))
}

fn counted(proxy: &str, window: u64) -> Counted {
    Counted { proxy: Some(api::v1::ProxyId { name: proxy.to_owned(), incarnation: 1 }), window }
}

/// The one partial that is due, and its batch.
fn proposed(outputs: Vec<Output>) -> (BatchId, Partial) {
    let mut partials = outputs.into_iter().filter_map(|output| match output {
        Output::Propose { batch, partial } => Some((batch, partial)),
        _ => None,
    });
    let first = partials.next().unwrap();
    assert!(partials.next().is_none());
    first
}

fn holding(reports: &[(&str, &[u64])]) -> Partials {
    let mut partials = Partials::new(3);
    for (waiter, (proxy, windows)) in reports.iter().enumerate() {
        partials.report(report(proxy, windows), Some(waiter as u64), Duration::ZERO).unwrap();
    }
    partials
}

#[test]
fn reports_that_come_within_a_second_are_added_up_per_edge_and_window() {
    let mut partials = holding(&[("a", &[7]), ("b", &[7, 8])]);
    assert!(partials.poll(Duration::ZERO).is_empty());
    let (_, partial) = proposed(partials.poll(SOON));
    assert_eq!((partial.node, partial.counted.len()), (3, 3));
    let sums: Vec<(u64, u64)> = partial
        .windows
        .iter()
        .map(|window| (window.window, window.edges[0].traffic.as_ref().unwrap().successes))
        .collect();
    assert_eq!(sums, [(7, 2), (8, 1)]);
}

#[test]
fn a_report_is_acknowledged_after_the_commit_and_not_before() {
    let mut partials = holding(&[("a", &[7, 8])]);
    let (batch, _) = proposed(partials.poll(SOON));
    let answers = partials.answered(batch, &done(), SOON);
    let windows = vec![Window(7), Window(8)];
    assert_eq!(answers, [Output::Acknowledge { waiter: 0, acknowledged: windows, too_old: Vec::new() }]);
    assert_eq!(partials.records(), 0);
}

#[test]
fn a_report_without_windows_is_acknowledged_at_once() {
    let outputs = Partials::new(3).report(report("a", &[]), Some(5), SOON).unwrap();
    assert_eq!(outputs, [Output::Acknowledge { waiter: 5, acknowledged: Vec::new(), too_old: Vec::new() }]);
}

#[test]
fn pairs_counted_before_are_left_out_and_the_rest_is_proposed_again() {
    let mut partials = holding(&[("a", &[7]), ("b", &[7])]);
    let (batch, _) = proposed(partials.poll(SOON));
    let already = AlreadyCounted { counted: vec![counted("a", 7)] };
    let mut outputs = partials.answered(batch, &outcome(outcome::Result::AlreadyCounted(already)), SOON);
    let acknowledged = vec![Window(7)];
    assert_eq!(outputs.remove(0), Output::Acknowledge { waiter: 0, acknowledged, too_old: Vec::new() });
    let (again, partial) = proposed(outputs);
    assert_ne!(again, batch);
    assert_eq!(partial.counted, [counted("b", 7)]);
    assert_eq!(partials.answered(again, &done(), SOON).len(), 1);
}

#[test]
fn windows_outside_of_the_history_are_acknowledged_as_too_old() {
    let mut partials = holding(&[("a", &[1, 7])]);
    let (batch, _) = proposed(partials.poll(SOON));
    let outside = outcome(outcome::Result::OutsideHistory(OutsideHistory { windows: vec![1] }));
    let (again, _) = proposed(partials.answered(batch, &outside, SOON));
    let answers = partials.answered(again, &done(), SOON);
    let (acknowledged, too_old) = (vec![Window(1), Window(7)], vec![Window(1)]);
    assert_eq!(answers, [Output::Acknowledge { waiter: 0, acknowledged, too_old }]);
}

#[test]
fn a_window_sent_again_while_it_waits_is_counted_once_and_both_are_answered() {
    let mut partials = holding(&[("a", &[7]), ("a", &[7])]);
    let (batch, partial) = proposed(partials.poll(SOON));
    assert_eq!(partial.counted.len(), 1);
    partials.report(report("a", &[7]), Some(9), SOON).unwrap();
    assert_eq!(partials.answered(batch, &done(), SOON).len(), 3);
    assert!(partials.poll(SOON * 9).is_empty());
}

#[test]
fn a_partial_that_finds_no_leader_fails_its_waiters_and_forgets_their_windows() {
    let mut partials = holding(&[("a", &[7])]);
    let (batch, _) = proposed(partials.poll(SOON));
    let outputs = partials.failed(batch, "no leader", SOON);
    assert_eq!(outputs, [Output::Fail { waiter: 0, reason: "no leader".to_owned() }]);
    assert_eq!((partials.records(), partials.poll(SOON * 9).len()), (0, 0));
}

#[test]
fn what_nobody_sends_again_is_tried_for_a_minute_and_then_told_as_lost() {
    let mut partials = Partials::new(3);
    partials.report(report("envoy", &[7]), None, Duration::ZERO).unwrap();
    let (batch, _) = proposed(partials.poll(SOON));
    assert!(partials.failed(batch, "no leader", SOON).is_empty());
    let (batch, _) = proposed(partials.poll(SOON * 2));
    assert_eq!(partials.failed(batch, "no leader", UNSENT_LIFE), [Output::Lost(1)]);
    assert_eq!(partials.records(), 0);
}

#[test]
fn few_batches_are_out_at_once_and_each_is_bounded() {
    let mut partials = Partials::new(3);
    for number in 0..4_000_u64 {
        partials.report(report(&format!("p{number}"), &[7]), Some(number), Duration::ZERO).unwrap();
    }
    let outputs = partials.poll(Duration::ZERO);
    assert_eq!(outputs.len(), BATCHES_MAX);
    for output in outputs {
        let Output::Propose { partial, .. } = output else { panic!("{output:?}") };
        assert_eq!(partial.counted.len(), BATCH_PAIRS_MAX);
    }
}

#[test]
fn beyond_the_bound_a_report_is_refused_whole() {
    let mut partials = Partials::new(3);
    for number in 0..RECORDS_MAX as u64 {
        partials.report(report("a", &[number]), Some(number), Duration::ZERO).unwrap();
    }
    assert_eq!(partials.report(report("b", &[1]), Some(0), SOON), Err(Full { records: RECORDS_MAX }));
}
