//! A disk in memory that loses what was not synced, tears writes, fills up and fails, at a moment of the
//! test's choosing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use consensus::log::FileLock;
use consensus::{Vfs, VfsFile};

/// What becomes of unsynced writes and directory changes when the machine stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unsynced {
    Lost,
    Kept,
    /// Of each 512 bytes written, and of the directory, chance decides.
    Torn(u64),
}

#[derive(Debug, Default, Clone)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    bytes_max: Option<usize>,
    sync_fails: bool,
    /// Directories that were synced, each time.
    synced: Vec<PathBuf>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Changing operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The changing operation of this number, and all after it, fail; a write leaves half of its bytes.
    pub(crate) fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    pub(crate) fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// The machine starts again.
    pub(crate) fn restart(&self, unsynced: Unsynced) {
        let mut state = self.state();
        let state = &mut *state;
        (state.crash_at, state.crashed) = (None, false);
        let mut chance = match unsynced {
            Unsynced::Torn(seed) => Some(seed | 1),
            Unsynced::Lost | Unsynced::Kept => None,
        };
        let mut keeps = move || match &mut chance {
            Some(chance) => {
                *chance =
                    chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *chance >> 63 == 1
            }
            None => unsynced == Unsynced::Kept,
        };
        if keeps() {
            state.durable_names = state.names.clone();
        }
        state.names = state.durable_names.clone();
        for inode in &mut state.inodes {
            // A file that grew keeps its length or not, then each block its content or not.
            let longer = inode.current.len() > inode.durable.len();
            if longer && keeps() {
                inode.durable.resize(inode.current.len(), 0);
            }
            let length = inode.durable.len();
            for (old, new) in inode.durable.chunks_mut(512).zip(inode.current.chunks(512)) {
                if *old != new[..old.len().min(new.len())] && keeps() {
                    let count = old.len().min(new.len());
                    old[..count].copy_from_slice(&new[..count]);
                }
            }
            inode.durable.truncate(length);
            inode.current = inode.durable.clone();
        }
    }

    /// Bytes that files may have in all.
    pub(crate) fn limit(&self, bytes_max: Option<usize>) {
        self.state().bytes_max = bytes_max;
    }

    pub(crate) fn used(&self) -> usize {
        let state = self.state();
        state.names.values().map(|inode| state.inodes[*inode].current.len()).sum()
    }

    pub(crate) fn synced(&self) -> Vec<PathBuf> {
        self.state().synced.clone()
    }

    pub(crate) fn fail_syncs(&self) {
        self.state().sync_fails = true;
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state().names.keys().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn path_of(&self, prefix: &str) -> PathBuf {
        let state = self.state();
        let named = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
        state.names.keys().rfind(named).unwrap().clone()
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].current.clone()
    }

    /// Changes bytes behind everybody's back.
    pub(crate) fn alter(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[path];
        let inode = &mut state.inodes[inode];
        change(&mut inode.current);
        inode.durable = inode.current.clone();
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        self.crashed |= self.crash_at.is_some_and(|at| self.operations >= at);
        if self.crashed { Err(io::Error::other("the machine stopped")) } else { Ok(()) }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn grow(&mut self, inode: usize, length: usize) -> io::Result<()> {
        let now = self.inodes[inode].current.len();
        let used: usize = self.names.values().map(|inode| self.inodes[*inode].current.len()).sum();
        if length > now && self.bytes_max.is_some_and(|max| used + length - now > max) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if length > now {
            self.inodes[inode].current.resize(length, 0);
        }
        Ok(())
    }
}

impl Vfs for Disk {
    fn create_dir_all(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.state();
        state.operation()?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(file.to_owned(), inode);
        Ok(Box::new(DiskFile { disk: self.clone(), inode }))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        let inode = self.state().inode(file)?;
        Ok(Box::new(DiskFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        let inode = state.inode(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.inode(file)?;
        state.names.remove(file);
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let within = |path: &&PathBuf| path.parent() == Some(directory);
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(state.names.keys().filter(within).map(name).collect())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.synced.push(directory.to_owned());
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn lock(&self, _file: &Path) -> io::Result<FileLock> {
        Ok(Box::new(()))
    }
}

struct DiskFile {
    disk: Disk,
    inode: usize,
}

impl VfsFile for DiskFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].current.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.inodes[self.inode].current;
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let stopped = state.operation();
        let offset = usize::try_from(offset).unwrap();
        let count = if stopped.is_ok() { bytes.len() } else { bytes.len() / 2 };
        if state.crash_at.is_none_or(|at| at >= state.operations) {
            state.grow(self.inode, offset + count)?;
            state.inodes[self.inode].current[offset..offset + count].copy_from_slice(&bytes[..count]);
        }
        stopped
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operation()?;
        if state.sync_fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        let inode = &mut state.inodes[self.inode];
        inode.durable = inode.current.clone();
        Ok(())
    }

    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operation()?;
        state.grow(self.inode, usize::try_from(length).unwrap())
    }
}
