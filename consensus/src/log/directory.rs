//! The data directory: names of its files, whose it is, and who may open it.
//!
//! `meta` names format, cluster and node in plain text with a checksum; `lock` keeps a second process out. A
//! directory is founded in two steps, so that a crash in between is told from files that were lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::nouns::NodeId;

use super::errors::{OpenError, PersistError};
use super::vfs::{FileLock, Vfs, VfsFile};

/// Format of everything in the directory that this program writes, and the highest that it reads.
pub(super) const FORMAT: u64 = 1;
/// Names format, cluster and node.
pub(super) const META: &str = "meta";
/// In `meta`: founded, but the node may have promised something on another disk.
pub(super) const DOUBTFUL: &str = "doubtful";
const LOCK: &str = "lock";
const SEGMENT_PREFIX: &str = "log-";
const SEGMENT_SUFFIX: &str = ".segment";
const SPARE_PREFIX: &str = "spare-";
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";

/// The files of one directory.
#[derive(Clone)]
pub(super) struct Directory {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) path: PathBuf,
}

/// What the directory says of itself.
pub(super) enum Standing {
    /// Nothing was ever in it.
    New,
    /// It was being founded when a crash came; nothing in it was ever told to anybody.
    HalfFounded,
    /// It holds a log.
    Founded {
        /// Its identity; 0 when an older version of this program founded it.
        disk: u64,
        /// Whether the node may have had another directory before, whose promises it does not know.
        doubtful: bool,
    },
}

impl Directory {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether nothing was ever in it but the lock of a start that was refused. Looks before [`Self::lock`] makes it.
    pub(super) fn is_untouched(&self) -> Result<bool, OpenError> {
        match self.vfs.list(&self.path) {
            Ok(names) => Ok(names.iter().all(|name| name == LOCK)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(open_error("list", &self.path, error)),
        }
    }

    /// Makes the directory if need be and takes its lock.
    pub(super) fn lock(&self) -> Result<FileLock, OpenError> {
        let made = self.vfs.create_dir_all(&self.path);
        made.map_err(|error| open_error("make the directory", &self.path, error))?;
        let file = self.file(LOCK);
        self.vfs.lock(&file).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { directory: self.path.clone() },
            _ => open_error("lock", &file, error),
        })
    }

    /// Makes the names of the directory and of its parents durable. Not only those that were just made: an earlier start
    /// may have made them and died before it came to this. A parent that this user may not open is passed over, since
    /// nobody could make a name in it durable from here.
    pub(super) fn sync_ancestors(&self) -> Result<(), PersistError> {
        for ancestor in self.path.ancestors().skip(1) {
            let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
            match self.vfs.sync_dir(ancestor) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                    return Err(fatal("sync", ancestor, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the directory belongs to `cluster` and `node`, and how far it got.
    pub(super) fn check_owner(&self, cluster: &str, node: NodeId) -> Result<Standing, OpenError> {
        let names = self.names()?;
        if !names.iter().any(|name| name == META) {
            let ours = |name: &&String| name.starts_with(SEGMENT_PREFIX) || name.starts_with("snapshot-");
            let Some(orphan) = names.iter().find(ours) else { return Ok(Standing::New) };
            let reason = format!("it is missing, although {orphan} stands beside it");
            return Err(OpenError::Corrupted { file: self.file(META), offset: 0, reason });
        }
        let file = self.file(META);
        let bytes = self.read(&file)?;
        let corrupted =
            |reason: &str| OpenError::Corrupted { file: file.clone(), offset: 0, reason: reason.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| corrupted("it is no text"))?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        let format: u64 = value("format")
            .and_then(|format| format.parse().ok())
            .ok_or_else(|| corrupted("it names no format"))?;
        if format > FORMAT {
            return Err(OpenError::NewerFormat {
                directory: self.path.clone(),
                found: format,
                known: FORMAT,
            });
        }
        let signed = text.rfind("checksum = ").map(|at| &text[..at]).unwrap_or_default();
        if value("checksum") != Some(format!("{:08x}", crc32c::crc32c(signed.as_bytes())).as_str()) {
            return Err(corrupted("its checksum does not match"));
        }
        let owner = |cluster: &str, node: &str| format!("node {node} of cluster {cluster:?}");
        let found = owner(value("cluster").unwrap_or_default(), value("node").unwrap_or_default());
        let wanted = owner(cluster, &node.to_string());
        if found != wanted {
            return Err(OpenError::Foreign { directory: self.path.clone(), found, wanted });
        }
        let disk = value("disk").and_then(|disk| u64::from_str_radix(disk, 16).ok()).unwrap_or_default();
        Ok(match value("founded") {
            Some("yes") => Standing::Founded { disk, doubtful: false },
            Some(DOUBTFUL) => Standing::Founded { disk, doubtful: true },
            _ => Standing::HalfFounded,
        })
    }

    /// Writes `meta`, durably.
    pub(super) fn write_meta(
        &self,
        cluster: &str,
        node: NodeId,
        disk: u64,
        founded: &str,
    ) -> Result<(), PersistError> {
        let text = format!(
            "format = {FORMAT}\ncluster = {cluster}\nnode = {node}\ndisk = {disk:016x}\nfounded = {founded}\n"
        );
        let checksum = crc32c::crc32c(text.as_bytes());
        let text = format!("{text}checksum = {checksum:08x}\n");
        self.write_whole(META, &[text.as_bytes()])
    }

    /// Writes a file so that it stands whole or not at all: beside, synced, renamed, directory synced.
    pub(super) fn write_whole(&self, name: &str, parts: &[&[u8]]) -> Result<(), PersistError> {
        let temporary = self.file(&format!("{name}{TEMPORARY_SUFFIX}"));
        let write = || -> io::Result<Box<dyn VfsFile>> {
            let mut file = self.vfs.create(&temporary)?;
            let mut offset = 0;
            for part in parts {
                file.write_at(offset, part)?;
                offset += part.len() as u64;
            }
            Ok(file)
        };
        let mut file = write().map_err(|error| {
            // Half a file would take the space that is wanted; if it cannot be removed, the next start does
            // it.
            let _best_effort = self.vfs.remove(&temporary);
            persist_error("write", &temporary, error)
        })?;
        file.sync_data().map_err(|error| fatal("sync", &temporary, error))?;
        drop(file);
        let target = self.file(name);
        self.vfs.rename(&temporary, &target).map_err(|error| persist_error("rename", &target, error))?;
        self.sync()
    }

    pub(super) fn sync(&self) -> Result<(), PersistError> {
        self.vfs.sync_dir(&self.path).map_err(|error| fatal("sync", &self.path, error))
    }

    pub(super) fn names(&self) -> Result<Vec<String>, OpenError> {
        self.vfs.list(&self.path).map_err(|error| open_error("list", &self.path, error))
    }

    /// All bytes of a file.
    pub(super) fn read(&self, file: &Path) -> Result<Vec<u8>, OpenError> {
        let read = || -> io::Result<Vec<u8>> {
            let open = self.vfs.open(file)?;
            let mut bytes = vec![0; usize::try_from(open.length()?).unwrap_or(usize::MAX)];
            let count = open.read_at(0, &mut bytes)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        read().map_err(|error| open_error("read", file, error))
    }

    /// Removes what a crash left half made.
    pub(super) fn remove_temporary(&self) -> Result<(), OpenError> {
        for name in self.names()?.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
            let file = self.file(name);
            self.vfs.remove(&file).map_err(|error| open_error("remove", &file, error))?;
        }
        Ok(())
    }

    /// Numbers of the segments, rising.
    pub(super) fn segments(&self) -> Result<Vec<u64>, OpenError> {
        let number = |name: String| {
            let digits = name.strip_prefix(SEGMENT_PREFIX)?.strip_suffix(SEGMENT_SUFFIX)?;
            u64::from_str_radix(digits, 16).ok()
        };
        let mut numbers: Vec<u64> = self.names()?.into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Spare segments: files that were written once and wait to be used (again).
    pub(super) fn spares(&self) -> Result<Vec<PathBuf>, OpenError> {
        let spare = |name: &String| name.starts_with(SPARE_PREFIX) && name.ends_with(SEGMENT_SUFFIX);
        Ok(self.names()?.iter().filter(|name| spare(name)).map(|name| self.file(name)).collect())
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.file(&format!("{SEGMENT_PREFIX}{number:016x}{SEGMENT_SUFFIX}"))
    }

    pub(super) fn spare(&self, number: u64) -> PathBuf {
        self.file(&format!("{SPARE_PREFIX}{number:016x}{SEGMENT_SUFFIX}"))
    }

    pub(super) fn temporary_segment(&self) -> PathBuf {
        self.file(&format!("{SPARE_PREFIX}new{TEMPORARY_SUFFIX}"))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A refusal of the system while opening.
pub(super) fn open_error(action: &'static str, file: &Path, source: io::Error) -> OpenError {
    if is_full(&source) {
        return OpenError::DiskFull { file: file.to_owned() };
    }
    OpenError::Io { action, file: file.to_owned(), source }
}

/// A refusal of the system while writing, where a full disk has changed nothing that counts.
pub(super) fn persist_error(action: &'static str, file: &Path, source: io::Error) -> PersistError {
    if is_full(&source) {
        return PersistError::DiskFull { file: file.to_owned() };
    }
    fatal(action, file, source)
}

/// A refusal after which nobody knows what is on the disk.
pub(super) fn fatal(action: &'static str, file: &Path, source: io::Error) -> PersistError {
    PersistError::Fatal { action, file: file.to_owned(), source }
}

impl From<PersistError> for OpenError {
    fn from(error: PersistError) -> Self {
        match error {
            PersistError::DiskFull { file } => Self::DiskFull { file },
            PersistError::Fatal { action, file, source } => Self::Io { action, file, source },
        }
    }
}
