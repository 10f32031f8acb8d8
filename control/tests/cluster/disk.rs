//! A disk that fills up under a node: writes are refused with what to do, reads go on, and writes go on once there is space.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consensus::log::FileLock;
use consensus::{StdVfs, Vfs, VfsFile};
use control::replica::messages::ProposeError;
use control::settings::Timings;
use control::{Given, Settings, Surroundings};

use crate::group::bulk;

/// The machine's files, until it is said to be full: then no file is made or made longer.
struct Filling {
    full: Arc<AtomicBool>,
}

struct FillingFile {
    full: Arc<AtomicBool>,
    file: Box<dyn VfsFile>,
}

fn room(full: &AtomicBool) -> io::Result<()> {
    if full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

impl Filling {
    fn wrapped(&self, file: Box<dyn VfsFile>) -> Box<dyn VfsFile> {
        Box::new(FillingFile { full: Arc::clone(&self.full), file })
    }
}

impl Vfs for Filling {
    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        StdVfs.create_dir_all(directory)
    }
    fn create(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        room(&self.full)?;
        Ok(self.wrapped(StdVfs.create(file)?))
    }
    fn open(&self, file: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(self.wrapped(StdVfs.open(file)?))
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
    fn lock(&self, file: &Path) -> io::Result<FileLock> {
        StdVfs.lock(file)
    }
}

impl VfsFile for FillingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.file.length()? {
            room(&self.full)?;
        }
        self.file.write_at(offset, bytes)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn preallocate(&mut self, length: u64) -> io::Result<()> {
        room(&self.full)?;
        self.file.preallocate(length)
    }
}

#[test]
fn a_full_disk_refuses_writes_with_what_to_do_and_takes_them_again_once_there_is_space() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("full-{}", std::process::id()));
    let full = Arc::new(AtomicBool::new(false));
    let timings = Timings { propose_timeout: Duration::from_secs(1), ..Timings::default() };
    let settings = Settings { timings, ..Settings::alone(directory.clone()) };
    let disk: Arc<dyn Vfs> = Arc::new(Filling { full: Arc::clone(&full) });
    let surroundings = Surroundings { disk, ..Surroundings::default() };
    let running = control::start_with(settings, Given { surroundings, ..Given::default() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let write = || runtime.block_on(running.door().propose(bulk()));
    write().unwrap();
    full.store(true, Ordering::Relaxed);
    let refused = (0..100).find_map(|_| match write() {
        Err(error @ ProposeError::Busy { .. }) => Some(error.to_string()),
        _ => None,
    });
    let refused = refused.unwrap();
    assert!(refused.contains("disk is full: free some space there"), "{refused}");
    runtime.block_on(running.door().consult(control::catalog::Catalog::applied)).unwrap();
    full.store(false, Ordering::Relaxed);
    let writes_go_on = async {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while running.door().propose(bulk()).await.is_err() {
            beat.tick().await;
        }
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), writes_go_on).await }).unwrap();
    drop(running);
    let _ = std::fs::remove_dir_all(directory);
}
