//! What each event does.

use std::time::Duration;

use bytes::Bytes;
use consensus::Loss;
use control::replica::freshness::Moment;
use mesh::Timestamp;

use super::effects::Effects;
use super::event::{Event, Reply, Request, Sender};
use super::run::World;
use super::running::{Running, Waiting};
use crate::invariants::Violation;
use crate::network::Host;

/// How long a dial waits for an answer, as the product has it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Wake { node, life, number } => {
                if self.nodes[&node].wake.0 != number {
                    return Ok(());
                }
                self.with(node, Some(life), |running, at, _, effects| running.tick(at, effects))
            }
            Event::Raft { from, to, bytes } => self.raft(from, to, bytes, None),
            Event::RaftSnapshot { from, to, bytes, data } => self.raft(from, to, bytes, Some(data)),
            Event::SnapshotSent { node, life, to, attempt, ok } => {
                self.with(node, Some(life), |sender, _, _, _| sender.replica.snapshot_sent(to, attempt, ok))
            }
            Event::PeerLost { node, life, peer, loss } => self.peer_lost(node, life, peer, loss),
            Event::Dialled { node, life, peer } => {
                self.dialled(node, life, peer);
                Ok(())
            }
            Event::DiskDone { node, life } => {
                self.with(node, Some(life), |running, at, _, effects| running.disk_done(at, effects))
            }
            Event::PollLeases { node, life } => self.poll_leases(node, life),
            Event::Tend { node, life } => self.tend(node, life),
            Event::PollGate { node, life } => self.poll_gate(node, life),
            Event::GateTimeout { node, life, round } => {
                self.with(node, Some(life), |running, _, _, effects| running.gate_timeout(round, effects))
            }
            Event::Request { from, signed, to, call, body } => self.request((from, call), signed, to, body),
            Event::Reply { to, call, body } => self.answered(to, call, body),
            Event::ClientWake { client, call } => {
                self.client_wakes(client, call);
                Ok(())
            }
            Event::WorkloadWake { workload, call } => {
                self.workload_wakes(workload, call);
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
            | Event::SessionBroken { .. }
            | Event::ProxyDies { .. }
            | Event::Storm { .. }
            | Event::AllDial) => self.stream_event(event),
            Event::Act(step) => self.act(step),
            Event::Over(step) => self.over(step),
            Event::ReignEnds { node, life, dead } => {
                self.reign_ends(node, life, dead);
                Ok(())
            }
            Event::Stops { node, life } => self.stops(node, life),
            Event::PowerFails { node, life, dead, looks } => {
                self.power_fails(node, life, dead, looks);
                Ok(())
            }
            Event::Restart(node) => self.restart(node),
            event @ (Event::TakeBackup | Event::Restore | Event::Reinstate) => self.operator_acts(&event),
            Event::LookAtWithdrawals => self.look_at_withdrawals(),
            Event::Look => unreachable!("looking is no part of what happens"),
            Event::Heal => self.heal(),
        }
    }

    /// Lets a running node do something, and carries out what it wants. Nothing happens on a dead node, or in a later
    /// life than the one that asked.
    pub(super) fn with(
        &mut self,
        id: u64,
        life: Option<u64>,
        act: impl FnOnce(&mut Running, Duration, u64, &mut Effects),
    ) -> Result<(), Violation> {
        let now = self.heap.now();
        let node = self.nodes.get_mut(&id).expect("every node exists");
        if life.is_some_and(|life| life != node.life) {
            return Ok(());
        }
        let (local, wall) = (node.clock.local(now), node.clock.wall_ms(now));
        let Some(running) = &mut node.running else { return Ok(()) };
        let mut effects = Effects::default();
        running.moment = Moment { clock: local, wall: Timestamp(wall) };
        act(running, local, wall, &mut effects);
        running.settle(local, wall, &mut effects);
        self.carry_out(id, effects)
    }

    /// A message of Raft arrives, perhaps with a snapshot.
    fn raft(&mut self, from: Sender, to: u64, bytes: Bytes, data: Option<Bytes>) -> Result<(), Violation> {
        let mut malformed = None;
        self.with(to, None, |running, at, _, effects| {
            if !running.is_of_this_life(from, data.is_some(), at) || !running.hears_frame(from, &bytes) {
                return;
            }
            let from = consensus::NodeId(from.node);
            let received = match data {
                None => running.replica.receive(from, bytes, at),
                Some(data) => running.replica.receive_snapshot(from, bytes, data, at),
            };
            if let Err(error @ consensus::ReceiveError::Malformed { .. }) = &received {
                malformed = Some(error.to_string());
            }
            refused(received, effects);
            running.heard(from.0);
        })?;
        // The network loses and repeats, but changes nothing.
        malformed.map_or(Ok(()), |story| Err(Violation::new("peers understand each other", story)))
    }

    /// Tells the replica, and dials anew until the peer's host answers, as `control/src/replica/peers/link.rs` does.
    fn peer_lost(&mut self, node: u64, life: u64, peer: u64, loss: Loss) -> Result<(), Violation> {
        self.with(node, Some(life), |running, at, _, _| {
            running.replica.peer_lost(consensus::NodeId(peer), loss, at);
        })?;
        if loss != Loss::Refused && self.nodes[&node].life == life && self.nodes[&node].running.is_some() {
            self.dial(node, life, peer);
        }
        Ok(())
    }

    fn dial(&mut self, node: u64, life: u64, peer: u64) {
        let (here, there, now) = (Host::Node(node), Host::Node(peer), self.heap.now());
        match self.network.stream(here, there, now, &mut self.chance) {
            Some(at) => self.heap.put(at, Event::Dialled { node, life, peer }),
            None => self.unanswered(node, life, peer),
        }
    }

    /// A host answers also while its process stands still; where none runs it refuses.
    fn dialled(&mut self, node: u64, life: u64, peer: u64) {
        if self.nodes[&peer].running.is_some() {
            return;
        }
        let (here, there, now) = (Host::Node(node), Host::Node(peer), self.heap.now());
        match self.network.stream(there, here, now, &mut self.chance) {
            Some(at) => self.heap.put(at, Event::PeerLost { node, life, peer, loss: Loss::Refused }),
            None => self.unanswered(node, life, peer),
        }
    }

    fn unanswered(&mut self, node: u64, life: u64, peer: u64) {
        self.heap.put_in(DIAL_TIMEOUT, Event::PeerLost { node, life, peer, loss: Loss::Unreachable });
    }

    fn request(
        &mut self,
        waiting: Waiting,
        signed: Option<Sender>,
        to: u64,
        body: Request,
    ) -> Result<(), Violation> {
        // What a node asks of itself is no call.
        let peer = signed.filter(|sender| sender.node != to);
        self.with(to, None, |running, at, wall, effects| match (body, peer) {
            (Request::Greet, Some(peer)) => running.greeted(peer, waiting, at, effects),
            // Another node is heard as with Raft; who asks again finds another leader, or itself let in again.
            (_, Some(peer)) if !running.hears(peer) => {}
            (Request::Propose(command), _) => running.propose(*command, wall, Some(waiting), effects),
            (Request::Read(key), _) => running.read(key, waiting, at, effects),
            (Request::ReadWithin(bound), _) => running.read_within(bound, waiting, at, effects),
            (Request::Renew(key), _) => running.renew(&key, at, waiting, effects),
            (Request::Report(report), _) => running.report(*report, waiting, at, effects),
            (Request::Commands, _) => running.say_commands(waiting, effects),
            (Request::Greet, None) => {}
        })
    }

    fn answered(&mut self, to: Host, call: u64, reply: Reply) -> Result<(), Violation> {
        match to {
            Host::Client(id) => self.client_answered(id, call, reply),
            Host::Workload(id) => {
                self.workload_answered(id, call, &reply);
                Ok(())
            }
            Host::Proxy(id) => {
                self.told(id, &reply);
                Ok(())
            }
            Host::Node(node) => self.with(node, None, |running, at, _, effects| match reply {
                Reply::Greeting { node, begun } => running.heard_greeting(call, node, begun),
                Reply::Knows { node, commands } => running.heard_commands(call, node, commands, effects),
                reply => running.partial_answered(call, &reply, at, effects),
            }),
        }
    }

    fn poll_leases(&mut self, node: u64, life: u64) -> Result<(), Violation> {
        if self.nodes[&node].life == life {
            self.heap.put_in(super::leasing::CHECK_EVERY, Event::PollLeases { node, life });
        }
        self.with(node, Some(life), Running::poll_leases)
    }
}

/// What a node does about bytes that it refused, as `control/src/replica/peers/service.rs` has it: it ends itself when the
/// group knows of entries that its disk has lost; what had no room comes again.
fn refused(received: Result<(), consensus::ReceiveError>, effects: &mut Effects) {
    if let Err(error @ consensus::ReceiveError::LogLost { .. }) = received {
        effects.died = Some(error.to_string());
    }
}
