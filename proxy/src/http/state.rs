//! What one worker holds: its counters, its edges, its open connections, its chance. Shared by everything on the worker's
//! thread and by nothing on another. The sweep here is the worker's one coarse timer: a timer per connection would cost
//! more than the connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use mesh::{Authority, Direction, Locality, WorkloadName};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::{h1, hop};
use crate::balance::Chance;
use crate::records::Recorder;
use crate::report::counters::Counters;
use crate::report::edges::{EdgeHandle, EdgeTable};
use crate::resources::Pressure;
use crate::snapshot::DEMAND_WAIT;
use crate::tcp::Tools;

/// The times that a worker holds its callers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a request's head may take once its first byte is there: a slow client must not hold a connection for
    /// free. Shorter cuts off clients on bad lines.
    pub head: Duration,
    /// How long a caller's connection may be idle, and how long a running request may wait for its caller to send or to read.
    /// Longer than callers keep theirs, so that they close first.
    pub idle: Duration,
    /// How long a request waits for the first word about a service.
    pub demand: Duration,
    /// How often the sweep looks at each connection; the bounds are held this exactly.
    pub sweep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            demand: DEMAND_WAIT,
            sweep: Duration::from_secs(1),
        }
    }
}

/// Most connections of one worker. Each costs up to some 30 KB while busy; past it new ones are answered 503.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Most read buffers kept for the next exchange; as many as requests usually run at once.
const SPARE_BUFFERS_MAX: usize = 64;

/// Most header maps kept for the next request.
const SPARE_HEADERS_MAX: usize = 64;

/// How far a connection's end is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Closing {
    /// It stays open.
    #[default]
    No,
    /// It closes after the next answer.
    AfterAnswer,
    /// It closes as soon as nothing runs on it.
    WhenIdle,
}

/// What the service, the connection's task and the sweep tell each other; they run on one thread.
#[derive(Debug, Default)]
pub struct Signs {
    /// Why the stream of requests was ended.
    pub refusal: Cell<Option<Refusal>>,
    /// Since when a head is incomplete.
    pub head_since: Cell<Option<Instant>>,
    /// The request was upgraded: pass bytes as they are.
    pub tunnel: Cell<bool>,
    /// Requests that run on it now.
    pub running: Cell<u32>,
    /// Requests so far.
    pub requests: Cell<u64>,
    /// Whether it is to end.
    pub closing: Cell<Closing>,
    /// Who connected.
    pub peer: Cell<Option<SocketAddr>>,
    /// When.
    pub since: Cell<Option<Instant>>,
    /// What its last request counts under, or the bytes that pass as they are.
    pub edge: Cell<Option<EdgeHandle>>,
    /// Body bytes of the requests that ended, both ways; where bytes pass as they are, those that passed.
    pub bytes: Cell<u64>,
    /// The head of the running HTTP/1 request as it came, and of the answer to it: how they spell their names.
    pub asked_as: RefCell<Bytes>,
    /// See `asked_as`.
    pub answered_as: RefCell<Bytes>,
    /// Whether the caller of the running request can be told interim answers.
    pub takes_interim: Cell<bool>,
    interim: RefCell<BytesMut>,
    /// Rises whenever something of a running request was read from the caller or written to it.
    pub moved: Cell<u64>,
    /// A piece of the request's body is waited for.
    pub waits_to_read: Cell<bool>,
    /// A piece of the answer waits for the caller to read.
    pub waits_to_write: Cell<bool>,
    stalled: Cell<(u64, Option<Instant>)>,
    waker: RefCell<Option<Waker>>,
    idle: Cell<(u64, Option<Instant>)>,
}

impl Signs {
    /// Raises how far its end is decided, and wakes its task.
    pub fn close(&self, closing: Closing) {
        if closing > self.closing.get() {
            self.closing.set(closing);
            self.wake();
        }
    }

    /// Who is woken when something must be decided: the connection's task, told by it in each poll.
    pub fn wake_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if known.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Waits until the connection is to end because nothing runs on it.
    pub async fn closes(&self) {
        std::future::poll_fn(|cx| {
            self.wake_by(cx.waker());
            if self.closing.get() == Closing::WhenIdle { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Passes an interim answer on to a caller that can be told; the connection writes it before it waits again.
    pub fn put_interim(&self, status: StatusCode, headers: &mut HeaderMap) {
        if self.takes_interim.get() {
            hop::strip(headers);
            h1::put_interim(&mut self.interim.borrow_mut(), status, headers);
        }
    }

    /// Moves the interim answers that came since the last call to `out`.
    pub fn take_interim(&self, out: &mut BytesMut) {
        let mut interim = self.interim.borrow_mut();
        if !interim.is_empty() {
            out.extend_from_slice(&std::mem::take(&mut *interim));
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends it when its head or its idleness lasts too long.
    fn sweep(&self, limits: &Limits, now: Instant) {
        if self.refusal.get().is_some() || self.tunnel.get() {
            return;
        }
        // A head that waits behind a running request is not slow: nobody reads it yet.
        if self.running.get() == 0
            && self.head_since.get().is_some_and(|since| now.duration_since(since) >= limits.head)
        {
            self.refusal.set(Some(Refusal::HeadTimeout));
            self.wake();
        }
        self.sweep_stalled(limits, now);
        let (requests, since) = self.idle.get();
        match since {
            Some(since) if requests == self.requests.get() && self.running.get() == 0 => {
                if now.duration_since(since) >= limits.idle {
                    self.close(Closing::WhenIdle);
                }
            }
            _ => self.idle.set((self.requests.get(), Some(now))),
        }
    }
}

impl Signs {
    /// Ends it when its caller neither sends nor reads what is waited for: a request must not hold an endpoint for free.
    fn sweep_stalled(&self, limits: &Limits, now: Instant) {
        // The end of an answer waits for its caller also when the request's account is closed, as all of it has come.
        let waits = self.waits_to_write.get() || (self.running.get() > 0 && self.waits_to_read.get());
        let (moved, since) = self.stalled.get();
        match since {
            Some(since) if waits && moved == self.moved.get() => {
                if now.duration_since(since) >= limits.idle {
                    self.refusal.set(Some(Refusal::CallerStalled));
                    self.wake();
                }
            }
            _ => self.stalled.set((self.moved.get(), waits.then_some(now))),
        }
    }
}

/// One open connection, as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConnection {
    /// On which side it was accepted.
    pub direction: Direction,
    /// Who connected.
    pub peer: Option<SocketAddr>,
    /// Whom the last request asked for, or the bytes that pass as they are go to.
    pub service: Option<Authority>,
    /// For how long it has been open.
    pub age: Duration,
    /// Requests so far.
    pub requests: u64,
    /// Of those, the ones that run now.
    pub requests_running: u32,
    /// Body bytes of the requests that ended, both ways; where bytes pass as they are, those that passed.
    pub bytes: u64,
}

/// One worker's state.
#[derive(Debug)]
pub struct WorkerState {
    /// What each edge carried.
    pub edges: RefCell<EdgeTable>,
    /// What callers are held to.
    pub limits: Limits,
    /// What is counted beside.
    pub counters: RefCell<Counters>,
    /// What connections that are carried as bytes borrow.
    pub tools: Tools,
    /// For picks.
    pub chance: RefCell<Chance>,
    pressure: Pressure,
    /// What this proxy stands beside.
    pub workload: WorkloadName,
    /// Where it stands.
    pub locality: Locality,
    /// `workload` as it goes out in `penstock-caller`.
    pub caller_value: HeaderValue,
    /// Records requests for the access log and for spans; `None` while neither is asked for.
    pub recorder: Option<Recorder>,
    /// Copies of requests that are under way to mirrors.
    pub copies: Cell<u32>,
    /// What new connections begin with.
    pub closing: Cell<Closing>,
    /// Told when a connection ends.
    pub ended: Notify,
    connections: RefCell<HashMap<u64, (Direction, Rc<Signs>)>>,
    spare_buffers: RefCell<Vec<BytesMut>>,
    spare_headers: RefCell<Vec<HeaderMap>>,
    next_connection: Cell<u64>,
}

impl WorkerState {
    /// The state of a worker beside `workload`.
    #[must_use]
    pub fn new(
        workload: &WorkloadName,
        locality: &Locality,
        seed: u64,
        limits: Limits,
        pressure: Pressure,
        recorder: Option<Recorder>,
    ) -> Rc<Self> {
        Rc::new(Self {
            edges: RefCell::new(EdgeTable::new(workload)),
            limits,
            counters: RefCell::default(),
            tools: Tools::default(),
            pressure,
            chance: RefCell::new(Chance::seeded(seed)),
            workload: workload.clone(),
            locality: locality.clone(),
            caller_value: HeaderValue::from_str(&workload.to_string()).expect("DNS labels are visible ASCII"),
            recorder,
            copies: Cell::default(),
            closing: Cell::default(),
            ended: Notify::new(),
            connections: RefCell::default(),
            spare_buffers: RefCell::default(),
            spare_headers: RefCell::default(),
            next_connection: Cell::new(0),
        })
    }

    /// Counts with `count`.
    pub fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.counters.borrow_mut());
    }

    /// An empty buffer for an exchange; its memory is used again once all that was cut from it is gone.
    #[must_use]
    pub fn spare_buffer(&self) -> BytesMut {
        self.spare_buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back. What is left in it belonged to a connection that broke off, and must never reach another.
    pub fn keep_buffer(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut spare = self.spare_buffers.borrow_mut();
        if spare.len() < SPARE_BUFFERS_MAX {
            spare.push(buffer);
        }
    }

    /// An empty header map, with the memory of an earlier one as a rule.
    #[must_use]
    pub fn spare_headers(&self) -> HeaderMap {
        self.spare_headers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a header map back.
    pub fn keep_headers(&self, mut headers: HeaderMap) {
        let mut spare = self.spare_headers.borrow_mut();
        if spare.len() < SPARE_HEADERS_MAX && headers.capacity() > 0 {
            headers.clear();
            spare.push(headers);
        }
    }

    /// Counts the bound or rule that `refusal` stands for.
    pub fn count_refusal(&self, refusal: Refusal) {
        self.count(|counters| match refusal {
            Refusal::TwoLengths | Refusal::Malformed(_) => counters.malformed_total += 1,
            Refusal::HeadTooLarge => counters.head_too_large_total += 1,
            Refusal::HeadTimeout => counters.head_timeout_total += 1,
            Refusal::ForeignAuthority | Refusal::UnknownService => counters.unknown_service_total += 1,
            Refusal::NoWordYet => counters.demand_timeout_total += 1,
            Refusal::TooManyDemands => counters.demand_refused_total += 1,
            Refusal::TooManyConnections => counters.connections_refused_total += 1,
            Refusal::TooManyRequests => counters.breaker_requests_total += 1,
            Refusal::TooManyPending => counters.breaker_pending_total += 1,
            Refusal::RateLimited => counters.rate_limited_total += 1,
            Refusal::Overloaded => counters.overloaded_total += 1,
            Refusal::ShortOfMemory => counters.shed_total += 1,
            Refusal::CallerStalled => counters.stalled_total += 1,
            _ => {}
        });
    }

    /// Whether a new request must be refused for want of memory. One is always let through: a ceiling that was set too low
    /// must make the proxy slow, not dead.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        self.pressure.is_high() && self.counters.borrow().requests_running > 0
    }

    /// Takes in a connection; `None` when the worker has its most. It is forgotten when the entry is dropped.
    #[must_use]
    pub fn open(self: &Rc<Self>, direction: Direction) -> Option<Opened> {
        if self.connections.borrow().len() >= CONNECTIONS_MAX {
            return None;
        }
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        let signs = Rc::new(Signs::default());
        signs.closing.set(self.closing.get());
        signs.since.set(Some(Instant::now()));
        self.connections.borrow_mut().insert(number, (direction, Rc::clone(&signs)));
        self.count(|counters| counters.accepted_total += 1);
        Some(Opened { state: Rc::clone(self), signs, number })
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// The connections that are open for longest, `limit` of them at most.
    #[must_use]
    pub fn oldest_connections(&self, limit: usize) -> Vec<OpenConnection> {
        let connections = self.connections.borrow();
        let mut numbers: Vec<u64> = connections.keys().copied().collect();
        if limit < numbers.len() {
            numbers.select_nth_unstable(limit); // a sort would hold up a worker with ten thousand
            numbers.truncate(limit);
        }
        let (now, edges) = (Instant::now(), self.edges.borrow());
        let shown = |number: &u64| {
            let (direction, signs) = &connections[number];
            OpenConnection {
                direction: *direction,
                peer: signs.peer.get(),
                service: signs.edge.get().map(|edge| edges.edge(edge).authority.clone()),
                age: signs.since.get().map_or(Duration::ZERO, |since| now.duration_since(since)),
                requests: signs.requests.get(),
                requests_running: signs.running.get(),
                bytes: signs.bytes.get(),
            }
        };
        numbers.iter().map(shown).collect()
    }

    /// Tells every connection how it is to end, and new ones too.
    pub fn close_all(&self, closing: Closing) {
        self.closing.set(closing.min(Closing::AfterAnswer));
        for (_, signs) in self.connections.borrow().values() {
            signs.close(closing);
        }
    }

    /// Holds each connection to its bounds.
    pub fn sweep(&self, now: Instant) {
        for (_, signs) in self.connections.borrow().values() {
            signs.sweep(&self.limits, now);
        }
    }

    /// The counters as of now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = *self.counters.borrow();
        for (direction, _) in self.connections.borrow().values() {
            match direction {
                Direction::Outbound => counters.outbound_connections += 1,
                Direction::Inbound => counters.inbound_connections += 1,
            }
        }
        counters.pipes_exhausted_total = self.tools.pipes_exhausted_total();
        let edges = self.edges.borrow();
        counters.edges_folded_total = edges.folded_total();
        counters.edges_evicted_total = edges.evicted_total();
        counters
    }
}

/// An open connection's entry.
#[derive(Debug)]
pub struct Opened {
    state: Rc<WorkerState>,
    /// Its signs.
    pub signs: Rc<Signs>,
    number: u64,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.state.connections.borrow_mut().remove(&self.number);
        self.state.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_does_not_read_the_end_of_an_answer_is_given_up_although_no_request_runs() {
        let (signs, limits, now) = (Signs::default(), Limits::default(), Instant::now());
        signs.waits_to_write.set(true);
        for (seconds, refusal) in [(0, None), (299, None), (300, Some(Refusal::CallerStalled))] {
            signs.sweep(&limits, now + Duration::from_secs(seconds));
            assert_eq!(signs.refusal.get(), refusal, "after {seconds} s");
        }
    }
}
