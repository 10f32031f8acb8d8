//! The replica's two clocks: a monotonic one for Raft, and the wall clock that a leader stamps into commands.
//! The only place of this room that reads either; what they say goes into pure values as arguments.

use std::time::{Duration, SystemTime};

use mesh::Timestamp;
use tokio::time::Instant;

/// Both clocks of one replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Since the start; never runs back.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall clock. May run back: the catalog and the stamp keep it from doing so in the log.
    pub(crate) fn wall() -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
