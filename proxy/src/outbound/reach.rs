//! A connection to one endpoint of a service, for bytes of any kind: picked like requests are, by connections that are open
//! and how long connecting takes, and another endpoint if the first does not take connections.

use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use http::Response;
use mesh::Protocol;

use super::serve::Outbound;
use super::target::Target;
use super::trying::TRIES_MAX;
use crate::http::body::AnswerBody;
use crate::http::dial::connect;
use crate::http::passing::refused;
use crate::http::refusal::Refusal;
use crate::http::state::Signs;
use crate::http::tally::Tally;
use crate::http::tunnel::Tunnel;
use crate::http::upstream::InFlight;

impl Outbound {
    /// Connects to an endpoint of `target`, and counts that.
    pub(super) async fn reach(&self, target: &Target) -> Result<Tunnel, Refusal> {
        let reached = self.connect_to_one(target).await;
        if let Err(refusal) = &reached {
            self.state.count_refusal(*refusal);
            self.state.edges.borrow_mut().unreached(target.unpicked, refusal.failure());
        }
        reached
    }

    async fn connect_to_one(&self, target: &Target) -> Result<Tunnel, Refusal> {
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
                    self.state.edges.borrow_mut().reached(edge, attempt as u64);
                    return Ok(Tunnel::new(stream, BytesMut::new(), &self.state, edge, Some(in_flight)));
                }
                Err(error) => {
                    tracing::debug!(address = %member.upstream.address, %error, "connection to an endpoint failed");
                    member.upstream.connect_failed(Instant::now());
                }
            }
        }
        Err(if tried[0] == usize::MAX { Refusal::NoEndpoint } else { Refusal::ConnectFailed })
    }

    /// The answer to CONNECT: from its head on, bytes pass as they are.
    pub(super) async fn connected(&self, target: &Target, signs: &Rc<Signs>) -> Response<AnswerBody> {
        match self.connect_to_one(target).await {
            Ok(tunnel) => Response::new(AnswerBody::tunnel(tunnel)),
            Err(refusal) => {
                let tally = Tally::open(&self.state, signs, target.unpicked, Instant::now());
                refused(refusal, false, tally)
            }
        }
    }
}
