//! The circuit breaker of one cluster on one worker: how much is under way to it, and what waits. Asked before a request is
//! sent and before a connection is made, and counts also where no policy bounds them; must never pick.

use std::cell::Cell;
use std::rc::Rc;

use mesh::CircuitBreaker;
use tokio::sync::Notify;

/// What the endpoints of a cluster share.
#[derive(Debug)]
pub struct Breaker {
    limits: Cell<CircuitBreaker>,
    requests: Cell<u32>,
    connections: Cell<u32>,
    pending: Cell<u32>,
    /// Told of each connection that is free or gone.
    changed: Notify,
}

impl Breaker {
    /// Nothing is under way yet.
    #[must_use]
    pub fn new(limits: CircuitBreaker) -> Rc<Self> {
        Rc::new(Self {
            limits: Cell::new(limits),
            requests: Cell::new(0),
            connections: Cell::new(0),
            pending: Cell::new(0),
            changed: Notify::new(),
        })
    }

    /// From now on these hold. What waits looks again: it would wait for the old ones for ever.
    pub fn limit(&self, limits: CircuitBreaker) {
        if self.limits.replace(limits) != limits {
            self.changed.notify_waiters();
        }
    }

    /// Whether one more request may be sent.
    #[must_use]
    pub fn admits_request(&self) -> bool {
        self.limits.get().max_requests.is_none_or(|most| self.requests.get() < most)
    }

    pub(super) fn request_began(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    pub(super) fn request_ended(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
    }

    /// A connection of `upstream` is free again.
    pub(super) fn parked(&self) {
        if self.pending.get() > 0 {
            self.changed.notify_waiters();
        }
    }

    /// A place for one more connection to an endpoint that has `of_endpoint`; each may have its first.
    pub(super) fn place(self: &Rc<Self>, of_endpoint: &Rc<Cell<u32>>) -> Option<Place> {
        let fits = self.limits.get().max_connections.is_none_or(|most| self.connections.get() < most);
        if !fits && of_endpoint.get() > 0 {
            return None;
        }
        self.connections.set(self.connections.get() + 1);
        of_endpoint.set(of_endpoint.get() + 1);
        Some(Place { breaker: Rc::clone(self), of_endpoint: Rc::clone(of_endpoint) })
    }

    /// Requests that wait for a connection.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.pending.get()
    }

    /// Waits until a connection is free or gone; `false` at once when as many wait as may.
    pub(super) async fn wait(&self) -> bool {
        if self.limits.get().max_pending.is_some_and(|most| self.pending.get() >= most) {
            return false;
        }
        let _waiting = Waiting::on(&self.pending);
        self.changed.notified().await;
        true
    }
}

/// Counts one that waits until it is dropped.
struct Waiting<'b>(&'b Cell<u32>);

impl<'b> Waiting<'b> {
    fn on(pending: &'b Cell<u32>) -> Self {
        pending.set(pending.get() + 1);
        Self(pending)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The place of one connection, until it is gone.
#[derive(Debug)]
pub struct Place {
    breaker: Rc<Breaker>,
    of_endpoint: Rc<Cell<u32>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.breaker.connections.set(self.breaker.connections.get() - 1);
        self.of_endpoint.set(self.of_endpoint.get() - 1);
        self.breaker.parked();
    }
}
