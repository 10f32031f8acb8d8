//! No proxy ever goes back: the revision of a resource that it holds never falls, whichever node it is connected to.

use std::collections::BTreeMap;

use mesh::{Authority, Revision};
use proxy::discovery::Kind;

use super::Violation;

/// What each proxy held when it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct RevisionsNeverFall(BTreeMap<u64, BTreeMap<(Kind, Authority), Revision>>);

impl RevisionsNeverFall {
    /// `proxy` holds this now. What it does not hold any more is forgotten.
    pub(crate) fn holds(
        &mut self,
        proxy: u64,
        held: BTreeMap<(Kind, Authority), Revision>,
    ) -> Result<(), Violation> {
        let before = self.0.entry(proxy).or_default();
        for (resource, revision) in &held {
            if before.get(resource).is_some_and(|before| before > revision) {
                let story =
                    format!("proxy {proxy} went from {:?} to {revision} of {resource:?}", before[resource]);
                return Err(Violation::new("revisions never fall", story));
            }
        }
        *before = held;
        Ok(())
    }

    /// `proxy` started anew, with nothing.
    pub(crate) fn restarted(&mut self, proxy: u64) {
        self.0.remove(&proxy);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn an_older_revision_is_a_violation_unless_the_proxy_started_anew() {
        let held = |index| {
            let resource = (Kind::Endpoints, "web".parse().unwrap());
            BTreeMap::from([(resource, Revision::new(1, index))])
        };
        let mut invariant = RevisionsNeverFall::default();
        assert!(invariant.holds(1, held(5)).is_ok() && invariant.holds(1, held(6)).is_ok());
        assert!(invariant.holds(1, held(5)).is_err());
        invariant.restarted(1);
        assert!(invariant.holds(1, held(5)).is_ok());
    }
}
