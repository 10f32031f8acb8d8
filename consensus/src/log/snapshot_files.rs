//! Snapshots, one file each: written beside, synced, renamed, directory synced. Never changed afterwards.
//!
//! `[magic: 8][crc32c: u32][length of head: u32][head][data]`; the checksum covers everything after it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::nouns::{Membership, Snapshot};

use super::directory::Directory;
use super::errors::{OpenError, PersistError};
use super::vfs::Vfs;

const MAGIC: &[u8; 8] = b"PSTKSNP1";
/// Magic, checksum and length of the head.
const FIXED_BYTES: usize = 16;
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
        snapshot.map(Some).ok_or_else(|| OpenError::Corrupted {
            file,
            offset: 0,
            reason: "its checksum does not match".to_owned(),
        })
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
            removed.map_err(|error| super::directory::open_error("remove", &file, error))?;
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

fn parse(bytes: &Bytes) -> Option<Snapshot> {
    let fixed = bytes.get(..FIXED_BYTES)?;
    let number = |at: usize| Some(u32::from_le_bytes(fixed.get(at..at + 4)?.try_into().ok()?));
    if &fixed[..8] != MAGIC || crc32c::crc32c(&bytes[12..]) != number(8)? {
        return None;
    }
    let head_end = FIXED_BYTES.checked_add(usize::try_from(number(12)?).ok()?)?;
    let head = Head::decode(bytes.get(FIXED_BYTES..head_end)?).ok()?;
    let membership = head.membership.unwrap_or_default();
    Some(Snapshot { index: head.index, term: head.term, membership, data: bytes.slice(head_end..) })
}
