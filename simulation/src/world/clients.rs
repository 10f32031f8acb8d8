//! Clients that write and read, one request in flight each, sent again under the same identity until it is answered; once in a
//! while one gives up, so that nobody knows what became of its write. What they see goes into the history that is checked.

use std::time::Duration;

use api::log::v1::Command;
use api::v1::{Revision, WriteId};
use control::catalog::Catalog;

use super::event::{Event, Reply, Request};
use super::run::World;
use super::writes::{Deed, Key, Told, told};
use crate::chance::Chance;
use crate::invariants::Violation;
use crate::marks::Mark;
use crate::network::Host;
use crate::shape::Shape;

/// How long a client waits for an answer before it asks another node.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How soon a client whose connection is refused asks another node: nobody listens on a dead one.
const REFUSED: Duration = Duration::from_millis(10);

/// Of 1,000 requests that were not answered in time, so many are given up.
const GIVES_UP_PER_MILLE: u32 = 30;

/// Of 1,000 reads, so many bear some age: from less than a node can vouch for by itself to more than it needs for a new proof.
const BEARS_AGE_PER_MILLE: u32 = 300;
const AGE_MIN: Duration = Duration::from_millis(50);
const AGE_MAX: Duration = Duration::from_secs(4);

/// Requests without an answer after which a healed group counts as stalled.
pub(super) const ASKS_MAX: u64 = 12;

/// What a client is about.
#[derive(Debug, Clone)]
struct Doing {
    key: Key,
    deed: Deed,
    /// The age that a read bears; none where it bears none.
    bears: Option<Duration>,
    /// When it was last asked.
    asked_at: Duration,
    /// What is proposed; reads have none.
    command: Option<Command>,
    /// Its place in the history; none if it was done before what the history begins with, or bears some age.
    operation: Option<usize>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    id: u64,
    sequence: u64,
    doing: Option<Doing>,
    /// The revision that the last outcome told: a write says that it is tried since then.
    told: Option<Revision>,
    /// Names the last request; answers to earlier ones are void.
    call: u64,
    /// Whether that request is not answered yet.
    pub(crate) waits: bool,
    /// Requests since the last answer.
    pub(crate) asks_since_answer: u64,
    /// Whom it asks.
    node: u64,
    nodes: u64,
    /// Usual time from an answer to the next request.
    pause: Duration,
}

impl Client {
    pub(crate) fn new(id: u64, shape: &Shape) -> Self {
        let pause = Duration::from_micros(1_000_000 * shape.clients / shape.requests_per_second);
        Self {
            id,
            sequence: 0,
            doing: None,
            told: None,
            call: 0,
            waits: false,
            asks_since_answer: 0,
            node: id % shape.nodes + 1,
            nodes: shape.nodes,
            pause,
        }
    }

    /// Draws what to do next, and which age it bears.
    fn drawn(&mut self, shape: &Shape, chance: &mut Chance) -> (Key, Deed, Option<Duration>) {
        let key = Key::drawn(shape, chance);
        if u64::from(u32::try_from(chance.below(1000)).unwrap_or(0)) < shape.reads_per_mille {
            let bears = chance.happens(BEARS_AGE_PER_MILLE).then(|| chance.between(AGE_MIN, AGE_MAX));
            return (key, Deed::Read, bears);
        }
        self.sequence += 1;
        let number = self.sequence * shape.clients + self.id;
        (key, if chance.happens(300) { Deed::Take } else { Deed::Put(key.value(number)) }, None)
    }

    fn identity(&self) -> WriteId {
        WriteId { client: format!("client-{}", self.id), sequence: self.sequence, since: self.told }
    }

    /// Turns to the node that was named, or to the next one.
    fn turn(&mut self, named: Option<u64>) {
        self.node = named.unwrap_or(self.node % self.nodes + 1);
    }
}

impl World {
    pub(super) fn client_wakes(&mut self, id: u64, call: u64) {
        let (now, from) = (self.heap.now(), Host::Client(id));
        let client = self.clients.get_mut(&id).expect("every client exists");
        if client.call != call {
            return;
        }
        if client.doing.is_some() && client.waits {
            client.turn(None);
            if self.chance.happens(GIVES_UP_PER_MILLE) {
                client.doing = None;
            }
        }
        if client.doing.is_none() {
            if now > self.writes_end {
                // A late answer to what was given up answers nothing.
                client.waits = false;
                client.call += 1;
                return;
            }
            let (key, deed, bears) = client.drawn(&self.scenario.shape, &mut self.chance);
            let command = key.command(deed, client.identity(), &self.scenario.shape);
            let operation = bears.is_none().then(|| self.history.begins(id, key, deed));
            client.doing = Some(Doing { key, deed, bears, asked_at: now, command, operation });
        }
        let doing = client.doing.as_mut().expect("something was just begun");
        doing.asked_at = now;
        let body = match (&doing.command, doing.bears) {
            (Some(command), _) => Request::Propose(Box::new(command.clone())),
            (None, Some(bound)) => Request::ReadWithin(bound),
            (None, None) => Request::Read(doing.key),
        };
        client.waits = true;
        client.asks_since_answer += 1;
        client.call += 1;
        let call = client.call;
        // Who bears some age asks whichever node is near, which may be one that lags.
        let node = if doing.bears.is_some() { self.chance.below(client.nodes) + 1 } else { client.node };
        if let Some(at) = self.network.stream(from, Host::Node(node), now, &mut self.chance) {
            self.heap.put(at, Event::Request { from, signed: None, to: node, call, body });
        }
        let listens = self.nodes[&node].running.is_some();
        let again = if listens { ASK_AGAIN } else { REFUSED };
        self.heap.put_in(again, Event::ClientWake { client: id, call });
    }

    /// A new history begins, with what stands in `catalog`: what clients are about has a part in it, unless it was done already.
    pub(super) fn begin_history(&mut self, catalog: &Catalog) {
        for key in Key::all(&self.scenario.shape) {
            key.seen(catalog).into_iter().for_each(|value| self.history.stands(key, value));
        }
        for client in self.clients.values_mut() {
            let Some(doing) = &mut client.doing else { continue };
            let id = doing.command.as_ref().and_then(|command| command.id.as_ref());
            let is_done = id.is_some_and(|id| self.acknowledged.is_applied(&id.client, id.sequence));
            doing.operation = (!is_done && doing.bears.is_none())
                .then(|| self.history.begins(client.id, doing.key, doing.deed));
        }
    }

    /// The connections to a node end: whoever waits for it asks another one.
    pub(super) fn lose_calls_to(&mut self, node: u64, after: Duration) {
        let waiting = self.clients.values().filter(|client| client.waits && client.node == node);
        for client in waiting {
            self.heap.put_in(after, Event::ClientWake { client: client.id, call: client.call });
        }
    }

    pub(super) fn client_answered(&mut self, id: u64, call: u64, reply: Reply) -> Result<(), Violation> {
        let client = self.clients.get_mut(&id).expect("every client exists");
        if client.call != call {
            return Ok(());
        }
        client.waits = false;
        match reply {
            Reply::Outcome(outcome) => {
                client.asks_since_answer = 0;
                client.told = Some(Revision { epoch: outcome.epoch, index: outcome.index });
                let doing = client.doing.take().expect("an answer to the last call answers something");
                self.measures.acknowledged(self.heap.now());
                self.ages.acknowledged(outcome.index, self.heap.now());
                doing
                    .operation
                    .into_iter()
                    .for_each(|operation| self.history.ends(operation, told(&outcome)));
                if let Some(write) = doing.command.and_then(|command| command.id) {
                    self.acknowledged.acknowledged(write.client, write.sequence, outcome.index)?;
                }
            }
            Reply::Value(seen) => {
                client.asks_since_answer = 0;
                let doing = client.doing.take().expect("an answer to the last call answers something");
                assert_eq!(doing.deed, Deed::Read, "only a read is answered with a value");
                let told = Some(Told::Value(seen));
                doing.operation.into_iter().for_each(|operation| self.history.ends(operation, told));
            }
            Reply::Aged { index, stale } => {
                client.asks_since_answer = 0;
                let doing = client.doing.take().expect("an answer to the last call answers something");
                if !stale.is_zero() {
                    self.reached.insert(Mark::Aged);
                }
                self.ages.answered(doing.asked_at, doing.bears.unwrap_or_default(), stale, index)?;
            }
            Reply::NotLeader(leader) => client.turn(leader.map(|node| node.0)),
            Reply::Unknown
            | Reply::Counted { .. }
            | Reply::Renewed(_)
            | Reply::Knows { .. }
            | Reply::Greeting { .. } => {
                client.turn(None);
            }
        }
        client.call += 1;
        let wake = Event::ClientWake { client: id, call: client.call };
        let pause = self.chance.latency(client.pause);
        self.heap.put_in(pause, wake);
        Ok(())
    }
}
