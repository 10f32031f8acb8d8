//! No proxy ever goes back: the revision of a resource that it holds never falls, whichever node it is connected to, and no node
//! ever sends it an older one than it holds.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use mesh::Revision;
use proxy::discovery::{Kind, Subscriber};

use super::Violation;

const NAME: &str = "revisions never fall";

/// A resource; its name as a hash, because every answer to every proxy is looked at.
type Resource = (Kind, u64);

/// What each proxy held when it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct RevisionsNeverFall(BTreeMap<u64, BTreeMap<Resource, Revision>>);

impl RevisionsNeverFall {
    /// `proxy` took an answer in. What it does not hold any more is forgotten.
    pub(crate) fn answered(&mut self, proxy: u64, subscriber: &Subscriber) -> Result<(), Violation> {
        let stale = subscriber.tally().stale;
        if stale > 0 {
            return Err(Violation::new(
                NAME,
                format!("proxy {proxy} was sent an older resource than it holds"),
            ));
        }
        let held = subscriber.held().map(|(kind, name, revision)| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            ((kind, hasher.finish()), revision)
        });
        self.holds(proxy, held.collect())
    }

    fn holds(&mut self, proxy: u64, held: BTreeMap<Resource, Revision>) -> Result<(), Violation> {
        let before = self.0.entry(proxy).or_default();
        for (resource, revision) in &held {
            if let Some(before) = before.get(resource).filter(|before| *before > revision) {
                let story = format!(
                    "proxy {proxy} went from {before} to {revision} of a resource of {:?}",
                    resource.0
                );
                return Err(Violation::new(NAME, story));
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
    use super::*;

    #[test]
    fn an_older_revision_is_a_violation_unless_the_proxy_started_anew() {
        let held = |index| BTreeMap::from([((Kind::Endpoints, 1), Revision::new(1, index))]);
        let mut invariant = RevisionsNeverFall::default();
        assert!(invariant.holds(1, held(5)).is_ok() && invariant.holds(1, held(6)).is_ok());
        assert!(invariant.holds(1, held(5)).is_err());
        invariant.restarted(1);
        assert!(invariant.holds(1, held(5)).is_ok());
    }
}
