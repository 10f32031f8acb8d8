//! A host's simulated disk as the log's file system: what was not synced is lost in a crash, a write may be torn at its
//! blocks, a file whose directory was not synced is gone.

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

/// The disk of the host on which it was made.
#[derive(Clone)]
pub(crate) struct HostDisk {
    handle: Arc<FsHandle>,
    open: Arc<Mutex<Vec<Weak<Place>>>>,
}

impl HostDisk {
    /// The current host's disk.
    ///
    /// # Panics
    /// Outside of a simulated host.
    pub(crate) fn here() -> Self {
        Self { handle: Arc::new(FsHandle::current()), open: Arc::default() }
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

impl Vfs for HostDisk {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        self.on(|| fs::create_dir_all(directory))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
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
        self.on(|| fs::remove_file(file))
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
        self.on(|file| file.write_all_at(bytes, offset))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.on(fs::File::sync_data)
    }

    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        self.on(|file| if file.metadata()?.len() < length { file.set_len(length) } else { Ok(()) })
    }
}
