//! Who belongs to the group as of an entry, every node knows alike: also one that learned it from a snapshot.

use std::collections::BTreeMap;

use consensus::Membership;

use super::Violation;

/// Remembers the membership as of each entry at which it was looked at.
#[derive(Debug, Default)]
pub(crate) struct MembershipsAgree(BTreeMap<u64, Vec<u64>>);

/// Everything that decides, in one list: voters, a zero, outgoing voters, a zero, learners.
fn print(membership: &Membership) -> Vec<u64> {
    let parts = [&membership.voters, &membership.voters_outgoing, &membership.learners];
    parts.into_iter().flat_map(|part| part.iter().copied().chain([0])).collect()
}

impl MembershipsAgree {
    /// `node` applied everything up to `index`, and knows this membership.
    pub(crate) fn holds(&mut self, node: u64, index: u64, membership: &Membership) -> Result<(), Violation> {
        let print = print(membership);
        match self.0.get(&index) {
            Some(first) if *first != print => {
                let story =
                    format!("as of entry {index} node {node} knows {membership:?}, another node {first:?}");
                Err(Violation::new("memberships agree", story))
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(index, print);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::NodeId;

    use super::*;

    #[test]
    fn another_membership_as_of_the_same_entry_is_a_violation() {
        let of = |nodes: &[u64]| Membership::of_voters(nodes.iter().copied().map(NodeId));
        let mut invariant = MembershipsAgree::default();
        assert!(
            invariant.holds(1, 5, &of(&[1, 2, 3])).is_ok() && invariant.holds(1, 6, &of(&[1, 2])).is_ok()
        );
        assert!(
            invariant.holds(2, 5, &of(&[1, 2, 3])).is_ok() && invariant.holds(2, 6, &of(&[1, 2, 3])).is_err()
        );
    }
}
