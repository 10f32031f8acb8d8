//! The log's own thread: takes batches, makes all that have come durable with one fsync, tells the replica the last number.
//!
//! Nothing else waits for an fsync. New proposals are refused before the disk is full (`space.rs`), and a disk that is full
//! all the same is waited out; any other error ends the process, because what reached the disk is unknown. Must never drop
//! or reorder a batch.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use consensus::{Batch, Log, PersistError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::ending;
use super::space::{Shortage, Space};
use crate::metrics::DiskMetrics;

/// Jobs that may wait for the thread. Raft's own bounds (uncommitted bytes on a leader, messages in flight to a follower) let
/// far fewer come into being; to reach this one is a fault of ours.
const JOBS_MAX: usize = 65_536;
/// Batches made durable by one fsync. More would prolong the wait of the first in it.
const BATCHES_PER_SYNC_MAX: usize = 1024;
/// How often a full disk is tried again. Shorter floods the log; longer prolongs the outage after space was made.
const FULL_RETRY: Duration = Duration::from_millis(250);
/// How often free space is looked at: one system call. Longer lets more be written into the reserve, at most what the disk
/// takes in this time, and prolongs the refusal after space was made.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the thread is asked.
#[derive(Debug)]
enum Job {
    Persist(Batch),
    Compact(u64),
    EndDoubt,
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
    space: Arc<Space>,
}

impl Disk {
    /// Starts the thread. `durable` is told the number of the last durable batch; `reserve` bytes are kept free. The thread
    /// ends when the [`Disk`] is dropped and everything it was given is durable.
    pub(super) fn start(
        log: Log,
        reserve: u64,
        durable: watch::Sender<u64>,
        metrics: DiskMetrics,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = sync_channel(JOBS_MAX);
        let (mut writer, space) = Writer::on(log, reserve, durable, metrics);
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&waiting))?;
        Ok((Self { jobs: Jobs::Thread(jobs), space }, thread))
    }

    /// Lets the log sync on the current LocalSet, for simulations: everything else on it waits meanwhile.
    pub(super) fn start_here(
        log: Log,
        reserve: u64,
        durable: watch::Sender<u64>,
        metrics: DiskMetrics,
    ) -> Self {
        let (jobs, mut waiting) = mpsc::channel(JOBS_MAX);
        let (mut writer, space) = Writer::on(log, reserve, durable, metrics);
        tokio::task::spawn_local(async move {
            loop {
                let first = match tokio::time::timeout(LOOK_EVERY, waiting.recv()).await {
                    Ok(Some(first)) => first,
                    Ok(None) => return,
                    Err(_) => {
                        writer.look();
                        continue;
                    }
                };
                let others = std::iter::from_fn(|| waiting.try_recv().ok());
                let round = Round::of(first, others);
                while writer.persist(&round) == Settled::Full {
                    tokio::time::sleep(FULL_RETRY).await;
                }
                while writer.compact(&round) == Settled::Full {
                    tokio::time::sleep(FULL_RETRY).await;
                }
                writer.look_again();
            }
        });
        Self { jobs: Jobs::Here(jobs), space }
    }

    /// Hands over a batch.
    pub(super) fn persist(&self, batch: Batch) {
        self.give(Job::Persist(batch));
    }

    /// The group vouches for this node's disk.
    pub(super) fn end_doubt(&self) {
        self.give(Job::EndDoubt);
    }

    /// Entries below `below` are in a durable snapshot.
    pub(super) fn compact(&self, below: u64) {
        self.give(Job::Compact(below));
    }

    /// Bytes free on the disk, once that was looked at.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.space.free()
    }

    /// Why nothing new may be written, if that is so.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.space.shortage()
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
    end_doubt: bool,
}

impl Round {
    fn of(first: Job, others: impl Iterator<Item = Job>) -> Self {
        let mut round = Self::default();
        for job in std::iter::once(first).chain(others.take(BATCHES_PER_SYNC_MAX - 1)) {
            match job {
                Job::Persist(batch) => round.batches.push(batch),
                Job::Compact(index) => round.below = round.below.max(Some(index)),
                Job::EndDoubt => round.end_doubt = true,
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
    space: Arc<Space>,
    /// When free space was last looked at.
    looked: Instant,
}

impl Writer {
    fn on(log: Log, reserve: u64, durable: watch::Sender<u64>, metrics: DiskMetrics) -> (Self, Arc<Space>) {
        let space = Arc::new(Space::new(reserve));
        let mut writer = Self { log, durable, metrics, space: Arc::clone(&space), looked: Instant::now() };
        writer.look();
        (writer, space)
    }

    fn run(&mut self, jobs: &Receiver<Job>) {
        loop {
            let first = match jobs.recv_timeout(LOOK_EVERY) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let round = Round::of(first, jobs.try_iter());
            while self.persist(&round) == Settled::Full {
                std::thread::park_timeout(FULL_RETRY);
            }
            while self.compact(&round) == Settled::Full {
                std::thread::park_timeout(FULL_RETRY);
            }
            self.look_again();
        }
    }

    /// Looks how much is free, unless that was done a moment ago.
    fn look_again(&mut self) {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look();
        }
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        let Some(free) = self.log.free_bytes() else { return };
        let before = self.space.shortage();
        self.space.seen(free);
        let after = self.space.shortage();
        self.metrics.free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        self.metrics.short.set(i64::from(after.is_some()));
        match (before, after) {
            (None, Some(shortage)) => warn!(%shortage, "refusing writes"),
            (Some(_), None) => info!(free, "the disk has space again; taking writes"),
            _ => {}
        }
    }

    /// Makes the round's batches durable, and tells so.
    fn persist(&mut self, round: &Round) -> Settled {
        // Before the batches, of which one may be this node's first vote: who has voted is not in doubt after a restart.
        if round.end_doubt {
            let result = self.log.end_doubt();
            if self.settled(result) == Settled::Full {
                return Settled::Full;
            }
        }
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

    fn settled(&mut self, result: Result<(), PersistError>) -> Settled {
        match result {
            Ok(()) => {
                if self.space.set_full(false) {
                    info!("the disk has space again; writing on");
                    self.metrics.short.set(0);
                    self.look();
                }
                Settled::Done
            }
            Err(error @ PersistError::DiskFull { .. }) => {
                self.metrics.full.inc();
                if !self.space.set_full(true) {
                    self.metrics.short.set(1);
                    warn!(%error, "refusing writes until there is space");
                }
                Settled::Full
            }
            Err(error @ PersistError::Fatal { .. }) => ending::disk_failed(&error),
        }
    }
}
