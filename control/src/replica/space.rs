//! Whether there is room on the disk for new writes: a pure rule over what the log's thread sees, asked by the truth thread and by
//! the simulator.
//!
//! Writes are refused while less than the reserve is free, so that what was taken already, Raft's own records and the
//! snapshot that lets the log be shortened still find room. The reserve is free space, not a file that holds it: others may
//! take it too. What they cannot take are the preallocated segments of the log; where even these are used up, the disk
//! counts as full until a write gets through.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// After a shortage this much more than the reserve must be free, as a part of it: without, each segment that is written
/// and removed would turn it on and off.
const RECOVERY_PART: u64 = 8;

/// What is known of the disk's room. Written by the log's thread, read by the truth thread.
#[derive(Debug)]
pub struct Space {
    reserve: u64,
    free: AtomicU64,
    low: AtomicBool,
    full: AtomicBool,
}

/// Why nothing new may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// A write did not get through.
    Full,
    /// Less than the reserve is free.
    Low {
        /// What is free, in bytes.
        free: u64,
        /// What should be.
        reserve: u64,
    },
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "the leader's disk is full: free some space there"),
            Self::Low { free, reserve } => write!(
                f,
                "the leader's disk has {} MiB left, less than its reserve of {} MiB (disk_reserve_mib): free some space there",
                free >> 20,
                reserve >> 20
            ),
        }
    }
}

impl Space {
    /// Keeps so many bytes free; none has been looked at yet.
    #[must_use]
    pub fn new(reserve: u64) -> Self {
        Self {
            reserve,
            free: AtomicU64::new(u64::MAX),
            low: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// So much is free.
    pub fn seen(&self, free: u64) {
        let enough = if self.low.load(Ordering::Relaxed) {
            self.reserve.saturating_add(self.reserve / RECOVERY_PART)
        } else {
            self.reserve
        };
        self.free.store(free, Ordering::Relaxed);
        self.low.store(free < enough, Ordering::Relaxed);
    }

    /// How much is free, once that was looked at.
    pub(super) fn free(&self) -> Option<u64> {
        let free = self.free.load(Ordering::Relaxed);
        (free != u64::MAX).then_some(free)
    }

    /// A write did not get through, or did; answers what was so before.
    pub fn set_full(&self, full: bool) -> bool {
        self.full.swap(full, Ordering::Relaxed)
    }

    /// Why nothing new may be written, if that is so.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        if self.full.load(Ordering::Relaxed) {
            return Some(Shortage::Full);
        }
        let low = || Shortage::Low { free: self.free.load(Ordering::Relaxed), reserve: self.reserve };
        self.low.load(Ordering::Relaxed).then(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn writes_are_refused_below_the_reserve_and_taken_again_some_way_above_it() {
        let space = Space::new(64 * MIB);
        assert_eq!(space.shortage(), None, "nobody has looked yet");
        for (free, short) in
            [(65, false), (64, false), (63, true), (64, true), (71, true), (72, false), (64, false)]
        {
            space.seen(free * MIB);
            assert_eq!(space.shortage().is_some(), short, "{free} MiB free");
        }
    }

    #[test]
    fn a_shortage_says_what_is_left_and_what_to_do() {
        let space = Space::new(64 * MIB);
        space.seen(12 * MIB);
        let said = space.shortage().map(|shortage| shortage.to_string()).unwrap_or_default();
        assert!(said.contains("12 MiB left, less than its reserve of 64 MiB"), "{said}");
        assert!(!space.set_full(true));
        assert_eq!(space.shortage(), Some(Shortage::Full));
        assert!(space.set_full(false));
    }

    #[test]
    fn a_reserve_of_nothing_refuses_nothing_until_the_disk_does() {
        let space = Space::new(0);
        space.seen(0);
        assert_eq!(space.shortage(), None);
    }
}
