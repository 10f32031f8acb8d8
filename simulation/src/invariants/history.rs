//! What clients did and saw, in the order in which requests went out and answers came back: recorded while a run goes on, and
//! checked key by key in the end. A history that one copy, doing one thing after the other, could have given is linearizable.

use std::collections::BTreeMap;

use super::Violation;
use super::linearizable::{Operation, Verdict, linearizable};
use crate::world::{Deed, Key, Told};

/// Who put there what stands at a key when a history begins.
const NOBODY: u64 = u64::MAX;

/// Every operation of every client.
#[derive(Debug, Default)]
pub(crate) struct History {
    operations: Vec<(u64, Key, Operation)>,
    moment: u64,
    reads: usize,
}

impl History {
    /// Everything begins anew: what was recorded is checked, and nothing stands anywhere.
    pub(crate) fn begin_anew(&mut self) -> Result<usize, Violation> {
        let undecided = self.check()?;
        self.operations.clear();
        Ok(undecided)
    }

    /// This stands at a key before anybody does anything.
    pub(crate) fn stands(&mut self, key: Key, value: u64) {
        let put = self.begins(NOBODY, key, Deed::Put(value));
        self.ends(put, Some(Told::Done));
    }

    /// A client begins something; says under which number it is recorded.
    pub(crate) fn begins(&mut self, client: u64, key: Key, deed: Deed) -> usize {
        self.moment += 1;
        let operation = Operation { deed, told: None, begun: self.moment, ended: None, void: false };
        self.operations.push((client, key, operation));
        self.operations.len() - 1
    }

    /// It was answered; `None` says that it was refused and changed nothing.
    pub(crate) fn ends(&mut self, operation: usize, told: Option<Told>) {
        self.moment += 1;
        let (_, _, operation) = &mut self.operations[operation];
        operation.ended = Some(self.moment);
        operation.told = told;
        operation.void = told.is_none();
        self.reads += usize::from(matches!(told, Some(Told::Value(_))));
    }

    /// How many reads were answered.
    pub(crate) fn reads(&self) -> usize {
        self.reads
    }

    /// Checks the history of each key; says how many were too tangled to be decided.
    pub(crate) fn check(&self) -> Result<usize, Violation> {
        let mut keys: BTreeMap<Key, Vec<Operation>> = BTreeMap::new();
        for (_, key, operation) in self.operations.iter().filter(|(_, _, operation)| !operation.void) {
            keys.entry(*key).or_default().push(*operation);
        }
        let mut undecided = 0;
        for (key, operations) in keys {
            match linearizable(&operations) {
                Verdict::Yes => {}
                Verdict::Undecided => undecided += 1,
                Verdict::No(story) => {
                    return Err(Violation::new("histories are linearizable", format!("{key:?}: {story}")));
                }
            }
        }
        Ok(undecided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key::Route(1);

    #[test]
    fn keys_are_checked_apart_and_what_was_refused_does_not_count() {
        let mut history = History::default();
        let put = history.begins(1, KEY, Deed::Put(7));
        history.ends(put, None);
        let other = history.begins(1, Key::Route(2), Deed::Put(7));
        history.ends(other, Some(Told::Done));
        let read = history.begins(2, KEY, Deed::Read);
        history.ends(read, Some(Told::Value(None)));
        assert_eq!((history.check(), history.reads()), (Ok(0), 1));
        let read = history.begins(2, KEY, Deed::Read);
        history.ends(read, Some(Told::Value(Some(7))));
        assert!(history.check().is_err());
    }

    #[test]
    fn what_stands_in_the_beginning_is_seen_and_what_was_before_is_not() {
        let mut history = History::default();
        let put = history.begins(1, KEY, Deed::Put(7));
        history.ends(put, Some(Told::Done));
        assert_eq!(history.begin_anew(), Ok(0));
        history.stands(KEY, 5);
        let mut read = |value| {
            let read = history.begins(2, KEY, Deed::Read);
            history.ends(read, Some(Told::Value(Some(value))));
            history.check()
        };
        assert_eq!(read(5), Ok(0));
        assert!(read(7).is_err());
    }
}
