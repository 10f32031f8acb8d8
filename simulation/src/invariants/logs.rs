//! State machine safety: what one node applied at an index, every node applies there, and comes to the same state
//! (Raft, figure 3). Also holds across crashes: an applied entry is never applied as another one later.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use api::log::v1::{Command, Outcome};
use bytes::Bytes;
use mesh::Timestamp;

use super::Violation;

/// What a node applied at an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AppliedEntry {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) bytes: Bytes,
    /// Hash of `bytes`.
    pub(crate) data: u64,
    /// The catalog's state hash after it.
    pub(crate) state: u64,
    /// The log's time as of it.
    pub(crate) now: Timestamp,
    /// The term that the node was in.
    pub(crate) seen_in_term: u64,
    /// What it says, read where [`LogsAgree`] sees it for the first time; empty elsewhere, and where Raft alone needed it.
    pub(crate) command: Command,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What must be equal at an index: term, bytes and state.
type Print = (u64, u64, u64);

/// Remembers what was applied first at each index.
#[derive(Debug, Default)]
pub(crate) struct LogsAgree(BTreeMap<u64, Print>);

impl LogsAgree {
    /// `node` applied `entry`. Says whether it is the first that did: what others apply at this index says the same and comes to
    /// the same, the outcome included, and has to be read no more.
    pub(crate) fn applied(&mut self, node: u64, entry: &AppliedEntry) -> Result<bool, Violation> {
        let print = (entry.term, entry.data, entry.state);
        let first = match self.0.entry(entry.index) {
            Entry::Vacant(place) => {
                place.insert(print);
                return Ok(true);
            }
            Entry::Occupied(place) => *place.get(),
        };
        if first == print {
            return Ok(false);
        }
        let story = format!(
            "node {node} applied (term, bytes, state) {print:x?} at {}, another node {first:x?}",
            entry.index
        );
        Err(Violation::new("logs agree", story))
    }

    /// `node` installed a snapshot as of `index` that came to the state hash `state`.
    pub(crate) fn installed(&mut self, node: u64, index: u64, state: u64) -> Result<(), Violation> {
        match self.0.get(&index) {
            Some(first) if first.2 != state => {
                let story = format!(
                    "node {node} installed a snapshot at {index} with state {state:x}, not {:x}",
                    first.2
                );
                Err(Violation::new("logs agree", story))
            }
            _ => Ok(()),
        }
    }

    /// The last index that any node applied.
    pub(crate) fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(index, _)| *index)
    }
}

/// An entry that applied a command at an index, for tests of invariants.
#[cfg(test)]
pub(super) fn entry(index: u64, command: Command) -> AppliedEntry {
    let outcome = Outcome { index, ..Outcome::default() };
    let (term, data, state, seen_in_term) = (1, 7, 9, 1);
    let (bytes, now) = (Bytes::new(), Timestamp(0));
    AppliedEntry { index, term, bytes, data, state, now, seen_in_term, command, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_entry_or_another_state_at_an_index_is_a_violation() {
        let good = entry(5, Command::default());
        let mut invariant = LogsAgree::default();
        assert_eq!((invariant.applied(1, &good), invariant.applied(2, &good)), (Ok(true), Ok(false)));
        assert!(invariant.applied(3, &AppliedEntry { data: 8, ..good.clone() }).is_err());
        assert!(invariant.applied(3, &AppliedEntry { state: 8, ..good }).is_err());
        assert!(invariant.installed(3, 5, 8).is_err() && invariant.installed(3, 5, 9).is_ok());
    }
}
