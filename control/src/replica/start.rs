//! Puts a replica together: opens the log, starts its thread, starts the actor in the current LocalSet.
//! Called once by `node.rs`. Must never run before the data directory is known to be this node's own.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use api::log::v1::Command;
use api::log::v1::command::Body;
use consensus::{
    Log, LogSettings, Membership, OpenError, Recovered, Replica, ReplicaSettings, SnapshotFiles,
};
use prost::Message as _;
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
        let life = OwnLife::new(life_of(&recovered));
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

/// The life of what was read. That it has begun may stand in the newest snapshot, or in an entry after it that is known to be
/// committed. One that is not may never be: its leader died, the next one began the life with another epoch, and would be refused
/// for ever. (What is committed and not known to be so fits both, until it is applied.)
fn life_of(recovered: &Recovered) -> Life {
    let snapshot = recovered.snapshot.as_ref().filter(|snapshot| !snapshot.data.is_empty());
    let (epoch, is_begun) = snapshot.map_or((1, false), |snapshot| Catalog::life_of(&snapshot.data));
    let begin = |data: &[u8]| match Command::decode(data).ok()?.body? {
        Body::Begin(begin) => Some(Life::Begun(begin.epoch)),
        _ => None,
    };
    if is_begun {
        return Life::Begun(epoch);
    }
    let covered = snapshot.map_or(0, |snapshot| snapshot.index);
    let committed = covered + 1..=recovered.hard_state.commit;
    let mut later = recovered.entries.iter().filter(|entry| committed.contains(&entry.index));
    later.find_map(|entry| begin(&entry.data)).unwrap_or(Life::After(epoch))
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

#[cfg(test)]
mod tests {
    use api::log::v1::Begin;
    use consensus::{HardState, LogEntry, Snapshot};

    use super::*;

    fn begin(epoch: u32) -> Vec<u8> {
        Command { id: None, at_ms: 0, body: Some(Body::Begin(Begin { epoch })) }.encode_to_vec()
    }

    /// What a directory holds whose snapshot is of this catalog, with these entries from index 2 on, all committed.
    fn recovered(catalog: Option<&Catalog>, entries: &[Vec<u8>]) -> Recovered {
        let entry =
            |(index, data): (u64, &Vec<u8>)| LogEntry { kind: 0, term: 1, index, data: data.clone().into() };
        let snapshot = catalog.map(|catalog| Snapshot {
            index: catalog.applied().index.max(1),
            term: 1,
            membership: Membership::of_voters([consensus::NodeId(1)]),
            data: catalog.snapshot().into(),
        });
        let hard_state = HardState { term: 1, vote: 0, commit: 1 + entries.len() as u64 };
        Recovered {
            snapshot,
            entries: (2..).zip(entries).map(entry).collect(),
            hard_state,
            ..Recovered::default()
        }
    }

    #[test]
    fn a_directory_knows_its_life_by_its_snapshot_or_by_the_entry_that_began_it() {
        let mut begun = Catalog::new(1);
        begun.apply(2, &begin(700));
        let to_begin = begun.clone().for_another_life();
        let founding = Recovered::founding(Membership::of_voters([consensus::NodeId(1)]));
        for (held, life) in [
            (founding, Life::After(1)),
            (Recovered::default(), Life::After(1)),
            (recovered(None, &[Vec::new(), begin(700)]), Life::Begun(700)),
            // Two leaders had proposed it: the first one counts, as in the catalog.
            (recovered(None, &[Vec::new(), begin(700), begin(800)]), Life::Begun(700)),
            (recovered(Some(&begun), &[]), Life::Begun(700)),
            (recovered(Some(&to_begin), &[]), Life::After(700)),
            (recovered(Some(&to_begin), &[Vec::new(), begin(800)]), Life::Begun(800)),
            // The begin of the life before stands below the snapshot of the next one.
            (recovered(Some(&to_begin), &[begin(700)]), Life::After(700)),
        ] {
            assert_eq!(life_of(&held), life);
        }
    }

    /// A leader that was killed before its begin was committed came back as of that life, and was refused by the others for ever:
    /// the next leader had begun theirs a second later.
    #[test]
    fn a_begin_that_is_not_known_to_be_committed_is_no_life_yet() {
        let mut held = recovered(None, &[Vec::new(), begin(700), begin(800)]);
        held.hard_state.commit = 2;
        assert_eq!(life_of(&held), Life::After(1));
        held.hard_state.commit = 3;
        assert_eq!(life_of(&held), Life::Begun(700));
    }
}
