//! The endpoints of one authority as a worker sees them: who may be picked, and what is known of each. Rebuilt when the
//! set changes; an endpoint that stays keeps its connections, its measured latency and its ejection.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::{Balancer, Health, WorkloadName};

use super::near::Near;
use crate::balance::{
    ASSUMED_LATENCY, Bucket, Budget, Chance, PeakEwma, Ring, Weights, below, in_turn, outliers, pick, place,
    takes_part,
};
use crate::http::breaker::Breaker;
use crate::http::ejections::Ejections;
use crate::http::state::WorkerState;
use crate::http::upstream::Upstream;
use crate::metrics::pools::SetCounts;
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
    /// What tokens of sessions say of it: the same on every worker and proxy, wherever the instance moves.
    mark: u64,
}

/// Members to pick from, by weight.
#[derive(Debug)]
pub(super) struct Group {
    weights: Weights,
    /// Which members they are; `None` means all of them, in their order.
    indexes: Option<Vec<usize>>,
}

impl Group {
    pub(super) fn new(weights: &[u32], indexes: Option<Vec<usize>>) -> Self {
        Self { weights: Weights::new(weights), indexes }
    }

    fn member(&self, slot: usize) -> usize {
        self.indexes.as_ref().map_or(slot, |indexes| indexes[slot])
    }
}

/// All endpoints of one authority that may be picked.
#[derive(Debug)]
pub(super) struct Cluster {
    /// What it was made from.
    pub(super) set: Arc<EndpointSet>,
    members: Vec<Member>,
    /// Members by their marks, since the first session was asked for.
    marks: OnceCell<HashMap<u64, usize>>,
    all: Group,
    /// Those in the caller's zone, where the policy prefers them.
    near: Option<Near>,
    /// Where the policy asks for one.
    ring: Option<Ring>,
    turn: Cell<u64>,
    budget: RefCell<Budget>,
    /// Counts what is under way, and bounds it where the policy does.
    breaker: Rc<Breaker>,
    /// Where the policy limits the rate.
    bucket: Option<RefCell<Bucket>>,
    ejections: Option<Rc<Ejections>>,
    unused_sweeps: Cell<u32>,
}

impl Cluster {
    /// The cluster of `set`; endpoints that `before` has too keep what is known of them.
    pub(super) fn new(
        set: &Arc<EndpointSet>,
        before: Option<&Self>,
        state: &Rc<WorkerState>,
        now: Instant,
    ) -> Self {
        let known: HashMap<_, _> = before
            .into_iter()
            .filter(|before| before.set.protocol == set.protocol)
            .flat_map(|before| &before.members)
            .map(|member| (member.upstream.address, &member.upstream))
            .collect();
        let assumed = mean_latency(known.values().copied(), now);
        let (mut members, mut weights) = (Vec::new(), Vec::new());
        let mut localities = Vec::new();
        for endpoint in set.endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready) {
            let upstream = known.get(&endpoint.address).map_or_else(
                || {
                    let fresh = Upstream::new(endpoint.address, set.protocol, PeakEwma::assumed(assumed));
                    fresh.joined.set((!known.is_empty()).then_some(now));
                    Rc::new(fresh)
                },
                |upstream| Rc::clone(upstream),
            );
            upstream.connect_within(set.policy.connect_timeout);
            let mark = place(endpoint.instance.0.as_bytes());
            members.push(Member { workload: endpoint.workload.clone(), upstream, mark });
            weights.push(endpoint.weight);
            localities.push(&endpoint.locality);
        }
        let wanted = set.policy.retry_budget.unwrap_or_default();
        let spent = before.map(|before| before.budget.borrow().clone());
        let budget = spent.filter(|budget| budget.policy() == wanted);
        let breaker = kept_breaker(set, before);
        for member in &members {
            member.upstream.breaker.replace(Some(Rc::clone(&breaker)));
        }
        let upstreams = members.iter().map(|member| &member.upstream);
        let cluster = Self {
            ejections: Ejections::over(set.policy.ejection, upstreams, state, now),
            near: set.policy.zones.and_then(|zones| Near::of(zones, &weights, &localities, &state.locality)),
            ring: (set.policy.balancer == Balancer::RingHash).then(|| ring(set, &weights)),
            set: Arc::clone(set),
            members,
            marks: OnceCell::new(),
            all: Group::new(&weights, None),
            turn: Cell::new(state.chance.borrow_mut().number()),
            breaker,
            bucket: kept_bucket(set, before, now).map(RefCell::new),
            budget: RefCell::new(budget.unwrap_or_else(|| Budget::new(wanted, now))),
            unused_sweeps: Cell::new(0),
        };
        cluster.look_near(now);
        cluster
    }

    /// Whether the service's rate limit lets one more request through; counts it.
    pub(super) fn lets_through(&self, now: Instant) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.borrow_mut().take(now))
    }

    /// Whether the circuit breaker lets one more request be sent.
    pub(super) fn admits_request(&self) -> bool {
        self.breaker.admits_request()
    }

    /// A request came that its route allows to be tried again.
    pub(super) fn may_return(&self, now: Instant) {
        self.budget.borrow_mut().request(now);
    }

    /// Whether the budget has room for a retry; if so, it is spent.
    pub(super) fn spend_retry(&self, now: Instant) -> bool {
        self.budget.borrow_mut().spend(now)
    }

    /// One endpoint that is `untried`. Those that refuse connections or are ejected are left alone while others serve;
    /// `key` says where on a ring, if it is one.
    pub(super) fn pick(
        &self,
        untried: impl Fn(usize) -> bool,
        key: Option<u64>,
        now: Instant,
        state: &WorkerState,
    ) -> Option<usize> {
        let chance = &mut state.chance.borrow_mut();
        let sound = |index: usize| untried(index) && self.members[index].upstream.admits(now);
        if let Some(ring) = &self.ring {
            let key = key.unwrap_or_else(|| chance.number());
            return ring.pick(key, sound).or_else(|| ring.pick(key, &untried));
        }
        if let Some(near) = &self.near {
            if below(near.staying_share(), chance)
                && let Some(picked) = self.pick_from(&near.group, &sound, now, chance, state)
            {
                return Some(picked);
            }
            state.count(|counters| counters.zone_spilled_total += 1);
        }
        self.pick_from(&self.all, &sound, now, chance, state)
            .or_else(|| self.pick_from(&self.all, &untried, now, chance, state))
    }

    /// Picks from a group; a new endpoint takes only its share so far, where the policy says so.
    fn pick_from(
        &self,
        group: &Group,
        usable: &impl Fn(usize) -> bool,
        now: Instant,
        chance: &mut Chance,
        state: &WorkerState,
    ) -> Option<usize> {
        let first = self.pick_one(group, usable, now, chance)?;
        let Some(policy) = self.set.policy.slow_start else { return Some(first) };
        match self.members[first].upstream.joined.get() {
            Some(joined) if !takes_part(policy, joined, now, chance) => {
                let other = |index: usize| index != first && usable(index);
                let passed = self.pick_one(group, &other, now, chance);
                state.count(|counters| counters.slow_start_passed_total += u64::from(passed.is_some()));
                passed.or(Some(first))
            }
            _ => Some(first),
        }
    }

    fn pick_one(
        &self,
        group: &Group,
        usable: &impl Fn(usize) -> bool,
        now: Instant,
        chance: &mut Chance,
    ) -> Option<usize> {
        let weights = &group.weights;
        let usable = |slot: usize| usable(group.member(slot));
        let upstream = |slot: usize| &self.members[group.member(slot)].upstream;
        let picked = match self.set.policy.balancer {
            Balancer::PeakEwma | Balancer::RingHash => {
                let floor = if weights.are_equal() { FLOOR_SECONDS } else { WEIGHTED_FLOOR_SECONDS };
                let load = |slot: usize| upstream(slot).load(weights.relative(slot), floor, now);
                pick(weights, usable, load, chance)
            }
            Balancer::LeastRequest => {
                let load =
                    |slot: usize| f64::from(upstream(slot).in_flight.get() + 1) / weights.relative(slot);
                pick(weights, usable, load, chance)
            }
            Balancer::RoundRobin => {
                let mut turn = self.turn.get();
                let picked = in_turn(weights, &mut turn, usable);
                self.turn.set(turn);
                picked
            }
        };
        picked.map(|slot| group.member(slot))
    }

    /// Whether a member may be picked while others are there.
    pub(super) fn admits(&self, index: usize, now: Instant) -> bool {
        self.members[index].upstream.admits(now)
    }

    /// The member that a session's token means, if it is here.
    pub(super) fn marked(&self, mark: u64) -> Option<usize> {
        let marks = || self.members.iter().enumerate().map(|(index, member)| (member.mark, index)).collect();
        self.marks.get_or_init(marks).get(&mark).copied()
    }

    /// What tokens of sessions say of the member that requests were sent to.
    pub(super) fn mark_of(&self, upstream: &Rc<Upstream>) -> Option<u64> {
        self.position(upstream).map(|index| self.members[index].mark)
    }

    /// Which member this is.
    pub(super) fn position(&self, upstream: &Rc<Upstream>) -> Option<usize> {
        self.members.iter().position(|member| Rc::ptr_eq(&member.upstream, upstream))
    }

    /// The member that was picked.
    pub(super) fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// Its connections and endpoints as of now.
    pub(super) fn counts(&self, now: Instant) -> SetCounts {
        let waiting = u64::from(self.breaker.waiting());
        let mut counts = SetCounts { waiting, ..SetCounts::default() };
        for Member { upstream, .. } in &self.members {
            let (busy, idle) = upstream.connections_now();
            (counts.busy, counts.idle) = (counts.busy + busy, counts.idle + idle);
            let health = upstream.health.borrow();
            let state = match (health.is_half_open(now), health.is_out()) {
                (true, _) => &mut counts.half_open,
                (false, true) => &mut counts.ejected,
                (false, false) if upstream.is_avoided(now) => &mut counts.refusing,
                (false, false) => &mut counts.ready,
            };
            *state += 1;
        }
        counts
    }

    /// Closes idle connections that are past their time, ejects those that succeed far less than the others, and looks how
    /// thin the own zone is; `false` once it was out of use for so long that it can go.
    pub(super) fn sweep(&self, is_used: bool, now: Instant) -> bool {
        for member in &self.members {
            member.upstream.sweep(now);
        }
        if let Some(ejections) = &self.ejections
            && ejections.interval_has_ended(now)
        {
            let mut healths: Vec<_> =
                self.members.iter().map(|member| member.upstream.health.borrow_mut()).collect();
            for index in outliers(&ejections.policy, healths.iter_mut().map(|health| &mut **health)) {
                ejections.eject_outlier(&mut healths[index], now);
            }
        }
        self.look_near(now);
        self.unused_sweeps.set(if is_used { 0 } else { self.unused_sweeps.get() + 1 });
        self.unused_sweeps.get() < UNUSED_SWEEPS_MAX
    }

    fn look_near(&self, now: Instant) {
        if let Some(near) = &self.near {
            near.look(|index| self.members[index].upstream.admits(now));
        }
    }
}

/// The breaker of `set`: the one from before, with what is under way and what waits, under the limits of now. One without limits
/// counts all the same, so that limits that come later hold for what is open already.
fn kept_breaker(set: &EndpointSet, before: Option<&Cluster>) -> Rc<Breaker> {
    let limits = set.policy.breaker.unwrap_or_default();
    let Some(before) = before else { return Breaker::new(limits) };
    before.breaker.limit(limits);
    Rc::clone(&before.breaker)
}

/// The bucket of `set`; the one from before, with what is left in it, while the policy says the same.
fn kept_bucket(set: &EndpointSet, before: Option<&Cluster>, now: Instant) -> Option<Bucket> {
    let limit = set.policy.rate_limit?;
    let kept = before.and_then(|before| Some(before.bucket.as_ref()?.borrow().clone()));
    Some(kept.filter(|kept| kept.limit() == limit).unwrap_or_else(|| Bucket::full(limit, now)))
}

/// The ring of the endpoints that may be picked; an instance has its places wherever it moves.
fn ring(set: &EndpointSet, weights: &[u32]) -> Ring {
    let ready: Vec<_> = set.endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready).collect();
    let named = ready.iter().zip(weights).map(|(endpoint, weight)| (endpoint.instance.0.as_str(), *weight));
    Ring::new(named)
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
#[path = "cluster_tests.rs"]
mod tests;
