//! Makes snapshots and keeps them on the disk, beside the truth thread and the log's, so that a large one delays no write.
//! A full disk is tried again; any other error ends the process, as the log's thread does.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use consensus::{PersistError, Snapshot, SnapshotFiles};
use tracing::{debug, error, info, warn};

use super::actor::ReplicaActor;
use super::driver::Driver;
use super::ending;
use super::messages::{SnapshotKept, SnapshotMade, SnapshotUnreadable};
use crate::catalog::Catalog;
use crate::metrics::ReplicaMetrics;

/// How often a full disk is tried again. The log grows meanwhile, up to the replica's own bound.
const FULL_RETRY: Duration = Duration::from_secs(1);

impl Driver {
    /// What was to be sent to a peer cannot be read: another one is made.
    pub(super) fn snapshot_unreadable(&mut self, message: SnapshotUnreadable, now: Duration) {
        let SnapshotUnreadable { index, attempt } = message;
        if self.replica.snapshot_unreadable(index, attempt, now) {
            self.metrics.snapshots_unreadable.inc();
            error!(
                index,
                "this node's newest snapshot cannot be read from its disk: another one is made; look after the disk, from that file this node would not have started again"
            );
        }
    }
}

/// Makes bytes of a copy of the catalog in the background, and gives them to the replica. Called on the truth thread.
pub(super) fn make(copy: Catalog, replica: Addr<ReplicaActor>) {
    tokio::task::spawn_local(async move {
        let index = copy.applied().index;
        let data = tokio::task::spawn_blocking(move || Bytes::from(copy.snapshot())).await;
        let data = data.expect("making a snapshot does not panic, and the pool outlives this task");
        info!(index, bytes = data.len(), "snapshot made");
        let told = replica.send(SnapshotMade { index, data }).await;
        debug!(index, told = told.is_ok(), "snapshot handed on");
    });
}

/// Writes `snapshot` in the background and tells the replica when it is durable. Called on the truth thread.
pub(super) fn keep(
    files: SnapshotFiles,
    snapshot: Snapshot,
    replica: Addr<ReplicaActor>,
    metrics: ReplicaMetrics,
) {
    let index = snapshot.index;
    let snapshot = Arc::new(snapshot);
    tokio::task::spawn_local(async move {
        while let Err(error) = attempt(&files, &snapshot).await {
            match error {
                PersistError::DiskFull { .. } => warn!(%error, index, "the snapshot waits for space"),
                PersistError::Fatal { .. } => ending::disk_failed(&error),
            }
            tokio::time::sleep(FULL_RETRY).await;
        }
        metrics.snapshots.inc();
        let told = replica.send(SnapshotKept(index)).await;
        debug!(index, told = told.is_ok(), "snapshot kept");
    });
}

async fn attempt(files: &SnapshotFiles, snapshot: &Arc<Snapshot>) -> Result<(), PersistError> {
    let (files, snapshot) = (files.clone(), Arc::clone(snapshot));
    let written = tokio::task::spawn_blocking(move || files.keep(&snapshot));
    written.await.expect("writing a snapshot does not panic, and the pool outlives this task")
}
