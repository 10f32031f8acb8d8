//! The endpoints of one authority as a worker sees them: who may be picked, and what is known of each. Rebuilt when the
//! set changes; an endpoint that stays keeps its connections and its measured latency.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::{Health, WorkloadName};

use crate::balance::{ASSUMED_LATENCY, Budget, Chance, PeakEwma, Weights, pick};
use crate::http::upstream::Upstream;
use crate::snapshot::EndpointSet;

/// After so many sweeps (seconds) without a target, a cluster's connections and measures are given up.
const UNUSED_SWEEPS_MAX: u32 = 60;

/// Where weights differ, latencies below this count as equal: otherwise one hiccup of a few milliseconds would undo for
/// seconds what an operator asked for. Larger, and a weighted endpoint may be that much slower and keep its share.
const WEIGHTED_FLOOR_SECONDS: f64 = 0.010;

/// Latencies below this count as equal among endpoints of one weight: such differences are the machine's, and the endpoint
/// that had one hiccup would get nothing for seconds. Larger, and a nearer endpoint is not preferred.
const FLOOR_SECONDS: f64 = 0.001;

/// One endpoint that may be picked.
#[derive(Debug)]
pub(super) struct Member {
    /// What runs there.
    pub(super) workload: WorkloadName,
    /// Its connections and load.
    pub(super) upstream: Rc<Upstream>,
}

/// All endpoints of one authority that may be picked.
#[derive(Debug)]
pub(super) struct Cluster {
    /// What it was made from.
    pub(super) set: Arc<EndpointSet>,
    members: Vec<Member>,
    weights: Weights,
    budget: RefCell<Budget>,
    unused_sweeps: Cell<u32>,
}

impl Cluster {
    /// The cluster of `set`; endpoints that `before` has too keep what is known of them.
    pub(super) fn new(set: &Arc<EndpointSet>, before: Option<&Self>, now: Instant) -> Self {
        let known: HashMap<_, _> = before
            .into_iter()
            .filter(|before| before.set.protocol == set.protocol)
            .flat_map(|before| &before.members)
            .map(|member| (member.upstream.address, &member.upstream))
            .collect();
        let assumed = mean_latency(known.values().copied(), now);
        let mut members = Vec::new();
        let mut weights = Vec::new();
        for endpoint in set.endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready) {
            let upstream = known.get(&endpoint.address).map_or_else(
                || Rc::new(Upstream::new(endpoint.address, set.protocol, PeakEwma::assumed(assumed))),
                |upstream| Rc::clone(upstream),
            );
            upstream.connect_within(set.policy.connect_timeout);
            members.push(Member { workload: endpoint.workload.clone(), upstream });
            weights.push(endpoint.weight);
        }
        let wanted = set.policy.retry_budget.unwrap_or_default();
        let spent = before.map(|before| before.budget.borrow().clone());
        let budget = spent.filter(|budget| budget.policy() == wanted);
        Self {
            set: Arc::clone(set),
            members,
            weights: Weights::new(&weights),
            budget: RefCell::new(budget.unwrap_or_else(|| Budget::new(wanted, now))),
            unused_sweeps: Cell::new(0),
        }
    }

    /// A request came that its route allows to be tried again.
    pub(super) fn may_return(&self, now: Instant) {
        self.budget.borrow_mut().request(now);
    }

    /// Whether the budget has room for a retry; if so, it is spent.
    pub(super) fn spend_retry(&self, now: Instant) -> bool {
        self.budget.borrow_mut().spend(now)
    }

    /// One endpoint that is `untried`; endpoints that refuse connections are left alone while others serve.
    pub(super) fn pick(
        &self,
        untried: impl Fn(usize) -> bool,
        now: Instant,
        chance: &mut Chance,
    ) -> Option<usize> {
        let floor = if self.weights.are_equal() { FLOOR_SECONDS } else { WEIGHTED_FLOOR_SECONDS };
        let load = |index: usize| self.members[index].upstream.load(self.weights.relative(index), floor, now);
        let sound = |index: usize| untried(index) && !self.members[index].upstream.is_avoided(now);
        pick(&self.weights, sound, load, chance).or_else(|| pick(&self.weights, &untried, load, chance))
    }

    /// The member that was picked.
    pub(super) fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// Closes idle connections that are past their time; `false` once it was out of use for so long that it can go.
    pub(super) fn sweep(&self, is_used: bool, now: Instant) -> bool {
        for member in &self.members {
            member.upstream.sweep(now);
        }
        self.unused_sweeps.set(if is_used { 0 } else { self.unused_sweeps.get() + 1 });
        self.unused_sweeps.get() < UNUSED_SWEEPS_MAX
    }
}

/// What a new endpoint is assumed to be like: its measured siblings.
fn mean_latency<'u>(upstreams: impl Iterator<Item = &'u Rc<Upstream>>, now: Instant) -> Duration {
    let (mut sum, mut count) = (0.0, 0.0);
    for upstream in upstreams {
        let latency = upstream.latency.borrow();
        if latency.is_measured() {
            sum += latency.seconds_at(now);
            count += 1.0;
        }
    }
    if count > 0.0 { Duration::from_secs_f64(sum / count) } else { ASSUMED_LATENCY }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;
    use crate::http::upstream::InFlight;
    use mesh::{Endpoint, InstanceName, Locality, Protocol, Revision};

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
        let first = Cluster::new(&set(&[(1, Health::Ready), (2, Health::Ready)]), None, now);
        let kept = &first.member(1).upstream;
        kept.latency.borrow_mut().observe(Duration::from_millis(4), now);
        let second = Cluster::new(
            &set(&[(1, Health::Draining), (2, Health::Ready), (3, Health::Ready)]),
            Some(&first),
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
        let cluster = Cluster::new(&Arc::new(weighted), None, now);
        let shares = |chance: &mut Chance| {
            (0..1000).filter(|_| cluster.pick(|_| true, now, chance) == Some(0)).count()
        };
        let observe = |index: usize, ms: u64| {
            cluster.member(index).upstream.latency.borrow_mut().observe(Duration::from_millis(ms), now);
        };
        let mut chance = Chance::seeded(9);
        observe(1, 1);
        observe(0, 9);
        assert!((700..800).contains(&shares(&mut chance)));
        observe(0, 90);
        assert_eq!(shares(&mut chance), 0);
    }

    #[test]
    fn an_endpoint_never_measured_is_tried_beside_a_quick_one_and_not_flooded() {
        let now = Instant::now();
        let cluster = Cluster::new(&set(&[(1, Health::Ready), (2, Health::Ready)]), None, now);
        cluster.member(0).upstream.latency.borrow_mut().observe(Duration::from_millis(1), now);
        let mut chance = Chance::seeded(5);
        assert_eq!(cluster.pick(|_| true, now, &mut chance), Some(1));
        let _on_its_way = InFlight::on(&cluster.member(1).upstream);
        assert!((0..100).all(|_| cluster.pick(|_| true, now, &mut chance) == Some(0)));
    }

    #[test]
    fn an_endpoint_that_refuses_connections_is_picked_only_when_no_other_is_left() {
        let now = Instant::now();
        let cluster = Cluster::new(&set(&[(1, Health::Ready), (2, Health::Ready)]), None, now);
        cluster.member(0).upstream.connect_failed(now);
        let mut chance = Chance::seeded(3);
        for _ in 0..100 {
            assert_eq!(cluster.pick(|_| true, now, &mut chance), Some(1));
        }
        assert_eq!(cluster.pick(|index| index != 1, now, &mut chance), Some(0));
        assert_eq!(cluster.pick(|_| false, now, &mut chance), None);
    }
}
