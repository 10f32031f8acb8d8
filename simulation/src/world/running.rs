//! The process of one control node: the real replica, log, catalog and discovery shard, driven as `control/src/replica` and its
//! neighbours drive them. Carries outputs and holds no rule; what leaves the node goes into [`Effects`].

use std::collections::BTreeMap;
use std::time::Duration;

use api::LeaseKey;
use api::log::v1::{Command, command::Body};
use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use consensus::{Committed, Membership, Output, Replica, Role};
use control::catalog::{Catalog, Change};
use control::discovery::{Request as ShardRequest, Sent, SessionId, Shard, Turn, Way};
use control::replica::beginning::Beginning;
use control::replica::freshness::{Freshness, Moment};
use control::replica::peers::Life;
use control::replica::yielding::{Yield, Yielding};
use control::rollup::partials::Partials;
use mesh::Timestamp;
use prost::Message;

use super::effects::Effects;
use super::event::Reply;
use super::leasing::Leasing;
use super::lives::Lives;
use super::programs::{self, Asking};
use super::reading::{Asked, Round};
use super::storing::{Stored, Storing, Work};
use super::tending::Tending;
use crate::invariants::{ANONYMOUS, AppliedEntry};
use crate::network::Host;
use crate::sabotage::Sabotage;
use crate::trace::TraceHash;

/// A proxy and the number of its stream.
pub(crate) type StreamKey = (u64, u64);

/// Who waits for an answer.
pub(crate) type Waiting = (Host, u64);

/// What was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// Counts the starts on its machine.
    pub(super) life: u64,
    /// The newest version of commands that it knows.
    pub(super) commands: u32,
    /// Identity of the directory that it was started on.
    pub(super) disk: u64,
    /// The life of the cluster that the directory is of.
    pub(super) of_life: Life,
    pub(super) sabotage: Option<Sabotage>,
}

/// What a process holds.
pub(crate) struct Running {
    pub(super) id: u64,
    pub(super) life: u64,
    pub(super) commands: u32,
    pub(super) disk: u64,
    pub(super) asking: Asking,
    pub(super) lives: Lives,
    pub(super) tending: Tending,
    founders: Membership,
    pub(crate) replica: Replica,
    pub(super) storing: Storing,
    yielding: Yielding,
    pub(crate) catalog: Catalog,
    waiting: BTreeMap<u64, Waiting>,
    pub(super) reads: BTreeMap<u64, Round>,
    /// Reads that found a catalog whose life has not begun.
    pub(super) unanswered: Vec<Asked>,
    /// How old its catalog is at most.
    pub(super) freshness: Freshness,
    /// What its clocks show.
    pub(super) moment: Moment,
    beginning: Beginning,
    pub(super) next_token: u64,
    pub(crate) shard: Shard,
    sessions: BTreeMap<StreamKey, SessionId>,
    streams: BTreeMap<SessionId, StreamKey>,
    proved: u64,
    pub(super) leasing: Leasing,
    pub(super) partials: Partials,
    /// Who waits for the answer to a report, by the number it was given.
    pub(super) reporters: BTreeMap<u64, (Waiting, u64)>,
    /// The newest of their numbers; none is given twice, for a window of one may be settled after it was told off for another.
    pub(super) last_reporter: u64,
    /// What a sabotaged node made its last snapshot of.
    last_snapshot: Vec<u8>,
    pub(super) sabotage: Option<Sabotage>,
}

impl Running {
    pub(super) fn new(
        id: u64,
        program: Program,
        founders: Membership,
        replica: Replica,
        storing: Storing,
    ) -> Self {
        let Program { life, commands, disk, of_life, sabotage } = program;
        let tending = Tending::new(id, &founders);
        let mut running = Self {
            id,
            life,
            commands,
            disk,
            asking: Asking::default(),
            lives: Lives::new(of_life),
            tending,
            founders,
            replica,
            storing,
            yielding: Yielding::default(),
            catalog: Catalog::new(1),
            waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
            unanswered: Vec::new(),
            freshness: Freshness::default(),
            moment: Moment { clock: Duration::ZERO, wall: Timestamp(0) },
            beginning: Beginning::default(),
            next_token: 0,
            shard: Shard::default(),
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            proved: 0,
            leasing: Leasing::new(sabotage),
            partials: Partials::new(id),
            reporters: BTreeMap::new(),
            last_reporter: 0,
            last_snapshot: Vec::new(),
            sabotage,
        };
        running.ask(Asked::ToBegin, Duration::ZERO);
        running
    }

    /// The replica's alarm went off.
    pub(super) fn tick(&mut self, local: Duration, effects: &mut Effects) {
        self.replica.tick(local);
        let is_short = !self.storing.has_room(local);
        if self.yielding.look(is_short, self.leasing.is_leading()) != Yield::Stay {
            effects.yields = self.replica.transfer_leadership(None).is_ok();
        }
    }

    /// Carries out everything that the replica asks for, until it asks no more.
    pub(crate) fn settle(&mut self, local: Duration, wall_ms: u64, effects: &mut Effects) {
        if self.shard.last_ticket() > self.proved {
            self.proved = self.shard.last_ticket();
            self.ask(Asked::ToProve(self.proved), local);
        }
        for asked in std::mem::take(&mut self.unanswered) {
            self.ask(asked, local);
        }
        if self.freshness.is_due(local) {
            self.ask(Asked::ToVouch, local);
        }
        loop {
            self.begin_life(local, wall_ms, effects);
            let outputs = self.replica.outputs(local);
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.carry(output, local, wall_ms, effects);
                if effects.outdated.is_some() {
                    return;
                }
            }
        }
        effects.wake = self.replica.next_deadline();
        if !effects.applied.is_empty() || !effects.installed.is_empty() {
            let membership = self.replica.membership().clone();
            effects.membership = Some((self.replica.applied_index(), membership));
        }
    }

    fn carry(&mut self, output: Output, local: Duration, wall_ms: u64, effects: &mut Effects) {
        match output {
            Output::RoleChanged { role, term, leader } => {
                self.tending.led(leader.is_some());
                let (leads, log_end) = (role == Role::Leader, self.replica.status().last_index);
                if leads {
                    effects.leads.push((term, log_end));
                }
                self.beginning.leadership_changed();
                self.leasing.leads(leads.then_some(term), log_end, &self.catalog, local);
            }
            Output::Send { to, bytes } => effects.sends.push((to, bytes)),
            Output::SendSnapshot { to, index, attempt, bytes } => {
                match self.storing.log.snapshots().read(index) {
                    Ok(Some(snapshot)) => effects.snapshots.push((to, attempt, bytes, snapshot.data)),
                    _ => self.replica.snapshot_sent(to, attempt, false),
                }
            }
            Output::Persist(batch) => {
                let number = batch.number;
                self.queue(Work::Persist(batch), effects);
                if self.sabotage == Some(Sabotage::EarlyAck) {
                    self.replica.persisted(number, local);
                }
            }
            Output::KeepSnapshot(mut snapshot) => {
                if self.sabotage == Some(Sabotage::SnapshotMembership) {
                    snapshot.membership = self.founders.clone();
                }
                self.queue(Work::Keep(snapshot), effects);
            }
            Output::CompactLog { below } => self.queue(Work::Compact(below), effects),
            Output::Apply(entries) => self.apply(entries, wall_ms, effects),
            Output::InstallSnapshot { index, data, .. } => self.install(index, &data, effects),
            Output::ReadReady { token, .. } => self.read_ready(token, effects),
            Output::ReadFailed { token, .. } => self.read_failed(token, local, effects),
            Output::ProposalLost { token, reason } => {
                let reply = match reason {
                    consensus::ProposeError::NotLeader { leader } => Reply::NotLeader(leader),
                    _ => Reply::Unknown,
                };
                self.reply(token, reply, effects);
            }
            Output::MakeSnapshot => {
                let (index, data) = (self.catalog.applied().index, self.catalog.snapshot());
                let data = match self.sabotage {
                    Some(Sabotage::SnapshotStale) => std::mem::replace(&mut self.last_snapshot, data),
                    _ => data,
                };
                self.replica.snapshot_made(index, data.into());
            }
        }
    }

    pub(super) fn queue(&mut self, work: Work, effects: &mut Effects) {
        effects.disk_begins |= self.storing.queue(work);
    }

    fn apply(&mut self, entries: Vec<Committed>, wall_ms: u64, effects: &mut Effects) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        let term = self.replica.term();
        let mut changes = Vec::new();
        for entry in entries {
            let mut data = TraceHash::default();
            data.tell(&entry.data);
            let applied = if self.sabotage == Some(Sabotage::ClockInApply) && !entry.data.is_empty() {
                let command = Command::decode(entry.data.clone()).unwrap_or_default();
                let clocked = Command { at_ms: wall_ms, ..command };
                self.catalog.apply(entry.index, &clocked.encode_to_vec())
            } else {
                self.catalog.apply(entry.index, &entry.data)
            };
            let answer = entry.token.map(|token| (token, applied.outcome.clone()));
            effects.applied.push(AppliedEntry {
                index: entry.index,
                term: entry.term,
                bytes: entry.data,
                data: data.value(),
                state: self.catalog.state_hash(),
                now: self.catalog.now(),
                seen_in_term: term,
                command: Command::default(),
                outcome: applied.outcome,
            });
            if self.is_outdated(&self.catalog, effects) {
                return;
            }
            changes.extend(applied.changes);
            if let Some((token, outcome)) = answer {
                self.reply(token, Reply::Outcome(Box::new(outcome)), effects);
            }
        }
        self.follow_life();
        self.replica.applied(last);
        self.follow_members(effects);
        self.leasing.changed(&changes);
        self.push(&changes, false, effects);
    }

    /// Tells the sessions that it concerns what changed.
    fn push(&mut self, changes: &[Change], replaced: bool, effects: &mut Effects) {
        let (applied, routing) = (self.catalog.applied(), self.catalog.routing());
        let missed = self.sabotage == Some(Sabotage::LostChange) && applied.index % 16 == 0;
        let changes = if missed { &changes[..0] } else { changes };
        let turn = self.shard.changed(changes, applied, routing, replaced);
        self.carry_turn(turn, effects);
    }

    pub(super) fn carry_turn(&mut self, turn: Turn, effects: &mut Effects) {
        for (id, sent) in turn {
            let Some(stream) = self.streams.get(&id) else { continue };
            match sent {
                Sent::Push(push) => effects.answers.push((*stream, push)),
                Sent::Close(status) => effects.died = Some(format!("a session was closed: {status}")),
            }
        }
    }

    /// A request arrived on a proxy's stream; the first one opens the session.
    pub(crate) fn stream_request(
        &mut self,
        stream: StreamKey,
        request: Box<DeltaDiscoveryRequest>,
        effects: &mut Effects,
    ) {
        let known = self.sessions.get(&stream).copied();
        let id = match known {
            Some(id) => id,
            None if request.node.is_none() => return, // a late piece of a stream that has ended
            None => match self.shard.open(Way::Delta, Timestamp::default()) {
                Ok(id) => {
                    self.sessions.insert(stream, id);
                    self.streams.insert(id, stream);
                    id
                }
                Err(_) => return,
            },
        };
        let turn = self.shard.request(id, &ShardRequest::Delta(request));
        self.carry_turn(turn, effects);
    }

    /// How many resources the session of a stream knows to be refused; `None` where there is no such session, or where what
    /// came on the stream waits for a proof and is not read yet.
    pub(crate) fn refusals(&self, stream: StreamKey) -> Option<usize> {
        let id = self.sessions.get(&stream).filter(|id| !self.shard.is_doubtful(**id))?;
        Some(self.shard.refusals(*id))
    }

    /// A proxy's stream ended.
    pub(crate) fn stream_broken(&mut self, stream: StreamKey) {
        if let Some(id) = self.sessions.remove(&stream) {
            self.streams.remove(&id);
            self.shard.closed(id);
        }
    }

    fn install(&mut self, index: u64, data: &[u8], effects: &mut Effects) {
        let catalog = if data.is_empty() {
            Catalog::new(1)
        } else {
            Catalog::restore(data).expect("a snapshot that a node of the same version made can be restored")
        };
        if self.is_outdated(&catalog, effects) {
            return;
        }
        self.catalog = catalog;
        self.follow_life();
        if !data.is_empty() {
            effects.installed.push((index, self.catalog.state_hash()));
        }
        self.replica.applied(index);
        self.follow_members(effects);
        let view = self.catalog.view();
        self.leasing.changed(&view);
        self.push(&view, true, effects);
    }

    fn reply(&mut self, token: u64, reply: Reply, effects: &mut Effects) {
        if let Some(waiting) = self.waiting.remove(&token) {
            effects.replies.push((waiting, reply));
        }
    }

    /// Proposes a command for whoever waits.
    pub(crate) fn propose(
        &mut self,
        mut command: Command,
        wall_ms: u64,
        waiting: Option<Waiting>,
        effects: &mut Effects,
    ) {
        command.at_ms = wall_ms.max(self.catalog.now().0);
        self.next_token += 1;
        if let (Some(Sabotage::RetryApplied), Some(id)) = (self.sabotage, &mut command.id) {
            id.client = format!("{}{ANONYMOUS}{}-{}", id.client, self.id, self.next_token);
        }
        let refused = if self.storing.space.shortage().is_some() {
            Err(Reply::Unknown)
        } else {
            self.replica.propose(self.next_token, command.encode_to_vec().into()).map_err(|error| match error
            {
                consensus::ProposeError::NotLeader { leader } => Reply::NotLeader(leader),
                _ => Reply::Unknown,
            })
        };
        match (refused, waiting) {
            (Ok(()), Some(waiting)) => {
                self.waiting.insert(self.next_token, waiting);
            }
            (Err(reply), Some(waiting)) => effects.replies.push((waiting, reply)),
            (_, None) => {}
        }
    }

    /// Proposes who is to vote; nobody waits.
    pub(super) fn propose_membership(&mut self, wanted: &Membership) {
        self.next_token += 1;
        let context = programs::seats(wanted, self.catalog.members().version());
        // Refused while another change is under way: an operator asks again.
        let _refused = self.replica.propose_membership(self.next_token, wanted, context);
    }

    /// The first leader of a life begins it, before it takes any other write.
    fn begin_life(&mut self, local: Duration, wall_ms: u64, effects: &mut Effects) {
        let leads = self.leasing.is_leading();
        if let Some(begin) = self.beginning.due(leads, &self.catalog, || Timestamp(wall_ms), local) {
            let body = Some(Body::Begin(begin));
            self.propose(Command { id: None, at_ms: 0, body }, wall_ms, None, effects);
        }
    }

    /// Proposes what has lapsed.
    pub(super) fn poll_leases(&mut self, local: Duration, wall_ms: u64, effects: &mut Effects) {
        if let Some(expire) = self.leasing.lapsed(&self.catalog, local) {
            self.propose(expire, wall_ms, None, effects);
        }
    }

    /// Renews a lease, if this node leads.
    pub(super) fn renew(&mut self, key: &LeaseKey, local: Duration, waiting: Waiting, effects: &mut Effects) {
        let reply = match self.leasing.renew(key, &self.catalog, local) {
            Some(known) => Reply::Renewed(known),
            None => Reply::NotLeader(self.replica.leader()),
        };
        effects.replies.push((waiting, reply));
    }

    /// The disk has done what was queued, or could not.
    pub(crate) fn disk_done(&mut self, local: Duration, effects: &mut Effects) {
        match self.storing.carry_out() {
            Stored::Done { batch, kept } => {
                if let Some(number) = batch {
                    self.replica.persisted(number, local);
                }
                kept.into_iter().for_each(|index| self.replica.snapshot_kept(index));
            }
            Stored::Full { kept } => {
                kept.into_iter().for_each(|index| self.replica.snapshot_kept(index));
                effects.disk_full = true;
            }
            Stored::Failed(reason) => effects.died = Some(reason),
        }
    }
}
