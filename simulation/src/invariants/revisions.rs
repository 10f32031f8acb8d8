//! No proxy ever goes back: the revision of a resource that it holds never falls, whichever node it is connected to, and no node
//! ever sends it an older one than it holds.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use mesh::Revision;
use proxy::discovery::{Kind, Subscriber};

use super::Violation;
use crate::trace::TraceHash;

const NAME: &str = "revisions never fall";

/// A resource; its name as a hash, because every answer to every proxy is looked at.
type Resource = (Kind, u64);

/// What each proxy held when it was last looked at, in the order in which a subscriber tells it: by family, then by name.
#[derive(Debug, Default)]
pub(crate) struct RevisionsNeverFall(BTreeMap<u64, Vec<(Resource, Revision)>>);

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
            let mut hasher = Fold(TraceHash::default());
            name.hash(&mut hasher);
            ((kind, hasher.finish()), revision)
        });
        self.holds(proxy, held.collect())
    }

    fn holds(&mut self, proxy: u64, held: Vec<(Resource, Revision)>) -> Result<(), Violation> {
        let before = self.0.entry(proxy).or_default();
        // Mostly the same resources in the same places; otherwise each is looked for.
        let was = |place: usize, resource: &Resource| {
            let same = |(old, _): &&(Resource, Revision)| old == resource;
            before.get(place).filter(same).or_else(|| before.iter().find(same)).map(|(_, revision)| *revision)
        };
        for (place, (resource, revision)) in held.iter().enumerate() {
            if let Some(before) = was(place, resource).filter(|before| before > revision) {
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

/// The hash of the trace, where the standard library wants one: fast over short names.
struct Fold(TraceHash);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        self.0.tell(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_revision_is_a_violation_unless_the_proxy_started_anew() {
        let held = |index| {
            vec![((Kind::Routes, 1), Revision::new(1, 9)), ((Kind::Endpoints, 1), Revision::new(1, index))]
        };
        let mut invariant = RevisionsNeverFall::default();
        assert!(invariant.holds(1, held(5)).is_ok() && invariant.holds(1, held(6)).is_ok());
        assert!(invariant.holds(1, held(5)).is_err());
        assert!(invariant.holds(1, held(5).split_off(1)).is_err(), "also at another place");
        invariant.restarted(1);
        assert!(invariant.holds(1, held(5)).is_ok());
    }
}
