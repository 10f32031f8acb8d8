//! What a cluster picks: by health, load, weight, zone, age and key, and what a rebuilt one keeps.
#![allow(clippy::unwrap_used)] // a panic is how a test fails
use super::*;
use crate::http::signs::Limits;
use crate::http::tally::Tally;
use crate::http::upstream::InFlight;
use crate::resources::Pressure;
use mesh::{
    Ejection, Endpoint, InstanceName, Locality, Protocol, Revision, ServicePolicy, SlowStart, ZonePreference,
};

use crate::balance::place;

fn state() -> Rc<WorkerState> {
    seeded(7)
}

fn seeded(seed: u64) -> Rc<WorkerState> {
    WorkerState::new(
        &"shop".parse().unwrap(),
        &Locality::default(),
        seed,
        Limits::default(),
        Pressure::default(),
        None,
    )
}

fn set(endpoints: &[(u16, Health)]) -> Arc<EndpointSet> {
    let endpoints = endpoints.iter().map(|(port, health)| Endpoint {
        instance: InstanceName(format!("web-{port}")),
        address: ([127, 0, 0, 1], *port).into(),
        workload: "web".parse().unwrap(),
        locality: Locality::default(),
        weight: 100,
        health: *health,
    });
    Arc::new(EndpointSet {
        authority: "web".parse().unwrap(),
        protocol: Protocol::Http1,
        policy: Arc::default(),
        revision: Revision::default(),
        endpoints: endpoints.collect(),
    })
}

#[test]
fn a_draining_endpoint_is_not_picked_and_those_that_stay_keep_what_is_known() {
    let now = Instant::now();
    let first = Cluster::new(&set(&[(1, Health::Ready), (2, Health::Ready)]), None, &state(), now);
    let kept = &first.member(1).upstream;
    kept.latency.borrow_mut().observe(Duration::from_millis(4), now);
    let second = Cluster::new(
        &set(&[(1, Health::Draining), (2, Health::Ready), (3, Health::Ready)]),
        Some(&first),
        &state(),
        now,
    );
    assert_eq!(second.members.len(), 2);
    assert!(Rc::ptr_eq(kept, &second.member(0).upstream));
    let assumed = second.member(1).upstream.latency.borrow().seconds_at(now);
    assert!((0.003..0.005).contains(&assumed), "a new endpoint counts as its siblings: {assumed}");
}

#[test]
fn a_hiccup_of_milliseconds_does_not_undo_the_weights_and_a_slow_endpoint_does() {
    let now = Instant::now();
    let mut weighted = EndpointSet::clone(&set(&[(1, Health::Ready), (2, Health::Ready)]));
    weighted.endpoints[0].weight = 300;
    let cluster = Cluster::new(&Arc::new(weighted), None, &state(), now);
    let state = seeded(9);
    let shares = || (0..1000).filter(|_| cluster.pick(|_| true, None, now, &state) == Some(0)).count();
    let observe = |index: usize, ms: u64| {
        cluster.member(index).upstream.latency.borrow_mut().observe(Duration::from_millis(ms), now);
    };
    observe(1, 1);
    observe(0, 9);
    assert!((700..800).contains(&shares()));
    observe(0, 90);
    assert_eq!(shares(), 0);
}

#[test]
fn an_endpoint_never_measured_is_tried_beside_a_quick_one_and_not_flooded() {
    let now = Instant::now();
    let cluster = Cluster::new(&set(&[(1, Health::Ready), (2, Health::Ready)]), None, &state(), now);
    cluster.member(0).upstream.latency.borrow_mut().observe(Duration::from_millis(1), now);
    let state = seeded(5);
    assert_eq!(cluster.pick(|_| true, None, now, &state), Some(1));
    let _on_its_way = InFlight::on(&cluster.member(1).upstream);
    assert!((0..100).all(|_| cluster.pick(|_| true, None, now, &state) == Some(0)));
}

#[test]
fn an_endpoint_that_refuses_connections_is_picked_only_when_no_other_is_left() {
    let now = Instant::now();
    let cluster = Cluster::new(&set(&[(1, Health::Ready), (2, Health::Ready)]), None, &state(), now);
    cluster.member(0).upstream.connect_failed(now);
    let state = seeded(3);
    for _ in 0..100 {
        assert_eq!(cluster.pick(|_| true, None, now, &state), Some(1));
    }
    assert_eq!(cluster.pick(|index| index != 1, None, now, &state), Some(0));
    assert_eq!(cluster.pick(|_| false, None, now, &state), None);
}

fn ruled(ports: &[u16], policy: ServicePolicy) -> Arc<EndpointSet> {
    let endpoints: Vec<_> = ports.iter().map(|port| (*port, Health::Ready)).collect();
    let mut ruled = EndpointSet::clone(&set(&endpoints));
    ruled.policy = Arc::new(policy);
    Arc::new(ruled)
}

/// How often each of `count` members is picked in 1000 picks by `key`.
fn picked(
    cluster: &Cluster,
    state: &WorkerState,
    now: Instant,
    key: impl Fn(u64) -> Option<u64>,
) -> Vec<usize> {
    let mut shares = vec![0; cluster.members.len()];
    for number in 0..1000 {
        shares[cluster.pick(|_| true, key(number), now, state).unwrap()] += 1;
    }
    shares
}

#[test]
fn each_balancer_spreads_in_its_own_way() {
    let (now, state) = (Instant::now(), state());
    let of = |balancer| {
        let policy = ServicePolicy { balancer, ..ServicePolicy::default() };
        Cluster::new(&ruled(&[1, 2, 3, 4], policy), None, &state, now)
    };
    assert_eq!(picked(&of(Balancer::RoundRobin), &state, now, |_| None), [250; 4]);
    let ring = of(Balancer::RingHash);
    let kept = picked(&ring, &state, now, |_| Some(77));
    assert_eq!(kept.iter().filter(|share| **share == 1000).count(), 1, "one key, one endpoint: {kept:?}");
    let spread = picked(&ring, &state, now, |number| Some(place(&number.to_le_bytes())));
    assert!(spread.iter().all(|share| *share > 100), "{spread:?}");
    let least = of(Balancer::LeastRequest);
    let busy: Vec<_> = (0..3).map(|index| InFlight::on(&least.member(index).upstream)).collect();
    least.member(3).upstream.latency.borrow_mut().observe(Duration::from_secs(9), now);
    let shares = picked(&least, &state, now, |_| None);
    assert!(shares[3] > 400, "the idle one wins whenever it is drawn, however slow: {shares:?}");
    drop(busy);
}

#[test]
fn failures_in_a_row_eject_until_a_probe_succeeds_and_the_floor_keeps_the_last() {
    let (start, state) = (Instant::now(), state());
    let ejection = Ejection { consecutive_failures: Some(2), max_percent: 100, ..Ejection::default() };
    let policy = ServicePolicy { ejection: Some(ejection), ..ServicePolicy::default() };
    let cluster = Cluster::new(&ruled(&[1, 2], policy.clone()), None, &state, start);
    let fail = |cluster: &Cluster, index: usize, now| {
        (0..2).for_each(|_| cluster.member(index).upstream.ended(true, now));
    };
    fail(&cluster, 0, start);
    assert_eq!(picked(&cluster, &state, start, |_| None), [0, 1000]);
    fail(&cluster, 1, start);
    assert_eq!(picked(&cluster, &state, start, |_| None), [0, 1000], "the last one stays");
    let counters = state.counters();
    assert_eq!((counters.endpoints_ejected, counters.ejected_in_a_row_total), (1, 1));
    assert_eq!(counters.ejections_refused_total, 1);

    let cluster = Cluster::new(&ruled(&[1, 2, 3], policy), Some(&cluster), &state, start);
    assert_eq!(state.counters().endpoints_ejected, 2, "of the old cluster and of the new one");
    assert_eq!(picked(&cluster, &state, start, |_| None)[0], 0, "an ejection outlives a change of the set");
    let later = start + Duration::from_secs(31);
    let counts = |now| {
        let SetCounts { ready, ejected, half_open, .. } = cluster.counts(now);
        (ready, ejected, half_open)
    };
    assert_eq!((counts(start), counts(later)), ((2, 1, 0), (2, 0, 1)));
    assert!(picked(&cluster, &state, later, |_| None)[0] > 0, "it may be probed");
    let probe = InFlight::on(&cluster.member(0).upstream);
    assert_eq!(picked(&cluster, &state, later, |_| None)[0], 0, "by one request at a time");
    drop(probe);
    cluster.member(0).upstream.ended(false, later);
    assert_eq!(counts(later), (3, 0, 0));
    assert!(picked(&cluster, &state, later, |_| None)[0] > 0);
}

#[test]
fn a_new_endpoint_of_a_set_that_serves_already_begins_slowly() {
    let (start, state) = (Instant::now(), state());
    let slow_start = Some(SlowStart { window: Duration::from_secs(100), min_percent: 10 });
    let policy = ServicePolicy { slow_start, balancer: Balancer::RoundRobin, ..ServicePolicy::default() };
    let first = Cluster::new(&ruled(&[1, 2], policy.clone()), None, &state, start);
    assert_eq!(picked(&first, &state, start, |_| None), [500, 500], "a set that begins has no old ones");
    let second = Cluster::new(&ruled(&[1, 2, 3], policy), Some(&first), &state, start);
    let share = |seconds| picked(&second, &state, start + Duration::from_secs(seconds), |_| None)[2];
    let shares = [share(0), share(50), share(100)];
    assert!(shares[0] < 60 && (120..220).contains(&shares[1]) && shares[2] > 330, "{shares:?}");
    assert!(state.counters().slow_start_passed_total > 300, "what it did not get, another got");
}

#[test]
fn requests_stay_in_the_zone_until_it_is_too_thin() {
    let here = Locality { region: "eu".to_owned(), zone: "a".to_owned() };
    let state =
        WorkerState::new(&"shop".parse().unwrap(), &here, 7, Limits::default(), Pressure::default(), None);
    let now = Instant::now();
    let policy = ServicePolicy { zones: Some(ZonePreference::default()), ..ServicePolicy::default() };
    let mut set = EndpointSet::clone(&ruled(&[1, 2, 3, 4], policy));
    for (endpoint, zone) in set.endpoints.iter_mut().zip(["a", "a", "b", "b"]) {
        endpoint.locality = Locality { region: "eu".to_owned(), zone: zone.to_owned() };
    }
    let cluster = Cluster::new(&Arc::new(set), None, &state, now);
    let shares = picked(&cluster, &state, now, |_| None);
    assert_eq!(shares[2] + shares[3], 0, "{shares:?}");
    assert_eq!(state.counters().zone_spilled_total, 0);
    cluster.member(0).upstream.connect_failed(now);
    cluster.sweep(true, now);
    let shares = picked(&cluster, &state, now, |_| None);
    assert!(shares[0] == 0 && shares[1] > 900 && shares[2] > 0, "thin, but not by much: {shares:?}");
    assert!(state.counters().zone_spilled_total > 0);
    cluster.member(1).upstream.connect_failed(now);
    cluster.sweep(true, now);
    let shares = picked(&cluster, &state, now, |_| None);
    assert!(shares[2] > 300 && shares[3] > 300, "nobody is left in the zone: {shares:?}");
}

#[test]
fn a_caller_that_leaves_soon_does_not_make_an_endpoint_look_slow_and_one_that_waited_long_does() {
    let (state, now) = (state(), Instant::now());
    let cluster = Cluster::new(&set(&[(1, Health::Ready)]), None, &state, now);
    let upstream = &cluster.member(0).upstream;
    upstream.latency.borrow_mut().observe(Duration::from_millis(2), now);
    let leaves_after = |span: Duration| {
        let edge = state.edges.borrow().folded(mesh::Direction::Outbound);
        let begun = Instant::now().checked_sub(span).unwrap();
        let mut tally = Tally::open(&state, &Rc::default(), edge, begun);
        tally.picked(upstream, edge);
        drop(tally);
        upstream.latency.borrow().seconds_at(Instant::now())
    };
    assert!(leaves_after(Duration::ZERO) < ASSUMED_LATENCY.as_secs_f64() / 2.0);
    assert!(leaves_after(Duration::from_secs(3)) > 2.0);
}
