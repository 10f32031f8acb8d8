//! Election safety: at most one leader in a term (Raft, figure 3).

use std::collections::BTreeMap;

use super::Violation;

/// Remembers who led in which term.
#[derive(Debug, Default)]
pub(crate) struct OneLeaderPerTerm(BTreeMap<u64, u64>);

impl OneLeaderPerTerm {
    /// `node` leads in `term`.
    pub(crate) fn leads(&mut self, node: u64, term: u64) -> Result<(), Violation> {
        match self.0.insert(term, node) {
            Some(other) if other != node => Err(Violation::new(
                "one leader per term",
                format!("node {node} leads in term {term}, and so does node {other}"),
            )),
            _ => Ok(()),
        }
    }

    /// How many terms had a leader.
    pub(crate) fn terms(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_a_violation_and_the_same_one_again_is_not() {
        let mut invariant = OneLeaderPerTerm::default();
        assert!(
            invariant.leads(1, 5).is_ok() && invariant.leads(1, 5).is_ok() && invariant.leads(2, 6).is_ok()
        );
        assert!(invariant.leads(2, 5).is_err());
    }
}
