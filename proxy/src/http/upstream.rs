//! One address that requests are sent to: its idle connections, its load, and whether it fails to connect.
//! Kept by a worker for as long as the endpoint lives; picked by `outbound`, or the application itself for `inbound`.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mesh::Protocol;

use super::breaker::Breaker;
use super::dial::CONNECT_TIMEOUT;
use super::ejections::Ejections;
use super::h1::Link;
use super::h2::Shared;
use super::head_bounds::HeadBounds;
use super::state::WorkerState;
use crate::balance::{Health, PeakEwma};

/// Most idle connections kept to one endpoint; more than this many at once are closed after use.
const IDLE_MAX: usize = 256;

/// How long a connection is kept idle: well below what servers keep theirs for, so that we close first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// First and longest time that an endpoint which refuses connections is left alone.
const AVOID_FIRST: Duration = Duration::from_millis(100);
const AVOID_MAX: Duration = Duration::from_secs(10);

/// Where requests go, and how it fares.
#[derive(Debug)]
pub struct Upstream {
    /// Where to connect.
    pub address: SocketAddr,
    /// In whose name it is reached; `None`: the proxy's own.
    pub client: Option<IpAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// How large the heads of its answers may be.
    pub(super) answers: HeadBounds,
    /// Requests in flight, in whosever name.
    pub in_flight: Rc<Cell<u32>>,
    /// How slow it is.
    pub latency: RefCell<PeakEwma>,
    /// Longest wait for a connection.
    pub connect_timeout: Cell<Duration>,
    /// Its shared HTTP/2 connection.
    pub(super) shared: RefCell<Shared>,
    /// How many of those were made, which numbers them.
    pub(super) connections_made: Cell<u64>,
    idle: RefCell<Vec<Link>>,
    avoid: Cell<Option<(Instant, Duration)>>,
    /// When it came to a set that served already, or back into it.
    pub joined: Cell<Option<Instant>>,
    /// Whether it is ejected.
    pub health: RefCell<Health>,
    /// Of its cluster; none for the application itself.
    pub breaker: RefCell<Option<Rc<Breaker>>>,
    /// Open HTTP/1 connections, idle ones included, as the breaker counts them.
    pub(super) connections: Rc<Cell<u32>>,
    /// Of its cluster, where the policy ejects.
    pub ejections: RefCell<Option<Rc<Ejections>>>,
}

impl Upstream {
    /// An upstream without connections.
    #[must_use]
    pub fn new(address: SocketAddr, protocol: Protocol, latency: PeakEwma) -> Self {
        Self {
            address,
            client: None,
            protocol,
            answers: HeadBounds::OF_PROXIES,
            in_flight: Rc::default(),
            latency: RefCell::new(latency),
            connect_timeout: Cell::new(CONNECT_TIMEOUT),
            shared: RefCell::default(),
            connections_made: Cell::new(0),
            idle: RefCell::default(),
            avoid: Cell::new(None),
            joined: Cell::new(None),
            health: RefCell::default(),
            breaker: RefCell::default(),
            connections: Rc::default(),
            ejections: RefCell::default(),
        }
    }

    /// The application itself, before which no other proxy stands.
    #[must_use]
    pub fn of_application(address: SocketAddr, protocol: Protocol, latency: PeakEwma) -> Self {
        Self { answers: HeadBounds::OF_APPLICATIONS, ..Self::new(address, protocol, latency) }
    }

    /// The same at `address`, reached in the name of `client`: with connections of its own, and one count of requests.
    #[must_use]
    pub fn in_the_name_of(&self, client: IpAddr, address: SocketAddr) -> Self {
        Self {
            client: Some(client),
            answers: self.answers,
            in_flight: Rc::clone(&self.in_flight),
            connect_timeout: self.connect_timeout.clone(),
            ..Self::new(address, self.protocol, self.latency.borrow().clone())
        }
    }

    /// Sets how long connecting may take; the default where a policy says nothing.
    pub fn connect_within(&self, time: Option<Duration>) {
        self.connect_timeout.set(time.unwrap_or(CONNECT_TIMEOUT));
    }

    /// Load for the pick: believed latency (at least `floor` seconds), times requests in flight relative to its weight,
    /// plus one.
    ///
    /// One that was never measured counts as nothing until a request is on its way to it: by the assumed latency alone it
    /// would never be tried beside a quick sibling, and by nothing at all it would be flooded. Source: Finagle's `PeakEwma`.
    #[must_use]
    pub fn load(&self, relative_weight: f64, floor: f64, now: Instant) -> f64 {
        let (latency, in_flight) = (self.latency.borrow(), self.in_flight.get());
        if in_flight == 0 && !latency.is_measured() {
            return 0.0;
        }
        latency.seconds_at(now).max(floor) * (f64::from(in_flight) / relative_weight + 1.0)
    }

    /// Whether it refused connections so recently that it should not be picked.
    #[must_use]
    pub fn is_avoided(&self, now: Instant) -> bool {
        self.avoid.get().is_some_and(|(until, _)| now < until)
    }

    /// Whether it may be picked while others are there: it takes connections, and is not ejected.
    #[must_use]
    pub fn admits(&self, now: Instant) -> bool {
        let is_out =
            self.ejections.borrow().is_some() && !self.health.borrow().admits(self.in_flight.get(), now);
        !(is_out || self.is_avoided(now))
    }

    /// A request to it ended, by an answer or without one.
    pub fn ended(&self, is_failure: bool, now: Instant) {
        let ejections = self.ejections.borrow().clone();
        if let Some(ejections) = ejections {
            ejections.observe(self, is_failure, now);
        }
    }

    /// A connection failed: leave it alone for a while, twice as long each time.
    pub fn connect_failed(&self, now: Instant) {
        let wait = self.avoid.get().map_or(AVOID_FIRST, |(_, wait)| (wait * 2).min(AVOID_MAX));
        self.avoid.set(Some((now + wait, wait)));
    }

    /// A connection was made.
    pub fn connected(&self) {
        self.avoid.set(None);
    }

    /// Connections that carry requests, and those that wait for one.
    #[must_use]
    pub fn connections_now(&self) -> (u64, u64) {
        let is_shared = matches!(*self.shared.borrow(), Shared::Ready(_));
        let shared_busy = is_shared && self.in_flight.get() > 0;
        let idle = u32::try_from(self.idle.borrow().len()).unwrap_or(u32::MAX);
        let busy = self.connections.get().saturating_sub(idle) + u32::from(shared_busy);
        (busy.into(), (idle + u32::from(is_shared && !shared_busy)).into())
    }

    /// An idle connection that is still alive, the one used last first.
    pub fn idle_link(&self) -> Option<Link> {
        loop {
            let mut link = self.idle.borrow_mut().pop()?;
            if !link.is_stale() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub fn park(&self, mut link: Link, state: &WorkerState, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            state.keep_buffer(link.park(now));
            idle.push(link);
            drop(idle);
            if let Some(breaker) = &*self.breaker.borrow() {
                breaker.parked();
            }
        } else {
            state.count(|counters| counters.pool_overflow_total += 1);
        }
    }

    /// Closes what was idle for too long. Called by the worker's sweep.
    pub fn sweep(&self, now: Instant) {
        self.idle.borrow_mut().retain_mut(|link| {
            now.saturating_duration_since(link.idle_since) < IDLE_TIMEOUT && !link.is_stale()
        });
    }
}

/// Counts a request in flight on an upstream until it is dropped.
#[derive(Debug)]
pub struct InFlight(Rc<Upstream>, Option<Rc<Breaker>>);

impl InFlight {
    /// One more request is on its way to `upstream`.
    #[must_use]
    pub fn on(upstream: &Rc<Upstream>) -> Self {
        upstream.in_flight.set(upstream.in_flight.get() + 1);
        let breaker = upstream.breaker.borrow().clone();
        if let Some(breaker) = &breaker {
            breaker.request_began();
        }
        Self(Rc::clone(upstream), breaker)
    }

    /// The upstream.
    #[must_use]
    pub fn upstream(&self) -> &Rc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
        if let Some(breaker) = &self.1 {
            breaker.request_ended();
        }
    }
}
