//! A connection for the application: requests are served, and opaque bytes are carried. Opaque callers cannot be told
//! apart, and count as unknown.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use bytes::BytesMut;
use mesh::{Direction, Edge, Failure, Protocol};
use tokio::net::TcpStream;

use super::serve::Inbound;
use crate::arrival::{Arrival, arrival};
use crate::http::connection;
use crate::http::dial::{reach, unconnected};
use crate::http::looked::{Speaks, looked_at};
use crate::http::signs::Signs;
use crate::http::state::Opened;
use crate::http::tunnel::Tunnel;
use crate::http::upstream::{InFlight, Upstream};
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
    /// stand before, others are passed on. We listen at `port`.
    pub async fn arrived(self: Rc<Self>, stream: TcpStream, opened: Opened, port: u16) {
        match arrival(&stream, port) {
            Arrival::Loop => refuse_loop(&stream, &self.state),
            Arrival::Redirected(destination) if destination.port() != self.application.address.port() => {
                opened.signs.tunnel.set(true);
                let edge = Edge {
                    direction: Direction::Inbound,
                    caller: None,
                    authority: passed_through(destination.port()),
                    callee: Some(self.state.workload.clone()),
                };
                Box::pin(pass(stream, destination, edge, &opened.signs, &self.state)).await;
            }
            Arrival::Direct | Arrival::Redirected(_) if self.application.protocol == Protocol::Http1 => {
                Box::pin(self.seen(stream, opened)).await;
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
            Box::pin(self.carry(stream, &opened.signs)).await;
        }
    }

    async fn carry(&self, stream: TcpStream, signs: &Signs) {
        let reached = self.reach(signs).await;
        self.join(stream, BytesMut::new(), reached, signs).await;
    }

    async fn reach(&self, signs: &Signs) -> io::Result<Application> {
        let application = self.application_for(signs.peer.get(), Instant::now());
        match Application::at(&application).await {
            Err(_) if self.is_beside(&application) => {
                application.connect_failed(Instant::now());
                Application::at(&self.application).await
            }
            reached => reached,
        }
    }

    async fn join(
        &self,
        stream: TcpStream,
        first: BytesMut,
        reached: io::Result<Application>,
        signs: &Signs,
    ) {
        let edge = self.edge(0, None);
        match reached {
            Ok(Application { stream: application, in_flight }) => {
                self.carried_to(in_flight.upstream(), signs.peer.get());
                self.state.edges.borrow_mut().reached(edge, 0);
                let tunnel = Tunnel::new(application, BytesMut::new(), &self.state, edge, Some(in_flight));
                tunnel.carry(stream, first.freeze(), signs).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the application does not take connections");
                self.state.count_refusal(unconnected(&error));
                self.state.edges.borrow_mut().unreached(edge, Failure::Connect);
                tcp::reset(&stream);
            }
        }
    }

    /// Looks at what a connection speaks. The application says no more than HTTP; HTTP/2, which it may take too, and everything
    /// else is carried to it as it comes.
    async fn seen(self: Rc<Self>, stream: TcpStream, opened: Opened) {
        let reaching = self.reach(&opened.signs);
        match looked_at(&stream, &opened.signs, &self.state, &self.learned, reaching).await {
            None => {}
            Some(Speaks::Bytes(first, reached)) => self.join(stream, first, reached, &opened.signs).await,
            Some(Speaks::Requests(first, _)) => {
                let state = Rc::clone(&self.state);
                connection::serve_from(stream, first, opened, state, self).await;
            }
        }
    }
}

/// A connection to the application that is not counted yet.
struct Application {
    stream: TcpStream,
    in_flight: InFlight,
}

impl Application {
    async fn at(upstream: &Rc<Upstream>) -> io::Result<Self> {
        let in_flight = InFlight::on(upstream);
        Ok(Self { stream: reach(upstream).await?, in_flight })
    }
}

impl AsRef<TcpStream> for Application {
    fn as_ref(&self) -> &TcpStream {
        &self.stream
    }
}
