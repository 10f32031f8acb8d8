//! What one worker holds: its counters, its edges, its open connections, its chance. Shared by everything on the worker's
//! thread and by nothing on another. The sweep here is the worker's one coarse timer: a timer per connection would cost
//! more than the connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use mesh::{Authority, Direction, Locality, WorkloadName};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::signs::{Closing, Limits, Signs};
use crate::balance::Chance;
use crate::records::Recorder;
use crate::report::counters::Counters;
use crate::report::edges::EdgeTable;
use crate::resources::Pressure;
use crate::tcp::Tools;

/// Most connections of one worker. Each costs up to some 30 KB while busy; past it new ones are answered 503.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Most read buffers kept for the next exchange; as many as requests usually run at once.
const SPARE_BUFFERS_MAX: usize = 64;

/// Most header maps kept for the next request.
const SPARE_HEADERS_MAX: usize = 64;

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
            Refusal::OutOfFiles => counters.out_of_files_total += 1,
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
            if let Some(ends) = &*signs.ends.borrow() {
                ends.sweep(&self.tools, now);
            }
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
