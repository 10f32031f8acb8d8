//! Snapshots, one file each: written beside, synced, renamed, directory synced. Never changed afterwards.
//!
//! `[magic: 8][crc32c: u32][length of head: u32][head][data]`; the checksum covers everything after it. The head also has
//! the SHA-256 of the data, by which another node checks what it was sent ([`super::incoming`]).

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::nouns::{Membership, Snapshot};

use super::directory::{Directory, open_error};
use super::errors::{OpenError, PersistError};
use super::incoming::Incoming;
use super::vfs::{Vfs, VfsFile};

const MAGIC: &[u8; 8] = b"PSTKSNP1";
/// Magic, checksum and length of the head.
const FIXED_BYTES: usize = 16;
/// A head names some nodes: a longer one is none.
const HEAD_BYTES_MAX: usize = 1 << 16;
/// Snapshots that stay on disk: the newest, and the one before, which may be on its way to a node that lags.
const KEPT: usize = 2;

/// The snapshots of one data directory. Cloned freely; usable on any thread, one `keep` at a time.
#[derive(Clone)]
pub struct SnapshotFiles {
    directory: Directory,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(message, optional, tag = "3")]
    membership: Option<Membership>,
    /// SHA-256 of the data; absent in files of older versions.
    #[prost(bytes = "vec", tag = "4")]
    sha256: Vec<u8>,
}

/// By what a snapshot's data is known on its way: two that have the same label are the same to the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLabel {
    /// The last entry inside.
    pub index: u64,
    /// Length of the data.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl SnapshotLabel {
    /// The label of this data.
    pub fn of(index: u64, data: &[u8]) -> Self {
        Self { index, bytes: data.len() as u64, sha256: Sha256::digest(data).into() }
    }
}

/// A snapshot's data, to be read in pieces. Goes on reading when newer snapshots have replaced the file meanwhile.
pub struct SnapshotReader {
    label: SnapshotLabel,
    file: Box<dyn VfsFile>,
    path: PathBuf,
    begin: u64,
}

impl SnapshotReader {
    /// What it is.
    pub fn label(&self) -> SnapshotLabel {
        self.label
    }

    /// Up to `bytes_max` bytes of the data from `offset` on; fewer only at the end.
    ///
    /// # Errors
    /// [`OpenError::Io`]. That the bytes are what was written is checked by whoever has all of them, by the label.
    pub fn read(&self, offset: u64, bytes_max: usize) -> Result<Bytes, OpenError> {
        let left = usize::try_from(self.label.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(bytes_max)];
        let read = self.file.read_at(self.begin + offset, &mut piece);
        let count = read.map_err(|error| open_error("read", &self.path, error))?;
        piece.truncate(count);
        Ok(piece.into())
    }
}

impl SnapshotFiles {
    pub(super) fn new(vfs: Arc<dyn Vfs>, path: PathBuf) -> Self {
        Self { directory: Directory { vfs, path } }
    }

    /// Makes `snapshot` durable; all but the newest two are removed.
    ///
    /// # Errors
    /// [`PersistError::DiskFull`]: nothing was changed. [`PersistError::Fatal`]: end the process.
    pub fn keep(&self, snapshot: &Snapshot) -> Result<(), PersistError> {
        let head = Head {
            index: snapshot.index,
            term: snapshot.term,
            membership: Some(snapshot.membership.clone()),
            sha256: Sha256::digest(&snapshot.data).to_vec(),
        }
        .encode_to_vec();
        let head_bytes = u32::try_from(head.len()).expect("a membership is small").to_le_bytes();
        let crc = crc32c::crc32c(&head_bytes);
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &head), &snapshot.data);
        let parts: [&[u8]; 5] = [MAGIC, &crc.to_le_bytes(), &head_bytes, &head, &snapshot.data];
        self.directory.write_whole(&name(snapshot.index), &parts)?;
        self.remove_older();
        Ok(())
    }

    /// What cannot be removed now is removed after the next one, or stays and does no harm.
    fn remove_older(&self) {
        let Ok(indexes) = self.indexes() else { return };
        for index in indexes.iter().rev().skip(KEPT) {
            let file = self.directory.file(&name(*index));
            if let Err(error) = self.directory.vfs.remove(&file) {
                tracing::warn!(file = %file.display(), %error, "an old snapshot cannot be removed");
            }
        }
    }

    /// The snapshot as of `index`, if it still stands.
    ///
    /// # Errors
    /// [`OpenError::Corrupted`] or [`OpenError::Io`].
    pub fn read(&self, index: u64) -> Result<Option<Snapshot>, OpenError> {
        if !self.indexes()?.contains(&index) {
            return Ok(None);
        }
        let file = self.directory.file(&name(index));
        let bytes = Bytes::from(self.directory.read(&file)?);
        let snapshot = parse(&bytes).filter(|snapshot| snapshot.index == index);
        snapshot.map(Some).ok_or_else(|| damaged(file))
    }

    /// The data of the snapshot as of `index`, to be read in pieces, if it still stands.
    ///
    /// # Errors
    /// [`OpenError::Corrupted`] if its head is damaged, or [`OpenError::Io`].
    pub fn open(&self, index: u64) -> Result<Option<SnapshotReader>, OpenError> {
        if !self.indexes()?.contains(&index) {
            return Ok(None);
        }
        let path = self.directory.file(&name(index));
        let opened = || -> std::io::Result<(Box<dyn VfsFile>, u64, Vec<u8>)> {
            let file = self.directory.vfs.open(&path)?;
            let length = file.length()?;
            let mut fixed = [0; FIXED_BYTES];
            let read = file.read_at(0, &mut fixed)?;
            let head_bytes = if read == FIXED_BYTES { number(&fixed, 12).unwrap_or(0) } else { 0 };
            let mut head = vec![0; usize::try_from(head_bytes).unwrap_or(0).min(HEAD_BYTES_MAX)];
            let read = file.read_at(FIXED_BYTES as u64, &mut head)?;
            head.truncate(read);
            Ok((file, length, head))
        };
        let (file, length, bytes) = opened().map_err(|error| open_error("open", &path, error))?;
        let head = Head::decode(bytes.as_slice()).ok().filter(|head| head.index == index);
        let head = head.ok_or_else(|| damaged(path.clone()))?;
        let begin = (FIXED_BYTES + bytes.len()) as u64;
        let Ok(sha256) = <[u8; 32]>::try_from(head.sha256.as_slice()) else {
            // Of an older version: once, for each time that it is sent.
            let Some(snapshot) = self.read(index)? else { return Ok(None) };
            let label = SnapshotLabel::of(index, &snapshot.data);
            return Ok(Some(SnapshotReader { label, file, path, begin }));
        };
        let label = SnapshotLabel { index, bytes: length.saturating_sub(begin), sha256 };
        Ok(Some(SnapshotReader { label, file, path, begin }))
    }

    /// Goes on with what came of exactly this snapshot before the connection broke, or begins anew. One at a time: what
    /// came of any other is given up.
    ///
    /// # Errors
    /// [`PersistError`]
    pub fn incoming(&self, label: SnapshotLabel) -> Result<Incoming, PersistError> {
        Incoming::begin(self.directory.clone(), label)
    }

    /// The newest snapshot, if there is one.
    pub(super) fn newest(&self) -> Result<Option<Snapshot>, OpenError> {
        match self.indexes()?.last() {
            Some(index) => self.read(*index),
            None => Ok(None),
        }
    }

    /// Removes all: a founding that a crash cut short begins again.
    pub(super) fn remove_all(&self) -> Result<(), OpenError> {
        for index in self.indexes()? {
            let file = self.directory.file(&name(index));
            let removed = self.directory.vfs.remove(&file);
            removed.map_err(|error| open_error("remove", &file, error))?;
        }
        Ok(())
    }

    fn indexes(&self) -> Result<Vec<u64>, OpenError> {
        let index = |name: String| {
            let digits = name.strip_prefix("snapshot-")?.strip_suffix(".data")?;
            u64::from_str_radix(digits, 16).ok()
        };
        let mut indexes: Vec<u64> = self.directory.names()?.into_iter().filter_map(index).collect();
        indexes.sort_unstable();
        Ok(indexes)
    }
}

fn name(index: u64) -> String {
    format!("snapshot-{index:016x}.data")
}

fn damaged(file: PathBuf) -> OpenError {
    OpenError::Corrupted { file, offset: 0, reason: "its checksum does not match".to_owned() }
}

fn number(fixed: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(fixed.get(at..at + 4)?.try_into().ok()?))
}

fn parse(bytes: &Bytes) -> Option<Snapshot> {
    let fixed = bytes.get(..FIXED_BYTES)?;
    if &fixed[..8] != MAGIC || crc32c::crc32c(&bytes[12..]) != number(fixed, 8)? {
        return None;
    }
    let head_end = FIXED_BYTES.checked_add(usize::try_from(number(fixed, 12)?).ok()?)?;
    let head = Head::decode(bytes.get(FIXED_BYTES..head_end)?).ok()?;
    let membership = head.membership.unwrap_or_default();
    Some(Snapshot { index: head.index, term: head.term, membership, data: bytes.slice(head_end..) })
}
