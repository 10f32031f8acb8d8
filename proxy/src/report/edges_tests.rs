//! The table as scripts: what is counted, taken, folded and evicted.
#![allow(clippy::unwrap_used)] // a panic is how a test fails
use super::*;

fn edge(name: &str) -> Edge {
    Edge {
        direction: Direction::Outbound,
        caller: None,
        authority: name.parse().unwrap(),
        callee: Some(name.parse().unwrap()),
    }
}

fn ended(failure: Option<Failure>) -> Ended {
    Ended {
        failure,
        status: 200,
        latency: Some(Duration::from_millis(2)),
        request_bytes: 3,
        response_bytes: 5,
        retries: 1,
    }
}

#[test]
fn every_failure_has_the_place_that_reports_give_it() {
    for (index, failure) in Failure::ALL.into_iter().enumerate() {
        assert_eq!(place_of(failure), index);
    }
}

#[test]
fn what_was_taken_is_not_taken_again_and_idle_edges_are_left_out() {
    let mut table = EdgeTable::new(&"us".parse().unwrap());
    let web = table.intern(edge("web"));
    assert_eq!(table.intern(edge("web")), web);
    table.ended(web, ended(None));
    table.ended(web, ended(Some(Failure::Reset)));
    table.connected(web);
    let taken = table.take(Instant::now());
    assert_eq!(taken.edges.len(), 1);
    let (edge, traffic) = &taken.edges[0];
    assert_eq!(edge.authority.service.name(), "web");
    assert_eq!((traffic.successes, traffic.failures[3], traffic.connections), (1, 1, 1));
    assert_eq!((traffic.request_bytes, traffic.response_bytes, traffic.retries), (6, 10, 2));
    assert_eq!(traffic.latency.count(), 2);
    assert!(table.take(Instant::now()).edges.is_empty());
}

#[test]
fn edges_past_the_bound_are_folded_and_no_request_is_left_uncounted() {
    let mut table = EdgeTable::new(&"us".parse().unwrap());
    for number in 0..EDGES_MAX + 9 {
        let handle = table.intern(edge(&format!("web-{number}")));
        table.ended(handle, ended(None));
    }
    let taken = table.take(Instant::now()).edges;
    assert_eq!(taken.len(), EDGES_MAX - 1, "nothing is inbound here");
    assert_eq!(taken.iter().map(|(_, traffic)| traffic.requests()).sum::<u64>(), EDGES_MAX as u64 + 9);
    assert_eq!(table.folded_total(), 11);
}

#[test]
fn statuses_are_told_apart_up_to_a_bound_and_add_up_to_the_requests() {
    let mut table = EdgeTable::new(&"us".parse().unwrap());
    let web = table.intern(edge("web"));
    for status in 200..300 {
        table.ended(web, Ended { status, ..ended(None) });
        table.ended(web, Ended { status, ..ended(Some(Failure::Server)) });
    }
    let taken = table.take(Instant::now());
    let counts = &taken.statuses[0].1;
    assert!(counts.len() <= STATUSES_MAX + 2, "{} codes", counts.len());
    let sum = |failed| counts.iter().filter(|one| one.failed == failed).map(|one| one.count).sum::<u64>();
    assert_eq!((sum(false), sum(true)), (100, 100));
    assert!(counts.contains(&StatusCount { status: 200, failed: true, count: 1 }));
}

#[test]
fn an_idle_edge_goes_away_and_its_place_is_used_again() {
    let mut table = EdgeTable::new(&"us".parse().unwrap());
    let (start, web) = (Instant::now(), table.intern(edge("web")));
    table.ended(web, ended(None));
    assert_eq!(table.take(start).edges.len(), 1);
    assert!(!table.take(start).evicted);
    assert!(!table.take(start + EDGE_IDLE_MAX - Duration::from_secs(1)).evicted);
    assert!(table.is_live(web));
    assert!(table.take(start + EDGE_IDLE_MAX).evicted);
    assert!(!table.is_live(web));
    let (places, shop) = (table.slots.len(), table.intern(edge("shop")));
    assert_eq!((table.slots.len(), table.evicted_total()), (places, 1));
    // Who kept the old handle all the same counts under none of the new one's.
    table.ended(web, ended(None));
    table.ended(shop, ended(None));
    let taken = table.take(start + EDGE_IDLE_MAX).edges;
    let mut names: Vec<_> = taken.iter().map(|(edge, _)| edge.authority.service.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["other", "shop"]);
}

#[test]
fn an_edge_with_a_running_request_stays_however_long_that_takes() {
    let mut table = EdgeTable::new(&"us".parse().unwrap());
    let (start, web) = (Instant::now(), table.intern(edge("web")));
    table.held(web);
    table.take(start);
    assert!(!table.take(start + EDGE_IDLE_MAX * 9).evicted);
    table.ended(web, ended(None));
    assert_eq!(table.take(start + EDGE_IDLE_MAX * 9).edges[0].0.authority.service.name(), "web");
}
