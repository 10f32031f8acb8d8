//! What a node wants of the world after it did something, and how the world carries it out.

use std::time::Duration;

use api::log::v1::Command;
use bytes::Bytes;
use consensus::{Membership, NodeId};
use control::discovery::Push;
use prost::Message as _;

use super::event::{Event, Reply, Request, Sender};
use super::node::Node;
use super::programs::Raise;
use super::run::World;
use super::running::{StreamKey, Waiting};
use crate::invariants::{AppliedEntry, Violation};
use crate::marks::Mark;
use crate::network::Host;

/// Usual time of one fsync.
const DISK_LATENCY: Duration = Duration::from_micros(300);

/// How often a full disk is tried again, as the product has it.
const FULL_RETRY: Duration = Duration::from_millis(250);

/// How long a node waits for the outcome of a partial.
const PARTIAL_TIMEOUT: Duration = Duration::from_millis(1500);

/// What a node wants of the world, in order within each kind.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) sends: Vec<(NodeId, Bytes)>,
    pub(crate) snapshots: Vec<(NodeId, u64, Bytes, Bytes)>,
    pub(crate) replies: Vec<(Waiting, Reply)>,
    /// Terms that it began to lead, with the end of its log.
    pub(crate) leads: Vec<(u64, u64)>,
    pub(crate) applied: Vec<AppliedEntry>,
    pub(crate) installed: Vec<(u64, u64)>,
    /// Who belongs to the group as of the last applied entry.
    pub(crate) membership: Option<(u64, Membership)>,
    /// Partials that are to be proposed by whoever leads.
    pub(crate) forwards: Vec<(u64, Box<Command>)>,
    /// Other nodes that are to say, for this round, which commands they know.
    pub(crate) asks: Vec<(u64, NodeId)>,
    /// Other nodes that are to say, for this round, whether they have begun.
    pub(crate) greets: Vec<(u64, NodeId)>,
    /// What whoever leads is to take, though nobody waits for the outcome.
    pub(crate) says: Vec<Command>,
    /// The version of commands is to be raised.
    pub(crate) raises: Option<Raise>,
    /// Answers of sessions: to which proxy, on which stream.
    pub(crate) answers: Vec<(StreamKey, Push)>,
    /// The disk has something to do and was idle.
    pub(crate) disk_begins: bool,
    /// The disk had no room for what it should do.
    pub(crate) disk_full: bool,
    /// It hands leadership over, because its disk has no room.
    pub(crate) yields: bool,
    /// When to wake, in the node's own time.
    pub(crate) wake: Duration,
    /// The log takes commands of this version, which the program does not know: the process ends.
    pub(crate) outdated: Option<u32>,
    /// The process ended itself, and why.
    pub(crate) died: Option<String>,
}

impl World {
    /// Carries out what a node wants.
    pub(super) fn carry_out(&mut self, id: u64, mut effects: Effects) -> Result<(), Violation> {
        self.watch(id, &mut effects)?;
        let (now, from) = (self.heap.now(), Host::Node(id));
        let (life, clock, signed) = (self.nodes[&id].life, self.nodes[&id].clock, self.signed(id));
        for (to, bytes) in effects.sends {
            self.votes.sent(id, &bytes)?;
            let arrivals = self.network.datagram(from, Host::Node(to.0), now, &mut self.chance);
            for at in arrivals.into_iter().flatten() {
                self.heap.put(at, Event::Raft { from: signed, to: to.0, bytes: bytes.clone() });
            }
        }
        for (to, attempt, bytes, data) in effects.snapshots {
            let arrives = self.network.stream(from, Host::Node(to.0), now, &mut self.chance);
            let told = arrives.unwrap_or(now) + Duration::from_millis(5);
            self.heap.put(told, Event::SnapshotSent { node: id, life, to, attempt, ok: arrives.is_some() });
            if let Some(at) = arrives {
                self.heap.put(at, Event::RaftSnapshot { from: signed, to: to.0, bytes, data });
            }
        }
        for ((to, call), body) in effects.replies {
            if let Some(at) = self.network.stream(from, to, now, &mut self.chance) {
                self.heap.put(at, Event::Reply { to, call, body });
            }
        }
        for ((proxy, stream), push) in effects.answers {
            self.send_answer(id, proxy, stream, push);
        }
        for (batch, command) in effects.forwards {
            self.forward(id, life, batch, command);
        }
        for (round, peer) in effects.asks {
            self.ask_commands(id, life << 32 | round, peer.0);
        }
        for (round, peer) in effects.greets {
            self.greet(id, life << 32 | round, peer.0);
        }
        for command in effects.says {
            self.say_to_leader(id, command);
        }
        if let Some(raise) = effects.raises {
            self.raise(id, raise)?;
        }
        if let Some(version) = effects.outdated {
            self.outdated(id, version);
            return Ok(());
        }
        if effects.disk_begins && !effects.disk_full {
            let latency = self.disk_latency(id);
            self.heap.put_in(latency, Event::DiskDone { node: id, life });
        } else if effects.disk_full {
            self.reached.insert(Mark::DiskFull);
            self.heap.put_in(FULL_RETRY, Event::DiskDone { node: id, life });
        }
        self.wake_at(id, clock.world(effects.wake));
        match effects.died {
            Some(reason) => self.ended_itself(id, &reason),
            None => Ok(()),
        }
    }

    /// How long the disk takes for what is begun now. A slow one does not keep it for much longer than it is slow.
    fn disk_latency(&mut self, id: u64) -> Duration {
        let &Node { disk_factor, disk_slow_until, .. } = &self.nodes[&id];
        let latency = self.chance.latency(DISK_LATENCY * disk_factor);
        if disk_factor == 1 {
            return latency;
        }
        latency.min(disk_slow_until.saturating_sub(self.heap.now()) + self.chance.latency(DISK_LATENCY))
    }

    /// Tells the invariants what happened on a node.
    fn watch(&mut self, id: u64, effects: &mut Effects) -> Result<(), Violation> {
        let now = self.heap.now();
        let commands = self.nodes[&id].running.as_ref().map_or(u32::MAX, |running| running.commands);
        for (term, last_index) in &effects.leads {
            self.tell(format!("node {id} leads in term {term}"));
            self.measures.leads(now, id, *term);
            self.elected(id);
            self.leaders.leads(id, *term)?;
            self.completeness.leads(id, *term, *last_index)?;
            self.leases.leads(*term, now);
        }
        if effects.yields {
            self.reached.insert(Mark::Yielded);
            self.tell(format!("node {id} has no room for writes, and hands leadership over"));
        }
        for entry in &mut effects.applied {
            self.trace.tell_number(entry.state ^ entry.index);
            self.measures.applied(now, entry.index);
            if self.logs.applied(id, entry)? {
                entry.command = Command::decode(entry.bytes.clone()).unwrap_or_default();
            }
            self.log_time.applied(id, entry)?;
            self.programs.applied(id, commands, entry)?;
            self.completeness.applied(entry.index, entry.seen_in_term);
            if self.acknowledged.applied(entry)? {
                self.reached.insert(Mark::Retried);
            }
            if self.leases.applied(entry, now)? {
                self.reached.insert(Mark::LeaseExpired);
            }
        }
        for (index, state) in &effects.installed {
            self.reached.insert(Mark::SnapshotInstalled);
            self.logs.installed(id, *index, *state)?;
            self.programs.installed(id, commands, *index)?;
        }
        match &effects.membership {
            Some((index, membership)) => {
                if membership.is_joint() {
                    self.reached.insert(Mark::JointMembership);
                }
                self.memberships.holds(id, *index, membership)?;
                self.look_who_is_back(id, membership);
                Ok(())
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
        self.heap.put_in(PARTIAL_TIMEOUT, Event::PartialTimeout { node: id, life, batch });
        let leader = self.nodes[&id].running.as_ref().and_then(|running| running.replica.leader());
        let Some(to) = leader.map(|leader| leader.0) else { return };
        self.call_node(id, to, life << 32 | batch, Request::Propose(command));
    }

    /// A node asks something of another one, or of itself; where the way is cut there is no answer.
    pub(super) fn call_node(&mut self, id: u64, to: u64, call: u64, body: Request) {
        let (now, from, signed) = (self.heap.now(), Host::Node(id), Some(self.signed(id)));
        if let Some(at) = self.network.stream(from, Host::Node(to), now, &mut self.chance) {
            self.heap.put(at, Event::Request { from, signed, to, call, body });
        }
    }

    /// What a running node says of itself to others.
    fn signed(&self, id: u64) -> Sender {
        let running = self.nodes[&id].running.as_ref().expect("only what runs wants anything");
        Sender { node: id, start: running.life, disk: running.disk, of_life: running.lives.own() }
    }
}
