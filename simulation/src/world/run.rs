//! The loop of one run: safety first (faults happen, nothing may ever be wrong), then liveness (faults end, everything must
//! come right), as TigerBeetle's simulator has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::log::v1::Command;

use super::clients::{ASK_AGAIN, Client, PAUSE};
use super::event::{Event, Reply, Request};
use super::faults::FaultPlan;
use super::node::{Clock, Effects, NODES, Node};
use super::proxies::Proxy;
use crate::chance::Chance;
use crate::heap::Heap;
use crate::invariants::{
    AcknowledgedWritesSurvive, LogsAgree, OneLeaderPerTerm, RevisionsNeverFall, RollupsConserve, Violation,
};
use crate::network::{Host, Network, NetworkSettings};
use crate::trace::TraceHash;

/// How a run is set up.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Faults happen for so long.
    pub faults: Duration,
    /// Then everything must come right within this.
    pub healing: Duration,
    /// Clients that write.
    pub clients: u64,
    /// Proxies that follow services.
    pub proxies: u64,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self { faults: Duration::from_secs(20), healing: Duration::from_secs(10), clients: 4, proxies: 20 }
    }
}

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
    /// Entries that were applied.
    pub entries: u64,
    /// Times that a node was killed.
    pub crashes: u64,
    /// Requests that proxies counted and were told to be counted.
    pub requests: u64,
}

/// A run in which something broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, after {at:?} and {events} events: {violation}")]
pub struct Failure {
    /// Reproduces it.
    pub seed: u64,
    /// Simulated time.
    pub at: Duration,
    /// Events until then.
    pub events: u64,
    /// What broke.
    pub violation: Violation,
}

pub(crate) struct World {
    pub(super) heap: Heap<Event>,
    pub(super) chance: Chance,
    pub(super) network: Network,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) disk_latency: BTreeMap<u64, Duration>,
    pub(super) clients: BTreeMap<u64, Client>,
    pub(super) proxies: BTreeMap<u64, Proxy>,
    /// Streams that lost a piece: nothing passes until both ends see them end.
    pub(super) doomed: BTreeSet<(u64, u64)>,
    /// Clients begin no new write after this.
    pub(super) writes_end: Duration,
    pub(super) revisions: RevisionsNeverFall,
    pub(super) rollups: RollupsConserve,
    pub(super) plan: FaultPlan,
    pub(super) healed: bool,
    pub(super) trace: TraceHash,
    pub(super) events: u64,
    pub(super) crashes: u64,
    pub(super) leaders: OneLeaderPerTerm,
    pub(super) logs: LogsAgree,
    pub(super) acknowledged: AcknowledgedWritesSurvive,
}

/// How long a node waits for the outcome of a partial.
const PARTIAL_TIMEOUT: Duration = Duration::from_millis(1500);

/// About ten times what the busiest honest run needs.
const EVENTS_MAX: u64 = 2_000_000;

/// Usual time of one fsync.
pub(super) const DISK_LATENCY: Duration = Duration::from_micros(300);

/// Runs one seed.
///
/// # Errors
/// The first violation.
pub fn run(seed: u64, settings: &RunSettings) -> Result<Report, Failure> {
    let mut world = World::new(seed, settings);
    let outcome = world.go(settings);
    let (at, events) = (world.heap.now(), world.events);
    outcome.map_err(|violation| Failure { seed, at, events, violation })?;
    Ok(Report {
        trace: world.trace.value(),
        events,
        simulated: at,
        leaders: world.leaders.terms(),
        acknowledged: world.acknowledged.count(),
        entries: world.logs.last(),
        crashes: world.crashes,
        requests: world.rollups.told(),
    })
}

impl World {
    fn new(seed: u64, settings: &RunSettings) -> Self {
        let mut chance = Chance::from_seed(seed);
        let network = NetworkSettings {
            latency: chance.between(Duration::from_micros(100), Duration::from_millis(2)),
            loss_per_mille: u32::try_from(chance.below(40)).expect("below 40"),
            repeat_per_mille: u32::try_from(chance.below(30)).expect("below 30"),
        };
        let clock = |chance: &mut Chance| Clock {
            skew: chance.between(Duration::ZERO, Duration::from_millis(400)),
            drift_ppm: u32::try_from(chance.below(200)).expect("below 200"),
        };
        let nodes = (1..=NODES).map(|id| (id, Node::new(id, clock(&mut chance)))).collect();
        Self {
            heap: Heap::new(),
            network: Network::new(network),
            nodes,
            disk_latency: BTreeMap::new(),
            clients: (0..settings.clients).map(|id| (id, Client::new(id))).collect(),
            proxies: (0..settings.proxies).map(|id| (id, Proxy::new(id))).collect(),
            writes_end: settings.faults + settings.healing / 2,
            doomed: BTreeSet::new(),
            revisions: RevisionsNeverFall::default(),
            rollups: RollupsConserve::default(),
            plan: FaultPlan::drawn(&mut chance),
            chance,
            healed: false,
            trace: TraceHash::default(),
            events: 0,
            crashes: 0,
            leaders: OneLeaderPerTerm::default(),
            logs: LogsAgree::default(),
            acknowledged: AcknowledgedWritesSurvive::default(),
        }
    }

    fn go(&mut self, settings: &RunSettings) -> Result<(), Violation> {
        for node in 1..=NODES {
            self.heap.put(Duration::ZERO, Event::Restart(node));
        }
        for client in 0..settings.clients {
            let at = self.chance.between(Duration::ZERO, Duration::from_millis(50));
            self.heap.put(at, Event::ClientWake { client, call: 0 });
        }
        for proxy in 0..settings.proxies {
            self.heap.put(Duration::ZERO, Event::ProxyWake { proxy, life: 1 });
            self.heap.put(Duration::ZERO, Event::ProxyWanders(proxy));
            self.heap.put(Duration::ZERO, Event::Traffic { proxy, life: 1 });
        }
        let first = self.plan.pause(&mut self.chance);
        self.heap.put(first, Event::Fault);
        self.heap.put(settings.faults, Event::Heal);
        let end = settings.faults + settings.healing;
        while let Some(event) = self.heap.take() {
            if self.heap.now() > end {
                break;
            }
            self.events += 1;
            if self.events > EVENTS_MAX {
                let story = format!(
                    "{EVENTS_MAX} events in {:?}: something answers itself for ever",
                    self.heap.now()
                );
                return Err(Violation::new("the world comes to rest", story));
            }
            self.trace.tell_number(u64::try_from(self.heap.now().as_nanos()).unwrap_or(u64::MAX));
            self.happen(event)?;
        }
        self.check_the_end()
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Wake { node, life, number } => {
                if self.nodes[&node].wake.0 != number {
                    return Ok(());
                }
                self.with(node, Some(life), |running, at, _, effects| {
                    running.replica.tick(at);
                    running.settle(at, effects);
                })
            }
            Event::Raft { from, to, bytes } => self.with(to, None, |running, at, _, effects| {
                // What it refuses it will be sent again; a lost log would show in the end as a node left behind.
                let _ = running.replica.receive(consensus::NodeId(from), bytes, at);
                running.settle(at, effects);
            }),
            Event::RaftSnapshot { from, to, bytes, data } => {
                self.with(to, None, |running, at, _, effects| {
                    let _ = running.replica.receive_snapshot(consensus::NodeId(from), bytes, data, at);
                    running.settle(at, effects);
                })
            }
            Event::SnapshotSent { node, life, to, ok } => {
                self.with(node, Some(life), |running, at, _, effects| {
                    running.replica.snapshot_sent(to, ok);
                    running.settle(at, effects);
                })
            }
            Event::PeerLost { node, peer } => self.with(node, None, |running, at, _, effects| {
                running.replica.peer_lost(consensus::NodeId(peer), at);
                running.settle(at, effects);
            }),
            Event::DiskDone { node, life } => self.with(node, Some(life), |running, at, _, effects| {
                running.disk_done(at, effects);
                running.settle(at, effects);
            }),
            Event::Request { from, to, call, body } => self.with(to, None, |running, at, wall, effects| {
                match body {
                    Request::Propose(command) => running.propose(*command, wall, (from, call), effects),
                    Request::Report(report) => running.report(*report, (from, call), at, effects),
                }
                running.settle(at, effects);
            }),
            Event::Reply { to, call, body } => self.answered(to, call, body),
            Event::ClientWake { client, call } => {
                self.client_wakes(client, call);
                Ok(())
            }
            event @ (Event::Traffic { .. } | Event::PollPartials { .. } | Event::PartialTimeout { .. }) => {
                self.traffic_event(&event)
            }
            event @ (Event::ProxyWake { .. }
            | Event::ProxyWanders(_)
            | Event::StreamRequest { .. }
            | Event::StreamResponse { .. }
            | Event::StreamBroken { .. }
            | Event::SessionBroken { .. }) => self.stream_event(event),
            Event::Fault => self.fault(),
            Event::Restart(node) => self.restart(node),
            Event::Heal => self.heal(),
        }
    }

    /// Lets a running node do something, and carries out what it wants. Nothing happens on a dead node, or in a later
    /// life than the one that asked.
    pub(super) fn with(
        &mut self,
        id: u64,
        life: Option<u64>,
        act: impl FnOnce(&mut super::node::Running, Duration, u64, &mut Effects),
    ) -> Result<(), Violation> {
        let now = self.heap.now();
        let node = self.nodes.get_mut(&id).expect("every node exists");
        if life.is_some_and(|life| life != node.life) {
            return Ok(());
        }
        let (local, wall) = (node.clock.local(now), node.wall_ms(now));
        let Some(running) = &mut node.running else { return Ok(()) };
        let mut effects = Effects::default();
        act(running, local, wall, &mut effects);
        self.carry_out(id, effects)
    }

    fn carry_out(&mut self, id: u64, effects: Effects) -> Result<(), Violation> {
        let (now, from) = (self.heap.now(), Host::Node(id));
        let (life, clock) = (self.nodes[&id].life, self.nodes[&id].clock);
        for term in effects.leads {
            self.leaders.leads(id, term)?;
        }
        for (index, entry, write) in effects.applied {
            self.trace.tell_number(entry.state ^ index);
            self.logs.applied(id, index, entry)?;
            if let Some(write) = write {
                self.acknowledged.applied(write, index);
            }
        }
        for (index, state) in effects.installed {
            self.logs.installed(id, index, state)?;
        }
        for (to, bytes) in effects.sends {
            for at in self.network.datagram(from, Host::Node(to.0), now, &mut self.chance) {
                self.heap.put(at, Event::Raft { from: id, to: to.0, bytes: bytes.clone() });
            }
        }
        for (to, bytes, data) in effects.snapshots {
            let arrives = self.network.stream(from, Host::Node(to.0), now, &mut self.chance);
            let told = arrives.unwrap_or(now) + Duration::from_millis(5);
            self.heap.put(told, Event::SnapshotSent { node: id, life, to, ok: arrives.is_some() });
            if let Some(at) = arrives {
                self.heap.put(at, Event::RaftSnapshot { from: id, to: to.0, bytes, data });
            }
        }
        for ((to, call), body) in effects.replies {
            if let Some(at) = self.network.stream(from, to, now, &mut self.chance) {
                self.heap.put(at, Event::Reply { to, call, body });
            }
        }
        for ((proxy, stream), response) in effects.answers {
            self.send_answer(id, proxy, stream, response);
        }
        for (batch, command) in effects.forwards {
            self.forward(id, life, batch, command);
        }
        if effects.disk_begins {
            let usual = self.disk_latency.get(&id).copied().unwrap_or(DISK_LATENCY);
            let latency = self.chance.latency(usual);
            self.heap.put_in(latency, Event::DiskDone { node: id, life });
        }
        self.wake_at(id, clock.world(effects.wake));
        match effects.died {
            Some(reason) => {
                Err(Violation::new("no node ends itself", format!("node {id} ended itself: {reason}")))
            }
            None => Ok(()),
        }
    }

    /// A node wants to be woken at this time, instead of at any told before.
    fn wake_at(&mut self, id: u64, at: Duration) {
        let node = self.nodes.get_mut(&id).expect("every node exists");
        if node.wake.1 != at {
            node.wake = (node.wake.0 + 1, at);
            self.heap.put(at, Event::Wake { node: id, life: node.life, number: node.wake.0 });
        }
    }

    /// A node sends a partial to the node that it believes to lead, which may be itself.
    fn forward(&mut self, id: u64, life: u64, batch: u64, command: Box<Command>) {
        let (now, from) = (self.heap.now(), Host::Node(id));
        self.heap.put_in(PARTIAL_TIMEOUT, Event::PartialTimeout { node: id, life, batch });
        let leader = self.nodes[&id].running.as_ref().and_then(|running| running.replica.status().leader);
        let Some(to) = leader.map(|leader| leader.0) else { return };
        let call = life << 32 | batch;
        if let Some(at) = self.network.stream(from, Host::Node(to), now, &mut self.chance) {
            self.heap.put(at, Event::Request { from, to, call, body: Request::Propose(command) });
        }
    }

    fn client_wakes(&mut self, id: u64, call: u64) {
        let (now, from) = (self.heap.now(), Host::Client(id));
        let client = self.clients.get_mut(&id).expect("every client exists");
        if client.call != call {
            return;
        }
        if client.writing.is_none() && self.heap.now() > self.writes_end {
            return;
        }
        if client.writing.is_none() {
            client.begin(&mut self.chance);
        } else if client.waits {
            client.turn(None);
        }
        client.waits = true;
        client.asks_since_answer += 1;
        client.call += 1;
        let body = Request::Propose(Box::new(client.writing.clone().expect("a write was begun")));
        if let Some(at) = self.network.stream(from, Host::Node(client.node), now, &mut self.chance) {
            self.heap.put(at, Event::Request { from, to: client.node, call: client.call, body });
        }
        self.heap.put_in(ASK_AGAIN, Event::ClientWake { client: id, call: client.call });
    }

    fn answered(&mut self, to: Host, call: u64, reply: Reply) -> Result<(), Violation> {
        let id = match to {
            Host::Client(id) => id,
            Host::Proxy(id) => {
                self.told(id, &reply);
                return Ok(());
            }
            Host::Node(node) => {
                return self.with(node, None, |running, at, _, effects| {
                    running.partial_answered(call, &reply, at, effects);
                });
            }
        };
        let client = self.clients.get_mut(&id).expect("every client exists");
        if client.call != call {
            return Ok(());
        }
        client.waits = false;
        match reply {
            Reply::Outcome(outcome) => {
                client.asks_since_answer = 0;
                let write = client.writing.take().and_then(|command| command.id);
                let write = write.expect("an answer to the last call answers a write with an id");
                self.acknowledged.acknowledged((write.client, write.sequence), outcome.index)?;
            }
            Reply::NotLeader(leader) => client.turn(leader.map(|node| node.0)),
            Reply::Unknown | Reply::Counted { .. } => client.turn(None),
        }
        client.call += 1;
        let wake = Event::ClientWake { client: id, call: client.call };
        let pause = self.chance.latency(PAUSE);
        self.heap.put_in(pause, wake);
        Ok(())
    }
}
