//! What the records of a log add up to: hard state and entries. Pure; the same for writing and for recovery.

use std::collections::VecDeque;

use crate::nouns::{HardState, LogEntry};

use super::frame::{BatchRecord, Head};

/// The state after some records.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) hard_state: HardState,
    /// Entries without gaps.
    pub(super) entries: VecDeque<LogEntry>,
    /// The entry after which the log begins, if it holds none.
    pub(super) begins_after: u64,
    /// Last entry of what stood before the first segment read.
    pub(super) missing_through: u64,
}

impl Replay {
    /// The head of the first segment that is left.
    pub(super) fn begin(&mut self, head: &Head) {
        self.hard_state = head.hard_state.unwrap_or_default();
        self.missing_through = head.last_index;
        self.begins_after = head.last_index;
    }

    /// Last entry.
    pub(super) fn last_index(&self) -> u64 {
        self.entries.back().map_or(self.begins_after, |entry| entry.index)
    }

    /// Adds one batch; or says why it cannot follow.
    pub(super) fn add(&mut self, batch: BatchRecord) -> Result<(), String> {
        if let Some(hard_state) = batch.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(reset) = batch.reset {
            self.entries.clear();
            self.begins_after = reset.index;
            self.missing_through = 0;
        }
        for entry in batch.entries {
            self.append(entry)?;
        }
        Ok(())
    }

    fn append(&mut self, entry: LogEntry) -> Result<(), String> {
        let last = self.last_index();
        if entry.index > last + 1 {
            return Err(format!("entry {} follows entry {last}", entry.index));
        }
        crate::wire::entry_to_raft(entry.clone())?;
        while self.entries.pop_back_if(|standing| standing.index >= entry.index).is_some() {}
        if self.entries.is_empty() {
            self.begins_after = entry.index - 1;
        }
        self.entries.push_back(entry);
        Ok(())
    }

    /// The term of `index`, if that entry is held.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        let first = self.entries.front()?.index;
        let position = usize::try_from(index.checked_sub(first)?).ok()?;
        self.entries.get(position).map(|entry| entry.term)
    }
}
