//! Making a new directory a log, in steps of which a crash may cut off any. Also the first frame of every segment, which
//! gets its name only when it is durable.

use std::io;

use super::directory::{DOUBTFUL, Directory, FORMAT, fatal, open_error, persist_error};
use super::errors::{OpenError, PersistError};
use super::frame::{self, BatchRecord, Head, Record, Reset};
use super::recovered::Recovered;
use super::segmented::LogSettings;
use super::snapshot_files::SnapshotFiles;
use super::vfs::VfsFile;

/// Whether a node that is one of several may have had another directory before: nothing in this one can tell. Who
/// is alone has promised nothing to anybody; and without an identity nobody could ever end the doubt.
pub(super) fn is_doubtful(settings: &LogSettings, disk: u64) -> bool {
    disk != 0 && settings.founders.voters.len() != 1
}

/// Makes a new directory a log with nothing but its founders, or with nothing.
pub(super) fn found(
    directory: &Directory,
    snapshots: &SnapshotFiles,
    settings: &LogSettings,
    disk: u64,
) -> Result<(), OpenError> {
    directory.sync_ancestors()?;
    directory.write_meta(&settings.cluster, settings.node, disk, "no")?;
    snapshots.remove_all()?;
    for number in directory.segments()? {
        let file = directory.segment(number);
        directory.vfs.remove(&file).map_err(|error| open_error("remove", &file, error))?;
    }
    let founding = if settings.founders.is_empty() {
        Recovered::default()
    } else {
        Recovered::founding(settings.founders.clone())
    };
    let mut reset = None;
    if let Some(snapshot) = &founding.snapshot {
        snapshots.keep(snapshot)?;
        reset = Some(Reset { index: snapshot.index, term: snapshot.term });
    }
    let head = Head { format: FORMAT, ..Head::default() };
    let batch = BatchRecord { hard_state: Some(founding.hard_state), reset, entries: Vec::new() };
    let record = Record { sequence: 1, head: Some(head), batches: vec![batch] };
    let mut buffer = Vec::new();
    frame::encode(&record, 1, 0, &mut buffer);
    let temporary = directory.temporary_segment();
    let length = settings.segment_bytes.max(buffer.len() as u64);
    let made = directory.vfs.create(&temporary).and_then(|mut file| file.preallocate(length));
    made.map_err(|error| open_error("preallocate", &temporary, error))?;
    begin_segment(directory, &temporary, &directory.segment(1), &buffer)?;
    let founded = if is_doubtful(settings, disk) { DOUBTFUL } else { "yes" };
    directory.write_meta(&settings.cluster, settings.node, disk, founded)?;
    Ok(())
}

/// Writes the first frame into `spare` and gives it its name; returns it with its length.
pub(super) fn begin_segment(
    directory: &Directory,
    spare: &std::path::Path,
    path: &std::path::Path,
    first_frame: &[u8],
) -> Result<(Box<dyn VfsFile>, u64), PersistError> {
    let write = || -> io::Result<(Box<dyn VfsFile>, u64)> {
        let mut file = directory.vfs.open(spare)?;
        file.preallocate(first_frame.len() as u64)?;
        file.write_at(0, first_frame)?;
        let length = file.length()?;
        Ok((file, length))
    };
    let (mut file, length) = write().map_err(|error| persist_error("write", spare, error))?;
    file.sync_data().map_err(|error| fatal("sync", spare, error))?;
    directory.vfs.rename(spare, path).map_err(|error| persist_error("rename", spare, error))?;
    directory.sync()?;
    Ok((file, length))
}
