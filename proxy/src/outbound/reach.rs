//! A connection to one endpoint of a service, for bytes of any kind: picked like requests are, by connections that are open
//! and how long connecting takes, and another endpoint if the first does not take connections.

use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use http::Response;
use mesh::Protocol;
use tokio::net::TcpStream;

use super::serve::Outbound;
use super::target::Target;
use super::trying::TRIES_MAX;
use crate::http::body::AnswerBody;
use crate::http::dial::{self, connect, unconnected};
use crate::http::h1::Link;
use crate::http::passing::refused;
use crate::http::refusal::Refusal;
use crate::http::signs::Signs;
use crate::http::state::WorkerState;
use crate::http::tally::Tally;
use crate::http::tunnel::Tunnel;
use crate::http::upstream::InFlight;
use crate::report::edges::EdgeHandle;

/// A connection to an endpoint that is not counted yet.
#[derive(Debug)]
pub(super) struct Reached {
    stream: TcpStream,
    edge: EdgeHandle,
    in_flight: InFlight,
    /// Endpoints that did not take it before.
    retries: u64,
}

impl AsRef<TcpStream> for Reached {
    fn as_ref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Reached {
    /// It is used for bytes of any kind.
    pub(super) fn tunnel(self, state: &Rc<WorkerState>) -> Tunnel {
        state.edges.borrow_mut().reached(self.edge, self.retries);
        Tunnel::new(self.stream, BytesMut::new(), state, self.edge, Some(self.in_flight))
    }

    /// It was made for nothing, as requests come: the next one of them takes it.
    pub(super) fn park(self, state: &Rc<WorkerState>) {
        let upstream = self.in_flight.upstream();
        state.edges.borrow_mut().connected(self.edge);
        if upstream.protocol == Protocol::Http1 && dial::bound_silence(&self.stream).is_ok() {
            upstream.park(Link::new(self.stream), state, Instant::now());
        }
    }
}

impl Outbound {
    /// No endpoint takes an opaque connection.
    pub(super) fn unreached(&self, target: &Target, refusal: Refusal) {
        self.state.count_refusal(refusal);
        self.state.edges.borrow_mut().unreached(target.unpicked, refusal.failure());
    }

    /// Connects to an endpoint of `target`.
    pub(super) async fn reach(&self, target: &Target) -> Result<Reached, Refusal> {
        let Some(cluster) = &target.own else { return Err(Refusal::NoEndpoint) };
        let mut tried = [usize::MAX; TRIES_MAX];
        for attempt in 0..TRIES_MAX {
            let started = Instant::now();
            let picked = cluster.pick(|index| !tried[..attempt].contains(&index), None, started, &self.state);
            let Some(picked) = picked else { break };
            tried[attempt] = picked;
            let member = cluster.member(picked);
            let in_flight = InFlight::on(&member.upstream);
            match connect(member.upstream.address, member.upstream.connect_timeout.get()).await {
                Ok(stream) => {
                    member.upstream.connected();
                    if member.upstream.protocol == Protocol::Opaque {
                        let now = Instant::now();
                        member.upstream.latency.borrow_mut().observe(now - started, now);
                    }
                    let edge = target.edge(&member.workload, &self.state);
                    return Ok(Reached { stream, edge, in_flight, retries: attempt as u64 });
                }
                Err(error) => {
                    tracing::debug!(address = %member.upstream.address, %error, "connection to an endpoint failed");
                    if unconnected(&error) == Refusal::OutOfFiles {
                        return Err(Refusal::OutOfFiles);
                    }
                    member.upstream.connect_failed(Instant::now());
                }
            }
        }
        Err(if tried[0] == usize::MAX { Refusal::NoEndpoint } else { Refusal::ConnectFailed })
    }

    /// The answer to CONNECT: from its head on, bytes pass as they are.
    pub(super) async fn connected(&self, target: &Target, signs: &Rc<Signs>) -> Response<AnswerBody> {
        match self.reach(target).await {
            Ok(reached) => Response::new(AnswerBody::tunnel(reached.tunnel(&self.state))),
            Err(refusal) => {
                let tally = Tally::open(&self.state, signs, target.unpicked, Instant::now());
                refused(refusal, false, tally)
            }
        }
    }
}
