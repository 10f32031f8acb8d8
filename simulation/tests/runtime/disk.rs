//! A host's simulated disk as the log's file system: what was not synced is lost in a crash, a write may be torn at its
//! blocks, a file whose directory was not synced is gone. A scenario decides how much room there is.

use std::any::Any;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use consensus::{Vfs, VfsFile};
use turmoil::fs::FsHandle;
use turmoil::fs::shim::std::fs;

/// Where an open file is now: the simulated disk knows files by their paths, and ours stay open over a rename.
type Place = Mutex<PathBuf>;

/// Room on a disk of which no scenario speaks.
const ROOM: u64 = 1 << 40;

/// Bytes that may still be written to a host's disk. Clones are of the same disk; a scenario holds one.
#[derive(Clone)]
pub(crate) struct Room(Arc<Mutex<u64>>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(ROOM)))
    }
}

impl Room {
    /// So many bytes are left from now on.
    pub(crate) fn leave(&self, bytes: u64) {
        *self.0.lock().unwrap() = bytes;
    }

    /// As much as on a disk of which no scenario speaks.
    pub(crate) fn make(&self) {
        self.leave(ROOM);
    }

    fn left(&self) -> u64 {
        *self.0.lock().unwrap()
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        let mut left = self.0.lock().unwrap();
        *left = left.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        *self.0.lock().unwrap() += bytes;
    }
}

/// The disk of the host on which it was made.
#[derive(Clone)]
pub(crate) struct HostDisk {
    handle: Arc<FsHandle>,
    room: Room,
    open: Arc<Mutex<Vec<Weak<Place>>>>,
}

impl HostDisk {
    /// The current host's disk, with this room.
    ///
    /// # Panics
    /// Outside of a simulated host.
    pub(crate) fn here(room: Room) -> Self {
        Self { handle: Arc::new(FsHandle::current()), room, open: Arc::default() }
    }

    /// Does it on this disk, also from the threads of the pool for what blocks (snapshots).
    fn on<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _guard = (!turmoil::in_simulation()).then(|| self.handle.enter());
        act()
    }

    fn opened(&self, path: &Path) -> Box<dyn VfsFile> {
        let place = Arc::new(Mutex::new(path.to_owned()));
        let mut open = self.open.lock().unwrap();
        open.retain(|place| place.strong_count() > 0);
        open.push(Arc::downgrade(&place));
        Box::new(HostFile { place, disk: self.clone() })
    }
}

fn writable(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).write(true).open(path)
}

/// How long a file is; 0 where there is none.
fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

impl Vfs for HostDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        self.on(|| fs::create_dir_all(directory))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.room.give_back(self.on(|| Ok(length(file)))?);
        self.on(|| fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(file))?;
        Ok(self.opened(file))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.on(|| writable(file))?;
        Ok(self.opened(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on(|| fs::rename(from, to))?;
        for place in self.open.lock().unwrap().iter().filter_map(Weak::upgrade) {
            let mut place = place.lock().unwrap();
            if *place == from {
                to.clone_into(&mut place);
            }
        }
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let freed = self.on(|| Ok(length(file)))?;
        self.on(|| fs::remove_file(file))?;
        self.room.give_back(freed);
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.on(|| {
            let mut names = Vec::new();
            for entry in fs::read_dir(directory)? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort_unstable();
            Ok(names)
        })
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.on(|| fs::sync_dir(directory))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<Option<u64>> {
        Ok(Some(self.room.left()))
    }

    /// A host has its disk for itself.
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send>> {
        Ok(Box::new(()))
    }
}

struct HostFile {
    place: Arc<Place>,
    disk: HostDisk,
}

impl HostFile {
    fn on<T>(&self, act: impl FnOnce(&fs::File) -> io::Result<T>) -> io::Result<T> {
        let path = self.place.lock().unwrap().clone();
        self.disk.on(|| act(&writable(&path)?))
    }
}

impl VfsFile for HostFile {
    fn length(&self) -> io::Result<u64> {
        self.on(|file| Ok(file.metadata()?.len()))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.on(|file| file.read_at(buffer, offset))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        self.on(|file| {
            self.disk.room.take(end.saturating_sub(file.metadata()?.len()))?;
            file.write_all_at(bytes, offset)
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.on(fs::File::sync_data)
    }

    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        self.on(|file| match length.saturating_sub(file.metadata()?.len()) {
            0 => Ok(()),
            more => self.disk.room.take(more).and_then(|()| file.set_len(length)),
        })
    }
}
