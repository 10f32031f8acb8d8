//! Which life of the cluster a node's data belongs to, told in each call between nodes: a node of the life before a restore or
//! a recovery must not be heard, because its log is longer and of a later term, and would undo it.
//!
//! A life is known by its epoch once it has begun. Before that a directory knows the epoch of the life before its own: what a
//! restored backup held, or 1 where a cluster is founded and where a node waits to be brought into one. Pure, but for the
//! cell in which the replica leaves what it has applied.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::log::v1::Command;
use api::log::v1::command::Body;
use consensus::Recovered;
use prost::Message as _;

use crate::catalog::Catalog;

/// One node's word about its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It has begun with this epoch.
    Begun(u32),
    /// It is to begin, after one of this epoch.
    After(u32),
}

impl Life {
    /// What a catalog says.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        Self::with(catalog.applied().epoch, catalog.is_begun())
    }

    /// What was read from a data directory says. That its life has begun may stand in the newest snapshot, or in an entry after
    /// it that is known to be committed. One that is not may never be: its leader died, the next one began the life with another
    /// epoch, and would be refused for ever. (What is committed and not known to be so fits both, until it is applied.)
    #[must_use]
    pub fn of_directory(recovered: &Recovered) -> Self {
        let snapshot = recovered.snapshot.as_ref().filter(|snapshot| !snapshot.data.is_empty());
        let (epoch, is_begun) = snapshot.map_or((1, false), |snapshot| Catalog::life_of(&snapshot.data));
        let begin = |data: &[u8]| match Command::decode(data).ok()?.body? {
            Body::Begin(begin) => Some(Self::Begun(begin.epoch)),
            _ => None,
        };
        if is_begun {
            return Self::Begun(epoch);
        }
        let covered = snapshot.map_or(0, |snapshot| snapshot.index);
        let committed = covered + 1..=recovered.hard_state.commit;
        let mut later = recovered.entries.iter().filter(|entry| committed.contains(&entry.index));
        later.find_map(|entry| begin(&entry.data)).unwrap_or(Self::After(epoch))
    }

    fn with(epoch: u32, is_begun: bool) -> Self {
        if is_begun { Self::Begun(epoch) } else { Self::After(epoch) }
    }

    /// Whether both may be of one life: one that has begun, one that two nodes wait for, or one that has begun on one of them.
    #[must_use]
    pub fn fits(self, other: Self) -> bool {
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
        Life::with(u32::try_from(packed >> 1).expect("32 bits were packed"), packed & 1 == 1)
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
    use api::log::v1::Begin;
    use consensus::{HardState, LogEntry, Membership, Snapshot};

    use super::Life::{After, Begun};
    use super::*;

    fn begin(epoch: u32) -> Vec<u8> {
        Command { id: None, at_ms: 0, body: Some(Body::Begin(Begin { epoch })) }.encode_to_vec()
    }

    /// What a directory holds whose snapshot is of this catalog, with these entries from index 2 on, all committed.
    fn recovered(catalog: Option<&Catalog>, entries: &[Vec<u8>]) -> Recovered {
        let entry =
            |(index, data): (u64, &Vec<u8>)| LogEntry { kind: 0, term: 1, index, data: data.clone().into() };
        let snapshot = catalog.map(|catalog| Snapshot {
            index: catalog.applied().index.max(1),
            term: 1,
            membership: Membership::of_voters([consensus::NodeId(1)]),
            data: catalog.snapshot().into(),
        });
        let hard_state = HardState { term: 1, vote: 0, commit: 1 + entries.len() as u64 };
        Recovered {
            snapshot,
            entries: (2..).zip(entries).map(entry).collect(),
            hard_state,
            ..Recovered::default()
        }
    }

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

    #[test]
    fn a_directory_knows_its_life_by_its_snapshot_or_by_the_entry_that_began_it() {
        let mut begun = Catalog::new(1);
        begun.apply(2, &begin(700));
        let to_begin = begun.clone().for_another_life();
        let founding = Recovered::founding(Membership::of_voters([consensus::NodeId(1)]));
        for (held, life) in [
            (founding, After(1)),
            (Recovered::default(), After(1)),
            (recovered(None, &[Vec::new(), begin(700)]), Begun(700)),
            // Two leaders had proposed it: the first one counts, as in the catalog.
            (recovered(None, &[Vec::new(), begin(700), begin(800)]), Begun(700)),
            (recovered(Some(&begun), &[]), Begun(700)),
            (recovered(Some(&to_begin), &[]), After(700)),
            (recovered(Some(&to_begin), &[Vec::new(), begin(800)]), Begun(800)),
            // The begin of the life before stands below the snapshot of the next one.
            (recovered(Some(&to_begin), &[begin(700)]), After(700)),
        ] {
            assert_eq!(Life::of_directory(&held), life);
        }
    }

    /// A leader that was killed before its begin was committed came back as of that life, and was refused by the others for ever:
    /// the next leader had begun theirs a second later.
    #[test]
    fn a_begin_that_is_not_known_to_be_committed_is_no_life_yet() {
        let mut held = recovered(None, &[Vec::new(), begin(700), begin(800)]);
        held.hard_state.commit = 2;
        assert_eq!(Life::of_directory(&held), After(1));
        held.hard_state.commit = 3;
        assert_eq!(Life::of_directory(&held), Begun(700));
    }
}
