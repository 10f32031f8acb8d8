//! What the demo takes from this machine: a folder that goes away with it, and ports that nobody else has.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A folder below the system's temporary one; removed when dropped, unless it is to be kept.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the folder.
    pub(super) fn create(keep: bool) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("penstock-demo-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self { path, keep })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path); // the system clears its temporary folder, if we cannot
        }
    }
}

/// Addresses of free ports of the loopback, each given once.
#[derive(Debug)]
pub(super) struct Ports(VecDeque<SocketAddr>);

impl Ports {
    /// Finds `number` ports.
    pub(super) fn reserve(number: usize) -> io::Result<Self> {
        Ok(Self(runtime::ports::addresses(number)?.into()))
    }

    /// The next address.
    ///
    /// # Panics
    /// If more are asked for than were reserved.
    pub(super) fn next(&mut self) -> SocketAddr {
        self.0.pop_front().expect("as many ports are reserved as children are started with")
    }
}
