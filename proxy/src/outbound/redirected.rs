//! The application's connections that the rules of the host sent here: to the service whose virtual address they were
//! going to or, where that is nobody's, on to where they were going, unchanged and counted.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mesh::{Direction, Edge, Failure};
use tokio::net::TcpStream;

use super::serve::Outbound;
use crate::arrival::{Arrival, arrival};
use crate::http::connection;
use crate::http::dial::{connect, unconnected};
use crate::http::signs::Signs;
use crate::http::state::{Opened, WorkerState};
use crate::http::tunnel::Tunnel;
use crate::report::edges::passed_through;
use crate::snapshot::{Demand, Owner};
use crate::tcp;

/// Longest time to connect to where a connection was going. The far side may be anywhere, so that it takes longer than to
/// an endpoint; the application waits for it as it would without us.
const PASS_TIMEOUT: Duration = Duration::from_secs(10);

impl Outbound {
    /// Serves a connection that came in on the outbound port `port`, of an application that knows of us or that does not.
    pub async fn arrived(self: Rc<Self>, stream: TcpStream, opened: Opened, port: u16) {
        match arrival(&stream, port) {
            Arrival::Direct => {
                let state = Rc::clone(&self.state);
                connection::serve(stream, opened, state, self).await;
            }
            Arrival::Loop => refuse_loop(&stream, &self.state),
            Arrival::Redirected(destination) => match Box::pin(self.owner(destination)).await {
                Owner::Service(authority) => {
                    let service = authority.to_string().into_bytes().into();
                    self.take(stream, opened, service, true).await;
                }
                Owner::Nobody => {
                    opened.signs.tunnel.set(true);
                    let edge = Edge {
                        direction: Direction::Outbound,
                        caller: Some(self.state.workload.clone()),
                        authority: passed_through(destination.port()),
                        callee: None,
                    };
                    Box::pin(pass(stream, destination, edge, &opened.signs, &self.state)).await;
                }
            },
        }
    }

    /// Whose `destination` is. Without word in time it counts as nobody's: the connection would have been made without us.
    async fn owner(&self, destination: SocketAddr) -> Owner {
        if !self.asks_for_owners {
            return Owner::Nobody;
        }
        let mut versions = self.targets.borrow().versions();
        let deadline = tokio::time::Instant::now() + self.state.limits.demand;
        let mut is_demanded = false;
        loop {
            versions.mark_unchanged();
            let known = self.targets.borrow_mut().owner(destination);
            if let Some(owner) = known {
                return owner;
            }
            if !is_demanded && self.demand.try_send(Demand::Address(destination)).is_err() {
                self.state.count(|counters| counters.demand_refused_total += 1);
                return Owner::Nobody;
            }
            is_demanded = true;
            if !matches!(tokio::time::timeout_at(deadline, versions.changed()).await, Ok(Ok(()))) {
                self.state.count(|counters| counters.owner_timeout_total += 1);
                return Owner::Nobody;
            }
        }
    }
}

/// Our own connection came back to us.
pub(crate) fn refuse_loop(stream: &TcpStream, state: &WorkerState) {
    let mut is_first = false;
    state.count(|counters| {
        is_first = counters.loops_refused_total == 0;
        counters.loops_refused_total += 1;
    });
    if is_first {
        tracing::warn!(
            "the proxy's own connections are intercepted and refused: run it as the user that `penstock proxy init` leaves out"
        );
    }
    tcp::reset(stream);
}

/// Carries a connection on to where it was going.
pub(crate) async fn pass(
    stream: TcpStream,
    destination: SocketAddr,
    edge: Edge,
    signs: &Signs,
    state: &Rc<WorkerState>,
) {
    state.count(|counters| counters.passed_through_total += 1);
    let edge = state.edges.borrow_mut().intern(edge);
    match connect(destination, PASS_TIMEOUT).await {
        Ok(far) => {
            state.edges.borrow_mut().reached(edge, 0);
            Tunnel::new(far, BytesMut::new(), state, edge, None).carry(stream, Bytes::new(), signs).await;
        }
        Err(error) => {
            tracing::debug!(%destination, %error, "where a connection was going, nobody takes it");
            state.count_refusal(unconnected(&error));
            state.edges.borrow_mut().unreached(edge, Failure::Connect);
            tcp::reset(&stream);
        }
    }
}
