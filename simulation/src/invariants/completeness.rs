//! Leader completeness: whoever leads holds every entry that was committed in an earlier term (Raft, figure 3).

use super::Violation;

/// The furthest entry that was seen to be applied, per term of those who saw it.
#[derive(Debug, Default)]
pub(crate) struct LeadersAreComplete(std::collections::BTreeMap<u64, u64>);

impl LeadersAreComplete {
    /// A node in `term` applied the entry at `index`: it was committed in that term or before.
    pub(crate) fn applied(&mut self, index: u64, term: u64) {
        let furthest = self.0.entry(term).or_default();
        *furthest = index.max(*furthest);
    }

    /// `node` leads in `term` with a log that ends at `last_index`.
    pub(crate) fn leads(&self, node: u64, term: u64, last_index: u64) -> Result<(), Violation> {
        // What was first seen to be committed in this term or later may be committed by this leader's successors.
        let committed = self.0.range(..term).map(|(_, index)| *index).max().unwrap_or(0);
        if committed <= last_index {
            return Ok(());
        }
        let story = format!(
            "node {node} leads in term {term} with a log that ends at {last_index}, but {committed} was committed before"
        );
        Err(Violation::new("leaders are complete", story))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_an_entry_of_an_earlier_term_is_a_violation() {
        let mut invariant = LeadersAreComplete::default();
        invariant.applied(7, 3);
        invariant.applied(9, 5);
        assert!(invariant.leads(1, 4, 6).is_err() && invariant.leads(1, 4, 7).is_ok());
        assert!(invariant.leads(1, 5, 7).is_ok(), "9 was seen in term 5, and not before");
        assert!(invariant.leads(1, 6, 8).is_err());
    }
}
