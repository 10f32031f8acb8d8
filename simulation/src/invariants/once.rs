//! At most once: a write that stands in the log twice (a retry) is applied the first time only; the second time is answered with
//! the first outcome, or refused.

use std::collections::BTreeMap;

use api::log::v1::outcome;

use super::{AppliedEntry, Violation};

/// Remembers where each write was applied first, by client and sequence.
#[derive(Debug, Default)]
pub(crate) struct AppliedOnce(BTreeMap<String, BTreeMap<u64, u64>>);

impl AppliedOnce {
    /// All nodes went back to what stood at `index`.
    pub(crate) fn restored(&mut self, index: u64) {
        self.0.values_mut().for_each(|writes| writes.retain(|_, applied| *applied <= index));
    }

    /// Where a write was applied first, if it was.
    pub(crate) fn first(&self, client: &str, sequence: u64) -> Option<u64> {
        self.0.get(client)?.get(&sequence).copied()
    }

    /// A node applied this entry, which is a write of `client`. Says where that was applied first.
    pub(crate) fn applied(
        &mut self,
        client: &str,
        sequence: u64,
        entry: &AppliedEntry,
    ) -> Result<u64, Violation> {
        if !self.0.contains_key(client) {
            self.0.insert(client.to_owned(), BTreeMap::new());
        }
        let writes = self.0.get_mut(client).expect("it was just put there");
        let first = *writes.entry(sequence).or_insert(entry.index);
        let refused = matches!(entry.outcome.result, Some(outcome::Result::Refused(_)));
        if entry.index <= first || entry.outcome.index == first || refused {
            return Ok(first);
        }
        let story =
            format!("write {sequence} of {client} was applied at {first}, and again at {}", entry.index);
        Err(Violation::new("writes are applied once", story))
    }
}

#[cfg(test)]
mod tests {
    use api::log::v1::{Command, Outcome, Refused};

    use super::*;
    use crate::invariants::logs::entry;

    #[test]
    fn a_retry_is_answered_with_the_first_outcome_or_refused_and_nothing_else() {
        let mut invariant = AppliedOnce::default();
        let mut applied = |entry: &AppliedEntry| invariant.applied("client", 1, entry);
        assert_eq!(applied(&entry(5, Command::default())), Ok(5));
        let mut retry = entry(8, Command::default());
        assert!(applied(&retry).is_err());
        retry.outcome = Outcome { index: 5, ..Outcome::default() };
        assert_eq!(applied(&retry), Ok(5));
        let refusal = Some(outcome::Result::Refused(Refused::default()));
        retry.outcome = Outcome { index: 8, result: refusal, ..Outcome::default() };
        assert_eq!(applied(&retry), Ok(5));
    }
}
