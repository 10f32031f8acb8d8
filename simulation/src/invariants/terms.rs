//! A node that is cut off does not raise its term: it asks first whether it would be elected (pre-vote, Raft thesis 9.6), or it
//! would unseat the leader when it comes back.

use std::collections::BTreeMap;

use super::Violation;

/// Terms that messages which were under way when the cut came may still add.
const UNDER_WAY: u64 = 3;

/// Remembers in which term each isolated node was cut off.
#[derive(Debug, Default)]
pub(crate) struct TermsDoNotInflate(BTreeMap<u64, u64>);

impl TermsDoNotInflate {
    /// `node` was cut off from every other, in `term`, if it runs.
    pub(crate) fn isolated(&mut self, node: u64, term: Option<u64>) {
        if let Some(term) = term {
            self.0.entry(node).or_insert(term);
        }
    }

    /// `node` died: when it comes back it may not be isolated any more.
    pub(crate) fn killed(&mut self, node: u64) {
        self.0.remove(&node);
    }

    /// The cut is mended, and `node`, if it runs, is in `term`.
    pub(crate) fn rejoined(&mut self, node: u64, term: Option<u64>) -> Result<(), Violation> {
        match (self.0.remove(&node), term) {
            (Some(before), Some(after)) if after > before + UNDER_WAY => {
                let story = format!("node {node} went from term {before} to {after} while nobody heard it");
                Err(Violation::new("terms do not inflate", story))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_campaigned_alone_is_found_out() {
        let mut invariant = TermsDoNotInflate::default();
        invariant.isolated(1, Some(5));
        assert!(invariant.rejoined(1, Some(8)).is_ok());
        invariant.isolated(1, Some(5));
        assert!(invariant.rejoined(1, Some(9)).is_err());
        invariant.isolated(1, Some(5));
        invariant.killed(1);
        assert!(invariant.rejoined(1, Some(50)).is_ok());
    }
}
