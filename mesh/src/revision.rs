//! The revision: when, in the one order that all nodes share, a fact became true. It is also every xDS version.

use std::fmt;
use std::str::FromStr;

/// The log index at which a fact became true, under the epoch of the cluster's life.
///
/// The epoch rises when a cluster is founded, restored from a backup, or recovered from one node's disk, so that a proxy
/// which saw later revisions of an old life is told everything again. Ordered by epoch, then index; shown as
/// `epoch.index`, for instance `28425600.8123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision {
    /// When this life of the cluster began, in seconds since 2026, or one more than the life before if that is later. Zero is
    /// before all life.
    pub epoch: u32,
    /// Raft log index.
    pub index: u64,
}

/// A text is not `epoch.index`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a revision: expected epoch.index, for instance 1.8123")]
pub struct RevisionError(String);

impl Revision {
    /// A revision of the given epoch.
    #[must_use]
    pub fn new(epoch: u32, index: u64) -> Self {
        Self { epoch, index }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let parsed = text
            .split_once('.')
            .and_then(|(epoch, index)| Some(Self { epoch: epoch.parse().ok()?, index: index.parse().ok()? }));
        parsed.ok_or_else(|| RevisionError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_restored_cluster_is_later_than_any_index_of_the_old_one() {
        assert!(Revision::new(2, 1) > Revision::new(1, u64::MAX));
    }

    #[test]
    fn only_epoch_dot_index_is_a_revision() {
        assert_eq!("1.8123".parse::<Revision>().unwrap(), Revision::new(1, 8123));
        for text in ["", "1", "1.", ".1", "1.-2", "1.2.3", "a.b"] {
            assert!(text.parse::<Revision>().is_err(), "{text:?}");
        }
    }
}
