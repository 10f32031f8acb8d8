//! A connection for the application: requests are served, and opaque bytes are carried. Opaque callers cannot be told
//! apart, and count as unknown.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use mesh::{Direction, Edge, Failure, Protocol};
use tokio::net::TcpStream;

use super::serve::Inbound;
use crate::arrival::{Arrival, arrival};
use crate::http::connection;
use crate::http::dial::{connect, keep_alive};
use crate::http::state::Opened;
use crate::http::tunnel::Tunnel;
use crate::http::upstream::InFlight;
use crate::outbound::{pass, refuse_loop};
use crate::report::edges::passed_through;
use crate::tcp;

impl Inbound {
    /// Whether the application speaks HTTP of some kind.
    #[must_use]
    pub fn is_http(&self) -> bool {
        self.application.protocol != Protocol::Opaque
    }

    /// Serves a connection that may have been on its way to any port of this host: the application's is the one that we
    /// stand before, others are passed on.
    pub async fn arrived(self: Rc<Self>, stream: TcpStream, opened: Opened) {
        match arrival(&stream) {
            Arrival::Loop => refuse_loop(&stream, &self.state),
            Arrival::Redirected(destination) if destination.port() != self.application.address.port() => {
                opened.signs.tunnel.set(true);
                let edge = Edge {
                    direction: Direction::Inbound,
                    caller: None,
                    authority: passed_through(destination.port()),
                    callee: Some(self.state.workload.clone()),
                };
                Box::pin(pass(stream, destination, edge, &self.state)).await;
            }
            Arrival::Direct | Arrival::Redirected(_) => self.take(stream, opened).await,
        }
    }

    /// Serves one connection to its end.
    pub async fn take(self: Rc<Self>, stream: TcpStream, opened: Opened) {
        if self.is_http() {
            let state = Rc::clone(&self.state);
            connection::serve(stream, opened, state, self).await;
        } else {
            opened.signs.tunnel.set(true);
            Box::pin(self.carry(stream)).await;
        }
    }

    async fn carry(&self, stream: TcpStream) {
        let _ = keep_alive(&stream); // fails only on a socket that is gone
        let edge = self.edge(0, None);
        let in_flight = InFlight::on(&self.application);
        match connect(self.application.address, self.application.connect_timeout.get()).await {
            Ok(application) => {
                self.state.edges.borrow_mut().reached(edge, 0);
                let tunnel = Tunnel::new(application, BytesMut::new(), &self.state, edge, Some(in_flight));
                tunnel.carry(stream, Bytes::new()).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the application does not take connections");
                self.state.edges.borrow_mut().unreached(edge, Failure::Connect);
                tcp::reset(&stream);
            }
        }
    }
}
