//! At most once: a write that stands in the log twice (a retry) is applied the first time only; the second time is answered with
//! the first outcome, or refused.

use std::collections::BTreeMap;

use api::log::v1::outcome;

use super::{AppliedEntry, Violation, WriteKey};

/// Remembers where each write was applied first.
#[derive(Debug, Default)]
pub(crate) struct AppliedOnce(BTreeMap<WriteKey, u64>);

impl AppliedOnce {
    /// All nodes went back to what stood at `index`.
    pub(crate) fn restored(&mut self, index: u64) {
        self.0.retain(|_, applied| *applied <= index);
    }

    /// A node applied this entry, which is the write `key`. Says where that was applied first.
    pub(crate) fn applied(&mut self, key: &WriteKey, entry: &AppliedEntry) -> Result<u64, Violation> {
        let first = match self.0.get(key) {
            Some(first) => *first,
            None => {
                self.0.insert(key.clone(), entry.index);
                entry.index
            }
        };
        let refused = matches!(entry.outcome.result, Some(outcome::Result::Refused(_)));
        if entry.index <= first || entry.outcome.index == first || refused {
            return Ok(first);
        }
        let story = format!("{key:?} was applied at {first}, and again at {}", entry.index);
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
        let key = ("client".to_owned(), 1);
        let mut invariant = AppliedOnce::default();
        assert_eq!(invariant.applied(&key, &entry(5, Command::default())), Ok(5));
        let mut retry = entry(8, Command::default());
        assert!(invariant.applied(&key, &retry).is_err());
        retry.outcome = Outcome { index: 5, ..Outcome::default() };
        assert_eq!(invariant.applied(&key, &retry), Ok(5));
        let refusal = Some(outcome::Result::Refused(Refused::default()));
        retry.outcome = Outcome { index: 8, result: refusal, ..Outcome::default() };
        assert_eq!(invariant.applied(&key, &retry), Ok(5));
    }
}
