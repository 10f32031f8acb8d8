//! Tests of `stat`: which side counts, what the filters keep, what is refused. The catalog is fed through the log's commands.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use api::log::v1::{Command, Counted, Partial, command::Body};
use mesh::{Window, WindowTraffic};
use prost::Message as _;

use super::*;

const WINDOW: u64 = 170_000_000;

fn edge(direction: Direction, caller: &str, callee: &str) -> Edge {
    Edge {
        direction,
        caller: Some(caller.parse().unwrap()),
        authority: format!("{callee}:80").parse().unwrap(),
        callee: Some(format!("{callee}-v1").parse().unwrap()),
    }
}

fn traffic(successes: u64, server_errors: u64) -> EdgeTraffic {
    EdgeTraffic { successes, failures: [server_errors, 0, 0, 0, 0], ..EdgeTraffic::default() }
}

/// A catalog in which one proxy reported these edges in one window, which has settled.
fn catalog(edges: Vec<(Edge, EdgeTraffic)>) -> Catalog {
    let traffic = WindowTraffic { window: Window(WINDOW), edges };
    let proxy = api::v1::ProxyId { name: "p".to_owned(), incarnation: 1 };
    let partial = Partial {
        node: 1,
        counted: vec![Counted { proxy: Some(proxy), window: WINDOW }],
        windows: vec![(&traffic).into()],
    };
    let mut catalog = Catalog::new(1);
    let tick = Body::Tick(api::log::v1::Tick {});
    for (index, body) in [(2, Body::Partial(partial)), (3, tick)] {
        let command = Command { id: None, at_ms: (WINDOW + index) * 10_000, body: Some(body) };
        catalog.apply(index, &command.encode_to_vec());
    }
    catalog
}

fn three_services() -> Catalog {
    catalog(vec![
        (edge(Direction::Outbound, "web", "books"), traffic(90, 10)),
        (edge(Direction::Inbound, "web", "books"), traffic(95, 5)),
        (edge(Direction::Outbound, "web", "legacy"), traffic(50, 0)),
        (edge(Direction::Outbound, "jobs", "books"), traffic(7, 0)),
    ])
}

fn named(name: &str) -> Option<api::v1::QualifiedName> {
    Some(api::v1::QualifiedName { name: name.to_owned(), namespace: "default".to_owned() })
}

/// Rows as (name, successes, failures), in order.
fn shown(request: &StatRequest) -> Vec<(String, u64, u64)> {
    let name = |row: &StatRow| match (&row.callee, &row.authority, &row.caller) {
        (_, Some(authority), Some(caller)) => {
            format!("{} > {}", caller.name, authority.service.as_ref().unwrap().name)
        }
        (Some(callee), ..) => callee.name.clone(),
        (_, Some(authority), _) => authority.service.as_ref().unwrap().name.clone(),
        _ => String::new(),
    };
    let response = answer(&three_services(), request).unwrap();
    let counts = |row: &StatRow| {
        let traffic = row.traffic.as_ref().unwrap();
        (name(row), traffic.successes, traffic.failures.iter().sum())
    };
    response.rows.iter().map(counts).collect()
}

#[test]
fn a_service_is_counted_on_its_own_side_where_a_proxy_stands_and_else_on_its_callers() {
    let rows = shown(&StatRequest::default());
    assert_eq!(rows, [("books".to_owned(), 95, 5), ("legacy".to_owned(), 50, 0)]);
}

#[test]
fn from_a_caller_only_the_callers_side_counts() {
    let request = StatRequest { from: named("jobs"), ..StatRequest::default() };
    assert_eq!(shown(&request), [("books".to_owned(), 7, 0)]);
    let request = StatRequest { to: named("books"), ..StatRequest::default() };
    assert_eq!(shown(&request), [("books".to_owned(), 97, 10)]);
}

#[test]
fn per_edge_each_caller_has_a_row() {
    let request = StatRequest { group_by: GroupBy::Edge.into(), ..StatRequest::default() };
    let names: Vec<String> = shown(&request).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["jobs > books", "web > books", "web > legacy"]);
}

#[test]
fn workloads_and_one_resource_are_told_apart() {
    let request = StatRequest { group_by: GroupBy::Workload.into(), ..StatRequest::default() };
    assert_eq!(shown(&request), [("books-v1".to_owned(), 95, 5), ("legacy-v1".to_owned(), 50, 0)]);
    let request = StatRequest { resource: named("legacy"), ..StatRequest::default() };
    assert_eq!(shown(&request), [("legacy".to_owned(), 50, 0)]);
    let request = StatRequest { namespace: "shop".to_owned(), ..StatRequest::default() };
    assert!(shown(&request).is_empty());
}

#[test]
fn a_name_that_nobody_knows_is_told_with_what_comes_near() {
    let request = StatRequest { resource: named("boks"), ..StatRequest::default() };
    let error = answer(&three_services(), &request).unwrap_err();
    let text = "service or workload boks.default does not exist; there is books.default";
    assert_eq!(error, StatError::NotFound(text.to_owned()));
}

#[test]
fn a_known_name_without_traffic_has_no_rows_and_is_no_error() {
    let request = StatRequest { from: named("books-v1"), ..StatRequest::default() };
    assert!(answer(&three_services(), &request).unwrap().rows.is_empty());
}

#[test]
fn a_window_that_is_no_multiple_of_ten_or_too_long_is_refused() {
    for window_seconds in [15, 21_610] {
        let request = StatRequest { window_seconds, ..StatRequest::default() };
        assert!(matches!(answer(&three_services(), &request), Err(StatError::Invalid(_))));
    }
}
