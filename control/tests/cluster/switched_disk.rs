//! The machine's files with switches: full, slow or failing at a moment of the test's choosing.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use consensus::log::FileLock;
use consensus::{StdVfs, Vfs, VfsFile};
use control::{Given, Surroundings};

/// A disk that a test switches; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SwitchedDisk(Arc<Switches>);

#[derive(Default)]
struct Switches {
    full: AtomicBool,
    /// Bytes said to be free, once a test said so.
    free: Mutex<Option<u64>>,
    syncs_fail: AtomicBool,
    spoils_snapshot: AtomicBool,
    /// How many syncs of files have begun.
    syncs: AtomicU64,
    /// Whether they wait.
    held: Mutex<bool>,
    released: Condvar,
}

/// What a node on this disk is given.
pub(crate) fn given(disk: &SwitchedDisk) -> Given {
    let surroundings = Surroundings { disk: Arc::new(disk.clone()), ..Surroundings::default() };
    Given { surroundings, ..Given::default() }
}

struct SwitchedFile {
    disk: SwitchedDisk,
    file: Box<dyn VfsFile>,
    /// Whether a bit of what is written turns.
    rots: bool,
}

impl SwitchedDisk {
    /// Whether no file can be made or made longer.
    pub(crate) fn set_full(&self, full: bool) {
        self.0.full.store(full, Ordering::Relaxed);
    }

    /// What is said to be free.
    pub(crate) fn set_free(&self, bytes: u64) {
        *self.0.free.lock().unwrap() = Some(bytes);
    }

    /// From now on every sync of a file fails.
    pub(crate) fn fail_syncs(&self) {
        self.0.syncs_fail.store(true, Ordering::Relaxed);
    }

    /// A bit of the next snapshot that is made turns on its way to the disk.
    pub(crate) fn spoil_next_snapshot(&self) {
        self.0.spoils_snapshot.store(true, Ordering::Relaxed);
    }

    /// From now on every sync of a file waits.
    pub(crate) fn hold_syncs(&self) {
        *self.0.held.lock().unwrap() = true;
    }

    pub(crate) fn release_syncs(&self) {
        *self.0.held.lock().unwrap() = false;
        self.0.released.notify_all();
    }

    /// Syncs of files that have begun so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    fn room(&self) -> io::Result<()> {
        if self.0.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn switched(&self, file: Box<dyn VfsFile>) -> Box<dyn VfsFile> {
        Box::new(SwitchedFile { disk: self.clone(), file, rots: false })
    }
}

impl Vfs for SwitchedDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        StdVfs.create_dir_all(directory)
    }
    fn create(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.room()?;
        let is_snapshot =
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snapshot-"));
        let rots = is_snapshot && self.0.spoils_snapshot.swap(false, Ordering::Relaxed);
        Ok(Box::new(SwitchedFile { disk: self.clone(), file: StdVfs.create(file)?, rots }))
    }
    fn open(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(self.switched(StdVfs.open(file)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        StdVfs.rename(from, to)
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        StdVfs.remove(file)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        StdVfs.list(directory)
    }
    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        StdVfs.sync_dir(directory)
    }
    fn free_bytes(&self, _directory: &Path) -> io::Result<Option<u64>> {
        Ok(*self.0.free.lock().unwrap())
    }
    fn lock(&self, file: &Path) -> io::Result<FileLock> {
        StdVfs.lock(file)
    }
}

impl VfsFile for SwitchedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.file.length()? {
            self.disk.room()?;
        }
        let mut bytes = bytes.to_vec();
        // Its head tells what the data were to be.
        if self.rots && bytes.len() > 200 {
            bytes[100] ^= 1;
        }
        self.file.write_at(offset, &bytes)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        let switches = &self.disk.0;
        switches.syncs.fetch_add(1, Ordering::Relaxed);
        let held = switches.held.lock().unwrap();
        drop(switches.released.wait_while(held, |held| *held).unwrap());
        if switches.syncs_fail.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync_data()
    }
    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        self.disk.room()?;
        self.file.preallocate(length)
    }
}
