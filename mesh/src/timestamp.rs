//! Moments as the leader stamps them into the log, and as windows of traffic are numbered by.

use std::time::Duration;

/// Milliseconds since the Unix epoch.
///
/// In the replicated state it comes only from a command that the leader stamped, and never runs back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `elapsed` later; stays at the end of time on overflow.
    #[must_use]
    pub fn plus(self, elapsed: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
