//! Time enters the log as what its leaders stamped, and there it never runs back, whoever leads and however wrong its clock is; as
//! of the same entry it is the same on every node. So what expires by it expires in the order of the log.

use std::collections::BTreeMap;

use mesh::Timestamp;

use super::{AppliedEntry, Violation};

/// The log's time as of each entry.
#[derive(Debug, Default)]
pub(crate) struct LogTimeRises(BTreeMap<u64, Timestamp>);

impl LogTimeRises {
    /// `node` applied `entry`.
    pub(crate) fn applied(&mut self, node: u64, entry: &AppliedEntry) -> Result<(), Violation> {
        let wrong = |story: String| Err(Violation::new("time in the log never runs back", story));
        let (index, now) = (entry.index, entry.now);
        match self.0.get(&index) {
            Some(first) if *first == now => return Ok(()),
            Some(first) => {
                return wrong(format!(
                    "as of entry {index} it is {now:?} on node {node}, and was {first:?} elsewhere"
                ));
            }
            None => {}
        }
        let earlier = self.0.range(..index).next_back().filter(|(_, before)| **before > now);
        // A node that got a snapshot may have been looked at before one that applied what stands in it.
        let later = self.0.range(index..).next().filter(|(_, after)| **after < now);
        match earlier.or(later) {
            Some((other, there)) => wrong(format!(
                "as of entry {index} it is {now:?} on node {node}, and was {there:?} as of {other}"
            )),
            None => {
                self.0.insert(index, now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use api::log::v1::Command;

    use super::*;
    use crate::invariants::logs::entry;

    #[test]
    fn a_time_before_that_of_an_earlier_entry_or_another_one_elsewhere_is_a_violation() {
        let at = |index, now| AppliedEntry { now: Timestamp(now), ..entry(index, Command::default()) };
        let mut invariant = LogTimeRises::default();
        assert!(invariant.applied(1, &at(5, 700)).is_ok() && invariant.applied(2, &at(5, 700)).is_ok());
        assert!(invariant.applied(2, &at(5, 701)).is_err());
        assert!(invariant.applied(1, &at(6, 700)).is_ok() && invariant.applied(1, &at(7, 699)).is_err());
        assert!(invariant.applied(1, &at(9, 900)).is_ok() && invariant.applied(2, &at(8, 901)).is_err());
    }
}
