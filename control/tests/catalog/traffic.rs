//! Traffic is counted once, kept for its time, and asked for by span and key.

use api::log::v1::outcome::Result as Answer;
use api::log::v1::refused::Reason;
use control::catalog::{Change, HistoryEdge, Rollups, Span};
use mesh::{EdgeTraffic, ProxyId, Timestamp, Window};

use crate::script::*;

/// Everything that is kept.
fn all(rollups: &Rollups) -> EdgeTraffic {
    let span = Span { from: Timestamp(0), to: Timestamp(u64::MAX / 2) };
    rollups.sums(span, |_| Some(())).remove(&()).unwrap_or_default()
}

fn counted_again(script: &mut Script, body: api::log::v1::command::Body) -> Vec<(String, u64)> {
    let applied = script.run(body);
    assert_eq!(applied.changes, []);
    match applied.outcome.result {
        Some(Answer::AlreadyCounted(already)) => {
            let told = |pair: api::log::v1::Counted| (pair.proxy.unwrap().name, pair.window);
            already.counted.into_iter().map(told).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_window_of_a_proxy_counts_once_whichever_partial_it_comes_in() {
    let mut script = Script::new();
    script.wait(0);
    let window = window_of(START_MS);
    let first = partial(&[pair("a", 1, window)], &[(window, vec![(edge("cart:80"), successes(3))])]);
    assert_eq!(script.done(first.clone()), [Change::Traffic { window: Window(window) }]);
    assert_eq!(counted_again(&mut script, first), [("a".to_owned(), window)]);
    let mixed = partial(
        &[pair("a", 1, window), pair("b", 1, window)],
        &[(window, vec![(edge("cart:80"), successes(9))])],
    );
    assert_eq!(counted_again(&mut script, mixed), [("a".to_owned(), window)]);
    assert_eq!(all(script.catalog.rollups()).successes, 3, "nothing of it was added");
    script.done(partial(&[pair("b", 1, window)], &[(window, vec![(edge("cart:80"), successes(4))])]));
    let sum = all(script.catalog.rollups());
    assert_eq!((sum.successes, sum.latency.count()), (7, 7));
    script.done(partial(&[pair("a", 2, window)], &[(window, vec![(edge("cart:80"), successes(1))])]));
    assert_eq!(all(script.catalog.rollups()).successes, 8, "a new life of the proxy is another proxy");
    let proxy = ProxyId { name: "a".into(), incarnation: 1 };
    assert!(script.catalog.rollups().counts(&proxy, Window(window)));
}

#[test]
fn windows_that_are_not_kept_are_named_and_nothing_is_added() {
    let mut script = Script::new();
    script.wait(0);
    let now = window_of(START_MS);
    let windows = [now - 61, now - 60, now + 6, now + 7];
    let pairs = windows.map(|window| pair("a", 1, window));
    let applied = script.run(partial(&pairs, &[(now, vec![(edge("cart:80"), successes(1))])]));
    match applied.outcome.result {
        Some(Answer::OutsideHistory(outside)) => assert_eq!(outside.windows, [now - 61, now + 7]),
        other => panic!("{other:?}"),
    }
    assert_eq!(all(script.catalog.rollups()), EdgeTraffic::default());
    assert!(
        script.catalog.rollups().takes(Window(now - 60)) && !script.catalog.rollups().takes(Window(now - 61))
    );
}

#[test]
fn traffic_that_no_proxy_vouches_for_and_pairs_told_twice_are_refused() {
    let mut script = Script::new();
    script.wait(0);
    let now = window_of(START_MS);
    let unvouched = partial(&[pair("a", 1, now)], &[(now - 1, vec![(edge("cart:80"), successes(1))])]);
    assert_eq!(script.refused(unvouched).0, Reason::Invalid);
    let twice = partial(&[pair("a", 1, now), pair("a", 1, now)], &[]);
    assert_eq!(script.refused(twice), (Reason::Invalid, "counted[1]: is there twice".to_owned()));
    let (_, message) = script.refused(partial(&[pair("", 1, now)], &[]));
    assert_eq!(message, "counted[0].proxy.name = \"\": must be 1 to 317 bytes, is 0");
}

#[test]
fn no_request_is_lost_when_windows_become_minutes_and_all_end_after_six_hours() {
    let mut script = Script::new();
    let mut expected = 0;
    for step in 1..=200 {
        script.wait(10);
        let window = window_of(script.at_ms) - 1;
        let traffic = vec![(edge("cart:80"), successes(step % 7)), (edge("pay:80"), successes(1))];
        script.done(partial(&[pair("a", 1, window)], &[(window, traffic)]));
        expected += step % 7 + 1;
        let sum = all(script.catalog.rollups());
        assert_eq!((sum.successes, sum.latency.count()), (expected, expected), "step {step}");
    }
    script.wait(6 * 3600 - 2000);
    assert_eq!(all(script.catalog.rollups()).successes, expected);
    script.wait(2000 + 60 + 60);
    assert_eq!(all(script.catalog.rollups()), EdgeTraffic::default());
    let sizes = script.catalog.sizes();
    assert_eq!((sizes.edges, sizes.history_bytes), (0, 0), "edges go with their last record");
    assert_eq!(script.catalog.rollups().proxy_count(), 0);
}

#[test]
fn a_span_ends_with_the_newest_settled_window_and_sums_by_key() {
    let mut script = Script::new();
    for _ in 0..12 {
        script.wait(10);
        let window = window_of(script.at_ms) - 1;
        let traffic = vec![(edge("cart:80"), successes(2)), (edge("pay:80"), successes(1))];
        script.done(partial(&[pair("a", 1, window)], &[(window, traffic)]));
    }
    let rollups = script.catalog.rollups();
    let now = Timestamp(script.at_ms + 5_000);
    let span = rollups.span(now, 60);
    assert_eq!((span.to, span.seconds()), (Timestamp(script.at_ms), 60));
    let key = |edge: &HistoryEdge| edge.known().map(|edge| edge.authority.service.name().to_owned());
    let sums = rollups.sums(span, key);
    let told: Vec<_> = sums.iter().map(|(name, sum)| (name.as_str(), sum.successes)).collect();
    assert_eq!(told, [("cart", 12), ("pay", 6)]);
    let early = rollups.span(Timestamp(script.at_ms + 4_999), 60);
    assert_eq!(early.to, Timestamp(script.at_ms - 10_000), "the newest window has not settled");
    assert_eq!(rollups.span(now, 3600).seconds(), 120, "no longer than what is kept");
}

#[test]
fn what_exceeds_the_cap_of_a_namespace_is_folded_and_not_lost() {
    let mut script = Script::new();
    script.wait(0);
    let now = window_of(START_MS);
    let edges = (0..5_010).map(|at| (edge(&format!("s{at}.shop:80")), successes(1))).collect();
    script.done(partial(&[pair("a", 1, now)], &[(now, edges)]));
    let rollups = script.catalog.rollups();
    assert_eq!((all(rollups).successes, rollups.edge_count(), rollups.folded()), (5_010, 5_000, 10));
    let span = Span { from: Timestamp(0), to: Timestamp(u64::MAX / 2) };
    assert_eq!(rollups.folded_in(span), 10);
    let other = rollups.sums(span, |edge| edge.known().is_none().then_some(edge.direction()));
    assert_eq!(other.values().map(|sum| sum.successes).sum::<u64>(), 10);
}
