//! How a node comes back that lost its disk, as `control/src/replica/steward.rs` and its neighbours have it: it doubts the empty one and
//! asks the others; whoever leads makes it a learner and gives it its vote back; the log is told on which disk each node is.
//! The product decides (`returning.rs`, `autopilot.rs`, `seats.rs`, the roster); here is only carried.

use std::collections::BTreeMap;
use std::time::Duration;

use api::log::v1::{Announce, Command, command::Body};
use bytes::Bytes;
use consensus::{Membership, NodeId};
use control::catalog::Members;
use control::replica::autopilot::{Autopilot, Decision};
use control::replica::peers::{Roster, Standing};
use control::replica::returning::{Consequences, consequences, doubt_is_unfounded, has_begun};
use control::replica::seats::{Ground, Wish};
use control::settings::Autopilot as Rules;
use prost::Message as _;

use super::effects::Effects;
use super::event::{Event, Reply, Request, Sender};
use super::programs::SEATS;
use super::run::World;
use super::running::{Running, Waiting};
use super::storing::Work;
use crate::invariants::Violation;
use crate::marks::Mark;
use crate::sabotage::Sabotage;

/// How often a node looks, and how often one in doubt, as the product has both.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const DOUBT_EVERY: Duration = Duration::from_millis(25);

/// For how long one in doubt looks that often, as the product has it.
const DOUBT_HASTE: Duration = Duration::from_secs(5);

/// How long it waits for what the others say, as the product has it.
const PATIENCE: Duration = Duration::from_millis(700);

/// Wait before the log is told of a node again, as the product has it.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);

/// For how long it counts that a node said that it is back, as the product has it.
const RETURNED_LATELY: Duration = Duration::from_secs(3);

/// No seat goes: a number is never used again, and a plan knows the founders alone.
const RULES: Rules = Rules { dead_after: None, voters_min: 3 };

/// What a node knows of the others' disks, and of its own.
pub(super) struct Tending {
    roster: Roster,
    /// The members as the roster was told last.
    followed: Option<(Membership, Members)>,
    /// Members that are back with another disk, and when they last said so.
    returned: BTreeMap<NodeId, (u64, Duration)>,
    autopilot: Autopilot,
    /// Counts the rounds of asking; when the last began, and what each said in it.
    round: u64,
    since: Duration,
    said: BTreeMap<NodeId, Option<bool>>,
    /// When it began to tend, and when it last told the log of itself.
    began: Option<Duration>,
    announced: Option<Duration>,
}

fn address(node: u64, port: u16) -> String {
    format!("node-{node}:{port}")
}

impl Tending {
    pub(super) fn new(id: u64, founders: &Membership) -> Self {
        let founders = founders.voters.iter().map(|node| (NodeId(*node), address(*node, 4101))).collect();
        Self {
            roster: Roster::new(NodeId(id), &founders),
            followed: None,
            returned: BTreeMap::new(),
            autopilot: Autopilot::new(RULES),
            round: 0,
            since: Duration::ZERO,
            said: BTreeMap::new(),
            began: None,
            announced: None,
        }
    }

    /// Whether this node knows who leads.
    pub(super) fn led(&self, led: bool) {
        self.roster.led(led);
    }
}

impl Running {
    /// Whether this node takes who calls for a peer of its life of the cluster; where that says that it is reached is noted.
    pub(super) fn hears(&self, from: Sender) -> bool {
        self.lives.fits(from) && self.is_peer(from)
    }

    fn is_peer(&self, from: Sender) -> bool {
        let (roster, node) = (&self.tending.roster, NodeId(from.node));
        let hears = roster.standing(node, from.disk) == Standing::Peer;
        if hears {
            roster.met(node, &address(from.node, 4101));
        }
        hears
    }

    /// Whether this node hears a frame of Raft: one on another disk than is known here only as a leader.
    pub(super) fn hears_frame(&self, from: Sender, frame: &[u8]) -> bool {
        let is_on_another = self.tending.roster.is_on_another_disk(NodeId(from.node), from.disk);
        if is_on_another { consensus::is_a_leaders(frame) } else { self.is_peer(from) }
    }

    /// Tells the roster who belongs now, if that has changed, and draws the consequences, as `membership.rs` of the product has it.
    pub(super) fn follow_members(&mut self, effects: &mut Effects) {
        let (membership, now) = (self.replica.membership(), self.catalog.members());
        if self.tending.followed.as_ref().is_some_and(|(ids, known)| ids == membership && known == now) {
            return;
        }
        self.tending.roster.follow(membership, now);
        let before =
            self.tending.followed.replace((membership.clone(), now.clone())).map(|(_, before)| before);
        let Consequences { named, began_anew, .. } =
            consequences(NodeId(self.id), self.disk, before.as_ref(), now);
        let is_known = |node: &NodeId, disk: u64| now.get(node.0).is_some_and(|member| member.disk == disk);
        self.tending.returned.retain(|node, (disk, _)| !is_known(node, *disk));
        if named {
            self.end_doubt(effects);
        }
        if self.sabotage != Some(Sabotage::OldConfirmations) {
            began_anew.into_iter().for_each(|peer| self.replica.peer_began_anew(peer));
        }
    }

    fn end_doubt(&mut self, effects: &mut Effects) {
        if self.replica.is_doubtful() {
            self.replica.end_doubt();
            self.queue(Work::EndDoubt, effects);
        }
    }

    /// Another node asks whether this one has begun, because it is in doubt about its disk.
    pub(super) fn greeted(&mut self, from: Sender, waiting: Waiting, local: Duration, effects: &mut Effects) {
        if !self.lives.fits(from) {
            return;
        }
        if self.tending.roster.is_on_another_disk(NodeId(from.node), from.disk) {
            self.tending.returned.insert(NodeId(from.node), (from.disk, local));
        }
        let begun = has_begun(&self.replica.status());
        effects.replies.push((waiting, Reply::Greeting { node: self.id, begun }));
    }

    /// Another node says whether it has begun; what was asked in another round, or life, is void.
    pub(super) fn heard_greeting(&mut self, call: u64, node: u64, begun: bool) {
        if call == (self.life << 32 | self.tending.round)
            && let Some(said) = self.tending.said.get_mut(&NodeId(node))
        {
            *said = Some(begun);
        }
    }

    /// One look; says how soon the next is due.
    fn tend(&mut self, local: Duration, wall_ms: u64, effects: &mut Effects) -> Duration {
        let began = *self.tending.began.get_or_insert(local);
        if self.replica.is_doubtful() {
            self.ask_others(local, effects);
        }
        let status = self.replica.status();
        let lately = |(_, (_, at)): &(&NodeId, &(u64, Duration))| local.saturating_sub(*at) < RETURNED_LATELY;
        let returned = self.tending.returned.iter().filter(lately).map(|(node, (disk, _))| (*node, *disk));
        let returned: Vec<_> = returned.collect();
        let members = self.catalog.members().clone();
        let ground = Ground { status: &status, members: &members };
        for decision in self.tending.autopilot.decisions(ground, &returned, local) {
            let wish = match decision {
                Decision::Promote(node) => Wish::Promote { node, instead_of: None },
                Decision::Reseat(node, disk) => Wish::Reseat { node, disk },
                Decision::Remove(node, _) => Wish::Remove { node },
                Decision::Hold(..) => continue,
            };
            self.change_members(&wish, ground, wall_ms);
        }
        self.announce(&status.membership, &members, local, effects);
        let in_haste = self.replica.is_doubtful() && local.saturating_sub(began) < DOUBT_HASTE;
        if in_haste { DOUBT_EVERY } else { LOOK_EVERY }
    }

    /// Whether the group is only being founded, by what the others said; then asks them again.
    fn ask_others(&mut self, local: Duration, effects: &mut Effects) {
        let tending = &mut self.tending;
        let waits = tending.said.values().any(Option::is_none);
        if waits && local.saturating_sub(tending.since) < PATIENCE {
            return;
        }
        let others_have_begun: Vec<bool> =
            std::mem::take(&mut tending.said).into_values().flatten().collect();
        let founders = self.replica.membership().voters.len();
        if doubt_is_unfounded(founders, has_begun(&self.replica.status()), &others_have_begun) {
            return self.end_doubt(effects);
        }
        let tending = &mut self.tending;
        (tending.round, tending.since) = (tending.round + 1, local);
        tending.said = tending.roster.peers().into_keys().map(|peer| (peer, None)).collect();
        effects.greets.extend(tending.said.keys().map(|peer| (tending.round, *peer)));
    }

    /// Proposes what the autopilot decided, as `membership.rs` of the product has it; nobody waits.
    fn change_members(&mut self, wish: &Wish, ground: Ground<'_>, wall_ms: u64) {
        let Ok(plan) = ground.plan(wish, false) else { return };
        let at_ms = wall_ms.max(self.catalog.now().0);
        let command = Command { id: None, at_ms, body: Some(Body::ChangeMembers(plan.change)) };
        let known = ground.members.version() >= SEATS;
        let context = if known { Bytes::from(command.encode_to_vec()) } else { Bytes::new() };
        self.next_token += 1;
        // Refused while leadership moves: the next leader decides the same.
        let _refused = if plan.wanted == ground.status.membership {
            self.replica.propose(self.next_token, context)
        } else {
            self.replica.propose_membership(self.next_token, &plan.wanted, context)
        };
    }

    /// Tells the log where this node is, and on which disk, whenever that does not know it so.
    fn announce(&mut self, group: &Membership, members: &Members, local: Duration, effects: &mut Effects) {
        let said = Announce {
            node: self.id,
            peer_address: address(self.id, 4101),
            client_address: address(self.id, 4100),
            disk: self.disk,
        };
        let is_known = members.get(self.id).is_some_and(|known| {
            (&known.peer_address, &known.client_address, known.disk)
                == (&said.peer_address, &said.client_address, said.disk)
        });
        let lately = self.tending.announced.is_some_and(|at| local.saturating_sub(at) < ANNOUNCE_AGAIN);
        if !group.contains(self.id) || is_known || lately || self.replica.leader().is_none() {
            return;
        }
        self.tending.announced = Some(local);
        effects.says.push(Command { id: None, at_ms: 0, body: Some(Body::Announce(said)) });
    }
}

impl World {
    /// A node tends what it has to see to by itself.
    pub(super) fn tend(&mut self, node: u64, life: u64) -> Result<(), Violation> {
        let mut pause = LOOK_EVERY;
        self.with(node, Some(life), |running, local, wall, effects| {
            pause = running.tend(local, wall, effects);
        })?;
        if self.nodes[&node].life == life {
            self.heap.put_in(pause, Event::Tend { node, life });
        }
        Ok(())
    }

    /// A node in doubt asks another one whether it has begun.
    pub(super) fn greet(&mut self, id: u64, call: u64, peer: u64) {
        self.call_node(id, peer, call, Request::Greet);
    }

    /// A disk is replaced by an empty one, if the group can do without what it held.
    pub(super) fn wipe(&mut self, id: u64, dead: Duration) {
        if !self.may_wipe(id) {
            return self.tell(format!("(node {id} is spared: the group could not do without it)"));
        }
        if self.nodes[&id].running.is_some() {
            self.die(id);
        }
        self.nodes.get_mut(&id).expect("a plan is checked against the shape").replace_disk();
        self.votes.lost_disk(id);
        self.heap.put_in(dead, Event::Restart(id));
    }

    /// A node has applied who belongs to the group: whoever lost its disk may be let in again, or have its vote back.
    pub(super) fn look_who_is_back(&mut self, looks: u64, membership: &Membership) {
        let wiped: Vec<u64> = self.nodes.values().filter(|node| node.wiped).map(|node| node.id).collect();
        for id in wiped {
            let identity = self.nodes[&id].identity();
            let members = self.nodes[&looks].running.as_ref().map(|running| running.catalog.members());
            let is_named =
                members.and_then(|members| members.get(id)).is_some_and(|member| member.disk == identity);
            if !is_named || membership.is_joint() {
                continue;
            }
            if membership.learners.contains(&id) {
                self.reached.insert(Mark::Reseated);
            }
            if membership.voters.contains(&id) {
                self.reached.insert(Mark::VoteBack);
                self.tell(format!("node {id} has its vote back"));
                self.nodes.get_mut(&id).expect("every node exists").wiped = false;
            }
        }
    }
}
