//! One control node: the real replica, log and catalog, driven as `control/src/replica` drives them, on a simulated disk and
//! clock. Carries outputs and holds no rule; what leaves the node goes into [`Effects`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::log::v1::Command;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use bytes::Bytes;
use consensus::{
    Batch, Committed, Log, LogSettings, Membership, NodeId, OpenError, Output, PersistError, Replica,
    ReplicaSettings, Role, Snapshot,
};
use control::catalog::{Catalog, Change};
use control::discovery::{Output as SessionOutput, Session, Shelf, Way};
use control::rollup::partials::Partials;
use prost::Message;

use super::event::Reply;
use crate::chance::Chance;
use crate::disk::SimDisk;
use crate::invariants::{AppliedEntry, WriteKey};
use crate::network::Host;
use crate::trace::TraceHash;

/// How many nodes there are.
pub(crate) const NODES: u64 = 3;

/// Segments short enough that a run fills, recycles and truncates many.
const SEGMENT_BYTES: u64 = 64 << 10;

/// Wall clock of a perfect node when the simulation begins: 2026-01-01 in milliseconds.
pub(crate) const WALL_START_MS: u64 = 1_767_225_600_000;

/// How often a node looks whether traffic is due to be proposed.
pub(crate) const POLL_PARTIALS: Duration = Duration::from_millis(250);

/// A proxy and the number of its stream.
pub(crate) type StreamKey = (u64, u64);

/// Who waits for an answer.
pub(crate) type Waiting = (Host, u64);

/// What a node wants of the world, in order within each kind.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) sends: Vec<(NodeId, Bytes)>,
    pub(crate) snapshots: Vec<(NodeId, Bytes, Bytes)>,
    pub(crate) replies: Vec<(Waiting, Reply)>,
    pub(crate) leads: Vec<u64>,
    pub(crate) applied: Vec<(u64, AppliedEntry, Option<WriteKey>)>,
    pub(crate) installed: Vec<(u64, u64)>,
    /// Partials that are to be proposed by whoever leads.
    pub(crate) forwards: Vec<(u64, Box<Command>)>,
    /// Answers of sessions: to which proxy, on which stream.
    pub(crate) answers: Vec<(StreamKey, DeltaDiscoveryResponse)>,
    /// The disk has something to do and was idle.
    pub(crate) disk_begins: bool,
    /// When to wake, in the node's own time.
    pub(crate) wake: Duration,
    /// The process ended itself, and why.
    pub(crate) died: Option<String>,
}

#[derive(Debug)]
enum DiskWork {
    Persist(Batch),
    Keep(Snapshot),
    Compact(u64),
}

/// A clock that is skewed against the world's and drifts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) skew: Duration,
    pub(crate) drift_ppm: u32,
}

impl Clock {
    /// The node's time when the world's is `now`.
    pub(crate) fn local(self, now: Duration) -> Duration {
        self.skew + now + now * self.drift_ppm / 1_000_000
    }

    /// The world's time when the node's is `local`; later by a microsecond at most.
    pub(crate) fn world(self, local: Duration) -> Duration {
        let since = local.saturating_sub(self.skew);
        since.mul_f64(1.0 / (1.0 + f64::from(self.drift_ppm) / 1e6)) + Duration::from_micros(1)
    }
}

/// A node, running or not.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Clock,
    /// Counts starts; events of an earlier life are void.
    pub(crate) life: u64,
    /// Number and time of the wake-up that counts.
    pub(crate) wake: (u64, Duration),
    pub(crate) running: Option<Running>,
}

/// What a process holds.
pub(crate) struct Running {
    pub(crate) replica: Replica,
    log: Log,
    pub(crate) catalog: Catalog,
    disk_queue: Vec<DiskWork>,
    disk_busy: bool,
    waiting: BTreeMap<u64, Waiting>,
    next_token: u64,
    shelf: Shelf,
    sessions: BTreeMap<StreamKey, Session>,
    pub(super) partials: Partials,
    /// Who waits for the answer to a report, by the number it was given.
    pub(super) reporters: BTreeMap<u64, (Waiting, u64)>,
    pub(super) life: u64,
}

fn answer(stream: StreamKey, outputs: Vec<SessionOutput>, effects: &mut Effects) {
    for output in outputs {
        match output {
            SessionOutput::Send(push) => effects.answers.push((stream, push.delta())),
            SessionOutput::Close(status) => effects.died = Some(format!("a session was closed: {status}")),
            // Every session is told of every change: what it does not follow it ignores.
            _ => {}
        }
    }
}

impl Node {
    pub(crate) fn new(id: u64, clock: Clock) -> Self {
        Self { id, disk: SimDisk::default(), clock, life: 0, wake: (0, Duration::ZERO), running: None }
    }

    /// Starts the process from what the disk holds.
    pub(crate) fn start(&mut self, now: Duration, chance: &mut Chance) -> Result<(), OpenError> {
        let settings = LogSettings {
            directory: PathBuf::from("data"),
            cluster: "simulated".to_owned(),
            node: NodeId(self.id),
            founders: Membership::of_voters((1..=NODES).map(NodeId)),
            segment_bytes: SEGMENT_BYTES,
        };
        let (log, recovered) = Log::open(Arc::new(self.disk.clone()), &settings)?;
        let mut replica_settings = ReplicaSettings::new(NodeId(self.id), chance.bits());
        replica_settings.snapshot_after_entries = 200;
        replica_settings.catch_up_entries = 50;
        let replica = Replica::new(replica_settings, recovered, self.clock.local(now));
        self.life += 1;
        self.running = Some(Running {
            replica,
            log,
            catalog: Catalog::new(1),
            disk_queue: Vec::new(),
            disk_busy: false,
            waiting: BTreeMap::new(),
            next_token: 0,
            shelf: Shelf::default(),
            sessions: BTreeMap::new(),
            partials: Partials::new(self.id),
            reporters: BTreeMap::new(),
            life: self.life,
        });
        Ok(())
    }

    /// kill -9, perhaps inside a write.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        if let Some(mut running) = self.running.take() {
            if running.disk_busy {
                self.disk.die_after(u32::try_from(chance.below(6)).expect("below 6"));
                let _ = running.carry_out_disk_work();
            }
            drop(running);
            self.disk.crash(chance);
        }
    }

    /// The wall clock of this node.
    pub(crate) fn wall_ms(&self, now: Duration) -> u64 {
        WALL_START_MS + u64::try_from(self.clock.local(now).as_millis()).expect("a simulation is short")
    }
}

impl Running {
    /// Carries out everything that the replica asks for, until it asks no more.
    pub(crate) fn settle(&mut self, local: Duration, effects: &mut Effects) {
        loop {
            let outputs = self.replica.outputs(local);
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.carry(output, effects);
            }
        }
        effects.wake = self.replica.next_deadline();
    }

    fn carry(&mut self, output: Output, effects: &mut Effects) {
        match output {
            Output::RoleChanged { role: Role::Leader, term, .. } => effects.leads.push(term),
            Output::RoleChanged { .. } => {}
            Output::Send { to, bytes } => effects.sends.push((to, bytes)),
            Output::SendSnapshot { to, index, bytes } => match self.log.snapshots().read(index) {
                Ok(Some(snapshot)) => effects.snapshots.push((to, bytes, snapshot.data)),
                _ => self.replica.snapshot_sent(to, false),
            },
            Output::Persist(batch) => self.queue(DiskWork::Persist(batch), effects),
            Output::KeepSnapshot(snapshot) => self.queue(DiskWork::Keep(snapshot), effects),
            Output::CompactLog { below } => self.queue(DiskWork::Compact(below), effects),
            Output::Apply(entries) => self.apply(entries, effects),
            Output::InstallSnapshot { index, data, .. } => self.install(index, &data, effects),
            Output::ReadReady { token, .. } | Output::ReadFailed { token, .. } => {
                self.waiting.remove(&token);
            }
            Output::ProposalLost { token, reason } => {
                let reply = match reason {
                    consensus::ProposeError::NotLeader { leader } => Reply::NotLeader(leader),
                    _ => Reply::Unknown,
                };
                self.reply(token, reply, effects);
            }
            Output::MakeSnapshot => {
                let (index, data) = (self.catalog.applied().index, self.catalog.snapshot());
                self.replica.snapshot_made(index, data.into());
            }
        }
    }

    fn queue(&mut self, work: DiskWork, effects: &mut Effects) {
        self.disk_queue.push(work);
        effects.disk_begins |= !self.disk_busy;
        self.disk_busy = true;
    }

    fn apply(&mut self, entries: Vec<Committed>, effects: &mut Effects) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        let mut changes = Vec::new();
        for entry in entries {
            let applied = self.catalog.apply(entry.index, &entry.data);
            let mut data = TraceHash::default();
            data.tell(&entry.data);
            let state = self.catalog.state_hash();
            let id = Command::decode(entry.data.clone()).ok().and_then(|command| command.id);
            let told = AppliedEntry { term: entry.term, data: data.value(), state };
            effects.applied.push((entry.index, told, id.map(|id| (id.client, id.sequence))));
            changes.extend(applied.changes);
            if let Some(token) = entry.token {
                self.reply(token, Reply::Outcome(Box::new(applied.outcome)), effects);
            }
        }
        self.replica.applied(last);
        self.push(&changes, false, effects);
    }

    /// Tells every session what changed.
    fn push(&mut self, changes: &[Change], replaced: bool, effects: &mut Effects) {
        let (applied, routing) = (self.catalog.applied(), self.catalog.routing());
        let touched = self.shelf.changed(changes, applied, routing, replaced);
        for (stream, session) in &mut self.sessions {
            touched.iter().for_each(|touch| session.touched(touch));
            let mut outputs = Vec::new();
            session.flush(&mut self.shelf, &mut outputs);
            answer(*stream, outputs, effects);
        }
    }

    /// A request arrived on a proxy's stream; the first one opens the session.
    pub(crate) fn stream_request(
        &mut self,
        stream: StreamKey,
        request: &DeltaDiscoveryRequest,
        effects: &mut Effects,
    ) {
        if request.node.is_none() && !self.sessions.contains_key(&stream) {
            return; // a late piece of a stream that has ended
        }
        let session = self.sessions.entry(stream).or_insert_with(|| Session::new(Way::Delta));
        let mut outputs = Vec::new();
        session.delta_request(request, &mut self.shelf, &mut outputs);
        answer(stream, outputs, effects);
    }

    /// A proxy's stream ended.
    pub(crate) fn stream_broken(&mut self, stream: StreamKey) {
        self.sessions.remove(&stream);
    }

    fn install(&mut self, index: u64, data: &[u8], effects: &mut Effects) {
        self.catalog = if data.is_empty() {
            Catalog::new(1)
        } else {
            Catalog::restore(data).expect("a snapshot that a node of the same version made can be restored")
        };
        if !data.is_empty() {
            effects.installed.push((index, self.catalog.state_hash()));
        }
        self.replica.applied(index);
        let view = self.catalog.view();
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
        waiting: Waiting,
        effects: &mut Effects,
    ) {
        command.at_ms = wall_ms;
        self.next_token += 1;
        match self.replica.propose(self.next_token, command.encode_to_vec().into()) {
            Ok(()) => {
                self.waiting.insert(self.next_token, waiting);
            }
            Err(consensus::ProposeError::NotLeader { leader }) => {
                effects.replies.push((waiting, Reply::NotLeader(leader)));
            }
            Err(_) => effects.replies.push((waiting, Reply::Unknown)),
        }
    }

    /// The disk has done its work: everything that was queued, batches in one fsync.
    pub(crate) fn disk_done(&mut self, local: Duration, effects: &mut Effects) {
        self.disk_busy = false;
        match self.carry_out_disk_work() {
            Ok((persisted, kept)) => {
                if let Some(number) = persisted {
                    self.replica.persisted(number, local);
                }
                kept.into_iter().for_each(|index| self.replica.snapshot_kept(index));
            }
            Err(error) => effects.died = Some(error.to_string()),
        }
    }

    fn carry_out_disk_work(&mut self) -> Result<(Option<u64>, Vec<u64>), PersistError> {
        let (mut batches, mut kept, mut compact_below) = (Vec::new(), Vec::new(), None);
        for work in std::mem::take(&mut self.disk_queue) {
            match work {
                DiskWork::Persist(batch) => batches.push(batch),
                DiskWork::Keep(snapshot) => {
                    self.log.snapshots().keep(&snapshot)?;
                    kept.push(snapshot.index);
                }
                DiskWork::Compact(below) => compact_below = Some(below),
            }
        }
        if !batches.is_empty() {
            self.log.persist(&batches)?;
        }
        if let Some(below) = compact_below {
            self.log.compact(below)?;
        }
        Ok((batches.last().map(|batch| batch.number), kept))
    }
}
