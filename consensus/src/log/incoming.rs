//! A snapshot on its way here from another node, in a file of its own: goes on where it broke off, and is handed over only
//! when its length and its SHA-256 are those of the label.
//!
//! The file is never synced and never a snapshot by itself: it is read back whole, checked, and then kept like any other
//! ([`super::SnapshotFiles::keep`]). A start of the node forgets it.

use std::path::PathBuf;

use bytes::Bytes;

use super::directory::{Directory, TEMPORARY_SUFFIX, persist_error};
use super::errors::PersistError;
use super::snapshot_files::SnapshotLabel;
use super::vfs::VfsFile;

const PREFIX: &str = "incoming-";

/// A snapshot of which pieces arrive. See [`super::SnapshotFiles::incoming`].
pub struct Incoming {
    directory: Directory,
    label: SnapshotLabel,
    path: PathBuf,
    file: Box<dyn VfsFile>,
    held: u64,
}

/// Why pieces are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The piece does not continue what is held: ask how much that is, and send from there.
    #[error("the piece begins at byte {offset}, but {held} of {bytes} are held")]
    OutOfPlace {
        /// Where the piece begins.
        offset: u64,
        /// What is held.
        held: u64,
        /// Length of the whole.
        bytes: u64,
    },
    /// All bytes have come, and they are not those that the label names. They were given up.
    #[error("all {bytes} bytes have come, and their SHA-256 is not the one that was told; they are given up")]
    Damaged {
        /// Length of the whole.
        bytes: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] PersistError),
}

impl Incoming {
    pub(super) fn begin(directory: Directory, label: SnapshotLabel) -> Result<Self, PersistError> {
        let mut name = format!("{PREFIX}{:016x}-{:x}-", label.index, label.bytes);
        label.sha256.iter().for_each(|byte| name.push_str(&format!("{byte:02x}")));
        name.push_str(TEMPORARY_SUFFIX);
        let path = directory.file(&name);
        let names = directory.vfs.list(&directory.path);
        let names = names.map_err(|error| persist_error("list", &directory.path, error))?;
        for other in names.iter().filter(|other| other.starts_with(PREFIX) && **other != name) {
            let other = directory.file(other);
            directory.vfs.remove(&other).map_err(|error| persist_error("remove", &other, error))?;
        }
        let opened =
            if names.contains(&name) { directory.vfs.open(&path) } else { directory.vfs.create(&path) };
        let file = opened.map_err(|error| persist_error("open", &path, error))?;
        let length = file.length().map_err(|error| persist_error("read", &path, error))?;
        Ok(Self { directory, label, path, file, held: length.min(label.bytes) })
    }

    /// How many bytes are here: the offset of the next piece.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Takes the piece at `offset`.
    ///
    /// # Errors
    /// [`IncomingError::OutOfPlace`], or [`IncomingError::Disk`] (a full one: try again later; what is held stays).
    pub fn write(&mut self, offset: u64, piece: &[u8]) -> Result<(), IncomingError> {
        let (held, bytes) = (self.held, self.label.bytes);
        if offset != held || held + piece.len() as u64 > bytes {
            return Err(IncomingError::OutOfPlace { offset, held, bytes });
        }
        let written = self.file.write_at(offset, piece);
        written.map_err(|error| persist_error("write", &self.path, error))?;
        self.held += piece.len() as u64;
        Ok(())
    }

    /// The whole data, checked; the file is gone afterwards.
    ///
    /// # Errors
    /// [`IncomingError::OutOfPlace`] if bytes are missing (what is held stays), [`IncomingError::Damaged`] if they are not
    /// what was told.
    pub fn finish(self) -> Result<Bytes, IncomingError> {
        let (held, bytes) = (self.held, self.label.bytes);
        if held != bytes {
            return Err(IncomingError::OutOfPlace { offset: bytes, held, bytes });
        }
        let mut data = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let read = self.file.read_at(0, &mut data);
        let count = read.map_err(|error| persist_error("read", &self.path, error))?;
        drop(self.file);
        let removed = self.directory.vfs.remove(&self.path);
        removed.map_err(|error| persist_error("remove", &self.path, error))?;
        if count != data.len() || SnapshotLabel::of(self.label.index, &data) != self.label {
            return Err(IncomingError::Damaged { bytes });
        }
        Ok(data.into())
    }
}
