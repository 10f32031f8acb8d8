//! Proposals of this node on their way: waiting to be appended in one group, then waiting to be committed.
//!
//! A proposal is known by the index and term at which the leader appended it, so the log carries no tokens.
//! Pure book-keeping: it decides nothing about leadership.

use std::collections::VecDeque;

use crate::nouns::{EntryKind, LogEntry};

/// One proposal that was appended and is not committed.
#[derive(Debug)]
struct Appended {
    index: u64,
    term: u64,
    token: u64,
    bytes: usize,
}

/// The proposals of one leader.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    queued: Vec<(u64, LogEntry)>,
    appended: VecDeque<Appended>,
    bytes: usize,
}

impl Proposals {
    /// Takes one in; it is appended at the next round of outputs, together with all others of that round.
    pub(super) fn queue(&mut self, token: u64, kind: EntryKind, data: bytes::Bytes) {
        self.bytes += data.len();
        self.queued.push((token, LogEntry { kind: kind.into(), term: 0, index: 0, data }));
    }

    /// Entries that are queued or appended, and not committed.
    pub(super) fn waiting(&self) -> u64 {
        (self.queued.len() + self.appended.len()) as u64
    }

    /// Their bytes.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether some are not appended yet.
    pub(super) fn is_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The group that is to be appended now.
    pub(super) fn take_queued(&mut self) -> Vec<(u64, LogEntry)> {
        std::mem::take(&mut self.queued)
    }

    /// A group of `(token, bytes)` was appended from `first_index` on, in `term`.
    pub(super) fn appended(
        &mut self,
        first_index: u64,
        term: u64,
        group: impl Iterator<Item = (u64, usize)>,
    ) {
        let indexed = (first_index..).zip(group);
        self.appended.extend(indexed.map(|(index, (token, bytes))| Appended { index, term, token, bytes }));
    }

    /// A group that was taken is not to be appended.
    pub(super) fn refused(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// The entry at `index` was committed with `term`: whose was it?
    pub(super) fn committed(&mut self, index: u64, term: u64) -> Option<u64> {
        let first = self.appended.front()?;
        if first.index != index || first.term != term {
            return None;
        }
        let first = self.appended.pop_front()?;
        self.bytes -= first.bytes;
        Some(first.token)
    }

    /// Leadership is lost: the tokens of what was never appended, and of what may still commit.
    pub(super) fn abandon(&mut self) -> (Vec<u64>, Vec<u64>) {
        self.bytes = 0;
        let queued = self.take_queued().into_iter().map(|(token, _)| token).collect();
        let appended = self.appended.drain(..).map(|appended| appended.token).collect();
        (queued, appended)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use bytes::Bytes;

    use super::*;

    fn three_appended() -> Proposals {
        let mut proposals = Proposals::default();
        for token in 1..=3 {
            proposals.queue(token, EntryKind::Normal, Bytes::from_static(b"abcd"));
        }
        let group = proposals.take_queued();
        proposals.appended(10, 2, group.iter().map(|(token, entry)| (*token, entry.data.len())));
        proposals
    }

    #[test]
    fn a_committed_entry_names_its_proposer_once_and_frees_its_bytes() {
        let mut proposals = three_appended();
        assert_eq!(proposals.waiting_bytes(), 12);
        assert_eq!(proposals.committed(10, 2), Some(1));
        assert_eq!(proposals.committed(10, 2), None);
        assert_eq!((proposals.waiting(), proposals.waiting_bytes()), (2, 8));
    }

    #[test]
    fn an_entry_of_another_term_at_the_same_index_is_nobodys() {
        assert_eq!(three_appended().committed(10, 3), None);
    }

    #[test]
    fn a_lost_leadership_tells_apart_what_was_appended_and_what_was_not() {
        let mut proposals = three_appended();
        proposals.queue(4, EntryKind::Normal, Bytes::from_static(b"x"));
        assert_eq!(proposals.abandon(), (vec![4], vec![1, 2, 3]));
        assert_eq!((proposals.waiting(), proposals.waiting_bytes()), (0, 0));
    }
}
