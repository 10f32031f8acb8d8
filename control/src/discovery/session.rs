//! The server's end of one ADS stream, as a value: requests and changes come in, answers come out. Step 4 and 5 of a
//! registration's way. Knows names and revisions; must never read a clock, hold a copy of a resource, wait, or panic
//! on what a client sends.
//!
//! - `session.rs`: what a session is, how answers are answered, when which kind may go out
//! - `delta.rs`, `whole.rs`: how requests are read in the two variants of the protocol
//! - `cut.rs`: what goes into one answer
//! - `drift.rs`: whether the client holds what it was told
//!
//! At most one answer per kind is in flight; what changes meanwhile is a set of names. So a client that never reads
//! costs at most four answers and one set of the names it follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use mesh::{Authority, Revision};
use tonic::Status;

use super::client::{Client, Shape};
use super::drift::Drift;
use super::kind::Kind;
use super::mirror::{OUTBOUND, Touch};
use super::push::Push;
use super::shelf::Shelf;
use super::subscriptions::{InFlight, Subscriptions, Told};

/// Most names that one session may ask for by name. A workload calls tens of services; more than this is a client out
/// of its mind, and would cost every other session memory.
pub const NAMES_PER_SESSION_MAX: usize = 4096;

/// Longest name that may be asked for: longer than any DNS name with a port.
pub(super) const NAME_BYTES_MAX: usize = 512;

/// Longest reason for a refusal that is kept; clients put whole configurations into theirs.
const REASON_CHARS_MAX: usize = 500;

/// Which variant of the protocol a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Incremental.
    Delta,
    /// The state of the world.
    Whole,
}

/// What a session asks of whoever drives it, in this order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send this answer.
    Send(Push),
    /// From now on tell it of changes to this resource.
    Watch(Touch),
    /// No longer tell it of this one.
    Unwatch(Touch),
    /// From now on tell it of every change of this kind.
    WatchAll(Kind),
    /// No longer tell it of every one.
    UnwatchAll(Kind),
    /// What the client holds, or was told, is not what it should be; for counting.
    Drifted(Drift),
    /// End the stream with this status. Nothing follows.
    Close(Status),
}

/// A resource that the client refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which version; it is not sent again.
    pub version: Option<Revision>,
    /// In the client's words.
    pub reason: String,
}

/// How far a session's client is, for `penstock proxies`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Newest revision it acknowledged.
    pub acknowledged: Revision,
    /// Newest revision of what it follows.
    pub latest: Revision,
    /// How many resources it holds.
    pub resources: usize,
    /// How many it refused in their newest version.
    pub refused: usize,
    /// The last reason it gave.
    pub refusal: String,
    /// Nothing is left to tell, and every answer was answered.
    pub settled: bool,
}

/// The server's end of one stream.
#[derive(Debug)]
pub struct Session {
    pub(super) way: Way,
    pub(super) client: Option<Arc<Client>>,
    pub(super) kinds: [Subscriptions; 4],
    pub(super) nonce: u64,
    /// The newest revision that the client showed: nothing is sent before this node has applied it.
    pub(super) hold: Option<Revision>,
    refusals: BTreeMap<(Kind, Arc<str>), Refusal>,
    last_reason: String,
    pub(super) closed: bool,
}

impl Session {
    /// A session of a stream that was just opened.
    #[must_use]
    pub fn new(way: Way) -> Self {
        Self {
            way,
            client: None,
            kinds: Default::default(),
            nonce: 0,
            hold: None,
            refusals: BTreeMap::new(),
            last_reason: String::new(),
            closed: false,
        }
    }

    /// Who follows, once its first request was read.
    #[must_use]
    pub fn client(&self) -> Option<&Arc<Client>> {
        self.client.as_ref()
    }

    /// Whether answers wait for this node to catch up with what the client has seen elsewhere.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// What the client has seen can never be applied here: it is of another cluster, or of one whose data was lost.
    /// From now on it is answered with what there is.
    pub fn release(&mut self) {
        self.hold = None;
    }

    /// Notes that a resource may have changed; [`Self::flush`] tells it. Names that it does not follow are ignored.
    pub fn touched(&mut self, touch: &Touch) {
        let Some(client) = self.client.clone() else { return };
        let outbound_only = client.shape == Shape::Envoy && touch.kind == Kind::Listener;
        let subscriptions = &mut self.kinds[touch.kind.place()];
        if subscriptions.all && outbound_only == (&*touch.name == OUTBOUND) {
            subscriptions.follow(&touch.name);
        }
        if touch.kind == Kind::Listener && client.shape != Shape::Envoy {
            let aliases: Vec<_> = subscriptions
                .iter()
                .filter(|followed| topic_of(&followed.name) == *touch.name)
                .map(|followed| followed.name.clone())
                .collect();
            subscriptions.dirty.extend(aliases);
        } else if let Some(followed) = subscriptions.find(&touch.name) {
            let name = followed.name.clone();
            subscriptions.dirty.insert(name);
        }
    }

    /// Sends what may be sent now. To be called after [`Self::touched`], and when this node has caught up.
    pub fn flush(&mut self, shelf: &mut Shelf, out: &mut Vec<Output>) {
        let Some(client) = self.client.clone() else { return };
        if self.closed || shelf.is_waiting() || self.hold.is_some_and(|seen| shelf.applied() < seen) {
            return;
        }
        self.hold = None;
        for kind in Kind::ALL {
            // What points at clusters waits until the client holds these, so that no request is sent nowhere.
            if !kind.is_pointed_at() && self.is_in_flight(Kind::is_pointed_at) {
                break;
            }
            self.send(kind, false, &client, shelf, out);
        }
        if self.is_in_flight(|_| true) {
            return;
        }
        for kind in Kind::REMOVALS {
            self.send(kind, true, &client, shelf, out);
        }
    }

    fn is_in_flight(&self, of: impl Fn(Kind) -> bool) -> bool {
        Kind::ALL.into_iter().any(|kind| of(kind) && self.kinds[kind.place()].in_flight.is_some())
    }

    fn send(
        &mut self,
        kind: Kind,
        removals: bool,
        client: &Client,
        shelf: &mut Shelf,
        out: &mut Vec<Output>,
    ) {
        let subscriptions = &mut self.kinds[kind.place()];
        if subscriptions.in_flight.is_some() || (subscriptions.dirty.is_empty() && !subscriptions.owed) {
            return;
        }
        let cut = loop {
            let apart = subscriptions.names_apart();
            let cut = match self.way {
                Way::Delta => subscriptions.cut_delta(kind, removals, client, shelf),
                Way::Whole => subscriptions.cut_whole(kind, removals, client, shelf),
            };
            // What was to go apart may have turned out to be told already: then the next part has its turn.
            if cut.is_some() || subscriptions.names_apart() == apart {
                break cut;
            }
        };
        let Some(cut) = cut else { return };
        self.nonce += 1;
        subscriptions.owed = false;
        subscriptions.in_flight = Some(InFlight { nonce: self.nonce, names: cut.names });
        out.push(Output::Send(Push {
            kind,
            nonce: self.nonce,
            version: cut.version,
            applied: shelf.applied(),
            resources: cut.resources,
            removed: cut.removed,
        }));
    }

    /// Ends the stream.
    pub(super) fn close(&mut self, status: Status, out: &mut Vec<Output>) {
        self.closed = true;
        out.push(Output::Close(status));
    }

    /// Reads the kind and, on the first request, the node.
    pub(super) fn admit(
        &mut self,
        type_url: &str,
        node: Option<&Node>,
    ) -> Result<(Kind, Arc<Client>), Status> {
        let kind = Kind::named(type_url).ok_or_else(|| {
            let served = Kind::ALL.map(Kind::type_url).join(", ");
            Status::invalid_argument(format!(
                "unknown type URL {:?}: this server has {served}",
                type_url.chars().take(NAME_BYTES_MAX).collect::<String>()
            ))
        })?;
        if let Some(client) = &self.client {
            return Ok((kind, client.clone()));
        }
        let client = Arc::new(Client::of(node)?);
        self.hold = client.seen;
        self.client = Some(client.clone());
        Ok((kind, client))
    }

    /// Reads a nonce: `None` when it answers nothing that is in flight (empty, or of an earlier answer).
    pub(super) fn answered(&mut self, kind: Kind, nonce: &str) -> Result<Option<InFlight>, Status> {
        if nonce.is_empty() {
            return Ok(None);
        }
        let known = nonce.parse::<u64>().ok().filter(|nonce| (1..=self.nonce).contains(nonce));
        let Some(nonce) = known else {
            return Err(Status::invalid_argument(format!(
                "nonce {:?} was never sent on this stream: answer with the nonce of the response, and leave it empty \
                 on a new stream",
                nonce.chars().take(NAME_BYTES_MAX).collect::<String>()
            )));
        };
        Ok(self.kinds[kind.place()].in_flight.take_if(|in_flight| in_flight.nonce == nonce))
    }

    /// The client took an answer.
    pub(super) fn acknowledged(&mut self, kind: Kind, answer: &InFlight) {
        for name in &answer.names {
            self.took(kind, name);
        }
    }

    fn took(&mut self, kind: Kind, name: &Arc<str>) {
        self.refusals.remove(&(kind, name.clone()));
        let subscriptions = &mut self.kinds[kind.place()];
        let Some(followed) = subscriptions.find_mut(name) else { return };
        followed.held = match followed.told {
            Told::At(version) => Some(version),
            Told::Missing => None,
            Told::Nothing => followed.held,
        };
        if followed.told == Told::Missing && !followed.asked && !subscriptions.dirty.contains(name) {
            subscriptions.forget(name);
        }
    }

    /// The client refused an answer. What it names in its reason is to blame; where it names nothing and the answer
    /// held several, it is taken apart, so that the good ones get through and the bad one is found.
    pub(super) fn refused(&mut self, kind: Kind, answer: &InFlight, reason: &str) {
        let named: Vec<_> = answer.names.iter().filter(|name| mentions(reason, name)).collect();
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        self.last_reason.clone_from(&reason);
        let can_part = self.way == Way::Delta || matches!(kind, Kind::Endpoints | Kind::Routes);
        if named.is_empty() && answer.names.len() > 1 && can_part {
            self.kinds[kind.place()].halve(&answer.names);
            return;
        }
        for name in &answer.names {
            if !named.is_empty() && !named.contains(&name) {
                self.took(kind, name);
            } else if let Some(followed) = self.kinds[kind.place()].find(name) {
                let version = if let Told::At(version) = followed.told { Some(version) } else { None };
                self.refusals.insert((kind, name.clone()), Refusal { version, reason: reason.clone() });
            }
        }
    }

    /// Stops following a name that was asked for.
    pub(super) fn forget(
        &mut self,
        kind: Kind,
        client: &Client,
        name: &str,
        shelf: &Shelf,
        out: &mut Vec<Output>,
    ) {
        let subscriptions = &mut self.kinds[kind.place()];
        if !subscriptions.find(name).is_some_and(|followed| followed.asked) {
            return;
        }
        subscriptions.forget(name);
        self.refusals.remove(&(kind, Arc::from(name)));
        let topic = shelf.topic(kind, client, name);
        let aliased =
            kind == Kind::Listener && subscriptions.iter().any(|left| topic_of(&left.name) == *topic);
        if !aliased {
            out.push(Output::Unwatch(Touch { kind, name: topic }));
        }
    }

    /// All that it asked to be told of and did not take back.
    pub(super) fn watched(&self) -> impl Iterator<Item = Touch> {
        let asked = Kind::ALL.into_iter().flat_map(|kind| {
            let followed = self.kinds[kind.place()].iter().filter(|followed| followed.asked);
            followed.map(move |followed| (kind, &followed.name))
        });
        asked.flat_map(|(kind, name)| {
            let meant = (kind == Kind::Listener).then(|| Touch { kind, name: topic_of(name).into() });
            [Some(Touch { kind, name: name.clone() }), meant].into_iter().flatten()
        })
    }

    /// Every resource that the client refused in its newest version.
    pub fn refusals(&self) -> impl Iterator<Item = (Kind, &Arc<str>, &Refusal)> {
        self.refusals.iter().map(|((kind, name), refusal)| (*kind, name, refusal))
    }

    /// How far the client is.
    #[must_use]
    pub fn standing(&self, shelf: &Shelf) -> Standing {
        let Some(client) = &self.client else {
            return Standing {
                acknowledged: Revision::default(),
                latest: Revision::default(),
                resources: 0,
                refused: 0,
                refusal: String::new(),
                settled: false,
            };
        };
        let all =
            || Kind::ALL.into_iter().flat_map(|kind| self.kinds[kind.place()].iter().map(move |f| (kind, f)));
        let latest = all().filter_map(|(kind, followed)| shelf.version(kind, client, &followed.name)).max();
        Standing {
            acknowledged: all().filter_map(|(_, followed)| followed.held).max().unwrap_or_default(),
            latest: latest.unwrap_or_default(),
            resources: all().filter(|(_, followed)| followed.held.is_some()).count(),
            refused: self.refusals.len(),
            refusal: self.last_reason.clone(),
            settled: self.hold.is_none() && self.kinds.iter().all(Subscriptions::is_settled),
        }
    }
}

/// Whether a reason speaks of this resource, and not of one whose name ends or begins like it.
fn mentions(reason: &str, name: &str) -> bool {
    let of_a_name =
        |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    reason.match_indices(name).any(|(at, _)| {
        let (before, after) = (reason[..at].chars().next_back(), reason[at + name.len()..].chars().next());
        !of_a_name(before) && !after.is_some_and(|c| c.is_ascii_alphanumeric())
    })
}

/// The authority that a listener's name means; the name itself when it means none.
fn topic_of(name: &str) -> String {
    name.parse::<Authority>().map_or_else(|_| name.to_owned(), |authority| authority.to_string())
}
