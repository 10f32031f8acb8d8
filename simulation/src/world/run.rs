//! The loop of one run: safety first (faults happen, nothing may ever be wrong), then liveness (faults end, everything must
//! come right), as TigerBeetle's simulator has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use control::catalog::Catalog;
use control::discovery::{Kind, Resource};

use super::clients::Client;
use super::clock::Clock;
use super::event::Event;
use super::measuring::Measures;
use super::node::Node;
use super::programs;
use super::proxies::Proxy;
use super::restoring::BACKUP_EVERY;
use super::workloads::Workload;
use crate::chance::Chance;
use crate::heap::Heap;
use crate::invariants::{
    AcknowledgedWritesSurvive, AgesAreBounded, History, LeadersAreComplete, LeadersHandOver, LeasesHold,
    LogTimeRises, LogsAgree, MakeBeforeBreak, MembershipsAgree, OneLeaderPerTerm, ProgramsKnow,
    RefusalsStand, RevisionsNeverFall, RollupsConserve, SlowReadersCost, TermsDoNotInflate, Violation,
    VotesAreKept, WithdrawalsArrive,
};
use crate::marks::Reached;
use crate::measured::Measured;
use crate::network::Network;
use crate::plan::{Act, Scenario};
use crate::story::Story;
use crate::trace::TraceHash;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Everything that happened, in 64 bits.
    pub trace: u64,
    /// Events that happened.
    pub events: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Terms that had a leader.
    pub leaders: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Linearizable reads that were answered.
    pub reads: usize,
    /// Entries that were applied.
    pub entries: u64,
    /// Times that a node was killed.
    pub crashes: u64,
    /// Nodes whose disk lost too much to come back.
    pub out: u64,
    /// Requests that proxies counted and were told to be counted.
    pub requests: u64,
    /// Keys whose history was too tangled to be decided.
    pub undecided: usize,
    /// Rare states that it reached.
    pub reached: Reached,
    /// What happened.
    pub story: Story,
}

/// A run in which something broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, after {at:?} and {events} events: {violation}")]
pub struct Failure {
    /// Of the scenario.
    pub seed: u64,
    /// Simulated time.
    pub at: Duration,
    /// Events until then.
    pub events: u64,
    /// What broke.
    pub violation: Violation,
    /// How it came to that.
    pub story: Story,
}

pub(crate) struct World {
    pub(super) scenario: Scenario,
    pub(super) heap: Heap<Event>,
    pub(super) chance: Chance,
    pub(super) network: Network,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) clients: BTreeMap<u64, Client>,
    pub(super) workloads: BTreeMap<u64, Workload>,
    pub(super) proxies: BTreeMap<u64, Proxy>,
    /// Streams that lost a piece: nothing passes until both ends see them end.
    pub(super) doomed: BTreeSet<(u64, u64)>,
    /// Streams whose node has seen them end: what is under way on one comes too late.
    pub(super) closed: BTreeSet<(u64, u64)>,
    /// Sabotage: resources as they were sent first.
    pub(super) first_sent: BTreeMap<(Kind, Arc<str>), Arc<Resource>>,
    /// Nobody begins a new write after this.
    pub(super) writes_end: Duration,
    pub(super) healed: bool,
    pub(super) story: Story,
    pub(super) measures: Measures,
    pub(super) reached: Reached,
    pub(super) trace: TraceHash,
    pub(super) events: u64,
    pub(super) crashes: u64,
    /// Backups of the life of the cluster that runs, and when each was taken.
    pub(super) backups: VecDeque<(Duration, Catalog)>,
    /// Every node is to be restored from this.
    pub(super) restoring: Option<Catalog>,
    /// Keys whose history was too tangled, in histories that ended with a restore.
    pub(super) undecided: usize,
    /// What the next leaders are in for, in turn: how long each leads, and how long it is dead then.
    pub(super) reigns: VecDeque<(Duration, Duration)>,
    /// Routes that operators applied.
    pub(super) pushed: u64,
    pub(super) handing_over: LeadersHandOver,
    pub(super) leaders: OneLeaderPerTerm,
    pub(super) logs: LogsAgree,
    pub(super) log_time: LogTimeRises,
    pub(super) completeness: LeadersAreComplete,
    pub(super) votes: VotesAreKept,
    pub(super) terms: TermsDoNotInflate,
    pub(super) memberships: MembershipsAgree,
    pub(super) programs: ProgramsKnow,
    pub(super) acknowledged: AcknowledgedWritesSurvive,
    pub(super) history: History,
    pub(super) ages: AgesAreBounded,
    pub(super) leases: LeasesHold,
    pub(super) revisions: RevisionsNeverFall,
    pub(super) making: MakeBeforeBreak,
    pub(super) refusals: RefusalsStand,
    pub(super) slow: SlowReadersCost,
    pub(super) withdrawals: WithdrawalsArrive,
    pub(super) rollups: RollupsConserve,
}

/// About ten times what the busiest honest run needs in a simulated second, and for each of its proxies.
const EVENTS_PER_SECOND_MAX: u64 = 100_000;
const EVENTS_PER_PROXY_MAX: u64 = 2_000;

/// Runs one scenario.
///
/// # Errors
/// The first violation, with its story.
pub fn run(scenario: &Scenario) -> Result<Report, Failure> {
    World::new(scenario.clone()).finished()
}

/// Runs one scenario, and measures what it was like for those who use the mesh, also when something broke.
pub fn run_measured(scenario: &Scenario) -> (Result<Report, Failure>, Measured) {
    let mut world = World::new(scenario.clone());
    world.begin_to_measure();
    let outcome = world.go();
    let measured = world.measured();
    (world.reported(outcome), measured)
}

impl World {
    fn finished(mut self) -> Result<Report, Failure> {
        let outcome = self.go();
        self.reported(outcome)
    }

    fn reported(self, outcome: Result<usize, Violation>) -> Result<Report, Failure> {
        let world = self;
        let (at, events, seed) = (world.heap.now(), world.events, world.scenario.seed);
        let undecided = match outcome {
            Ok(undecided) => undecided,
            Err(violation) => return Err(Failure { seed, at, events, violation, story: world.story }),
        };
        Ok(Report {
            trace: world.trace.value(),
            events,
            simulated: at,
            leaders: world.leaders.terms(),
            acknowledged: world.acknowledged.count(),
            reads: world.history.reads(),
            entries: world.logs.last(),
            crashes: world.crashes,
            out: world.nodes.values().filter(|node| node.out.is_some()).count() as u64,
            requests: world.rollups.told(),
            undecided,
            reached: world.reached,
            story: world.story,
        })
    }
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let (shape, sabotage) = (&scenario.shape, scenario.sabotage);
        let mut chance = Chance::from_seed(scenario.seed);
        let latency = chance.between(Duration::from_micros(100), Duration::from_millis(2));
        let mut clock = || {
            let skew = chance.between(Duration::ZERO, Duration::from_millis(400));
            Clock::new(skew, i64::try_from(chance.below(400)).unwrap_or(0) - 200)
        };
        let program = |id| if id <= shape.older { programs::OLDER } else { programs::NEWER };
        let nodes = (1..=shape.nodes).map(|id| (id, Node::new(id, clock(), program(id), sabotage))).collect();
        Self {
            heap: Heap::new(),
            network: Network::new(latency),
            nodes,
            clients: (0..shape.clients).map(|id| (id, Client::new(id, shape))).collect(),
            workloads: (0..shape.workloads).map(|id| (id, Workload::new(id, shape))).collect(),
            proxies: (0..shape.proxies).map(|id| (id, Proxy::new(id))).collect(),
            writes_end: shape.writes_end(),
            doomed: BTreeSet::new(),
            closed: BTreeSet::new(),
            first_sent: BTreeMap::new(),
            chance,
            healed: false,
            story: Story::default(),
            measures: Measures::default(),
            reached: Reached::new(),
            trace: TraceHash::default(),
            events: 0,
            crashes: 0,
            backups: VecDeque::new(),
            restoring: None,
            undecided: 0,
            reigns: VecDeque::new(),
            pushed: 0,
            handing_over: LeadersHandOver::default(),
            leaders: OneLeaderPerTerm::default(),
            logs: LogsAgree::default(),
            log_time: LogTimeRises::default(),
            completeness: LeadersAreComplete::default(),
            votes: VotesAreKept::default(),
            terms: TermsDoNotInflate::default(),
            memberships: MembershipsAgree::default(),
            programs: ProgramsKnow::default(),
            acknowledged: AcknowledgedWritesSurvive::default(),
            history: History::default(),
            ages: AgesAreBounded::default(),
            leases: LeasesHold::default(),
            revisions: RevisionsNeverFall::default(),
            making: MakeBeforeBreak,
            refusals: RefusalsStand::default(),
            slow: SlowReadersCost::default(),
            withdrawals: WithdrawalsArrive::default(),
            rollups: RollupsConserve::default(),
            scenario,
        }
    }

    fn go(&mut self) -> Result<usize, Violation> {
        self.begin();
        let end = self.scenario.shape.end();
        let per_second = EVENTS_PER_SECOND_MAX + EVENTS_PER_PROXY_MAX * self.scenario.shape.proxies;
        let events_max = per_second * (end.as_secs() + 1);
        while let Some(event) = self.heap.take() {
            let now = self.heap.now();
            if now > end {
                break;
            }
            if matches!(event, Event::Look) {
                // No part of the story.
                self.look();
                continue;
            }
            let node = event.node().and_then(|node| self.nodes.get_mut(&node));
            if let Some(node) = node.filter(|node| node.paused_until.is_some()) {
                node.deferred.push(event);
                continue;
            }
            self.events += 1;
            if self.events > events_max {
                let story = format!("{events_max} events in {now:?}: something answers itself for ever");
                return Err(Violation::new("the world comes to rest", story));
            }
            self.trace.tell_number(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
            self.happen(event)?;
        }
        self.check_the_end()?;
        Ok(self.undecided + self.history.check()?)
    }

    fn begin(&mut self) {
        let shape = self.scenario.shape.clone();
        for node in 1..=shape.nodes {
            self.heap.put(Duration::ZERO, Event::Restart(node));
        }
        for client in 0..shape.clients {
            let at = self.chance.between(Duration::ZERO, Duration::from_millis(50));
            self.heap.put(at, Event::ClientWake { client, call: 0 });
        }
        for workload in 0..shape.workloads {
            self.heap.put(Duration::ZERO, Event::WorkloadWake { workload, call: 0 });
        }
        for proxy in 0..shape.proxies {
            self.heap.put(Duration::ZERO, Event::ProxyWake { proxy, life: 1 });
            self.heap.put(Duration::ZERO, Event::ProxyWanders(proxy));
            self.heap.put(Duration::ZERO, Event::Traffic { proxy, life: 1 });
        }
        for (number, step) in self.scenario.plan.steps.iter().enumerate() {
            self.heap.put(step.at, Event::Act(number));
        }
        self.heap.put(shape.safety, Event::Heal);
        if self.scenario.plan.steps.iter().any(|step| matches!(step.act, Act::Restore { .. })) {
            self.heap.put(BACKUP_EVERY, Event::TakeBackup);
        }
    }

    /// Adds a line to the story.
    pub(super) fn tell(&mut self, line: String) {
        self.story.tell(self.heap.now(), line);
    }
}
