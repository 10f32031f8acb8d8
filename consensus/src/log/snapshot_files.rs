//! Snapshots, one file each: written beside, synced, renamed, directory synced. (Skeleton: bodies follow.)

use std::path::PathBuf;
use std::sync::Arc;

use crate::nouns::Snapshot;

use super::errors::{OpenError, PersistError};
use super::vfs::Vfs;

/// The snapshots of one data directory.
#[derive(Clone)]
pub struct SnapshotFiles {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
}

impl SnapshotFiles {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, directory: PathBuf) -> Self {
        Self { vfs, directory }
    }

    /// Makes `snapshot` durable; the one before the last is removed.
    ///
    /// # Errors
    /// [`PersistError::DiskFull`]: nothing was changed. [`PersistError::Fatal`]: end the process.
    pub fn keep(&self, _snapshot: &Snapshot) -> Result<(), PersistError> {
        let _ = (&self.vfs, &self.directory);
        Ok(())
    }

    /// The snapshot as of `index`, if it still stands.
    ///
    /// # Errors
    /// [`OpenError::Corrupted`] or [`OpenError::Io`].
    pub fn read(&self, _index: u64) -> Result<Option<Snapshot>, OpenError> {
        Ok(None)
    }
}
