//! Which of two programs a node runs, and when the log takes what only the newer one knows: whoever leads asks every member, as
//! `control/src/replica/steward.rs` has it, and the product's own rule decides. What a member says may be late: it may run
//! another program by then. A program that meets a version above its own ends, and is started again in vain until it is another.

use std::collections::BTreeMap;
use std::time::Duration;

use api::log::v1::{ChangeMembers, Command, RaiseVersion, Seat, command::Body};
use bytes::Bytes;
use consensus::{Membership, NodeId};
use control::catalog::{Catalog, versions};
use control::replica::gate::{Gate, gate, is_too_old};
use prost::Message as _;

use super::effects::Effects;
use super::event::{Event, Reply, Request};
use super::run::World;
use super::running::{Running, Waiting};
use crate::invariants::Violation;
use crate::marks::Mark;
use crate::sabotage::Sabotage;

/// The newest version of commands that the newer program knows.
pub(super) const NEWER: u32 = versions::NEWEST;

/// The newest that the older one knows.
pub(super) const OLDER: u32 = versions::NEWEST - 1;

/// The version from which on a change of the members says who sits where.
pub(super) const SEATS: u32 = 2;

/// How often a leader looks, as the product has it.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long it waits for what the others say, as the product has it.
const PATIENCE: Duration = Duration::from_millis(700);

/// How soon a supervisor starts a program again that ended because it is too old.
const START_AGAIN: Duration = Duration::from_millis(500);

/// The call of what nobody waits for an answer to; calls of partials and of questions carry a life, which counts from 1.
const NOBODY_WAITS: u64 = 0;

/// One round of asking.
#[derive(Debug, Default)]
pub(super) struct Asking {
    round: u64,
    /// The version of commands in the log when it began.
    version: u32,
    /// When it began, in the world's time.
    since: Duration,
    /// Who was asked, and what each said; nothing once it has ended.
    said: BTreeMap<NodeId, Option<u32>>,
}

/// What a leader makes of a round.
#[derive(Debug)]
pub(crate) struct Raise {
    version: u32,
    /// When it began to ask.
    since: Duration,
    /// Whom it asked.
    members: Vec<u64>,
}

/// What a change of the members says beside who votes: where each of them is reached, as soon as every member knows that.
pub(super) fn seats(wanted: &Membership, version: u32) -> Bytes {
    if version < SEATS {
        return Bytes::new();
    }
    let seat =
        |node: &u64| Seat { node: *node, peer_address: format!("node-{node}:4101"), ..Seat::default() };
    let seats = wanted.voters.iter().map(seat).collect();
    let body = Some(Body::ChangeMembers(ChangeMembers { seats, removed: Vec::new() }));
    Command { id: None, at_ms: 0, body }.encode_to_vec().into()
}

impl Running {
    /// Whether this program must end, because it does not know what `catalog` says that the log takes.
    pub(super) fn is_outdated(&self, catalog: &Catalog, effects: &mut Effects) -> bool {
        let version = catalog.members().version();
        if !is_too_old(self.commands, version) || self.sabotage == Some(Sabotage::OlderGoesOn) {
            return false;
        }
        effects.outdated = Some(version);
        true
    }

    /// Asks every other member which commands it knows, if this node leads and knows more than the log takes.
    fn ask_members(&mut self, now: Duration, effects: &mut Effects) {
        let version = self.catalog.members().version();
        if !self.leasing.is_leading() || version >= self.commands {
            return;
        }
        let membership = self.replica.membership();
        let members = membership.voters.iter().chain(&membership.learners).copied();
        let said = members.filter(|member| *member != self.id).map(|member| (NodeId(member), None));
        self.asking = Asking { round: self.asking.round + 1, version, since: now, said: said.collect() };
        effects.asks.extend(self.asking.said.keys().map(|member| (self.asking.round, *member)));
        if self.asking.said.is_empty() {
            self.decide(effects);
        }
    }

    /// A leader wants to know which commands this program knows.
    pub(super) fn say_commands(&self, waiting: Waiting, effects: &mut Effects) {
        effects.replies.push((waiting, Reply::Knows { node: self.id, commands: self.commands }));
    }

    /// A member has said which commands it knows; what was asked in another round, or life, is void.
    pub(super) fn heard_commands(&mut self, call: u64, node: u64, commands: u32, effects: &mut Effects) {
        if call != (self.life << 32 | self.asking.round) {
            return;
        }
        if let Some(said) = self.asking.said.get_mut(&NodeId(node)) {
            *said = Some(commands);
        }
        if !self.asking.said.is_empty() && self.asking.said.values().all(Option::is_some) {
            self.decide(effects);
        }
    }

    /// Who has not answered by now does not answer.
    pub(super) fn gate_timeout(&mut self, round: u64, effects: &mut Effects) {
        if self.asking.round == round && !self.asking.said.is_empty() {
            self.decide(effects);
        }
    }

    fn decide(&mut self, effects: &mut Effects) {
        let Asking { version, since, .. } = self.asking;
        let mut said: Vec<_> = std::mem::take(&mut self.asking.said).into_iter().collect();
        if self.sabotage == Some(Sabotage::SilentUpgraded) {
            said.iter_mut().for_each(|(_, said)| *said = said.or(Some(self.commands)));
        }
        if let Gate::Raise(version) = gate(version, self.commands, &said) {
            let members = said.into_iter().map(|(member, _)| member.0).chain([self.id]).collect();
            effects.raises = Some(Raise { version, since, members });
        }
    }
}

impl World {
    /// A leader looks whether the log may take newer commands.
    pub(super) fn poll_gate(&mut self, node: u64, life: u64) -> Result<(), Violation> {
        let now = self.heap.now();
        if self.nodes[&node].life == life {
            self.heap.put_in(LOOK_EVERY, Event::PollGate { node, life });
        }
        let mut asked = None;
        self.with(node, Some(life), |running, _, _, effects| {
            // A round ends before the next begins.
            if running.asking.said.is_empty() {
                running.ask_members(now, effects);
                asked = (!running.asking.said.is_empty()).then_some(running.asking.round);
            }
        })?;
        if let Some(round) = asked {
            self.heap.put_in(PATIENCE, Event::GateTimeout { node, life, round });
        }
        Ok(())
    }

    /// A node asks another which commands it knows; where the way is cut there is no answer.
    pub(super) fn ask_commands(&mut self, id: u64, call: u64, peer: u64) {
        self.call_node(id, peer, call, Request::Commands);
    }

    /// A node proposes to whoever it believes to lead, perhaps itself, that the log takes newer commands.
    pub(super) fn raise(&mut self, id: u64, raise: Raise) -> Result<(), Violation> {
        let Raise { version, since, members } = raise;
        self.tell(format!("node {id} wants the log to take commands of version {version}"));
        self.programs.raises(version, since, &members)?;
        let body = Some(Body::RaiseVersion(RaiseVersion { version }));
        self.say_to_leader(id, Command { id: None, at_ms: 0, body });
        Ok(())
    }

    /// A node proposes a command to whoever it believes to lead, perhaps itself; nobody waits for its outcome.
    pub(super) fn say_to_leader(&mut self, id: u64, command: Command) {
        let leader = self.nodes[&id].running.as_ref().and_then(|running| running.replica.leader());
        let Some(to) = leader.map(|leader| leader.0) else { return };
        self.call_node(id, to, NOBODY_WAITS, Request::Propose(Box::new(command)));
    }

    /// A program ended, because the log takes commands that it does not know.
    pub(super) fn outdated(&mut self, id: u64, version: u32) {
        self.reached.insert(Mark::Outdated);
        self.tell(format!("node {id} ends itself: the log takes commands of version {version}"));
        self.die(id);
        self.heap.put_in(START_AGAIN, Event::Restart(id));
    }

    /// A node is killed, and started again with this program.
    pub(super) fn start_with(&mut self, id: u64, program: u32, dead: Duration) {
        self.nodes.get_mut(&id).expect("a plan is checked against the shape").program = program;
        self.kill(id, dead);
    }

    /// An operator ends what there is of the older program.
    pub(super) fn upgrade_all(&mut self) {
        let older: Vec<u64> =
            self.nodes.values().filter(|node| node.program < NEWER).map(|node| node.id).collect();
        older.into_iter().for_each(|node| self.start_with(node, NEWER, Duration::ZERO));
    }
}
