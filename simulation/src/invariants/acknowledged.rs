//! Durability: an acknowledged write stands in the log at the index that was told, that index is the first at which the write
//! stands, and every node holds it in the end.

use std::collections::BTreeMap;

use super::{AppliedEntry, AppliedOnce, Violation};

const NAME: &str = "acknowledged writes survive";

/// What a sabotaged node appends to the name of a client, so that its writes have no identity.
pub(crate) const ANONYMOUS: char = '~';

/// Remembers which writes were applied where, and which were acknowledged.
#[derive(Debug, Default)]
pub(crate) struct AcknowledgedWritesSurvive {
    once: AppliedOnce,
    /// The write that was acknowledged at each index: client and sequence.
    acknowledged: BTreeMap<u64, (String, u64)>,
    /// Acknowledged writes that an operator gave up by going back to a backup.
    given_up: usize,
}

impl AcknowledgedWritesSurvive {
    /// All nodes went back to what stood at `index`: what came later may be lost, and counts no more.
    pub(crate) fn restored(&mut self, index: u64) {
        self.once.restored(index);
        self.given_up += self.acknowledged.split_off(&(index + 1)).len();
    }

    /// Whether this write stands in the log.
    pub(crate) fn is_applied(&self, client: &str, sequence: u64) -> bool {
        self.once.first(client, sequence).is_some()
    }

    /// Some node applied this entry. Says whether it is a write that was applied before.
    pub(crate) fn applied(&mut self, entry: &AppliedEntry) -> Result<bool, Violation> {
        let Some(id) = &entry.command.id else { return Ok(false) };
        let client = id.client.split(ANONYMOUS).next().unwrap_or_default();
        Ok(entry.index > self.once.applied(client, id.sequence, entry)?)
    }

    /// A client was told that its write was applied at `index`.
    pub(crate) fn acknowledged(
        &mut self,
        client: String,
        sequence: u64,
        index: u64,
    ) -> Result<(), Violation> {
        let first = self.once.first(&client, sequence);
        if first != Some(index) {
            let story = format!(
                "write {sequence} of {client} was acknowledged at {index}, but first applied at {first:?}"
            );
            return Err(Violation::new(NAME, story));
        }
        self.acknowledged.insert(index, (client, sequence));
        Ok(())
    }

    /// In the end `node` holds everything up to `applied`.
    pub(crate) fn held(&self, node: u64, applied: u64) -> Result<(), Violation> {
        match self.acknowledged.last_key_value().filter(|(index, _)| **index > applied) {
            Some((index, (client, sequence))) => {
                let story = format!(
                    "node {node} ends at {applied}, without write {sequence} of {client} acknowledged at {index}"
                );
                Err(Violation::new(NAME, story))
            }
            None => Ok(()),
        }
    }

    /// How many writes were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.len() + self.given_up
    }
}

#[cfg(test)]
mod tests {
    use api::log::v1::Command;
    use api::v1::WriteId;

    use super::*;
    use crate::invariants::logs::entry;

    fn told(invariant: &mut AcknowledgedWritesSurvive, sequence: u64, index: u64) -> Result<(), Violation> {
        invariant.acknowledged("client".to_owned(), sequence, index)
    }

    fn applied(invariant: &mut AcknowledgedWritesSurvive, index: u64) -> Result<bool, Violation> {
        let id = Some(WriteId { client: "client".to_owned(), sequence: 1, since: None });
        invariant.applied(&entry(index, Command { id, ..Command::default() }))
    }

    #[test]
    fn an_acknowledgement_must_name_the_first_index_of_the_write() {
        let mut invariant = AcknowledgedWritesSurvive::default();
        assert!(applied(&mut invariant, 7).is_ok() && applied(&mut invariant, 7).is_ok());
        assert!(applied(&mut invariant, 9).is_err(), "applied twice");
        assert!(told(&mut invariant, 1, 9).is_err(), "not where it was applied first");
        assert!(told(&mut invariant, 2, 7).is_err(), "never applied");
        assert!(told(&mut invariant, 1, 7).is_ok());
    }

    #[test]
    fn a_node_that_ends_before_an_acknowledged_write_has_lost_it() {
        let mut invariant = AcknowledgedWritesSurvive::default();
        applied(&mut invariant, 7).ok();
        told(&mut invariant, 1, 7).ok();
        assert!(invariant.held(1, 6).is_err() && invariant.held(1, 7).is_ok());
    }

    #[test]
    fn what_was_acknowledged_behind_a_backup_may_be_lost_and_what_stands_in_it_may_not() {
        let mut invariant = AcknowledgedWritesSurvive::default();
        applied(&mut invariant, 7).ok();
        told(&mut invariant, 1, 7).ok();
        invariant.restored(7);
        assert!(invariant.held(1, 6).is_err() && applied(&mut invariant, 9).is_err());
        invariant.restored(6);
        assert!(invariant.held(1, 6).is_ok() && applied(&mut invariant, 8).is_ok());
        assert_eq!((invariant.count(), invariant.is_applied("client", 1)), (1, true));
    }
}
