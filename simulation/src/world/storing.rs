//! The queue before a node's disk, as `control/src/replica/disk.rs` has it: everything that waits shares one fsync, writes are
//! refused before the disk is full, a full one is waited out, any other error ends the process.

use std::time::Duration;

use consensus::{Batch, HardState, Log, PersistError, Snapshot};
use control::replica::space::Space;

use crate::sabotage::Sabotage;

/// What is kept free, in bytes: a few segments and snapshots of the simulation's size.
const RESERVE: u64 = 256 << 10;

/// How often free space is looked at, as the product has it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the disk is asked.
#[derive(Debug)]
pub(super) enum Work {
    Persist(Batch),
    Keep(Snapshot),
    Compact(u64),
    /// The directory is in doubt no more.
    EndDoubt,
}

/// What became of the work that was queued.
#[derive(Debug)]
pub(super) enum Stored {
    /// All of it is durable: the last batch, and these snapshots.
    Done { batch: Option<u64>, kept: Vec<u64> },
    /// There is no room; what is not done is to be tried again. These snapshots are durable.
    Full { kept: Vec<u64> },
    /// The process must end itself, and this is why.
    Failed(String),
}

/// The log and what waits for it.
pub(super) struct Storing {
    pub(super) log: Log,
    queue: Vec<Work>,
    pub(super) busy: bool,
    pub(super) space: Space,
    looked: Duration,
    /// Term and vote as of the last durable batch.
    pub(super) durable: HardState,
    /// Index and term of every entry that is durable, above the oldest kept.
    pub(super) entries: std::collections::BTreeMap<u64, u64>,
    sabotage: Option<Sabotage>,
}

impl Storing {
    pub(super) fn new(log: Log, durable: HardState, sabotage: Option<Sabotage>) -> Self {
        let (queue, entries) = (Vec::new(), std::collections::BTreeMap::new());
        let (space, looked) = (Space::new(RESERVE), Duration::ZERO);
        Self { log, queue, busy: false, space, looked, durable, entries, sabotage }
    }

    /// Looks how much is free, unless that was done a moment ago; says whether there is room for new writes.
    pub(super) fn has_room(&mut self, local: Duration) -> bool {
        if local >= self.looked + LOOK_EVERY {
            self.looked = local;
            self.space.seen(self.log.free_bytes().unwrap_or(u64::MAX));
        }
        self.space.shortage().is_none()
    }

    /// Whether it holds the term of an election: a founding is of the first.
    pub(super) fn has_begun(&self) -> bool {
        self.durable.term > 1
    }

    /// Queues work. `true`: the disk was idle and begins now.
    pub(super) fn queue(&mut self, mut work: Work) -> bool {
        if let (Some(Sabotage::VoteForgotten), Work::Persist(batch)) = (self.sabotage, &mut work) {
            batch.hard_state.vote = 0;
        }
        self.queue.push(work);
        !std::mem::replace(&mut self.busy, true)
    }

    /// Does everything that is queued, batches in one fsync.
    pub(super) fn carry_out(&mut self) -> Stored {
        self.busy = false;
        let (mut batches, mut kept, mut below) = (Vec::new(), Vec::new(), None);
        let mut left = Vec::new();
        let mut refused = None;
        for work in std::mem::take(&mut self.queue) {
            match work {
                _ if refused.is_some() => left.push(work),
                Work::Persist(batch) => batches.push(batch),
                Work::Keep(snapshot) => match self.log.snapshots().keep(&snapshot) {
                    Ok(()) => kept.push(snapshot.index),
                    Err(error) => {
                        refused = Some(error);
                        left.push(Work::Keep(snapshot));
                    }
                },
                // Before the batches, as the product has it: who has voted is not in doubt after a restart.
                Work::EndDoubt => {
                    if let Err(error) = self.log.end_doubt() {
                        refused = Some(error);
                        left.push(Work::EndDoubt);
                    }
                }
                Work::Compact(index) => below = below.max(Some(index)),
            }
        }
        if refused.is_none() {
            refused = self.log.persist(&batches).err();
        }
        let persisted = refused.is_none();
        if let (Some(below), true) = (below, persisted) {
            refused = self.log.compact(below).err();
            self.entries = self.entries.split_off(&below);
        }
        match refused {
            None => self.done(&batches, kept),
            Some(PersistError::DiskFull { .. }) => {
                left.splice(0..0, batches.into_iter().filter(|_| !persisted).map(Work::Persist));
                left.extend(below.map(Work::Compact));
                self.queue = left;
                self.busy = true;
                self.space.set_full(true);
                Stored::Full { kept }
            }
            Some(error @ PersistError::Fatal { .. }) => Stored::Failed(error.to_string()),
        }
    }

    fn done(&mut self, batches: &[Batch], kept: Vec<u64>) -> Stored {
        self.space.set_full(false);
        for batch in batches {
            self.durable = batch.hard_state;
            if let Some(snapshot) = &batch.snapshot {
                self.entries.clear();
                self.entries.insert(snapshot.index, snapshot.term);
            }
            if let Some(first) = batch.entries.first() {
                self.entries.split_off(&first.index);
                self.entries.extend(batch.entries.iter().map(|entry| (entry.index, entry.term)));
            }
        }
        Stored::Done { batch: batches.last().map(|batch| batch.number), kept }
    }
}
