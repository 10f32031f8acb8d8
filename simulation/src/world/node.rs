//! The machine of one control node: disk, clocks, and the process on it, which runs, stands still, is dead, or is out for good.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use consensus::{HardState, Log, LogSettings, Membership, NodeId, OpenError, Replica, ReplicaSettings};
use control::backup::{RestoreError, found_with};

use super::clock::Clock;
use super::event::Event;
use super::lives::life_of;
use super::running::{Program, Running};
use super::stopping::Stopping;
use super::storing::Storing;
use crate::chance::Chance;
use crate::disk::{Lies, SimDisk};
use crate::marks::Reached;
use crate::sabotage::Sabotage;
use crate::shape::Shape;

/// Segments short enough that a run fills, recycles and truncates many.
const SEGMENT_BYTES: u64 = 64 << 10;

/// A node, running or not.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Clock,
    /// Counts starts; events of an earlier life are void.
    pub(crate) life: u64,
    /// Number and time of the wake-up that counts.
    pub(crate) wake: (u64, Duration),
    /// The process stands still until then.
    pub(crate) paused_until: Option<Duration>,
    /// What came to it meanwhile, in order.
    pub(super) deferred: Vec<Event>,
    /// How many times as slow as usual the disk is.
    pub(crate) disk_factor: u32,
    /// Until when it is; what was begun by then is done soon after.
    pub(crate) disk_slow_until: Duration,
    /// A sync is going to fail, and how long the process is dead after it.
    pub(crate) doomed: Option<Duration>,
    /// It was told to stop, and has not ended yet.
    pub(super) stopping: Option<Stopping>,
    /// The disk lost what the group needs: this node must never come back, and why.
    pub(crate) out: Option<String>,
    /// What was durable on its disk once may not be any more.
    pub(crate) forgot: bool,
    /// Its disk was replaced by an empty one, and it has no vote again yet.
    pub(super) wiped: bool,
    /// An election stood on its disk when its last process ended.
    begun: bool,
    /// Counts the disks that it had.
    disks: u64,
    /// Term and vote when its disk began to lie, if it lies.
    pub(crate) lies_since: Option<HardState>,
    /// What its log does not sync because it is sabotaged.
    pub(crate) honest_lies: Lies,
    /// The newest version of commands that the program on it knows.
    pub(crate) program: u32,
    pub(crate) running: Option<Box<Running>>,
    sabotage: Option<Sabotage>,
}

impl Node {
    pub(crate) fn new(id: u64, clock: Clock, program: u32, sabotage: Option<Sabotage>) -> Self {
        let disk = SimDisk::default();
        let honest_lies = Lies {
            files: sabotage == Some(Sabotage::NoSync),
            directories: sabotage == Some(Sabotage::NoDirectorySync),
        };
        disk.lie(honest_lies);
        Self {
            id,
            disk,
            clock,
            life: 0,
            wake: (0, Duration::ZERO),
            paused_until: None,
            deferred: Vec::new(),
            disk_factor: 1,
            disk_slow_until: Duration::ZERO,
            doomed: None,
            stopping: None,
            out: None,
            forgot: false,
            wiped: false,
            begun: false,
            disks: 1,
            lies_since: None,
            honest_lies,
            program,
            running: None,
            sabotage,
        }
    }

    /// Where its log lies, and among whom it was founded.
    fn log_settings(&self, shape: &Shape) -> LogSettings {
        LogSettings {
            directory: PathBuf::from("data"),
            cluster: "simulated".to_owned(),
            node: NodeId(self.id),
            founders: Membership::of_voters((1..=shape.nodes).map(NodeId)),
            may_found: true,
            segment_bytes: SEGMENT_BYTES,
        }
    }

    /// A new disk, and on it the state as of `index`; whatever was wrong with the old one is past.
    pub(super) fn restore(&mut self, shape: &Shape, index: u64, state: Vec<u8>) -> Result<(), RestoreError> {
        self.disk = SimDisk::default();
        found_with(Arc::new(self.disk.clone()), &self.log_settings(shape), index, state)?;
        self.disk.lie(self.honest_lies);
        (self.out, self.forgot, self.wiped) = (None, false, false);
        Ok(())
    }

    /// An empty disk instead of the one that it had, whatever was wrong with that.
    pub(super) fn replace_disk(&mut self) {
        self.disk = SimDisk::default();
        self.disk.lie(self.honest_lies);
        self.disks += 1;
        self.begun = false;
        (self.out, self.forgot, self.wiped) = (None, false, true);
    }

    /// What a new directory on its disk is called: unlike every other of this run.
    pub(super) fn identity(&self) -> u64 {
        self.id << 32 | self.disks
    }

    /// Starts the process from what the disk holds.
    pub(crate) fn start(
        &mut self,
        now: Duration,
        shape: &Shape,
        chance: &mut Chance,
        reached: &mut Reached,
    ) -> Result<(), OpenError> {
        let settings = self.log_settings(shape);
        let (log, mut recovered) = Log::open_as(Arc::new(self.disk.clone()), &settings, self.identity())?;
        recovered.doubtful &= self.sabotage != Some(Sabotage::EmptyDiskVotes);
        let of_life = life_of(&mut recovered, self.sabotage, reached);
        let mut replica = ReplicaSettings::new(NodeId(self.id), chance.bits());
        replica.snapshot_after_entries = shape.snapshot_after;
        replica.catch_up_entries = shape.snapshot_after / 4;
        replica.message_bytes_max = shape.message_bytes;
        let mut storing = Storing::new(log, recovered.hard_state, self.sabotage);
        if let Some(snapshot) = &recovered.snapshot {
            storing.entries.insert(snapshot.index, snapshot.term);
        }
        storing.entries.extend(recovered.entries.iter().map(|entry| (entry.index, entry.term)));
        let (local, recovered_disk) = (self.clock.local(now), recovered.disk);
        let replica = Replica::new(replica, recovered, local);
        self.life += 1;
        // What the life before asked for is void, also if this one asks for the same moment.
        self.wake.1 = Duration::ZERO;
        let program = Program {
            life: self.life,
            commands: self.program,
            disk: recovered_disk,
            of_life,
            sabotage: self.sabotage,
        };
        self.running = Some(Box::new(Running::new(self.id, program, settings.founders, replica, storing)));
        Ok(())
    }

    /// The process ends by itself: what its disk was asked is written before. Nothing of it may need more than that.
    pub(super) fn end(&mut self, chance: &mut Chance) {
        if let Some(running) = self.running.as_mut().filter(|running| running.storing.busy) {
            // What fails now nobody was told to be done.
            let _written = running.storing.carry_out();
            running.storing.busy = false;
        }
        self.crash(chance);
    }

    /// kill -9, perhaps inside a write.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        self.paused_until = None;
        self.deferred.clear();
        (self.doomed, self.stopping) = (None, None);
        self.own_up();
        if let Some(mut running) = self.running.take() {
            self.begun |= running.storing.has_begun();
            if running.storing.busy {
                self.disk.die_after(u32::try_from(chance.below(6)).expect("below 6"));
                let _cut_short = running.storing.carry_out();
            }
            drop(running);
            self.disk.crash(chance);
        }
    }

    /// A lying disk syncs what it only claimed to hold.
    pub(crate) fn own_up(&mut self) {
        if self.lies_since.take().is_some() {
            self.disk.own_up();
            self.disk.lie(self.honest_lies);
        }
    }

    /// Whether its disk holds the term of an election.
    pub(super) fn has_begun(&self) -> bool {
        self.begun || self.running.as_ref().is_some_and(|running| running.storing.has_begun())
    }

    /// Whether the process does anything at this moment.
    pub(crate) fn acts(&self) -> bool {
        self.running.is_some() && self.paused_until.is_none()
    }
}
