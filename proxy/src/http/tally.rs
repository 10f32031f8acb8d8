//! One request's account, from its head to the end of its answer: kept beside the answer's body, closed once, whatever
//! happens. A request whose caller leaves before the answer is whole counts as `Reset`: someone waited in vain, and an
//! edge on which callers give up must not look well.

use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, request};
use mesh::{Failure, GrpcCode};
use tokio::net::TcpStream;

use super::classify::{Verdict, grpc_number};
use super::refusal::Refusal;
use super::signs::Signs;
use super::state::WorkerState;
use super::tunnel::Tunnel;
use super::upstream::{InFlight, Upstream};
use crate::records::{Ending, Record};
use crate::report::edges::{EdgeHandle, Ended};

/// One request's account.
#[derive(Debug)]
pub struct Tally {
    state: Rc<WorkerState>,
    signs: Rc<Signs>,
    edge: EdgeHandle,
    started: Instant,
    /// Since when the endpoint could work on it.
    sent: Instant,
    in_flight: Option<InFlight>,
    verdict: Option<Verdict>,
    /// What the caller got; 0 while it got nothing.
    status: u16,
    /// There only if somebody asked for records.
    record: Option<Box<Record>>,
    /// Tries beyond the first.
    pub retries: u64,
    /// A route had it sent again, and would not do so after the head of what came of that: saved, if the whole is no failure, and its
    /// trailers tell none of these, which the route names too.
    pub saved_unless: Option<Box<[GrpcCode]>>,
    /// Body bytes from caller to callee.
    pub request_bytes: u64,
    /// Body bytes from callee to caller.
    pub response_bytes: u64,
    closed: bool,
    /// It ended for a reason that says nothing about the endpoint: its caller left, or it was never sent.
    is_blameless: bool,
}

impl Tally {
    /// Opens the account of a request that began at `started`, under `edge` until an endpoint is picked.
    #[must_use]
    pub fn open(state: &Rc<WorkerState>, signs: &Rc<Signs>, edge: EdgeHandle, started: Instant) -> Self {
        state.count(|counters| counters.requests_running += 1);
        state.edges.borrow_mut().held(edge);
        signs.running.set(signs.running.get() + 1);
        signs.requests.set(signs.requests.get() + 1);
        signs.edge.set(Some(edge));
        Self {
            state: Rc::clone(state),
            signs: Rc::clone(signs),
            edge,
            started,
            sent: started,
            in_flight: None,
            verdict: None,
            status: 0,
            record: None,
            retries: 0,
            saved_unless: None,
            request_bytes: 0,
            response_bytes: 0,
            closed: false,
            is_blameless: false,
        }
    }

    /// Begins the request's record, if somebody asked for one, and puts our span into its trace, if spans are exported.
    /// Called with the head before it is sent on.
    pub fn observe(&mut self, parts: &mut request::Parts) {
        let Some(recorder) = &self.state.recorder else { return };
        let (edges, peer) = (self.state.edges.borrow(), self.signs.peer.get());
        self.record = recorder.begin(parts, edges.edge(self.edge), peer, &mut self.state.chance.borrow_mut());
    }

    /// When the request began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// An endpoint was picked: from here the request counts under its edge and in its load.
    pub fn picked(&mut self, upstream: &Rc<Upstream>, edge: EdgeHandle) {
        self.in_flight = Some(InFlight::on(upstream));
        if edge != self.edge {
            let mut edges = self.state.edges.borrow_mut();
            edges.released(self.edge);
            edges.held(edge);
        }
        self.edge = edge;
        if let Some(record) = &mut self.record {
            record.sent_to(upstream.address);
        }
    }

    /// What it counts under.
    #[must_use]
    pub fn edge(&self) -> EdgeHandle {
        self.edge
    }

    /// The endpoint that it was sent to last.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Rc<Upstream>> {
        self.in_flight.as_ref().map(InFlight::upstream)
    }

    /// A connection was opened for it. What came before is not the endpoint's latency: one slow connect, or the wait for
    /// the first word about a service, would turn requests away from it until it is forgotten.
    pub fn connected(&mut self) {
        self.sent = Instant::now();
        self.state.edges.borrow_mut().connected(self.edge);
    }

    /// The head of the answer is there: the endpoint's latency is known.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.verdict = Some(Verdict::of(status, headers));
        self.status = status.as_u16();
        if let Some(record) = &mut self.record {
            record.answered(status, headers);
        }
        if let Some(in_flight) = &self.in_flight {
            let now = Instant::now();
            in_flight.upstream().latency.borrow_mut().observe(now.saturating_duration_since(self.sent), now);
        }
    }

    /// The answer is whole.
    pub fn ended(&mut self, trailers: Option<&HeaderMap>) {
        if let (Some(record), Some(trailers)) = (&mut self.record, trailers) {
            record.note_grpc(trailers);
        }
        let failure = self.verdict.as_ref().map_or(Some(Failure::Reset), |verdict| verdict.failure(trailers));
        let told = trailers.and_then(grpc_number);
        self.saved_unless.take_if(|codes| codes.iter().any(|code| told == Some(code.number())));
        self.close(failure, true);
    }

    /// The proxy answers itself, a gRPC caller in its own way.
    pub fn refused(&mut self, refusal: Refusal, is_grpc: bool) {
        self.status = if is_grpc { 200 } else { refusal.status().as_u16() };
        if let Some(record) = &mut self.record {
            record.refused(refusal.status(), is_grpc.then(|| refusal.grpc_status()));
        }
        self.state.count_refusal(refusal);
        self.close(Some(refusal.failure()), refusal == Refusal::TimedOut);
    }

    /// The answer was cut off in its midst, because its time was up.
    pub fn cut_off(&mut self, refusal: Refusal) {
        self.close(Some(refusal.failure()), true);
    }

    /// Whatever comes to pass now is no fault of the endpoint.
    pub fn absolve(&mut self) {
        self.is_blameless = true;
    }

    /// This try came to nothing, after an answer or after none, and another one begins.
    pub fn tried_in_vain(&mut self, was_answered: bool) {
        let now = Instant::now();
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.upstream().ended(true, now);
            let since = now.saturating_duration_since(self.sent);
            let mut latency = in_flight.upstream().latency.borrow_mut();
            if was_answered {
                latency.observe(since, now);
            } else {
                latency.observe_unanswered(since, now);
            }
        }
        self.retries += 1;
    }

    /// The next try begins: the wait before it is not its endpoint's.
    pub fn again(&mut self) {
        self.sent = Instant::now();
    }

    /// When the try that runs now began.
    #[must_use]
    pub fn sent(&self) -> Instant {
        self.sent
    }

    /// The answer broke off.
    pub fn broken(&mut self) {
        self.close(Some(Failure::Reset), self.verdict.is_some());
    }

    /// The connection after an upgrade: its bytes and its end count under the request's edge.
    #[must_use]
    pub fn tunnel(&self, endpoint: TcpStream, unread: BytesMut) -> Tunnel {
        let in_flight = self.in_flight.as_ref().map(|in_flight| InFlight::on(in_flight.upstream()));
        Tunnel::new(endpoint, unread, &self.state, self.edge, in_flight)
    }

    /// The worker that keeps this account.
    #[must_use]
    pub fn state(&self) -> &Rc<WorkerState> {
        &self.state
    }

    /// The signs of the caller's connection.
    #[must_use]
    pub fn signs(&self) -> &Signs {
        &self.signs
    }

    fn close(&mut self, failure: Option<Failure>, has_latency: bool) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if let Some(in_flight) = self.in_flight.take() {
            let now = Instant::now();
            if self.verdict.is_none() {
                self.unanswered_by(in_flight.upstream(), now);
            }
            if !self.is_blameless {
                in_flight.upstream().ended(failure.is_some(), now);
            }
        }
        let latency = has_latency.then(|| self.started.elapsed());
        self.state.edges.borrow_mut().ended(
            self.edge,
            Ended {
                failure,
                status: self.status,
                latency,
                request_bytes: self.request_bytes,
                response_bytes: self.response_bytes,
                retries: self.retries,
            },
        );
        if let Some(record) = self.record.take() {
            self.hand_over(record, failure);
        }
        self.state.count(|counters| {
            counters.requests_running -= 1;
            counters.retries_succeeded_total += u64::from(self.saved_unless.is_some() && failure.is_none());
        });
        self.signs.running.set(self.signs.running.get().saturating_sub(1));
        self.signs.bytes.set(self.signs.bytes.get() + self.request_bytes + self.response_bytes);
    }
}

impl Tally {
    /// An endpoint that hangs up at once must not look like the quickest. What the caller gave up says only that it was not quicker
    /// than this.
    fn unanswered_by(&self, upstream: &Upstream, now: Instant) {
        let since = now.saturating_duration_since(self.sent);
        let mut latency = upstream.latency.borrow_mut();
        if !self.is_blameless {
            latency.observe_unanswered(since, now);
        } else if since.as_secs_f64() > latency.seconds_at(now) {
            latency.observe(since, now);
        }
    }

    fn hand_over(&self, mut record: Box<Record>, failure: Option<Failure>) {
        let Some(recorder) = &self.state.recorder else { return };
        let edge = std::sync::Arc::clone(self.state.edges.borrow().edge(self.edge));
        record.end(
            edge,
            Ending {
                duration: self.started.elapsed(),
                request_bytes: self.request_bytes,
                response_bytes: self.response_bytes,
                retries: self.retries,
                failure,
            },
        );
        let dropped = recorder.hand_over(record);
        self.state.count(|counters| {
            counters.log_lines_dropped_total += dropped.lines;
            counters.spans_dropped_total += dropped.spans;
        });
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.is_blameless = true;
        self.broken();
    }
}
