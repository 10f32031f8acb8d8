//! Reading a log for people: what a data directory holds while its node is down. Beside the lock that keeps the node from
//! starting meanwhile, nothing is written; a torn end is told and left.

use std::path::Path;
use std::sync::Arc;

use super::directory::{Directory, META};
use super::errors::OpenError;
use super::recovered::Recovered;
use super::recovery;
use super::snapshot_files::SnapshotFiles;
use super::vfs::Vfs;

/// Reads a directory as the next start of its node would.
///
/// # Errors
/// [`OpenError`]: it does not stand, its node runs, or it cannot be read.
pub fn inspect(vfs: Arc<dyn Vfs>, directory: &Path) -> Result<Recovered, OpenError> {
    let directory = Directory { vfs, path: directory.to_owned() };
    // Before the lock, which would make the directory.
    directory.read(&directory.file(META))?;
    let _lock = directory.lock()?;
    let read = recovery::read_segments(&directory)?;
    let snapshots = SnapshotFiles::new(Arc::clone(&directory.vfs), directory.path.clone());
    let (recovered, _reset) = recovery::reconcile(&directory, read, snapshots.newest()?)?;
    Ok(recovered)
}
