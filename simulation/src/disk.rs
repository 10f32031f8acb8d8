//! The simulated disk of one node: files whose unsynced bytes a crash tears or loses, and whose directory entries
//! stand only after the directory was synced. Follows `consensus::Vfs` to the letter, so that what a log forgets to
//! sync is lost here.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consensus::{Vfs, VfsFile};

use crate::chance::Chance;

/// Unit in which a crash keeps or loses what was written and not synced.
const SECTOR_BYTES: usize = 512;

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
    /// Counts crashes, so that files opened before one are dead after it.
    life: u64,
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

    fn sync(&mut self, inode: u64) {
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
        self.locks.clear();
        self.operations_left = None;
        self.life += 1;
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

    /// Bytes in all files.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state().used()
    }
}

impl Vfs for SimDisk {
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
        for change in std::mem::take(&mut state.changes) {
            state.make_durable(change);
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
        let state = self.state()?;
        let inode = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?.min(inode.current.len());
        let length = buffer.len().min(inode.current.len() - offset);
        buffer[..length].copy_from_slice(&inode.current[offset..offset + length]);
        Ok(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.state()?.write(self.inode, offset, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.state()?.sync(self.inode);
        Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn what_was_synced_survives_a_crash_and_what_was_not_may_be_torn() {
        let mut losses = 0;
        for seed in 0..20 {
            let (disk, mut chance) = (SimDisk::default(), Chance::from_seed(seed));
            let mut file = disk.create(Path::new("d/a")).unwrap();
            file.write_at(0, &[1; 2048]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            file.write_at(2048, &[2; 2048]).unwrap();
            disk.crash(&mut chance);
            let mut bytes = [9; 4096];
            let length = disk.open(Path::new("d/a")).unwrap().read_at(0, &mut bytes).unwrap();
            assert!(bytes[..2048].iter().all(|byte| *byte == 1));
            losses += usize::from(length < 4096 || bytes[2048..].contains(&0));
        }
        assert!(losses > 10, "{losses} of 20 crashes tore the unsynced half");
    }

    #[test]
    fn a_file_whose_directory_was_not_synced_may_be_gone_after_a_crash() {
        let gone = (0..20).filter(|seed| {
            let disk = SimDisk::default();
            disk.create(Path::new("d/a")).unwrap().sync_data().unwrap();
            disk.crash(&mut Chance::from_seed(*seed));
            disk.open(Path::new("d/a")).is_err()
        });
        assert!((1..20).contains(&gone.count()));
    }

    #[test]
    fn a_full_disk_refuses_to_grow_and_takes_overwrites() {
        let disk = SimDisk::default();
        disk.set_capacity(Some(1024));
        let mut file = disk.create(Path::new("d/a")).unwrap();
        file.preallocate(1024).unwrap();
        assert_eq!(file.write_at(1000, &[1; 100]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_at(0, &[1; 1024]).unwrap();
    }

    #[test]
    fn a_file_of_a_crashed_process_is_dead_and_its_lock_is_free() {
        let disk = SimDisk::default();
        let mut file = disk.create(Path::new("d/a")).unwrap();
        let _lock = disk.lock(Path::new("d/lock")).unwrap();
        assert!(disk.lock(Path::new("d/lock")).is_err());
        disk.crash(&mut Chance::from_seed(1));
        assert!(file.write_at(0, &[1]).is_err());
        assert!(disk.lock(Path::new("d/lock")).is_ok());
    }
}
