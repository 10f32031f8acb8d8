//! Requests that name what this node does not know, in the order in which they came.
//!
//! A node may be behind the others by a moment, and must not tell that a service does not exist whose registration was
//! acknowledged elsewhere. So such a request is read only once a linearizable read that began after it has been applied
//! here (`shard.rs`), and whatever else came on its stream meanwhile after it. Pure; must never read a request itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::client::Client;
use super::delta::ALL;
use super::kind::Kind;
use super::session::Session;
use super::shard::{Request, SessionId};
use super::shelf::Shelf;

/// Most requests that wait. They wait for one round between nodes; at the bound they are answered by what is known.
const DOUBTS_MAX: usize = 10_000;

/// Requests that wait for a proof.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    waiting: VecDeque<(u64, SessionId, Request)>,
    /// How many of each session.
    of: BTreeMap<SessionId, usize>,
}

impl Doubts {
    /// Whether this session's requests must queue behind one that waits.
    pub(super) fn concern(&self, id: SessionId) -> bool {
        self.of.contains_key(&id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= DOUBTS_MAX
    }

    /// Keeps a request until the proof of `ticket`; tickets never fall.
    pub(super) fn keep(&mut self, ticket: u64, id: SessionId, request: Request) {
        self.waiting.push_back((ticket, id, request));
        *self.of.entry(id).or_default() += 1;
    }

    /// The next request whose proof is there, when all up to `ticket` are.
    pub(super) fn proved(&mut self, ticket: u64) -> Option<(SessionId, Request)> {
        if self.waiting.front().is_none_or(|(drawn, ..)| *drawn > ticket) {
            return None;
        }
        let (_, id, request) = self.waiting.pop_front()?;
        if let Some(left) = self.of.get_mut(&id) {
            *left -= 1;
            if *left == 0 {
                self.of.remove(&id);
            }
        }
        Some((id, request))
    }

    /// A session ended: its requests are not read any more.
    pub(super) fn forget(&mut self, id: SessionId) {
        if self.of.remove(&id).is_some() {
            self.waiting.retain(|(_, of, _)| *of != id);
        }
    }
}

impl Session {
    /// Whether a request asks, by a name that it did not ask for before, for something that is not on the shelf.
    pub(super) fn asks_for_unknown(&self, request: &Request, shelf: &Shelf) -> bool {
        let (type_url, node, names) = match request {
            Request::Delta(request) => (&request.type_url, &request.node, &request.resource_names_subscribe),
            Request::Whole(request) => (&request.type_url, &request.node, &request.resource_names),
        };
        let Some(kind) = Kind::named(type_url) else { return false };
        let client = self.client.clone().or_else(|| Client::of(node.as_ref()).ok().map(Arc::new));
        let Some(client) = client else { return false };
        let subscriptions = &self.kinds[kind.place()];
        names.iter().filter(|name| *name != ALL).any(|name| {
            let asked = subscriptions.find(name).is_some_and(|followed| followed.asked);
            !asked && shelf.version(kind, &client, name).is_none()
        })
    }
}
