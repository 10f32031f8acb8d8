//! The replica's two clocks: a monotonic one for Raft, and the wall clock that a leader stamps into commands.
//! The only place of this room that reads either; what they say goes into pure values as arguments.

use std::time::{Duration, SystemTime};

use mesh::Timestamp;
use tokio::time::Instant;

/// Tells the time of day; a simulation brings its own. May run back: the catalog and the stamp keep it from doing so in the
/// log.
pub type WallClock = fn() -> Timestamp;

/// The machine's own time of day.
pub(super) fn system_wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock of one replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts it at zero.
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Since the start; never runs back.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
