//! Which life of the cluster a node's data belongs to, told in each call between nodes: a node of the life before a restore or
//! a recovery must not be heard, because its log is longer and of a later term, and would undo it.
//!
//! A life is known by its epoch once it has begun. Before that a directory knows the epoch of the life before its own: what a
//! restored backup held, or 1 where a cluster is founded and where a node waits to be brought into one. Pure, but for the
//! cell in which the replica leaves what it has applied.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One node's word about its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It has begun with this epoch.
    Begun(u32),
    /// It is to begin, after one of this epoch.
    After(u32),
}

impl Life {
    /// What a catalog of this epoch says.
    pub(in crate::replica) fn of(epoch: u32, is_begun: bool) -> Self {
        if is_begun { Self::Begun(epoch) } else { Self::After(epoch) }
    }

    /// Whether both may be of one life: one that has begun, one that two nodes wait for, or one that has begun on one of them.
    pub(super) fn fits(self, other: Self) -> bool {
        match (self, other) {
            (Self::Begun(own), Self::Begun(other)) | (Self::After(own), Self::After(other)) => own == other,
            (Self::Begun(begun), Self::After(before)) | (Self::After(before), Self::Begun(begun)) => {
                before < begun
            }
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("after-") {
            Some(epoch) => epoch.parse().ok().map(Self::After),
            None => text.parse().ok().map(Self::Begun),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun(epoch) => write!(f, "{epoch}"),
            Self::After(epoch) => write!(f, "after-{epoch}"),
        }
    }
}

/// The life of this node's data: left here by the truth thread, told by every call. Clones are the same cell.
#[derive(Debug, Clone)]
pub struct OwnLife(Arc<AtomicU64>);

impl OwnLife {
    /// What the data directory said when it was opened.
    #[must_use]
    pub fn new(life: Life) -> Self {
        Self(Arc::new(AtomicU64::new(packed(life))))
    }

    /// An entry was applied, or a snapshot installed.
    pub(in crate::replica) fn became(&self, life: Life) {
        self.0.store(packed(life), Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Life {
        let packed = self.0.load(Ordering::Relaxed);
        Life::of(u32::try_from(packed >> 1).expect("32 bits were packed"), packed & 1 == 1)
    }
}

fn packed(life: Life) -> u64 {
    match life {
        Life::Begun(epoch) => u64::from(epoch) << 1 | 1,
        Life::After(epoch) => u64::from(epoch) << 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Life::{After, Begun};
    use super::*;

    #[test]
    fn nodes_of_one_life_hear_each_other_however_far_they_are() {
        for (one, other) in [
            (Begun(700), Begun(700)),
            (After(1), After(1)),
            (After(1), Begun(700)),
            (After(700), After(700)),
            (After(700), Begun(800)),
        ] {
            assert!(one.fits(other) && other.fits(one), "{one} and {other}");
        }
    }

    #[test]
    fn a_node_of_the_life_before_is_not_heard_before_nor_after_the_next_has_begun() {
        for (restored, old) in [
            (After(700), Begun(700)),
            (Begun(800), Begun(700)),
            (After(700), Begun(600)),
            // Founded and never begun, beside a restored one.
            (After(700), After(1)),
        ] {
            assert!(!restored.fits(old) && !old.fits(restored), "{restored} and {old}");
        }
    }

    #[test]
    fn a_life_is_read_as_it_was_told_and_kept_as_it_was_left() {
        for life in [Begun(0), Begun(u32::MAX), After(1), After(u32::MAX)] {
            assert_eq!(Life::parse(&life.to_string()), Some(life));
            let own = OwnLife::new(After(7));
            own.became(life);
            assert_eq!(own.now(), life);
        }
        for nonsense in ["", "after-", "-1", "after-after-1", "4294967296"] {
            assert_eq!(Life::parse(nonsense), None, "{nonsense}");
        }
    }
}
