//! What one session follows of one kind: names, what was told of each, what must still be told. Pure bookkeeping of
//! `session.rs`; holds names and revisions, never resources.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh::Revision;

/// What the client was last told of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing yet, or it asked again.
    Nothing,
    /// That there is no such resource.
    Missing,
    /// This version of it.
    At(Revision),
}

/// One name that a session follows.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    pub(super) name: Arc<str>,
    /// By its name, not only because the client asked for all.
    pub(super) asked: bool,
    pub(super) told: Told,
    /// The version that the client took, as far as it answered.
    pub(super) held: Option<Revision>,
}

/// An answer that the client did not answer yet.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    /// What was in it, removals included.
    pub(super) names: Vec<Arc<str>>,
}

/// All that a session follows of one kind.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// A first request of this kind was read.
    pub(super) begun: bool,
    /// Follows every name.
    pub(super) all: bool,
    /// An answer is due even if it is empty: Envoy waits for it at its start.
    pub(super) owed: bool,
    /// How many names were asked for by name.
    pub(super) asked: usize,
    /// Ordered by name. A vector, because most sessions follow a handful of names and there are many sessions.
    followed: Vec<Followed>,
    /// Names of which something may have to be told. A set: what changes twice is told once.
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// Dirty names that must go out one by one, because an answer that held them with others was refused.
    pub(super) alone: BTreeSet<Arc<str>>,
    pub(super) in_flight: Option<InFlight>,
    /// Nonce of the last answer of this kind.
    pub(super) last_nonce: u64,
}

impl Subscriptions {
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.followed.binary_search_by(|followed| (*followed.name).cmp(name))
    }

    pub(super) fn find(&self, name: &str) -> Option<&Followed> {
        self.place(name).ok().map(|place| &self.followed[place])
    }

    pub(super) fn find_mut(&mut self, name: &str) -> Option<&mut Followed> {
        self.place(name).ok().map(|place| &mut self.followed[place])
    }

    /// The entry of this name, made where there is none.
    pub(super) fn follow(&mut self, name: &Arc<str>) -> &mut Followed {
        let place = match self.place(name) {
            Ok(place) => place,
            Err(place) => {
                let fresh = Followed { name: name.clone(), asked: false, told: Told::Nothing, held: None };
                self.followed.insert(place, fresh);
                place
            }
        };
        &mut self.followed[place]
    }

    /// Forgets this name.
    pub(super) fn forget(&mut self, name: &str) -> Option<Followed> {
        self.dirty.remove(name);
        self.alone.remove(name);
        let forgotten = self.followed.remove(self.place(name).ok()?);
        self.asked -= usize::from(forgotten.asked);
        Some(forgotten)
    }

    /// Forgets all names that were not asked for by name.
    pub(super) fn keep_asked(&mut self) {
        self.followed.retain(|followed| followed.asked);
        let kept: BTreeSet<_> = self.followed.iter().map(|followed| followed.name.clone()).collect();
        self.dirty.retain(|name| kept.contains(name));
        self.alone.retain(|name| kept.contains(name));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Followed> {
        self.followed.iter()
    }

    /// Whether this kind has nothing left to tell, and every answer was answered.
    pub(super) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.in_flight.is_none() && !self.owed
    }
}
