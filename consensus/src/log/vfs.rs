//! The file system as the log needs it, so that a seed can tear writes, lose what was not synced, and fill
//! the disk.
//!
//! Two implementations: [`super::StdVfs`], and the simulator's. What is written is durable after `sync_data`
//! of the file, and reachable after `sync_dir` of its directory; nothing else may be assumed.

use std::any::Any;
use std::io;
use std::path::Path;

/// Held as long as the data directory is open; dropping it (or the death of the process) gives it up.
pub type FileLock = Box<dyn Any + Send>;

/// Files by path.
pub trait Vfs: Send + Sync {
    /// Makes a directory and its parents; fine if it stands already. Their names are durable after `sync_dir` of what
    /// holds them.
    fn create_dir_all(&self, directory: &Path) -> io::Result<()>;
    /// Makes an empty file, readable and writable; an older one of that name is emptied.
    fn create(&self, file: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens a file that stands, readable and writable.
    fn open(&self, file: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Renames, replacing what stood at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Names of the files in a directory, in order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
    /// Bytes that this process may still write to the disk of `directory`; `None` where there is no bound.
    fn free_bytes(&self, _directory: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }
    /// Takes the lock of that file for this process, making the file if need be; `WouldBlock` if another has
    /// it.
    fn lock(&self, file: &Path) -> io::Result<FileLock>;
}

/// One open file. Dropping it closes it, and syncs nothing.
pub trait VfsFile: Send {
    /// How long it is.
    fn length(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`, making the file longer if need be. After an error any part of them may stand.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable, the length included.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Makes the file `length` long with zeros really written from its present end on, so that later writes
    /// need no new blocks.
    fn preallocate(&mut self, length: u64) -> io::Result<()>;
}
