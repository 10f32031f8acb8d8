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
use tokio::sync::watch;
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

/// The near end of the log's thread, held by the driver.
#[derive(Debug)]
pub(super) struct Disk {
    jobs: SyncSender<Job>,
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
        Ok((Self { jobs, full }, thread))
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
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                panic!("{JOBS_MAX} batches wait for the disk, which Raft's bounds forbid")
            }
            Err(TrySendError::Disconnected(_)) => panic!("the log's thread has ended before its replica"),
        }
    }
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
            let mut batches = Vec::new();
            let mut below = None;
            for job in std::iter::once(first).chain(jobs.try_iter().take(BATCHES_PER_SYNC_MAX - 1)) {
                match job {
                    Job::Persist(batch) => batches.push(batch),
                    // Compaction only gives up what nobody needs: it may wait for the batches that came with it.
                    Job::Compact(index) => below = below.max(Some(index)),
                }
            }
            if let Some(last) = batches.last().map(|batch| batch.number) {
                self.persist(&batches);
                self.durable.send_replace(last);
            }
            if let Some(below) = below {
                self.until_done(|log| log.compact(below));
            }
        }
    }

    fn persist(&mut self, batches: &[Batch]) {
        let started = Instant::now();
        self.until_done(|log| log.persist(batches));
        self.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.batches.inc_by(batches.len() as u64);
    }

    fn until_done(&mut self, mut action: impl FnMut(&mut Log) -> Result<(), PersistError>) {
        loop {
            match action(&mut self.log) {
                Ok(()) => {
                    if self.full.swap(false, Ordering::Relaxed) {
                        info!("the disk has space again; writing on");
                    }
                    return;
                }
                Err(error @ PersistError::DiskFull { .. }) => {
                    self.metrics.full.inc();
                    if !self.full.swap(true, Ordering::Relaxed) {
                        warn!(%error, "refusing writes until there is space");
                    }
                    std::thread::park_timeout(FULL_RETRY);
                }
                Err(error @ PersistError::Fatal { .. }) => ending::disk_failed(&error),
            }
        }
    }
}
