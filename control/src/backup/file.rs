//! The file of a backup: `[PSTKBAK1][length of head: u32][head][catalog][SHA-256 of all before it]`, little-endian.
//! Written in pieces by whoever receives them; read whole, and never believed before its sum is right.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::v1::BackupHead;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::catalog::{self, Catalog};

const MAGIC: &[u8; 7] = b"PSTKBAK";
const FORMAT: u8 = b'1';
/// Magic, format, and length of the head.
const FIXED_BYTES: usize = 12;
const SUM_BYTES: usize = 32;
/// A head names a cluster and some numbers.
const HEAD_BYTES_MAX: usize = 1 << 16;
/// Longer files are no backups: the catalog at all of its bounds has some 250 MB.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Writes a backup, piece by piece.
pub struct BackupWriter<W> {
    out: W,
    sum: Sha256,
    data: Sha256,
    missing: u64,
}

impl<W: Write> BackupWriter<W> {
    /// Begins with the head, which says how many bytes follow.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin(out: W, head: &BackupHead) -> io::Result<Self> {
        let mut writer = Self { out, sum: Sha256::new(), data: Sha256::new(), missing: head.bytes };
        let head = head.encode_to_vec();
        let length = u32::try_from(head.len()).map_err(|_| io::Error::other("the head is too long"))?;
        writer.put(MAGIC)?;
        writer.put(&[FORMAT])?;
        writer.put(&length.to_le_bytes())?;
        writer.put(&head)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }

    /// The next bytes of the catalog.
    ///
    /// # Errors
    /// Those of `out`, or `InvalidData` when there are more bytes than the head says.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let more = || io::Error::new(io::ErrorKind::InvalidData, "more bytes came than were told");
        self.missing = self.missing.checked_sub(piece.len() as u64).ok_or_else(more)?;
        self.data.update(piece);
        self.put(piece)
    }

    /// SHA-256 of the catalog's bytes so far: what the node that sends them tells at the end.
    #[must_use]
    pub fn data_sha256(&self) -> [u8; SUM_BYTES] {
        self.data.clone().finalize().into()
    }

    /// Ends with the sum; answers it.
    ///
    /// # Errors
    /// Those of `out`, or `UnexpectedEof` while bytes are missing.
    pub fn finish(mut self) -> io::Result<(W, [u8; SUM_BYTES])> {
        if self.missing > 0 {
            let said = format!("{} bytes are missing", self.missing);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, said));
        }
        let sum: [u8; SUM_BYTES] = self.sum.finalize().into();
        self.out.write_all(&sum)?;
        self.out.flush()?;
        Ok((self.out, sum))
    }
}

/// A backup that was read and found whole.
#[derive(Debug)]
pub struct Backup {
    /// What it is of.
    pub head: BackupHead,
    /// The state.
    pub catalog: Catalog,
    /// SHA-256 of the file up to its own place.
    pub sha256: [u8; SUM_BYTES],
    /// Length of the file.
    pub file_bytes: u64,
}

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system refused.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{file} is no backup of penstock: {reason}; name a file that `penstock snapshot save` wrote")]
    NotABackup {
        /// The file.
        file: PathBuf,
        /// What gave it away.
        reason: &'static str,
    },
    /// A newer version of this program wrote it.
    #[error("{file} has a format that this version does not know; use the version of penstock that wrote it")]
    NewerFormat {
        /// The file.
        file: PathBuf,
    },
    /// It was one once.
    #[error("{file} is damaged: {reason}; nothing in it can be trusted, take another copy")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It is whole, and its state means nothing to this version.
    #[error("{file} is whole, but its state cannot be used: {source}")]
    State {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: catalog::RestoreError,
    },
}

/// The sum by which a node tells what it sent.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; SUM_BYTES] {
    Sha256::digest(data).into()
}

/// Reads a backup and checks all of it.
///
/// # Errors
/// [`BackupError`]
pub fn read(path: &Path) -> Result<Backup, BackupError> {
    let file = path.to_owned();
    let io = |source| BackupError::Io { file: file.clone(), source };
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > FILE_BYTES_MAX {
        return Err(BackupError::NotABackup { file, reason: "it is larger than a backup can be" });
    }
    let bytes = std::fs::read(path).map_err(io)?;
    parse(&bytes, file)
}

fn parse(bytes: &[u8], file: PathBuf) -> Result<Backup, BackupError> {
    match bytes.strip_prefix(MAGIC) {
        Some([FORMAT, ..]) => {}
        Some([]) | None => {
            return Err(BackupError::NotABackup { file, reason: "it does not begin with PSTKBAK" });
        }
        Some(_) => return Err(BackupError::NewerFormat { file }),
    }
    let damaged = |reason: &str| BackupError::Damaged { file: file.clone(), reason: reason.to_owned() };
    let whole = bytes.split_last_chunk::<SUM_BYTES>().filter(|(rest, _)| rest.len() >= FIXED_BYTES);
    let (rest, sum) = whole.ok_or_else(|| damaged("it ends in its head"))?;
    let sha256: [u8; SUM_BYTES] = Sha256::digest(rest).into();
    if sha256 != *sum {
        return Err(damaged("its SHA-256 is not the one at its end"));
    }
    // From here on nothing can be wrong that a fault of ours did not write.
    let (fixed, rest) = rest.split_at(FIXED_BYTES);
    let length = fixed.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let head_bytes = usize::try_from(length).ok().filter(|length| *length <= HEAD_BYTES_MAX);
    let parts = head_bytes.and_then(|head_bytes| rest.split_at_checked(head_bytes));
    let (head, state) = parts.ok_or_else(|| damaged("its head is longer than the file"))?;
    let head = BackupHead::decode(head).map_err(|error| damaged(&format!("its head: {error}")))?;
    if head.bytes != state.len() as u64 {
        return Err(damaged("its head tells another length"));
    }
    let catalog = Catalog::restore(state);
    let catalog = catalog.map_err(|source| BackupError::State { file: file.clone(), source })?;
    Ok(Backup { head, catalog, sha256, file_bytes: bytes.len() as u64 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn head(bytes: usize) -> BackupHead {
        BackupHead { cluster: "blue".to_owned(), bytes: bytes as u64, ..BackupHead::default() }
    }

    fn written(state: &[u8]) -> Vec<u8> {
        let mut writer = BackupWriter::begin(Vec::new(), &head(state.len())).unwrap();
        state.chunks(7).for_each(|piece| writer.write(piece).unwrap());
        writer.finish().unwrap().0
    }

    fn read_back(bytes: &[u8]) -> Result<Backup, BackupError> {
        parse(bytes, PathBuf::from("file"))
    }

    #[test]
    fn what_was_written_in_pieces_is_read_back() {
        let catalog = Catalog::new(3);
        let backup = read_back(&written(&catalog.snapshot())).unwrap();
        assert!(backup.catalog == catalog);
        assert_eq!(backup.head, head(catalog.snapshot().len()));
    }

    #[test]
    fn a_bit_that_turned_or_a_byte_that_is_missing_is_found_wherever_it_is() {
        let whole = written(&Catalog::new(3).snapshot());
        for bit in 0..whole.len() * 8 {
            let mut turned = whole.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(read_back(&turned).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(read_back(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn other_files_newer_ones_and_foreign_states_are_told_apart() {
        let said = |bytes: &[u8]| read_back(bytes).unwrap_err().to_string();
        assert!(said(b"# a shopping list").contains("is no backup of penstock"));
        assert!(said(b"PSTKBAK2 and so on").contains("a format that this version does not know"));
        assert!(said(&written(b"no catalog")).contains("is whole, but its state cannot be used"));
    }

    #[test]
    fn a_writer_holds_to_the_length_that_it_told() {
        let mut writer = BackupWriter::begin(Vec::new(), &head(4)).unwrap();
        assert_eq!(writer.write(b"12345").unwrap_err().kind(), io::ErrorKind::InvalidData);
        writer.write(b"123").unwrap();
        assert_eq!(writer.finish().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
