//! A backup becomes the data directory of one founder of a new cluster. Every founder is given the same file and the same
//! peers; then their directories hold the same state at the same entry, and the first leader begins a new life.
//!
//! The directory is made beside its place and renamed when it is whole, so that one that was cut short is never taken for a
//! new cluster's, and founded empty.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consensus::{
    Batch, HardState, Log, LogSettings, Membership, OpenError, PersistError, Snapshot, StdVfs, Vfs,
};
use mesh::Revision;

use super::file::{self, BackupError};
use crate::settings::Settings;

/// Raft's term at the begin of a cluster.
const FIRST_TERM: u64 = 1;
/// Entry 1 is the founding itself: what is restored stands at a later one.
const INDEX_MIN: u64 = 2;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Which cluster's state it is.
    pub from: String,
    /// As of which revision; the new cluster goes on after this index, in a later epoch.
    pub revision: Revision,
    /// Into which cluster.
    pub cluster: String,
    /// Whose directory it is.
    pub node: u64,
    /// The directory.
    pub directory: PathBuf,
    /// With whom the new cluster begins.
    pub founders: Vec<u64>,
}

/// Why nothing was restored. The directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Something stands where the directory should.
    #[error(
        "{directory} is not empty: {found} stands in it; move it away, or restore into another directory"
    )]
    NotEmpty {
        /// The data directory.
        directory: PathBuf,
        /// A file in it.
        found: String,
    },
    /// The directory cannot be made beside its place and put there.
    #[error(
        "{directory} is where a disk is mounted, which nothing can be put in the place of; restore into a directory below it, and start the node with that as its data directory"
    )]
    MountPoint {
        /// The data directory.
        directory: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The log could not be made.
    #[error("{}", told(.0))]
    Log(#[from] OpenError),
    /// The state could not be written.
    #[error("{}", told(.0))]
    State(#[from] PersistError),
}

/// An error with what the system said.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Restores `file` into the data directory of these settings, for their node among their peers.
///
/// # Errors
/// [`RestoreError`]
pub fn restore(file: &Path, settings: &Settings) -> Result<Restored, RestoreError> {
    let directory = &settings.data_directory;
    check_no_mount(directory)?;
    check_empty(directory)?;
    let backup = file::read(file)?;
    let revision = backup.catalog.applied();
    let founders: Vec<u64> = settings.peers.keys().map(|node| node.0).collect();
    let beside = beside(directory);
    let _stale = std::fs::remove_dir_all(&beside);
    let own = Membership::of_voters(settings.peers.keys().copied());
    let own = LogSettings::new(beside.clone(), &settings.cluster, settings.node, own);
    let state = backup.catalog.for_another_life().snapshot();
    let made = found_with(Arc::new(StdVfs), &own, revision.index, state);
    if let Err(error) = made.and_then(|()| into_place(&beside, directory)) {
        let _best_effort = std::fs::remove_dir_all(&beside);
        return Err(error);
    }
    Ok(Restored {
        from: backup.head.cluster,
        revision,
        cluster: settings.cluster.clone(),
        node: settings.node.0,
        directory: directory.clone(),
        founders,
    })
}

fn check_empty(directory: &Path) -> Result<(), RestoreError> {
    let found = match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(RestoreError::Io { action: "read", path: directory.to_owned(), source }),
    };
    let Some(found) = found else { return Ok(()) };
    let found = found.map(|entry| entry.file_name().to_string_lossy().into_owned()).unwrap_or_default();
    Err(RestoreError::NotEmpty { directory: directory.to_owned(), found })
}

/// A file system of its own may hold `lost+found`, and takes no rename from beside it: the mount is told first.
fn check_no_mount(directory: &Path) -> Result<(), RestoreError> {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev());
    match (device(directory), device(parent(directory))) {
        (Ok(own), Ok(outside)) if own != outside => {
            Err(RestoreError::MountPoint { directory: directory.to_owned() })
        }
        _ => Ok(()),
    }
}

fn parent(directory: &Path) -> &Path {
    directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    directory.with_file_name(name)
}

/// Founds the directory of `own` with this state, as of the entry at `index`: its log goes on behind that, among the founders that
/// `own` names. `state` is what a catalog wrote [for another life](crate::catalog::Catalog::for_another_life).
///
/// # Errors
/// [`RestoreError::Log`] and [`RestoreError::State`]: the directory is of no use.
pub fn found_with(
    vfs: Arc<dyn Vfs>,
    own: &LogSettings,
    index: u64,
    state: Vec<u8>,
) -> Result<(), RestoreError> {
    let (mut log, _founding) = Log::open(vfs, own)?;
    let index = index.max(INDEX_MIN);
    let membership = own.founders.clone();
    let snapshot = Snapshot { index, term: FIRST_TERM, membership, data: state.into() };
    let hard_state = HardState { term: FIRST_TERM, vote: 0, commit: index };
    log.persist(&[Batch { number: 1, hard_state, snapshot: Some(snapshot), entries: Vec::new() }])?;
    Ok(())
}

/// Renames it to where it belongs, durably.
fn into_place(beside: &Path, directory: &Path) -> Result<(), RestoreError> {
    let io = |action, path: &Path, source| RestoreError::Io { action, path: path.to_owned(), source };
    std::fs::rename(beside, directory).map_err(|error| io("rename to", directory, error))?;
    let parent = parent(directory);
    StdVfs.sync_dir(parent).map_err(|error| io("sync", parent, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    /// It was told of `lost+found`, or, on an empty disk after all the work, that a rename was refused.
    #[test]
    fn a_mounted_disk_is_told_before_anything_is_written_and_a_directory_below_it_is_taken() {
        let refused = check_no_mount(Path::new("/proc")).unwrap_err().to_string();
        assert!(refused.contains("restore into a directory below it"), "{refused}");
        check_no_mount(Path::new("/proc/self")).unwrap();
        check_no_mount(&std::env::temp_dir().join("not-there-yet")).unwrap();
        check_no_mount(Path::new("data")).unwrap();
    }
}
