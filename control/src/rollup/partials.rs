//! Proxies' windows on their way into the log: added up into one partial per edge and window, exactly once. A pure core,
//! driven by `actor.rs` and by the simulator: reports, outcomes and `now` in; partials to propose and answers out.
//!
//! Each (proxy, window) pair is kept apart until it is committed, because the catalog may say of some that they were counted
//! before (through another node that died before it answered): those are left out, and the rest is proposed again. A pair is
//! acknowledged only after its commit. Bounded; what exceeds the bounds is refused whole, and its proxy keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::log::v1::{Counted, Outcome, Partial, outcome};
use mesh::{Edge, EdgeTraffic, ProxyId, TrafficReport, Window, WindowTraffic};

/// How long the first of a batch waits for others. Shorter makes more and smaller entries; longer delays `stat`.
const GATHER: Duration = Duration::from_secs(1);
/// Edge records in one partial, before they are added up: about a megabyte. More would stand before other entries.
const BATCH_RECORDS_MAX: usize = 4_000;
/// Pairs in one partial.
const BATCH_PAIRS_MAX: usize = 1_000;
/// Partials proposed and not answered. One would idle for a round trip; more only queue behind config.
const BATCHES_MAX: usize = 3;
/// Edge records kept in all, some 30 MB: about what 10,000 proxies send at once.
const RECORDS_MAX: usize = 100_000;
/// How long a window that nobody would send again is tried. Longer than any failover.
const UNSENT_LIFE: Duration = Duration::from_secs(60);

/// A proxy and its window: what counts once.
pub type Pair = (ProxyId, Window);

/// Names one proposed partial.
pub type BatchId = u64;

/// Names one who waits for the answer to a report. Never given twice: of two windows one may be settled after its report has failed
/// for the other.
pub type WaiterId = u64;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Propose this, then tell [`Partials::answered`] or [`Partials::failed`].
    Propose {
        /// To be told with the answer.
        batch: BatchId,
        /// What to propose.
        partial: Partial,
    },
    /// Every window of a report is settled.
    Acknowledge {
        /// Who waits.
        waiter: WaiterId,
        /// The windows; the proxy may forget them.
        acknowledged: Vec<Window>,
        /// Those of them that were refused for their age.
        too_old: Vec<Window>,
    },
    /// A report's windows were not counted; its proxy sends them again.
    Fail {
        /// Who waits.
        waiter: WaiterId,
        /// Why.
        reason: String,
    },
    /// So many windows of reports that nobody sends again were lost.
    Lost(usize),
}

/// Too much waits already: the report was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{records} traffic records wait for their commit already; the report is to be sent again later")]
pub struct Full {
    /// How many wait.
    pub records: usize,
}

/// The windows of one node on their way into the log.
#[derive(Debug, Default)]
pub struct Partials {
    node: u64,
    open: BTreeMap<Pair, Held>,
    batches: BTreeMap<BatchId, BTreeMap<Pair, Held>>,
    waiters: BTreeMap<WaiterId, Waiter>,
    last_batch: BatchId,
    records: usize,
}

/// One pair's traffic.
#[derive(Debug)]
struct Held {
    edges: Vec<(Edge, EdgeTraffic)>,
    since: Duration,
    waiters: Vec<WaiterId>,
    /// Nobody sends it again.
    unsent: bool,
}

#[derive(Debug, Default)]
struct Waiter {
    open: usize,
    acknowledged: Vec<Window>,
    too_old: Vec<Window>,
}

/// How a pair was settled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Counted,
    TooOld,
}

impl Partials {
    /// Nothing yet, for this node.
    #[must_use]
    pub fn new(node: u64) -> Self {
        Self { node, ..Self::default() }
    }

    /// Edge records that wait for their commit.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Takes a report. With a waiter, that one gets one answer; without, the report is of a client that never sends it again.
    ///
    /// # Errors
    /// [`Full`]; then nothing was taken, and the waiter gets no answer from here.
    pub fn report(
        &mut self,
        report: TrafficReport,
        waiter: Option<WaiterId>,
        now: Duration,
    ) -> Result<Vec<Output>, Full> {
        let fresh: usize = report.windows.iter().map(|window| window.edges.len().max(1)).sum();
        if self.records + fresh > RECORDS_MAX {
            return Err(Full { records: self.records });
        }
        let mut outputs = Vec::new();
        let windows: BTreeSet<Window> = report.windows.iter().map(|window| window.window).collect();
        if let Some(waiter) = waiter {
            self.waiters.insert(waiter, Waiter { open: windows.len(), ..Waiter::default() });
            self.answer_if_settled(waiter, &mut outputs);
        }
        for WindowTraffic { window, edges } in report.windows {
            let pair = (report.proxy.clone(), window);
            self.take_pair(pair, edges, waiter, now);
        }
        Ok(outputs)
    }

    /// What is due now. Call it after each input, and some times a second.
    pub fn poll(&mut self, now: Duration) -> Vec<Output> {
        let mut outputs = Vec::new();
        while self.batches.len() < BATCHES_MAX && self.is_due(now) {
            let chosen = self.choose();
            outputs.push(self.propose(chosen));
        }
        outputs
    }

    /// A partial was applied, with this outcome.
    pub fn answered(&mut self, batch: BatchId, outcome: &Outcome, now: Duration) -> Vec<Output> {
        let mut outputs = Vec::new();
        let Some(mut pairs) = self.batches.remove(&batch) else { return outputs };
        match &outcome.result {
            Some(outcome::Result::Done(_)) => self.settle_all(pairs, Settled::Counted, &mut outputs),
            Some(outcome::Result::AlreadyCounted(already)) => {
                let named: BTreeSet<Pair> = already.counted.iter().filter_map(pair_of).collect();
                let counted = pairs.extract_if(.., |pair, _| named.contains(pair)).collect();
                self.settle_or_fail(batch, counted, pairs, Settled::Counted, &mut outputs, now);
            }
            Some(outcome::Result::OutsideHistory(outside)) => {
                let old =
                    pairs.extract_if(.., |(_, window), _| outside.windows.contains(&window.0)).collect();
                self.settle_or_fail(batch, old, pairs, Settled::TooOld, &mut outputs, now);
            }
            Some(outcome::Result::Refused(refused)) => {
                self.give_up(pairs, &refused.message, now, &mut outputs);
            }
            None => self.give_up(pairs, "the catalog gave no outcome", now, &mut outputs),
        }
        outputs
    }

    /// A partial could not be proposed in time; it may have been committed all the same, which the catalog will say.
    pub fn failed(&mut self, batch: BatchId, reason: &str, now: Duration) -> Vec<Output> {
        let mut outputs = Vec::new();
        if let Some(pairs) = self.batches.remove(&batch) {
            self.give_up(pairs, reason, now, &mut outputs);
        }
        outputs
    }

    fn take_pair(
        &mut self,
        pair: Pair,
        edges: Vec<(Edge, EdgeTraffic)>,
        waiter: Option<WaiterId>,
        now: Duration,
    ) {
        let in_flight = self.batches.values_mut().find_map(|pairs| pairs.get_mut(&pair));
        if let Some(held) = in_flight.or_else(|| self.open.get_mut(&pair)) {
            let known = waiter.is_none_or(|waiter| held.waiters.contains(&waiter));
            held.waiters.extend(waiter.filter(|_| !known));
            return;
        }
        self.records += edges.len().max(1);
        let waiters: Vec<WaiterId> = waiter.into_iter().collect();
        self.open.insert(pair, Held { edges, since: now, unsent: waiters.is_empty(), waiters });
    }

    fn is_due(&self, now: Duration) -> bool {
        let records: usize = self.open.values().map(|held| held.edges.len()).sum();
        let full = records >= BATCH_RECORDS_MAX || self.open.len() >= BATCH_PAIRS_MAX;
        full || self.open.values().any(|held| now.saturating_sub(held.since) >= GATHER)
    }

    /// The next batch: as many pairs as fit, at least one.
    fn choose(&mut self) -> BTreeMap<Pair, Held> {
        let mut chosen = BTreeMap::new();
        let mut records = 0;
        while let Some((pair, held)) = self.open.pop_first() {
            records += held.edges.len();
            let fits = chosen.is_empty() || (records <= BATCH_RECORDS_MAX && chosen.len() < BATCH_PAIRS_MAX);
            if !fits {
                self.open.insert(pair, held);
                break;
            }
            chosen.insert(pair, held);
        }
        chosen
    }

    fn propose(&mut self, pairs: BTreeMap<Pair, Held>) -> Output {
        self.last_batch += 1;
        let partial = merged(self.node, &pairs);
        self.batches.insert(self.last_batch, pairs);
        Output::Propose { batch: self.last_batch, partial }
    }

    /// Some pairs are settled; the others are proposed again at once.
    fn settle_or_fail(
        &mut self,
        batch: BatchId,
        settled: BTreeMap<Pair, Held>,
        rest: BTreeMap<Pair, Held>,
        how: Settled,
        outputs: &mut Vec<Output>,
        now: Duration,
    ) {
        if settled.is_empty() {
            let reason = format!("the catalog refused batch {batch} for pairs that are not in it");
            self.give_up(rest, &reason, now, outputs);
            return;
        }
        self.settle_all(settled, how, outputs);
        if !rest.is_empty() {
            outputs.push(self.propose(rest));
        }
    }

    fn settle_all(&mut self, pairs: BTreeMap<Pair, Held>, how: Settled, outputs: &mut Vec<Output>) {
        for ((_, window), held) in pairs {
            self.records -= held.edges.len().max(1);
            for id in held.waiters {
                if let Some(waiter) = self.waiters.get_mut(&id) {
                    waiter.open -= 1;
                    waiter.acknowledged.push(window);
                    if how == Settled::TooOld {
                        waiter.too_old.push(window);
                    }
                    self.answer_if_settled(id, outputs);
                }
            }
        }
    }

    fn answer_if_settled(&mut self, id: WaiterId, outputs: &mut Vec<Output>) {
        if self.waiters.get(&id).is_some_and(|waiter| waiter.open == 0)
            && let Some(Waiter { acknowledged, too_old, .. }) = self.waiters.remove(&id)
        {
            outputs.push(Output::Acknowledge { waiter: id, acknowledged, too_old });
        }
    }

    /// Those who send again are told to; what nobody sends again is kept for a while.
    fn give_up(
        &mut self,
        pairs: BTreeMap<Pair, Held>,
        reason: &str,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        let mut lost = 0;
        for (pair, held) in pairs {
            for waiter in &held.waiters {
                if self.waiters.remove(waiter).is_some() {
                    outputs.push(Output::Fail { waiter: *waiter, reason: reason.to_owned() });
                }
            }
            if held.unsent && now.saturating_sub(held.since) < UNSENT_LIFE {
                self.open.insert(pair, held);
            } else {
                self.records -= held.edges.len().max(1);
                lost += usize::from(held.unsent);
            }
        }
        if lost > 0 {
            outputs.push(Output::Lost(lost));
        }
    }
}

fn pair_of(counted: &Counted) -> Option<Pair> {
    let proxy = counted.proxy.as_ref()?;
    Some((ProxyId { name: proxy.name.clone(), incarnation: proxy.incarnation }, Window(counted.window)))
}

/// One record per edge and window, and the pairs that are inside.
fn merged(node: u64, pairs: &BTreeMap<Pair, Held>) -> Partial {
    let mut windows: BTreeMap<Window, BTreeMap<&Edge, EdgeTraffic>> = BTreeMap::new();
    for ((_, window), held) in pairs {
        let edges = windows.entry(*window).or_default();
        for (edge, traffic) in &held.edges {
            edges.entry(edge).or_default().merge(traffic);
        }
    }
    let window = |(window, edges): (Window, BTreeMap<&Edge, EdgeTraffic>)| {
        let edges = edges.into_iter().map(|(edge, traffic)| (edge.clone(), traffic)).collect();
        api::v1::WindowTraffic::from(&WindowTraffic { window, edges })
    };
    let counted = |(proxy, window): &Pair| Counted { proxy: Some(proxy.into()), window: window.0 };
    Partial {
        node,
        counted: pairs.keys().map(counted).collect(),
        windows: windows.into_iter().map(window).collect(),
    }
}

#[cfg(test)]
#[path = "partials_tests.rs"]
mod tests;
