//! The log as raft reads it: all entries since a little below the last snapshot, in memory.
//!
//! The disk is read only at start, and holds more: whole segments. What bounds the memory is the bound on the log between two snapshots
//! (`ReplicaSettings::snapshot_after_*`, and four times that before proposals and appends are refused).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry};
use raft::{GetEntriesContext, RaftState, StorageError};

use crate::log::Recovered;
use crate::nouns::{HardState, Membership};
use crate::wire;

/// What an entry costs beyond its data: the struct, and its place in the queue.
const ENTRY_OVERHEAD_BYTES: usize = size_of::<Entry>();

/// The last entry inside a snapshot, with the membership after it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SnapshotPoint {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) membership: Membership,
}

/// Entries, hard state and the newest snapshot's point.
#[derive(Debug)]
pub(super) struct MemoryLog {
    hard_state: HardState,
    snapshot: SnapshotPoint,
    /// Index and term of the entry before the first one held.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_since_snapshot: usize,
    /// A node that joined after the newest snapshot needs one that knows it. Atomic because raft asks through
    /// `&self`.
    newer_wanted: AtomicBool,
}

impl MemoryLog {
    /// # Panics
    /// If `recovered` holds an entry that raft cannot take, or leaves a gap: `Log::open` refuses such
    /// directories.
    pub(super) fn new(recovered: Recovered) -> Self {
        let snapshot = recovered.snapshot.map_or_else(SnapshotPoint::default, |snapshot| SnapshotPoint {
            index: snapshot.index,
            term: snapshot.term,
            membership: snapshot.membership,
        });
        let mut entries: VecDeque<Entry> = recovered
            .entries
            .into_iter()
            .map(|entry| wire::entry_to_raft(entry).expect("the log refuses entries that raft cannot take"))
            .collect();
        let mut base = (snapshot.index, snapshot.term);
        if entries.front().is_some_and(|first| first.index <= snapshot.index) {
            // The term of the entry before the first one is not known, so the first one becomes the base
            // itself.
            let first = entries.pop_front().expect("it was just seen");
            base = (first.index, first.term);
        }
        assert!(
            entries.front().is_none_or(|first| first.index == base.0 + 1),
            "the log begins after {}, but the snapshot ends at {}",
            base.0,
            snapshot.index
        );
        let mut log = Self {
            hard_state: recovered.hard_state,
            snapshot,
            base,
            entries,
            bytes: 0,
            bytes_since_snapshot: 0,
            newer_wanted: AtomicBool::new(false),
        };
        log.bytes = log.entries.iter().map(cost).sum();
        log.count_bytes_since_snapshot();
        log
    }

    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(super) fn snapshot_point(&self) -> &SnapshotPoint {
        &self.snapshot
    }

    pub(super) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether raft asked for a newer snapshot than there is, since the last time this was asked.
    pub(super) fn take_newer_wanted(&self) -> bool {
        self.newer_wanted.swap(false, Ordering::Relaxed)
    }

    /// The term of `index`, if it is held.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        if index == self.snapshot.index {
            return Some(self.snapshot.term);
        }
        self.position(index).map(|position| self.entries[position].term)
    }

    fn position(&self, index: u64) -> Option<usize> {
        let offset = index.checked_sub(self.first())?;
        usize::try_from(offset).ok().filter(|&position| position < self.entries.len())
    }

    /// Appends `entries`, cutting off first what stands from the first one's index on.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index >= self.first() && first.index <= self.last() + 1,
            "entry {} does not continue the log {}..={}",
            first.index,
            self.first(),
            self.last()
        );
        while self.last() >= first.index {
            let cut = self.entries.pop_back().expect("the last index is above the first");
            self.uncount(&cut);
        }
        for entry in entries {
            self.bytes += cost(entry);
            self.bytes_since_snapshot += cost(entry);
            self.entries.push_back(entry.clone());
        }
    }

    /// Replaces everything by a snapshot that came from the leader.
    pub(super) fn reset(&mut self, snapshot: SnapshotPoint) {
        self.base = (snapshot.index, snapshot.term);
        self.entries.clear();
        self.bytes = 0;
        self.bytes_since_snapshot = 0;
        self.snapshot = snapshot;
    }

    /// A snapshot of our own is durable.
    pub(super) fn snapshot_kept(&mut self, snapshot: SnapshotPoint) {
        self.snapshot = snapshot;
        self.count_bytes_since_snapshot();
    }

    /// Keeps at most `entries_max` and `bytes_max` of what the snapshot covers, but all from `keep_from` on. Returns the first
    /// index kept.
    pub(super) fn shorten(&mut self, entries_max: u64, bytes_max: usize, keep_from: u64) -> u64 {
        let covered = self.snapshot.index;
        while self.first() <= covered && self.first() < keep_from {
            let catch_up_entries = covered + 1 - self.first();
            let catch_up_bytes = self.bytes - self.bytes_since_snapshot;
            if catch_up_entries <= entries_max && catch_up_bytes <= bytes_max {
                break;
            }
            let dropped = self.entries.pop_front().expect("the snapshot covers entries of this log");
            self.bytes -= cost(&dropped);
            self.base = (dropped.index, dropped.term);
        }
        self.first()
    }

    fn uncount(&mut self, entry: &Entry) {
        self.bytes -= cost(entry);
        if entry.index > self.snapshot.index {
            self.bytes_since_snapshot -= cost(entry);
        }
    }

    fn count_bytes_since_snapshot(&mut self) {
        let since = self.snapshot.index;
        self.bytes_since_snapshot =
            self.entries.iter().rev().take_while(|entry| entry.index > since).map(cost).sum();
    }
}

fn cost(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_OVERHEAD_BYTES
}

impl raft::Storage for MemoryLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let hard_state = raft::eraftpb::HardState {
            term: self.hard_state.term,
            vote: self.hard_state.vote,
            commit: self.hard_state.commit,
            ..raft::eraftpb::HardState::default()
        };
        let conf_state: ConfState = wire::membership_to_raft(&self.snapshot.membership);
        Ok(RaftState::new(hard_state, conf_state))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if low >= high {
            return Ok(Vec::new());
        }
        let Some(start) = self.position(low).filter(|_| high <= self.last() + 1) else {
            return Err(raft::Error::Store(StorageError::Unavailable));
        };
        let count = usize::try_from(high - low).unwrap_or(usize::MAX);
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let fitting = self
            .entries
            .range(start..)
            .take(count)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += cost(entry) as u64;
                first || bytes <= bytes_max
            })
            .cloned();
        Ok(fitting.collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing = if index < self.base.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_of(index).ok_or(raft::Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The newest snapshot's point, without data: the driver sends that from the file.
    ///
    /// A node ignores a snapshot whose membership lacks it, so one that joined later has to wait for a newer
    /// one.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<raft::eraftpb::Snapshot> {
        let point = &self.snapshot;
        if point.index == 0 || point.index < request_index || !point.membership.contains(to) {
            self.newer_wanted.store(true, Ordering::Relaxed);
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(wire::raft_snapshot(point.index, point.term, &point.membership, Bytes::new()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use raft::Storage as _;

    use super::*;
    use crate::nouns::{LogEntry, NodeId, Snapshot};

    fn entry(index: u64, term: u64) -> Entry {
        let data = Bytes::from(vec![b'x'; 100]);
        wire::entry_to_raft(LogEntry { kind: 0, term, index, data }).unwrap()
    }

    fn log(through: u64) -> MemoryLog {
        let mut log = MemoryLog::new(Recovered::founding(Membership::of_voters([NodeId(1)])));
        log.append(&(2..=through).map(|index| entry(index, 2)).collect::<Vec<_>>());
        log
    }

    fn point(index: u64) -> SnapshotPoint {
        SnapshotPoint { index, term: 2, membership: Membership::of_voters([NodeId(1)]) }
    }

    fn read(log: &MemoryLog, low: u64, high: u64, bytes_max: u64) -> Vec<u64> {
        let entries = log.entries(low, high, Some(bytes_max), GetEntriesContext::empty(false)).unwrap();
        entries.iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn a_conflicting_suffix_gives_way_and_its_bytes_are_freed() {
        let mut log = log(10);
        log.append(&[entry(5, 3)]);
        assert_eq!((log.last(), log.term_of(5), log.term_of(6)), (5, Some(3), None));
        assert_eq!(log.bytes(), 4 * cost(&entry(2, 2)));
    }

    #[test]
    fn entries_stop_at_the_bound_in_bytes_but_there_is_always_one() {
        let log = log(10);
        let each = cost(&entry(2, 2)) as u64;
        assert_eq!(read(&log, 3, 11, 3 * each), [3, 4, 5]);
        assert_eq!(read(&log, 3, 11, 1), [3]);
        assert_eq!(read(&log, 9, 11, u64::MAX), [9, 10]);
    }

    #[test]
    fn after_a_snapshot_a_bounded_tail_stays_to_catch_up_with() {
        for (entries_max, bytes_max, keep_from, first) in [
            (3, usize::MAX, u64::MAX, 6),
            (0, usize::MAX, u64::MAX, 9),
            (100, 2 * cost(&entry(2, 2)), u64::MAX, 7),
            (0, 0, 4, 4),
        ] {
            let mut log = log(10);
            log.snapshot_kept(point(8));
            assert_eq!(log.shorten(entries_max, bytes_max, keep_from), first);
            assert_eq!(read(&log, first, 11, u64::MAX), (first..11).collect::<Vec<_>>());
            assert_eq!(log.term(first - 1).unwrap(), if first == 2 { 1 } else { 2 });
            assert!(log.term(first - 2).is_err());
        }
    }

    #[test]
    fn a_snapshot_that_does_not_know_its_addressee_is_not_sent_and_a_newer_one_is_asked_for() {
        let log = log(10);
        assert!(log.snapshot(0, 9).is_err());
        assert!(log.take_newer_wanted() && !log.take_newer_wanted());
        assert_eq!(log.snapshot(0, 1).unwrap().get_metadata().index, 1);
    }

    #[test]
    fn a_log_that_begins_below_its_snapshot_is_taken_over() {
        let entries = (4..=9).map(|index| LogEntry { kind: 0, term: 2, index, data: Bytes::new() }).collect();
        let membership = Membership::of_voters([NodeId(1)]);
        let snapshot = Some(Snapshot { index: 6, term: 2, membership, data: Bytes::new() });
        let log = MemoryLog::new(Recovered { snapshot, entries, ..Recovered::default() });
        assert_eq!((log.first(), log.last(), log.term_of(4)), (5, 9, Some(2)));
    }
}
