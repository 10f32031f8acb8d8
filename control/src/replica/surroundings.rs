//! What a node touches of its machine beside its listeners and its data directory's name: all of it can be put in place by a
//! simulation. Ground floor of this room; holds no rule.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use consensus::{StdVfs, Vfs};
use runtime::dial::Dialler;

use super::clock::{WallClock, system_wall};

/// A node's machine.
#[derive(Clone)]
pub struct Surroundings {
    /// The file system below the data directory.
    pub disk: Arc<dyn Vfs>,
    /// The time of day.
    pub wall: WallClock,
    /// The way to the other nodes.
    pub dialler: Dialler,
    /// Of election timeouts and read tokens: different in each process start, or the nodes' timeouts would tie.
    pub seed: u64,
    /// The log syncs on the runtime of its replica, and not on a thread of its own: what a simulation's clock needs, and
    /// what would keep heartbeats waiting for the disk anywhere else.
    pub is_threadless: bool,
}

impl Default for Surroundings {
    /// This machine.
    fn default() -> Self {
        Self {
            disk: Arc::new(StdVfs),
            wall: system_wall,
            dialler: Dialler::System,
            // Keyed by the operating system's chance.
            seed: std::hash::RandomState::new().build_hasher().finish(),
            is_threadless: false,
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dialler, seed, is_threadless, .. } = self;
        f.debug_struct("Surroundings")
            .field("dialler", dialler)
            .field("seed", seed)
            .field("is_threadless", is_threadless)
            .finish_non_exhaustive()
    }
}
