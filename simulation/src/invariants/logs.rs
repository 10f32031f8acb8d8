//! State machine safety: what one node applied at an index, every node applies there, and comes to the same state
//! (Raft, figure 3). Also holds across crashes: an applied entry is never applied as another one later.

use std::collections::BTreeMap;

use super::Violation;

/// What was applied at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AppliedEntry {
    pub(crate) term: u64,
    /// Hash of the entry's bytes.
    pub(crate) data: u64,
    /// The catalog's state hash after it.
    pub(crate) state: u64,
}

/// Remembers what was applied first at each index.
#[derive(Debug, Default)]
pub(crate) struct LogsAgree(BTreeMap<u64, AppliedEntry>);

impl LogsAgree {
    /// `node` applied `entry` at `index`.
    pub(crate) fn applied(&mut self, node: u64, index: u64, entry: AppliedEntry) -> Result<(), Violation> {
        let first = *self.0.entry(index).or_insert(entry);
        if first == entry {
            return Ok(());
        }
        let story = format!("node {node} applied {entry:?} at {index}, another node {first:?}");
        Err(Violation::new("logs agree", story))
    }

    /// `node` installed a snapshot as of `index` that came to the state hash `state`.
    pub(crate) fn installed(&mut self, node: u64, index: u64, state: u64) -> Result<(), Violation> {
        match self.0.get(&index) {
            Some(first) if first.state != state => {
                let story = format!(
                    "node {node} installed a snapshot at {index} with state {state:x}, not {first:?}"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_entry_or_another_state_at_an_index_is_a_violation() {
        let entry = AppliedEntry { term: 1, data: 7, state: 9 };
        let mut invariant = LogsAgree::default();
        assert!(invariant.applied(1, 5, entry).is_ok() && invariant.applied(2, 5, entry).is_ok());
        assert!(invariant.applied(3, 5, AppliedEntry { data: 8, ..entry }).is_err());
        assert!(invariant.applied(3, 5, AppliedEntry { state: 8, ..entry }).is_err());
        assert!(invariant.installed(3, 5, 8).is_err() && invariant.installed(3, 5, 9).is_ok());
    }
}
