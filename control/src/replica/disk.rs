//! The log's own thread: takes batches, makes all that have come durable with one fsync, tells the replica the last number.
//!
//! Nothing else waits for an fsync. A full disk is waited out, while new proposals are refused; any other error ends the
//! process, because what reached the disk is unknown. Must never drop or reorder a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consensus::{Batch, Log, PersistError};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::ending;
use crate::metrics::DiskMetrics;

/// Jobs that may wait for the thread. Raft's own bounds (uncommitted bytes on a leader, messages in flight to a follower) let
/// far fewer come into being; to reach this one is a fault of ours.
const JOBS_MAX: usize = 65_536;
/// Batches made durable by one fsync. More would prolong the wait of the first in it.
const BATCHES_PER_SYNC_MAX: usize = 1024;
/// How often a full disk is tried again. Shorter floods the log; longer prolongs the outage after space was made.
const FULL_RETRY: Duration = Duration::from_millis(250);

/// What the thread is asked.
#[derive(Debug)]
enum Job {
    Persist(Batch),
    Compact(u64),
}

/// Where jobs are left.
#[derive(Debug)]
enum Jobs {
    /// For a thread.
    Thread(SyncSender<Job>),
    /// For a task of the same runtime.
    Here(mpsc::Sender<Job>),
}

/// The near end of the log's thread, held by the driver.
#[derive(Debug)]
pub(super) struct Disk {
    jobs: Jobs,
    full: Arc<AtomicBool>,
}

impl Disk {
    /// Starts the thread. `durable` is told the number of the last durable batch. The thread ends when the [`Disk`] is dropped
    /// and everything it was given is durable.
    pub(super) fn start(
        log: Log,
        durable: watch::Sender<u64>,
        metrics: DiskMetrics,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = sync_channel(JOBS_MAX);
        let full = Arc::new(AtomicBool::new(false));
        let mut writer = Writer { log, durable, metrics, full: Arc::clone(&full) };
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&waiting))?;
        Ok((Self { jobs: Jobs::Thread(jobs), full }, thread))
    }

    /// Lets the log sync on the current LocalSet, for simulations: everything else on it waits meanwhile.
    pub(super) fn start_here(log: Log, durable: watch::Sender<u64>, metrics: DiskMetrics) -> Self {
        let (jobs, mut waiting) = mpsc::channel(JOBS_MAX);
        let full = Arc::new(AtomicBool::new(false));
        let mut writer = Writer { log, durable, metrics, full: Arc::clone(&full) };
        tokio::task::spawn_local(async move {
            while let Some(first) = waiting.recv().await {
                let others = std::iter::from_fn(|| waiting.try_recv().ok());
                let round = Round::of(first, others);
                while writer.persist(&round) == Settled::Full {
                    tokio::time::sleep(FULL_RETRY).await;
                }
                while writer.compact(&round) == Settled::Full {
                    tokio::time::sleep(FULL_RETRY).await;
                }
            }
        });
        Self { jobs: Jobs::Here(jobs), full }
    }

    /// Hands over a batch.
    pub(super) fn persist(&self, batch: Batch) {
        self.give(Job::Persist(batch));
    }

    /// Entries below `below` are in a durable snapshot.
    pub(super) fn compact(&self, below: u64) {
        self.give(Job::Compact(below));
    }

    /// Whether the disk was found full and has not been written since.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn give(&self, job: Job) {
        let is_full = match &self.jobs {
            Jobs::Thread(jobs) => jobs.try_send(job).map_err(|error| matches!(error, TrySendError::Full(_))),
            Jobs::Here(jobs) => {
                jobs.try_send(job).map_err(|error| matches!(error, mpsc::error::TrySendError::Full(_)))
            }
        };
        match is_full {
            Ok(()) => {}
            Err(true) => panic!("{JOBS_MAX} batches wait for the disk, which Raft's bounds forbid"),
            Err(false) => panic!("the log's thread has ended before its replica"),
        }
    }
}

/// What one fsync makes durable, and what may be given up after it.
#[derive(Debug, Default)]
struct Round {
    batches: Vec<Batch>,
    // Compaction only gives up what nobody needs: it may wait for the batches that came with it.
    below: Option<u64>,
}

impl Round {
    fn of(first: Job, others: impl Iterator<Item = Job>) -> Self {
        let mut round = Self::default();
        for job in std::iter::once(first).chain(others.take(BATCHES_PER_SYNC_MAX - 1)) {
            match job {
                Job::Persist(batch) => round.batches.push(batch),
                Job::Compact(index) => round.below = round.below.max(Some(index)),
            }
        }
        round
    }
}

/// How an attempt went that did not end the process.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    Done,
    Full,
}

struct Writer {
    log: Log,
    durable: watch::Sender<u64>,
    metrics: DiskMetrics,
    full: Arc<AtomicBool>,
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let round = Round::of(first, jobs.try_iter());
            while self.persist(&round) == Settled::Full {
                std::thread::park_timeout(FULL_RETRY);
            }
            while self.compact(&round) == Settled::Full {
                std::thread::park_timeout(FULL_RETRY);
            }
        }
    }

    /// Makes the round's batches durable, and tells so.
    fn persist(&mut self, round: &Round) -> Settled {
        let Some(last) = round.batches.last() else { return Settled::Done };
        let started = Instant::now();
        let result = self.log.persist(&round.batches);
        if self.settled(result) == Settled::Full {
            return Settled::Full;
        }
        self.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.batches.inc_by(round.batches.len() as u64);
        self.durable.send_replace(last.number);
        Settled::Done
    }

    fn compact(&mut self, round: &Round) -> Settled {
        let Some(below) = round.below else { return Settled::Done };
        let result = self.log.compact(below);
        self.settled(result)
    }

    fn settled(&self, result: Result<(), PersistError>) -> Settled {
        match result {
            Ok(()) => {
                if self.full.swap(false, Ordering::Relaxed) {
                    info!("the disk has space again; writing on");
                }
                Settled::Done
            }
            Err(error @ PersistError::DiskFull { .. }) => {
                self.metrics.full.inc();
                if !self.full.swap(true, Ordering::Relaxed) {
                    warn!(%error, "refusing writes until there is space");
                }
                Settled::Full
            }
            Err(error @ PersistError::Fatal { .. }) => ending::disk_failed(&error),
        }
    }
}
