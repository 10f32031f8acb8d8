//! A leader that is told to stop hands over first: it ends while it still leads only after it has tried for as long as the
//! product promises, or everybody who writes would pay for a planned stop as for a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Violation;

/// How long a leader that is to stop tries to hand over, as the product has it (`control/src/replica/door.rs`).
pub(crate) const HAND_OVER_WAIT: Duration = Duration::from_secs(1);

/// Remembers since when leaders know that they are to stop.
#[derive(Debug, Default)]
pub(crate) struct LeadersHandOver(BTreeMap<u64, Duration>);

impl LeadersHandOver {
    /// `node`, which leads, hears that it is to stop.
    pub(crate) fn told(&mut self, node: u64, now: Duration) {
        self.0.insert(node, now);
    }

    /// `node` ends, as it was told, and leads still, or not.
    pub(crate) fn ends(&mut self, node: u64, leads: bool, now: Duration) -> Result<(), Violation> {
        match self.0.remove(&node).map(|told| now.saturating_sub(told)) {
            Some(tried) if leads && tried < HAND_OVER_WAIT => {
                let story = format!(
                    "node {node} led, was told to stop, and ended after {tried:?} with nobody in its place"
                );
                Err(Violation::new("leaders hand over", story))
            }
            _ => Ok(()),
        }
    }

    /// The process on `node` is no more.
    pub(crate) fn gone(&mut self, node: u64) {
        self.0.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_ends_while_it_leads_must_have_tried_to_hand_over() {
        let mut invariant = LeadersHandOver::default();
        let (now, soon) = (Duration::from_secs(5), Duration::from_millis(5900));
        invariant.told(1, now);
        assert!(invariant.ends(1, true, soon).is_err());
        invariant.told(1, now);
        assert!(invariant.ends(1, false, soon).is_ok(), "another leads");
        invariant.told(1, now);
        assert!(invariant.ends(1, true, now + HAND_OVER_WAIT).is_ok(), "nobody was fit");
        invariant.told(1, now);
        invariant.gone(1);
        assert!(
            invariant.ends(1, true, soon).is_ok(),
            "it was killed, and did not lead when it was told again"
        );
    }
}
