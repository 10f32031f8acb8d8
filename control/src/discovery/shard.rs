//! Many sessions over one shelf, as a value: finds the sessions that a change concerns and tells only these. The actor
//! of `actor.rs` drives it; it must never send, wait or read a clock itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh::{Revision, Timestamp};
use tonic::Status;

use crate::catalog::Change;

use super::client::Client;
use super::doubts::Doubts;
use super::drift::Drift;
use super::mirror::Touch;
use super::push::Push;
use super::session::{Output, Session, Standing, Way};
use super::shelf::Shelf;

/// Most streams on one node: twice what one node is promised to carry, so that it can take over those of another that
/// died. Past it, memory is in danger, and another node is the better place.
pub const SESSIONS_MAX: usize = 20_000;

/// Names one stream as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What a stream is to carry next.
#[derive(Debug, Clone)]
pub enum Sent {
    /// An answer.
    Push(Push),
    /// Its end.
    Close(Status),
}

/// One request, of either variant of the protocol.
#[derive(Debug, Clone)]
pub enum Request {
    /// Incremental.
    Delta(Box<DeltaDiscoveryRequest>),
    /// The state of the world.
    Whole(Box<DiscoveryRequest>),
}

struct Open {
    session: Session,
    since: Timestamp,
}

/// Many sessions over one shelf.
pub struct Shard {
    shelf: Shelf,
    open: BTreeMap<SessionId, Open>,
    watchers: HashMap<Touch, BTreeSet<SessionId>>,
    watchers_of_all: [BTreeSet<SessionId>; 4],
    /// Sessions that wait for this node to catch up, each with the ticket it drew when it began to.
    held: BTreeMap<SessionId, u64>,
    /// Requests that wait for a proof that what they name does not exist, with the tickets they drew.
    doubts: Doubts,
    last_ticket: u64,
    /// Up to which ticket, and at which revision, this node was found to have caught up with everything there is.
    confirmed: Option<(u64, Revision)>,
    last_id: u64,
    /// What was found to differ since it was last taken, and whose stream it was.
    drifts: Vec<(String, Drift)>,
}

/// What a turn of the shard gives to carry out, in this order.
pub type Turn = Vec<(SessionId, Sent)>;

impl Default for Shard {
    fn default() -> Self {
        Self {
            shelf: Shelf::waiting(),
            open: BTreeMap::new(),
            watchers: HashMap::new(),
            watchers_of_all: Default::default(),
            held: BTreeMap::new(),
            doubts: Doubts::default(),
            last_ticket: 0,
            confirmed: None,
            last_id: 0,
            drifts: Vec::new(),
        }
    }
}

impl Shard {
    /// A stream was opened.
    ///
    /// # Errors
    /// At the bound of streams.
    pub fn open(&mut self, way: Way, now: Timestamp) -> Result<SessionId, Status> {
        if self.open.len() >= SESSIONS_MAX {
            return Err(Status::resource_exhausted(format!(
                "this node serves {SESSIONS_MAX} discovery streams already: connect to another node"
            )));
        }
        self.last_id += 1;
        let id = SessionId(self.last_id);
        self.open.insert(id, Open { session: Session::new(way), since: now });
        Ok(id)
    }

    /// A request came on a stream. One that names what is not known here waits for a proof that it does not exist.
    pub fn request(&mut self, id: SessionId, request: &Request) -> Turn {
        let Some(open) = self.open.get(&id) else { return Turn::new() };
        let doubtful = !self.shelf.is_waiting() && open.session.asks_for_unknown(request, &self.shelf);
        if !doubtful && !self.doubts.concern(id) {
            return self.read(id, request);
        }
        self.last_ticket += u64::from(doubtful);
        self.doubts.keep(self.last_ticket, id, request.clone());
        if self.doubts.is_full() { self.settle(u64::MAX) } else { Turn::new() }
    }

    /// Reads the requests whose proof is there, when all up to `ticket` are.
    fn settle(&mut self, ticket: u64) -> Turn {
        let mut turn = Turn::new();
        while let Some((id, request)) = self.doubts.proved(ticket) {
            turn.extend(self.read(id, &request));
        }
        turn
    }

    fn read(&mut self, id: SessionId, request: &Request) -> Turn {
        let Some(open) = self.open.get_mut(&id) else { return Turn::new() };
        let mut out = Vec::new();
        match request {
            Request::Delta(request) => open.session.delta_request(request, &mut self.shelf, &mut out),
            Request::Whole(request) => open.session.whole_request(request, &mut self.shelf, &mut out),
        }
        let held = open.session.is_held() || self.shelf.is_waiting();
        if held {
            self.hold(id);
        }
        let mut turn = Turn::new();
        self.carry(id, out, &mut turn);
        turn
    }

    /// The catalog changed, or only what is applied has moved.
    pub fn changed(
        &mut self,
        changes: &[Change],
        applied: Revision,
        routing: Revision,
        replaced: bool,
    ) -> Turn {
        let touched = self.shelf.changed(changes, applied, routing, replaced);
        let mut concerned: BTreeSet<_> = self.held.keys().copied().collect();
        for touch in &touched {
            let by_name = self.watchers.get(touch).into_iter().flatten();
            for id in by_name.chain(&self.watchers_of_all[touch.kind.place()]) {
                if let Some(open) = self.open.get_mut(id) {
                    open.session.touched(touch);
                    concerned.insert(*id);
                }
            }
        }
        let mut turn = self.release();
        turn.extend(self.flush(concerned));
        turn
    }

    /// The last ticket that was drawn by something that waits for this node to catch up: a session that has seen later
    /// revisions, or a request for what is not known here.
    #[must_use]
    pub fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// A linearizable read that began after this ticket was drawn found `applied`. What a client with that ticket or an
    /// earlier one has seen and this node has not applied by then, was never committed here: it waits no longer. And what
    /// is not known here by then does not exist.
    pub fn confirmed(&mut self, ticket: u64, applied: Revision) -> Turn {
        self.confirmed = Some((ticket, applied));
        self.release()
    }

    /// Nobody can tell what is newest, because no node leads: requests up to this ticket are answered by what is known,
    /// so that they do not keep waiting those that follow on their streams.
    pub fn unprovable(&mut self, ticket: u64) -> Turn {
        self.settle(ticket)
    }

    fn release(&mut self) -> Turn {
        let reached = self.confirmed.take_if(|(_, applied)| self.shelf.applied() >= *applied);
        let Some((ticket, _)) = reached else { return Turn::new() };
        let released: BTreeSet<_> =
            self.held.iter().filter(|(_, drawn)| **drawn <= ticket).map(|(id, _)| *id).collect();
        for id in &released {
            if let Some(open) = self.open.get_mut(id) {
                open.session.release();
            }
        }
        let mut turn = self.flush(released);
        turn.extend(self.settle(ticket));
        turn
    }

    fn hold(&mut self, id: SessionId) {
        let last = &mut self.last_ticket;
        self.held.entry(id).or_insert_with(|| {
            *last += 1;
            *last
        });
    }

    /// Answers from now on; until then this node may not have caught up with the others.
    pub fn begin(&mut self) -> Turn {
        self.shelf.begin();
        let held = self.held.keys().copied().collect();
        self.flush(held)
    }

    /// A stream ended.
    pub fn closed(&mut self, id: SessionId) {
        let Some(open) = self.open.remove(&id) else { return };
        self.held.remove(&id);
        self.doubts.forget(id);
        for touch in open.session.watched() {
            self.unwatch(&touch, id);
        }
        for all in &mut self.watchers_of_all {
            all.remove(&id);
        }
    }

    /// How many streams are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no stream is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many streams wait for this node to catch up.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How many names are followed by some stream.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watchers.len()
    }

    /// The shelf, to be looked at.
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Who follows, since when, and how far each is.
    pub fn standings(&self) -> impl Iterator<Item = (&Client, Timestamp, Standing)> {
        self.open.values().filter_map(|open| {
            Some((&**open.session.client()?, open.since, open.session.standing(&self.shelf)))
        })
    }

    /// What was found to differ since the last call, for counting; one request finds at most two.
    pub fn drifts(&mut self) -> Vec<(String, Drift)> {
        std::mem::take(&mut self.drifts)
    }

    /// How many answers were refused on a stream, for counting.
    #[must_use]
    pub fn refusals(&self, id: SessionId) -> usize {
        self.open.get(&id).map_or(0, |open| open.session.refusals().count())
    }

    /// Whether requests of a stream wait for a proof, and are not read yet.
    #[must_use]
    pub fn is_doubtful(&self, id: SessionId) -> bool {
        self.doubts.concern(id)
    }

    fn flush(&mut self, concerned: BTreeSet<SessionId>) -> Turn {
        let mut turn = Turn::new();
        for id in concerned {
            let Some(open) = self.open.get_mut(&id) else { continue };
            let mut out = Vec::new();
            open.session.flush(&mut self.shelf, &mut out);
            if !open.session.is_held() && !self.shelf.is_waiting() {
                self.held.remove(&id);
            }
            self.carry(id, out, &mut turn);
        }
        turn
    }

    fn carry(&mut self, id: SessionId, out: Vec<Output>, turn: &mut Turn) {
        for output in out {
            match output {
                Output::Send(push) => turn.push((id, Sent::Push(push))),
                Output::Close(status) => turn.push((id, Sent::Close(status))),
                Output::Drifted(drift) => {
                    let client = self.open.get(&id).and_then(|open| open.session.client());
                    self.drifts.push((client.map_or_else(String::new, |client| client.id.clone()), drift));
                }
                Output::Watch(touch) => {
                    self.watchers.entry(touch).or_default().insert(id);
                }
                Output::Unwatch(touch) => self.unwatch(&touch, id),
                Output::WatchAll(kind) => {
                    self.watchers_of_all[kind.place()].insert(id);
                }
                Output::UnwatchAll(kind) => {
                    self.watchers_of_all[kind.place()].remove(&id);
                }
            }
        }
    }

    fn unwatch(&mut self, touch: &Touch, id: SessionId) {
        if let Some(watchers) = self.watchers.get_mut(touch) {
            watchers.remove(&id);
            if watchers.is_empty() {
                self.watchers.remove(touch);
            }
        }
    }
}
