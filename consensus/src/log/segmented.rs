//! The segmented log. (Skeleton: bodies follow.)

use std::path::PathBuf;
use std::sync::Arc;

use crate::nouns::{Batch, Membership, NodeId};

use super::errors::{OpenError, PersistError};
use super::recovered::Recovered;
use super::snapshot_files::SnapshotFiles;
use super::vfs::Vfs;

/// Where the log lies and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// The data directory; made if it does not stand.
    pub directory: PathBuf,
    /// Name of the cluster; a directory of another one is refused.
    pub cluster: String,
    /// Whose log it is; a directory of another node is refused.
    pub node: NodeId,
    /// With whom the group is founded, if the directory is new; empty: wait to be brought into a group by its leader.
    pub founders: Membership,
    /// Length of one segment. Smaller means more files and directory syncs; larger means a longer pause when one is filled with zeros.
    pub segment_bytes: u64,
}

/// The durable log. One process, one thread.
pub struct Log {
    snapshots: SnapshotFiles,
}

impl Log {
    /// Opens the directory, or founds it, and reads what it holds.
    ///
    /// # Errors
    /// [`OpenError`]; the directory was not changed.
    pub fn open(vfs: Arc<dyn Vfs>, settings: &LogSettings) -> Result<(Self, Recovered), OpenError> {
        let log = Self {
            snapshots: SnapshotFiles::new(vfs, settings.directory.clone()),
        };
        Ok((log, Recovered::founding(settings.founders.clone())))
    }

    /// Makes all batches durable with one fsync; all or none of them.
    ///
    /// # Errors
    /// [`PersistError::DiskFull`]: nothing was written, call again with the same. [`PersistError::Fatal`]: end the process.
    pub fn persist(&mut self, _batches: &[Batch]) -> Result<(), PersistError> {
        Ok(())
    }

    /// Gives up entries below `below`, which a durable snapshot covers; their segments are used again.
    ///
    /// # Errors
    /// As [`Self::persist`].
    pub fn compact(&mut self, _below: u64) -> Result<(), PersistError> {
        Ok(())
    }

    /// The snapshots of this directory; the value may be cloned and used on any thread.
    pub fn snapshots(&self) -> SnapshotFiles {
        self.snapshots.clone()
    }
}
