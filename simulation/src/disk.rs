//! The simulated disk of one node: files whose unsynced bytes a crash tears or loses, and whose directory entries
//! stand only after the directory was synced. Follows `consensus::Vfs` to the letter, so that what a log forgets to
//! sync is lost here.

mod damage;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consensus::{Vfs, VfsFile};

use crate::chance::Chance;

/// Unit in which a crash keeps or loses what was written and not synced.
const SECTOR_BYTES: usize = 512;

/// Writes that are remembered: a few seconds of them.
const WRITES_MAX: usize = 64;

#[derive(Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges written since the last sync.
    dirty: Vec<(usize, usize)>,
}

#[derive(Debug, Clone)]
enum DirectoryChange {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

/// Which syncs do nothing and report success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lies {
    /// Those of files.
    pub files: bool,
    /// Those of directories.
    pub directories: bool,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Not durable yet, in order.
    changes: Vec<DirectoryChange>,
    locks: BTreeSet<PathBuf>,
    /// Bytes that all files together may hold.
    capacity: Option<usize>,
    /// Operations that still succeed before the process dies inside one.
    operations_left: Option<u32>,
    /// The next sync of a file fails, as the kernel reports it once.
    sync_fails: bool,
    /// Reads that still succeed; all after them fail, until the next crash.
    reads_left: Option<u32>,
    /// What is told to be durable is not.
    lies: Lies,
    /// The newest writes, in order, as far as a crash has not undone them.
    writes: VecDeque<Written>,
    /// Counts crashes, so that files opened before one are dead after it.
    life: u64,
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    inode: u64,
    range: Range<usize>,
    durable: bool,
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

fn rename(names: &mut BTreeMap<PathBuf, u64>, from: &Path, to: &Path) -> io::Result<()> {
    let inode = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
    names.insert(to.to_owned(), inode);
    Ok(())
}

impl State {
    /// Fails once the process is to die; every operation passes here.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the process dies inside this operation")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn used(&self) -> usize {
        self.inodes.values().map(|inode| inode.current.len()).sum()
    }

    fn write(&mut self, inode: u64, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len();
        let grown = end.saturating_sub(self.inodes.get(&inode).map_or(0, |inode| inode.current.len()));
        if self.capacity.is_some_and(|capacity| grown > 0 && self.used() + grown > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        if inode.current.len() < end {
            inode.current.resize(end, 0);
        }
        inode.current[offset..end].copy_from_slice(bytes);
        inode.dirty.push((offset, end));
        Ok(())
    }

    fn remember(&mut self, inode: u64, range: Range<usize>) {
        if self.writes.len() == WRITES_MAX {
            self.writes.pop_front();
        }
        self.writes.push_back(Written { inode, range, durable: false });
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        if std::mem::take(&mut self.sync_fails) {
            return Err(io::Error::other("the disk could not write"));
        }
        if !self.lies.files {
            self.make_file_durable(inode);
        }
        Ok(())
    }

    fn make_file_durable(&mut self, inode: u64) {
        self.writes
            .iter_mut()
            .filter(|written| written.inode == inode)
            .for_each(|written| written.durable = true);
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.durable.resize(inode.current.len(), 0);
            for (start, end) in std::mem::take(&mut inode.dirty) {
                inode.durable[start..end].copy_from_slice(&inode.current[start..end]);
            }
        }
    }

    fn crash(&mut self, chance: &mut Chance) {
        for inode in self.inodes.values_mut() {
            for (start, end) in std::mem::take(&mut inode.dirty) {
                tear(inode, start, end, chance);
            }
            inode.current.clone_from(&inode.durable);
        }
        let kept = chance.index(self.changes.len() + 1);
        for change in std::mem::take(&mut self.changes).into_iter().take(kept) {
            self.make_durable(change);
        }
        self.names.clone_from(&self.durable_names);
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        self.writes.retain(|written| written.durable);
        self.locks.clear();
        self.operations_left = None;
        self.sync_fails = false;
        self.reads_left = None;
        self.life += 1;
    }

    fn make_names_durable(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            self.make_durable(change);
        }
    }

    fn make_durable(&mut self, change: DirectoryChange) {
        match change {
            DirectoryChange::Link(path, inode) => {
                self.durable_names.insert(path, inode);
            }
            DirectoryChange::Rename(from, to) => {
                let _ = rename(&mut self.durable_names, &from, &to);
            }
            DirectoryChange::Unlink(path) => {
                self.durable_names.remove(&path);
            }
        }
    }
}

/// Keeps a random part of the sectors of one unsynced write.
fn tear(inode: &mut Inode, start: usize, end: usize, chance: &mut Chance) {
    let mut at = start;
    while at < end {
        let until = (at / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES).min(end);
        if chance.happens(500) {
            if inode.durable.len() < until {
                inode.durable.resize(until, 0);
            }
            inode.durable[at..until].copy_from_slice(&inode.current[at..until]);
        }
        at = until;
    }
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        // One thread alone uses it; the lock is there because the trait asks for `Sync`.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process dies: what was not synced is torn or lost, and what it had open is closed.
    pub fn crash(&self, chance: &mut Chance) {
        self.state().crash(chance);
    }

    /// From now on `operations` operations succeed; each later one fails, as if the process died inside it.
    pub fn die_after(&self, operations: u32) {
        self.state().operations_left = Some(operations);
    }

    /// Bounds what all files together may hold; `None` bounds nothing.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// The next sync of a file fails, once.
    pub fn fail_next_sync(&self) {
        self.state().sync_fails = true;
    }

    /// From now on `reads` reads succeed; each later one fails, until the next crash, or until [`Self::heal_reads`].
    pub fn fail_reads_after(&self, reads: u32) {
        self.state().reads_left = Some(reads);
    }

    /// No read fails any more.
    pub fn heal_reads(&self) {
        self.state().reads_left = None;
    }

    /// Whether reads fail by now.
    #[must_use]
    pub fn reads_fail(&self) -> bool {
        self.state().reads_left == Some(0)
    }

    /// Which syncs lie from now on.
    pub fn lie(&self, lies: Lies) {
        self.state().lies = lies;
    }

    /// What it only claimed to be durable becomes so.
    pub fn own_up(&self) {
        let mut state = self.state();
        state.lies = Lies::default();
        let inodes: Vec<u64> = state.inodes.keys().copied().collect();
        inodes.into_iter().for_each(|inode| state.make_file_durable(inode));
        state.make_names_durable();
    }

    /// Bytes in all files.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state().used()
    }
}

impl Vfs for SimDisk {
    fn free_bytes(&self, _directory: &Path) -> io::Result<Option<u64>> {
        let state = self.state();
        Ok(state.capacity.map(|capacity| capacity.saturating_sub(state.used()) as u64))
    }

    fn create_dir_all(&self, _directory: &Path) -> io::Result<()> {
        self.state().operate()
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.state();
        state.operate()?;
        state.next_inode += 1;
        let inode = state.next_inode;
        state.inodes.insert(inode, Inode::default());
        state.names.insert(file.to_owned(), inode);
        state.changes.push(DirectoryChange::Link(file.to_owned(), inode));
        Ok(Box::new(SimFile { disk: self.clone(), inode, life: state.life }))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        let mut state = self.state();
        state.operate()?;
        let inode = *state.names.get(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, life: state.life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        rename(&mut state.names, from, to)?;
        state.changes.push(DirectoryChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.names.remove(file).ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(DirectoryChange::Unlink(file.to_owned()));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.operate()?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        // One directory is all that a log has; syncing it makes every change in it durable.
        let _ = directory;
        if !state.lies.directories {
            state.make_names_durable();
        }
        Ok(())
    }

    fn lock(&self, file: &Path) -> io::Result<Box<dyn Any + Send>> {
        let mut state = self.state();
        state.operate()?;
        if !state.locks.insert(file.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), file: file.to_owned(), life: state.life }))
    }
}

struct SimLock {
    disk: SimDisk,
    file: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.file);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    life: u64,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("this file was open in a process that has crashed"));
        }
        state.operate()?;
        Ok(state)
    }
}

impl VfsFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes.get(&self.inode).map_or(0, |inode| inode.current.len() as u64))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state()?;
        match &mut state.reads_left {
            None => {}
            Some(0) => return Err(io::Error::other("the disk could not read")),
            Some(left) => *left -= 1,
        }
        let inode = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?.min(inode.current.len());
        let length = buffer.len().min(inode.current.len() - offset);
        buffer[..length].copy_from_slice(&inode.current[offset..offset + length]);
        Ok(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.state()?;
        state.write(self.inode, offset, bytes)?;
        state.remember(self.inode, offset..offset + bytes.len());
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.state()?.sync(self.inode)
    }

    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut state = self.state()?;
        let present = state.inodes.get(&self.inode).map_or(0, |inode| inode.current.len());
        if length > present {
            state.write(self.inode, present, &vec![0; length - present])?;
        }
        Ok(())
    }
}
