//! Puts a replica together: opens the log, starts its thread, starts the actor in the current LocalSet.
//! Called once by `node.rs`. Must never run before the data directory is known to be this node's own.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use consensus::{
    Log, LogSettings, Membership, OpenError, Recovered, Replica, ReplicaSettings, SnapshotFiles,
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::actor::ReplicaActor;
use super::clock::Clock;
use super::disk::Disk;
use super::driver::Parts;
use super::inbox::{Inbox, inbox};
use super::leadership::Leadership;
use super::messages::CatalogChanged;
use super::peers::{Identity, Life, Links, OwnLife};
use super::subscribers::Subscribers;
use super::surroundings::Surroundings;
use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Resolution of Raft's timings, at most.
const TICK_MAX: Duration = Duration::from_millis(20);

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data directory was refused.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its thread could not be made.
    #[error("cannot start the log's thread: {0}; the process is out of threads or memory")]
    Thread(#[from] std::io::Error),
}

/// An open data directory, before the actor starts: made on the thread that calls `start`, so that what it refuses is told there.
pub struct Unstarted {
    log: Log,
    recovered: Recovered,
    life: OwnLife,
}

/// A replica that runs.
pub struct Replication {
    /// Its actor.
    pub replica: Addr<ReplicaActor>,
    /// Its catalog, to be read on the truth thread by whoever has made sure of its freshness.
    pub catalog: Rc<RefCell<Catalog>>,
    /// What clients and peers ask of the replica goes in here.
    pub inbox: Inbox,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
    /// The snapshots of the data directory.
    pub files: SnapshotFiles,
    /// The log's thread, if it has one of its own; ends after the actor.
    pub log_thread: Option<JoinHandle<()>>,
}

impl Unstarted {
    /// Opens (or founds) the data directory on this machine's file system.
    ///
    /// # Errors
    /// [`OpenError`]; the directory was not changed.
    pub fn open(surroundings: &Surroundings, settings: &Settings) -> Result<Self, OpenError> {
        // Who joins founds nothing: its log stays empty until a leader brings it in.
        let founders = settings.peers.keys().copied().filter(|_| !settings.join);
        let founders = Membership::of_voters(founders);
        let directory = settings.data_directory.clone();
        let log_settings = LogSettings::new(directory, &settings.cluster, settings.node, founders);
        let log_settings = LogSettings { may_found: settings.may_found, ..log_settings };
        let (vfs, disk) = (Arc::clone(&surroundings.disk), surroundings.seed.max(1));
        let (log, recovered) = Log::open_as(vfs, &log_settings, disk)?;
        told(&settings.data_directory, &recovered);
        if !settings.join && settings.peers.values().all(String::is_empty) && is_new(&recovered) {
            warn!(
                cluster = settings.cluster,
                node = settings.node.0,
                "founded a cluster of this node alone, for neither `peers` nor `join` was said and the data directory was empty; if this host belongs to a cluster, stop it, move the directory away, and say one of them"
            );
        }
        let life = OwnLife::new(Life::of_directory(&recovered));
        Ok(Self { log, recovered, life })
    }

    /// Which life of the cluster the directory belongs to; kept up to date once the actor runs.
    #[must_use]
    pub fn life(&self) -> OwnLife {
        self.life.clone()
    }

    /// Identity of the data directory.
    #[must_use]
    pub fn disk(&self) -> u64 {
        self.recovered.disk
    }

    /// Starts the actor in the current LocalSet, its links to the peers, and the log's thread.
    /// `surroundings` are those whose disk the data directory was opened on.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        self,
        settings: &Settings,
        surroundings: Surroundings,
        identity: Arc<Identity>,
        recipients: Vec<Recipient<CatalogChanged>>,
        metrics: &Metrics,
    ) -> Result<Replication, StartError> {
        let clock = Clock::start();
        let files = self.log.snapshots();
        let (durable, persisted) = watch::channel(0);
        let reserve = settings.limits.disk_reserve_bytes;
        let (disk, log_thread) = if surroundings.is_threadless {
            (Disk::start_here(self.log, reserve, durable, metrics.disk.clone()), None)
        } else {
            let (disk, thread) = Disk::start(self.log, reserve, durable, metrics.disk.clone())?;
            (disk, Some(thread))
        };
        let commands = identity.own().commands;
        let links = Links::new(identity, surroundings.dialler, metrics.peers.clone());
        let (leadership, watched) = watch::channel(Leadership::unknown(settings.node));
        let catalog = Rc::new(RefCell::new(Catalog::new(1)));
        let parts = Parts {
            replica: Replica::new(replica_settings(settings, surroundings.seed), self.recovered, clock.now()),
            links,
            catalog: Rc::clone(&catalog),
            disk,
            files: files.clone(),
            subscribers: Subscribers::new(recipients, metrics.replica.subscriber_overruns.clone()),
            leadership,
            life: self.life,
            proposals_in_flight: settings.limits.proposals_in_flight,
            wall: surroundings.wall,
            metrics: metrics.replica.clone(),
            commands,
        };
        let (inbox, slices) = inbox(metrics.inbox.clone());
        let replica = ReplicaActor::new(parts, clock, persisted, slices).start();
        Ok(Replication { replica, inbox, catalog, leadership: watched, files, log_thread })
    }
}

fn replica_settings(settings: &Settings, seed: u64) -> ReplicaSettings {
    let timings = settings.timings;
    ReplicaSettings {
        tick: TICK_MAX.min(timings.heartbeat / 2),
        heartbeat: timings.heartbeat,
        election_timeout_min: timings.election_timeout,
        ..ReplicaSettings::new(settings.node, seed)
    }
}

/// Whether a directory holds its founding and nothing else.
fn is_new(recovered: &Recovered) -> bool {
    recovered.entries.is_empty() && recovered.hard_state.commit <= 1
}

fn told(directory: &Path, recovered: &Recovered) {
    info!(
        directory = %directory.display(),
        term = recovered.hard_state.term,
        commit = recovered.hard_state.commit,
        entries = recovered.entries.len(),
        snapshot = recovered.snapshot.as_ref().map(|snapshot| snapshot.index),
        torn_bytes = recovered.torn_bytes,
        "data directory opened"
    );
}
