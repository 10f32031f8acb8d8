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
    /// Dirty names of a refused answer, in halves: the last group goes out next, by itself, and is halved again when it
    /// is refused. So one bad resource among thousands is found in a dozen answers, and the good ones get through.
    apart: Vec<BTreeSet<Arc<str>>>,
    pub(super) in_flight: Option<InFlight>,
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

    /// Names to look at now: a part of a refused answer, or whatever is dirty.
    pub(super) fn candidates(&self) -> Vec<Arc<str>> {
        self.apart.last().unwrap_or(&self.dirty).iter().cloned().collect()
    }

    /// How many names of refused answers are still to go out.
    pub(super) fn names_apart(&self) -> usize {
        self.apart.iter().map(BTreeSet::len).sum()
    }

    /// Takes a refused answer apart. Its names are dirty again.
    pub(super) fn halve(&mut self, names: &[Arc<str>]) {
        let still: Vec<_> = names.iter().filter(|name| self.find(name).is_some()).cloned().collect();
        for name in &still {
            if let Some(followed) = self.find_mut(name) {
                followed.told = Told::Nothing;
            }
        }
        self.dirty.extend(still.iter().cloned());
        let (first, second) = still.split_at(still.len().div_ceil(2));
        for half in [second, first].into_iter().filter(|half| !half.is_empty()) {
            self.apart.push(half.iter().cloned().collect());
        }
    }

    /// Notes what the client was told of a name: nothing more is to be told of it now.
    pub(super) fn told(&mut self, name: &Arc<str>, told: Told) {
        self.clean(name);
        if let Some(followed) = self.find_mut(name) {
            followed.told = told;
        }
    }

    fn clean(&mut self, name: &str) {
        self.dirty.remove(name);
        for group in &mut self.apart {
            group.remove(name);
        }
        self.apart.retain(|group| !group.is_empty());
    }

    /// Forgets this name.
    pub(super) fn forget(&mut self, name: &str) -> Option<Followed> {
        self.clean(name);
        let forgotten = self.followed.remove(self.place(name).ok()?);
        self.asked -= usize::from(forgotten.asked);
        Some(forgotten)
    }

    /// Forgets all names that were not asked for by name.
    pub(super) fn keep_asked(&mut self) {
        let others = self.followed.iter().filter(|followed| !followed.asked);
        for name in others.map(|followed| followed.name.clone()).collect::<Vec<_>>() {
            self.forget(&name);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Followed> {
        self.followed.iter()
    }

    /// Whether this kind has nothing left to tell, and every answer was answered.
    pub(super) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.in_flight.is_none() && !self.owed
    }
}
