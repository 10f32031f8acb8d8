//! The segmented log: one frame and one fdatasync per call, preallocated segments, recycled after compaction.
//!
//! Overwriting a segment that was written once syncs about twice as fast as growing a file, because no file
//! length has to go to the file system's journal. A spare segment is kept ready, so that a disk which fills
//! up is noticed between two segments, never in the middle of a batch.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use prost::Message as _;

use crate::nouns::{Batch, HardState, Membership, NodeId};

use super::directory::{Directory, FORMAT, Standing, fatal, open_error, persist_error};
use super::errors::{OpenError, PersistError};
use super::founding::{begin_segment, found, is_doubtful};
use super::frame::{self, BatchRecord, HEADER_BYTES, Head, Record, Reset};
use super::recovered::Recovered;
use super::recovery::{self, Segment};
use super::snapshot_files::SnapshotFiles;
use super::vfs::{FileLock, Vfs, VfsFile};

/// Segments kept for later use: about as many as one snapshot frees. Fewer would have to be filled with zeros
/// again in the way of a write; more would only take space.
const SPARES_MAX: usize = 4;
/// Default length of a segment. A smaller one means more directory syncs; a larger one a longer pause when one
/// has to be filled with zeros (8 MiB take some 10 ms), which happens until the first compaction.
const SEGMENT_BYTES: u64 = 8 << 20;

/// Where the log lies and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// The data directory; made if it does not stand.
    pub directory: PathBuf,
    /// Name of the cluster, one line; a directory of another one is refused.
    pub cluster: String,
    /// Whose log it is; a directory of another node is refused.
    pub node: NodeId,
    /// With whom the group is founded, if the directory is new; empty: wait to be brought into a group by its
    /// leader.
    pub founders: Membership,
    /// Whether a directory without a log gets one; else it is refused, and left as it is.
    pub may_found: bool,
    /// Length of one segment.
    pub segment_bytes: u64,
}

impl LogSettings {
    /// Settings with the default length of segments, of a log that may be founded.
    pub fn new(directory: PathBuf, cluster: &str, node: NodeId, founders: Membership) -> Self {
        let (cluster, segment_bytes) = (cluster.to_owned(), SEGMENT_BYTES);
        Self { directory, cluster, node, founders, may_found: true, segment_bytes }
    }
}

/// The segment that is written to.
struct Current {
    number: u64,
    path: PathBuf,
    file: Box<dyn VfsFile>,
    length: u64,
    offset: u64,
}

/// The durable log. One process, one thread.
pub struct Log {
    directory: Directory,
    segment_bytes: u64,
    snapshots: SnapshotFiles,
    /// All segments, the current one last.
    segments: VecDeque<Segment>,
    current: Current,
    spares: Vec<PathBuf>,
    next_spare: u64,
    sequence: u64,
    hard_state: HardState,
    last_index: u64,
    /// To be said with the next batch: a snapshot reached the disk, and a crash came before the log could say
    /// so.
    reset: Option<Reset>,
    buffer: Vec<u8>,
    failed: bool,
    owner: (String, NodeId, u64),
    _lock: FileLock,
}

impl Log {
    /// Opens the directory, or founds it without an identity of its own, and reads what it holds.
    ///
    /// # Errors
    /// [`OpenError`]; nothing that the directory held was changed.
    pub fn open(vfs: Arc<dyn Vfs>, settings: &LogSettings) -> Result<(Self, Recovered), OpenError> {
        Self::open_as(vfs, settings, 0)
    }

    /// The same; a directory that has no identity yet gets `disk`, which should be drawn by chance: by it the
    /// others see that a node has come back without what it promised them.
    ///
    /// # Errors
    /// [`OpenError`]; nothing else that the directory held was changed.
    pub fn open_as(
        vfs: Arc<dyn Vfs>,
        settings: &LogSettings,
        disk: u64,
    ) -> Result<(Self, Recovered), OpenError> {
        assert!(
            !settings.cluster.contains(['\n', '\r']),
            "the name of a cluster is one line; whoever reads settings from people checks that first"
        );
        let directory = Directory { vfs, path: settings.directory.clone() };
        let unfounded = || OpenError::Unfounded { directory: settings.directory.clone() };
        if !settings.may_found && directory.is_untouched()? {
            return Err(unfounded());
        }
        let lock = directory.lock()?;
        let standing = directory.check_owner(&settings.cluster, settings.node)?;
        let snapshots = SnapshotFiles::new(Arc::clone(&directory.vfs), directory.path.clone());
        directory.remove_temporary()?;
        let (disk, doubtful) = match standing {
            Standing::Founded { disk: known, doubtful } if known != 0 || disk == 0 => (known, doubtful),
            Standing::Founded { .. } => {
                directory.write_meta(&settings.cluster, settings.node, disk, "yes")?;
                (disk, false)
            }
            Standing::New | Standing::HalfFounded if !settings.may_found => return Err(unfounded()),
            Standing::New | Standing::HalfFounded => {
                found(&directory, &snapshots, settings, disk)?;
                (disk, is_doubtful(settings, disk))
            }
        };
        let mut read = recovery::read_segments(&directory)?;
        let (sequence, end) = (read.sequence, read.end);
        let segments: VecDeque<Segment> = std::mem::take(&mut read.segments).into();
        let leftovers = std::mem::take(&mut read.leftovers);
        let (mut recovered, reset) = recovery::reconcile(&directory, read, snapshots.newest()?)?;
        (recovered.disk, recovered.doubtful) = (disk, doubtful);
        let number = segments.back().expect("reading segments gives one at least").number;
        let current = open_current(&directory, number, end)?;
        for leftover in leftovers {
            let file = directory.segment(leftover);
            directory.vfs.remove(&file).map_err(|error| open_error("remove", &file, error))?;
        }
        let covered = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
        let mut log = Self {
            segment_bytes: settings.segment_bytes,
            snapshots,
            segments,
            current,
            spares: Vec::new(),
            next_spare: 0,
            sequence,
            hard_state: recovered.hard_state,
            last_index: recovered.entries.last().map_or(covered, |entry| entry.index),
            reset,
            buffer: Vec::new(),
            failed: false,
            owner: (settings.cluster.clone(), settings.node, disk),
            _lock: lock,
            directory,
        };
        log.adopt_spares()?;
        if recovered.torn_bytes > 0 {
            tracing::warn!(
                file = %log.current.path.display(), offset = end, bytes = recovered.torn_bytes,
                "a crash left half a frame at the end of the log; it was never confirmed, and is cut off"
            );
        }
        Ok((log, recovered))
    }

    /// Makes all batches durable with one fsync; all or none of them.
    ///
    /// # Errors
    /// [`PersistError::DiskFull`]: nothing was written, call again with the same.
    /// [`PersistError::Fatal`]: end the process; the log takes nothing any more.
    pub fn persist(&mut self, batches: &[Batch]) -> Result<(), PersistError> {
        if batches.is_empty() {
            return Ok(());
        }
        self.guarded(|log| log.persist_all(batches))
    }

    /// Gives up entries below `below`, which a durable snapshot covers; their segments are used again.
    ///
    /// # Errors
    /// As [`Self::persist`].
    pub fn compact(&mut self, below: u64) -> Result<(), PersistError> {
        self.guarded(|log| {
            let mut changed = false;
            while log.segments.len() > 1
                && let Some(oldest) = log.segments.pop_front_if(|oldest| oldest.max_index < below)
            {
                log.recycle(oldest.number)?;
                changed = true;
            }
            if changed { log.directory.sync() } else { Ok(()) }
        })
    }

    /// The group vouches for this directory: it is not in doubt any more, also after a restart.
    ///
    /// # Errors
    /// As [`Self::persist`].
    pub fn end_doubt(&mut self) -> Result<(), PersistError> {
        self.guarded(|log| {
            let (cluster, node, disk) = &log.owner;
            log.directory.write_meta(cluster, *node, *disk, "yes")
        })
    }

    /// Makes a spare segment if there is none. For idle moments; without it, a write has to wait for it some
    /// day.
    ///
    /// # Errors
    /// As [`Self::persist`].
    pub fn prepare(&mut self) -> Result<(), PersistError> {
        self.guarded(|log| {
            if log.spares.is_empty() {
                let bytes = log.segment_bytes;
                log.make_spare(bytes)?;
            }
            Ok(())
        })
    }

    /// Bytes that are free on the disk; `None` where there is no bound, or none can be told.
    pub fn free_bytes(&self) -> Option<u64> {
        self.directory.vfs.free_bytes(&self.directory.path).ok().flatten()
    }

    /// The snapshots of this directory; the value may be cloned and used on any thread.
    pub fn snapshots(&self) -> SnapshotFiles {
        self.snapshots.clone()
    }

    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), PersistError>,
    ) -> Result<(), PersistError> {
        if self.failed {
            let source = io::Error::other("an earlier write or sync failed");
            return Err(fatal("go on with", &self.current.path, source));
        }
        let result = work(self);
        self.failed = matches!(result, Err(PersistError::Fatal { .. }));
        result
    }

    fn persist_all(&mut self, batches: &[Batch]) -> Result<(), PersistError> {
        for snapshot in batches.iter().filter_map(|batch| batch.snapshot.as_ref()) {
            self.snapshots.keep(snapshot)?;
        }
        let mut record = Record {
            sequence: self.sequence + 1,
            head: None,
            batches: batches.iter().map(batch_record).collect(),
        };
        if let (Some(reset), Some(first)) = (self.reset, record.batches.first_mut()) {
            first.reset.get_or_insert(reset);
        }
        let room = self.current.length - self.current.offset;
        if (frame::frame_bytes(record.encoded_len()) + HEADER_BYTES) as u64 <= room {
            self.write(&record)?;
        } else {
            self.roll(&mut record)?;
        }
        self.sequence = record.sequence;
        self.reset = None;
        for batch in &record.batches {
            let last_index = batch.entries.last().map(|entry| entry.index);
            recovery::note_batch(self.segments.make_contiguous(), batch.reset.as_ref(), last_index);
            self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
            let begins = batch.reset.map_or(self.last_index, |reset| reset.index);
            self.last_index = last_index.unwrap_or(begins);
        }
        Ok(())
    }

    fn write(&mut self, record: &Record) -> Result<(), PersistError> {
        let current = &mut self.current;
        frame::encode(record, current.number, current.offset, &mut self.buffer);
        let written = current.file.write_at(current.offset, &self.buffer);
        written.map_err(|error| persist_error("write", &current.path, error))?;
        current.file.sync_data().map_err(|error| fatal("sync", &current.path, error))?;
        current.offset += (self.buffer.len() - HEADER_BYTES) as u64;
        Ok(())
    }

    /// Begins a new segment with `record`. Its name appears only when the record is durable in it.
    fn roll(&mut self, record: &mut Record) -> Result<(), PersistError> {
        record.head = Some(Head {
            format: FORMAT,
            previous_end: self.current.offset,
            hard_state: Some(self.hard_state),
            last_index: self.last_index,
        });
        let number = self.current.number + 1;
        frame::encode(record, number, 0, &mut self.buffer);
        if self.spares.is_empty() {
            self.make_spare(self.segment_bytes.max(self.buffer.len() as u64))?;
        }
        let spare = self.spares.last().expect("one was just made").clone();
        let path = self.directory.segment(number);
        let (file, length) = begin_segment(&self.directory, &spare, &path, &self.buffer)?;
        self.spares.pop();
        let offset = (self.buffer.len() - HEADER_BYTES) as u64;
        self.current = Current { number, path, file, length, offset };
        self.segments.push_back(Segment { number, max_index: 0 });
        Ok(())
    }

    /// Makes a file of zeros that were really written, durable under the name of a spare.
    fn make_spare(&mut self, bytes: u64) -> Result<(), PersistError> {
        let temporary = self.directory.temporary_segment();
        let vfs = &self.directory.vfs;
        let made = vfs.create(&temporary).and_then(|mut file| file.preallocate(bytes).map(|()| file));
        let mut file = made.map_err(|error| {
            // Half a spare would take the space that is wanted; if it cannot be removed, the next start does
            // it.
            let _best_effort = vfs.remove(&temporary);
            persist_error("preallocate", &temporary, error)
        })?;
        file.sync_data().map_err(|error| fatal("sync", &temporary, error))?;
        drop(file);
        let spare = self.directory.spare(self.next_spare);
        vfs.rename(&temporary, &spare).map_err(|error| persist_error("rename", &spare, error))?;
        self.directory.sync()?;
        self.next_spare += 1;
        self.spares.push(spare);
        Ok(())
    }

    fn recycle(&mut self, number: u64) -> Result<(), PersistError> {
        let path = self.directory.segment(number);
        if self.spares.len() >= SPARES_MAX {
            return self.directory.vfs.remove(&path).map_err(|error| fatal("remove", &path, error));
        }
        let spare = self.directory.spare(self.next_spare);
        self.directory.vfs.rename(&path, &spare).map_err(|error| fatal("rename", &path, error))?;
        self.next_spare += 1;
        self.spares.push(spare);
        Ok(())
    }

    /// Takes over the spares of an earlier life. Too few are no reason not to start: the current segment has
    /// room.
    fn adopt_spares(&mut self) -> Result<(), OpenError> {
        for spare in self.directory.spares()? {
            let number =
                spare.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("spare-").map(str::to_owned));
            let number = number.and_then(|digits| u64::from_str_radix(&digits, 16).ok()).unwrap_or(0);
            self.next_spare = self.next_spare.max(number + 1);
            self.spares.push(spare);
        }
        match self.prepare() {
            Err(PersistError::DiskFull { file }) => {
                tracing::warn!(file = %file.display(), "no space left for a spare log segment");
                Ok(())
            }
            other => other.map_err(OpenError::from),
        }
    }
}

/// Opens the last segment to go on at `offset`. What was read there may not have been durable: now it is.
fn open_current(directory: &Directory, number: u64, offset: u64) -> Result<Current, OpenError> {
    let path = directory.segment(number);
    let open = || -> io::Result<(Box<dyn VfsFile>, u64)> {
        let mut file = directory.vfs.open(&path)?;
        file.sync_data()?;
        let length = file.length()?;
        Ok((file, length))
    };
    let (file, length) = open().map_err(|error| open_error("open", &path, error))?;
    Ok(Current { number, path, file, length, offset })
}

fn batch_record(batch: &Batch) -> BatchRecord {
    BatchRecord {
        hard_state: Some(batch.hard_state),
        reset: batch.snapshot.as_ref().map(|snapshot| Reset { index: snapshot.index, term: snapshot.term }),
        entries: batch.entries.clone(),
    }
}
