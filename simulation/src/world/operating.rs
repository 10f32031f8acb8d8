//! What operators do: they hand leadership over, change who votes, apply much at once, and start what is dead.

use std::time::Duration;

use api::log::v1::{Command, PutConfig, command};
use api::v1::{Backend, Route, RouteParent, RouteRule, WriteId};
use consensus::{Membership, NodeId, OpenError};

use super::end::STREAMS_HEAL;
use super::event::Event;
use super::leasing::CHECK_EVERY;
use super::programs::LOOK_EVERY;
use super::run::World;
use super::traffic::POLL_PARTIALS;
use super::writes::{authority, qualified, service_name};
use crate::invariants::Violation;
use crate::marks::Mark;
use crate::network::Host;

/// How often an operator starts a node again that has no room on its disk.
const START_AGAIN: Duration = Duration::from_millis(250);

/// How often an operator asks again for the whole membership after the healing.
const REINSTATE_AGAIN: Duration = Duration::from_millis(200);

/// Names under which routes are pushed; a push of more changes them again and again.
const PUSHED: u64 = 8;

impl World {
    /// The node that leads with the highest term and does something, if one does.
    pub(super) fn leader(&self) -> Option<u64> {
        let leads = self.nodes.values().filter(|node| node.acts()).filter_map(|node| {
            let status = node.running.as_ref()?.replica.status();
            (status.role == consensus::Role::Leader).then_some((status.term, node.id))
        });
        leads.max().map(|(_, node)| node)
    }

    pub(super) fn transfer(&mut self, to: u64) -> Result<(), Violation> {
        let Some(leader) = self.leader() else { return Ok(()) };
        self.with(leader, None, |running, _, _, _| {
            // Refused where that node is not fit: an operator would try again, this one does not.
            let _refused = running.replica.transfer_leadership(Some(NodeId(to)));
        })
    }

    /// Makes all nodes but one the voters; 0 spares none.
    pub(super) fn change_voters(&mut self, without: u64) -> Result<(), Violation> {
        if !self.may_vote_without(without) {
            self.tell(format!("(node {without} stays: the group could not do without it)"));
            return Ok(());
        }
        let Some(leader) = self.leader() else { return Ok(()) };
        let voters = self.nodes.keys().copied().filter(|node| *node != without);
        let wanted = Membership::of_voters(voters.map(NodeId));
        self.with(leader, None, |running, _, _, _| running.propose_membership(&wanted))
    }

    /// An operator does what nobody planned, or goes on with what he began.
    pub(super) fn operator_acts(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::TakeBackup => self.take_backup(),
            Event::Restore => return self.restore(),
            Event::Reinstate => return self.reinstate(),
            _ => unreachable!("only events of operators come here"),
        }
        Ok(())
    }

    /// After the healing every node is to be a voter again, however long that takes.
    pub(super) fn reinstate(&mut self) -> Result<(), Violation> {
        let founders: Vec<u64> = self.nodes.keys().copied().collect();
        let whole =
            self.leader().and_then(|leader| self.nodes[&leader].running.as_ref()).is_some_and(|running| {
                let membership = running.replica.status().membership;
                membership.voters == founders && !membership.is_joint()
            });
        if whole {
            return Ok(());
        }
        self.heap.put_in(REINSTATE_AGAIN, Event::Reinstate);
        let Some(leader) = self.leader() else { return Ok(()) };
        self.with(leader, None, |running, _, _, _| {
            // Who has no vote because it lost its disk gets it back by itself, once it has caught up.
            let mut wanted = running.replica.membership().clone();
            wanted.voters.extend(founders);
            wanted.voters.retain(|node| !wanted.learners.contains(node));
            wanted.voters.sort_unstable();
            wanted.voters.dedup();
            running.propose_membership(&wanted);
        })
    }

    /// Applies so many routes, one after the other, at whoever leads.
    pub(super) fn push_config(&mut self, count: u64) -> Result<(), Violation> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let services = self.scenario.shape.services;
        for number in 0..count {
            self.pushed += 1;
            let backends = vec![Backend {
                authority: authority(&service_name(self.pushed % services)),
                weight: 1 + u32::try_from(self.pushed % 100).expect("below a hundred"),
            }];
            let parent = qualified(service_name(number % services));
            let route = Route {
                name: qualified(format!("pushed-{}", number % PUSHED)),
                parents: vec![RouteParent { service: parent, port: 80 }],
                rules: vec![RouteRule { backends, ..RouteRule::default() }],
                ..Route::default()
            };
            let body =
                Some(command::Body::PutConfig(PutConfig { routes: vec![route], ..PutConfig::default() }));
            let id = Some(WriteId { client: "operator".to_owned(), sequence: self.pushed, since: None });
            self.with(leader, None, |running, _, wall, effects| {
                running.propose(Command { id, at_ms: 0, body }, wall, None, effects);
            })?;
        }
        Ok(())
    }

    /// A dead node starts from its disk. That it cannot is a violation, unless its disk was damaged: then it is out.
    pub(super) fn restart(&mut self, id: u64) -> Result<(), Violation> {
        let now = self.heap.now();
        let node = self.nodes.get_mut(&id).expect("every node exists");
        if node.running.is_some() || node.out.is_some() || self.restoring.is_some() {
            return Ok(());
        }
        match node.start(now, &self.scenario.shape, &mut self.chance, &mut self.reached) {
            Ok(()) => self.measures.started(now, id),
            Err(OpenError::Io { .. }) if node.disk.reads_fail() => {
                // A process that cannot read must not go on; an operator starts it again, and the disk has come to.
                node.disk.crash(&mut self.chance);
                self.reached.insert(Mark::ReadFailed);
                self.tell(format!("node {id} does not start: its disk cannot read"));
                self.heap.put_in(START_AGAIN, Event::Restart(id));
                return Ok(());
            }
            Err(error) if node.forgot => {
                node.out = Some(error.to_string());
                self.reached.insert(Mark::Out);
                self.tell(format!("node {id} refuses its directory, and is out: {error}"));
                return Ok(());
            }
            Err(OpenError::DiskFull { .. }) => {
                node.disk.crash(&mut self.chance);
                self.heap.put_in(START_AGAIN, Event::Restart(id));
                return Ok(());
            }
            Err(error) => {
                let story = format!("node {id} refuses its own directory: {error}");
                return Err(Violation::new("a crashed node starts again", story));
            }
        }
        let life = node.life;
        let running = node.running.as_ref().expect("it was just started");
        let (durable, commands) = (running.storing.durable, running.commands);
        self.programs.started(id, commands, now);
        self.votes.started(id, durable.term, durable.vote)?;
        for peer in (1..=self.scenario.shape.nodes).filter(|peer| *peer != id) {
            self.network.forget(Host::Node(id), Host::Node(peer));
        }
        if now > Duration::ZERO {
            self.tell(format!("node {id} starts"));
        }
        self.heap.put_in(POLL_PARTIALS, Event::PollPartials { node: id, life });
        self.heap.put_in(CHECK_EVERY, Event::PollLeases { node: id, life });
        self.heap.put_in(LOOK_EVERY, Event::PollGate { node: id, life });
        self.heap.put_in(Duration::ZERO, Event::Tend { node: id, life });
        self.with(id, None, |running, _, _, effects| running.follow_members(effects))
    }

    /// A process that stood still goes on, with what came meanwhile, unless another pause still holds it.
    pub(super) fn resume(&mut self, id: u64) {
        let now = self.heap.now();
        let node = self.nodes.get_mut(&id).expect("a plan is checked against the shape");
        if node.paused_until.is_some_and(|until| until <= now) {
            node.paused_until = None;
            for event in std::mem::take(&mut node.deferred) {
                self.heap.put(now, event);
            }
        }
    }

    /// A proxy reads again what it refused: it reconnects, and so is told what it does not hold.
    pub(super) fn relent(&mut self, id: u64) {
        let proxy = self.proxies.get_mut(&id).expect("a plan is checked against the shape");
        if !proxy.relent() {
            return;
        }
        if let Some((node, stream)) = proxy.stream {
            self.break_stream(id, node, stream, Duration::from_millis(5));
        }
    }

    /// All faults end; what is dead and may come back starts.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.tell("everything heals".to_owned());
        self.healed = true;
        self.network.heal();
        self.reigns.clear();
        self.heap.put_in(STREAMS_HEAL, Event::LookAtWithdrawals);
        for node in self.nodes.values_mut() {
            node.own_up();
            node.disk.set_capacity(None);
            node.disk.heal_reads();
            node.disk_factor = 1;
            node.stopping = None;
            node.paused_until = node.paused_until.map(|_| Duration::ZERO);
        }
        (1..=self.scenario.shape.nodes).for_each(|node| self.resume(node));
        (0..self.scenario.shape.proxies).for_each(|proxy| self.relent(proxy));
        for workload in self.workloads.values_mut() {
            workload.silence(Duration::ZERO);
        }
        self.restore()?;
        self.upgrade_all();
        (1..=self.scenario.shape.nodes).try_for_each(|node| self.restart(node))?;
        self.reinstate()
    }
}
