//! Traffic: a report counts once, whichever nodes it is sent to, and every node tells the same.

use api::v1::{
    Direction, Edge, EdgeRecord, EdgeTraffic, ProxyId, ReportResponse, StatRequest, StatResponse,
    TrafficReport, WindowTraffic,
};
use tonic::Status;

use crate::group::{Group, authority, name};

/// A window that has closed a while ago, by this machine's clock, and is still kept.
fn past_window() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() / 10 - 3
}

fn report(proxy: &str, window: u64, successes: u64) -> TrafficReport {
    let edge = Edge {
        direction: Direction::Outbound.into(),
        caller: Some(name("web")),
        authority: Some(authority("books")),
        callee: Some(name("books-v1")),
    };
    let traffic = EdgeTraffic { successes, failures: vec![1], ..EdgeTraffic::default() };
    let edges = vec![EdgeRecord { edge: Some(edge), traffic: Some(traffic) }];
    TrafficReport {
        proxy: Some(ProxyId { name: proxy.to_owned(), incarnation: 1 }),
        windows: vec![WindowTraffic { window, edges }],
    }
}

fn send(group: &Group, node: u64, report: TrafficReport) -> Result<ReportResponse, Status> {
    let client = group.reports(node);
    group.answer(async move || client.clone().report(report.clone()).await)
}

fn stat(group: &Group, node: u64) -> StatResponse {
    let client = group.query(node);
    let request = StatRequest { window_seconds: 600, ..StatRequest::default() };
    group.answer(async move || client.clone().stat(request.clone()).await).unwrap()
}

fn counts(response: &StatResponse) -> Vec<(u64, Vec<u64>)> {
    let traffic = response.rows.iter().filter_map(|row| row.traffic.as_ref());
    traffic.map(|traffic| (traffic.successes, traffic.failures.clone())).collect()
}

#[test]
fn a_report_that_is_sent_to_two_nodes_is_counted_once_and_acknowledged_by_both() {
    let group = Group::of(3);
    let window = past_window();
    for node in [1, 2, 2] {
        let response = send(&group, node, report("p", window, 9)).unwrap();
        assert_eq!((response.acknowledged, response.too_old.len()), (vec![window], 0), "node {node}");
    }
    assert_eq!(counts(&stat(&group, 3)), [(9, vec![1])]);
}

#[test]
fn every_node_tells_the_same_figures_and_they_survive_the_death_of_the_leader() {
    let mut group = Group::of(3);
    group.until_all_vote();
    let window = past_window();
    for (node, proxy) in [(1, "a"), (2, "b"), (3, "c")] {
        send(&group, node, report(proxy, window, 10)).unwrap();
    }
    let before = stat(&group, 1);
    assert_eq!(counts(&before), [(30, vec![3])]);
    for node in [2, 3] {
        assert_eq!(stat(&group, node).rows, before.rows, "node {node}");
    }
    group.end_abruptly(group.leader());
    let survivor = group.leader();
    assert_eq!(counts(&stat(&group, survivor)), [(30, vec![3])]);
}

#[test]
fn a_window_from_long_ago_is_told_as_too_old_and_the_others_count() {
    let group = Group::of(1);
    let (old, fresh) = (past_window() - 1_000, past_window());
    let mut both = report("p", fresh, 5);
    both.windows.extend(report("p", old, 5).windows);
    let response = send(&group, 1, both).unwrap();
    assert_eq!(response.too_old, [old]);
    assert_eq!(response.acknowledged.len(), 2);
    assert_eq!(counts(&stat(&group, 1)), [(5, vec![1])]);
}

#[test]
fn a_report_of_too_many_windows_or_without_a_proxy_is_refused_with_the_reason() {
    let group = Group::of(1);
    let mut many = report("p", 7, 1);
    many.windows = (0..7).flat_map(|window| report("p", window, 1).windows).collect();
    assert!(send(&group, 1, many).unwrap_err().message().contains("the most is 6"));
    let nobody = TrafficReport { proxy: None, ..report("p", 7, 1) };
    assert!(send(&group, 1, nobody).unwrap_err().message().contains("proxy"));
}
