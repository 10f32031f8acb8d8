//! Connections whose service is known from where they came in, and not from what they say: of a listener that stands for
//! one service. What the service speaks decides: opaque bytes are carried, requests are served.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use bytes::BytesMut;
use http::{Request, Response};
use mesh::Protocol;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::reach::Reached;
use super::serve::Outbound;
use super::target::Target;
use crate::detect::{Sight, Spoken, sight};
use crate::http::body::AnswerBody;
use crate::http::connection::{self, Serve};
use crate::http::head_bounds::HeadBounds;
use crate::http::looked::{Speaks, looked_at};
use crate::http::refusal::Refusal;
use crate::http::request_body::RequestBody;
use crate::http::signs::Signs;
use crate::http::state::Opened;
use crate::tcp;

/// The port that a TLS client means which says only a name.
const HTTPS: u16 = 443;

impl Outbound {
    /// Serves a connection for the service that is spelled `service`. One of an application that does not know of us
    /// (`is_looked_at`) may speak something else than its service's port says.
    pub async fn take(
        self: Rc<Self>,
        stream: TcpStream,
        opened: Opened,
        service: Rc<[u8]>,
        is_looked_at: bool,
    ) {
        let known = self.targets.borrow_mut().known(&service);
        let found = match known {
            Some(target) => Ok(target),
            None => Box::pin(self.target(&service)).await,
        };
        match found {
            Ok(target) if is_looked_at && target.protocol() == Protocol::Http1 => {
                Box::pin(self.seen(stream, opened, service, target)).await;
            }
            Ok(target) if target.protocol() != Protocol::Opaque => {
                let state = Rc::clone(&self.state);
                connection::serve(stream, opened, state, Rc::new(Toward { outbound: self, service })).await;
            }
            Ok(target) => {
                opened.signs.tunnel.set(true);
                Box::pin(self.carry(stream, &target, &opened.signs)).await;
            }
            Err((refusal, edge)) => {
                self.state.count_refusal(refusal);
                self.state.edges.borrow_mut().unreached(edge, refusal.failure());
                tell(&stream, refusal);
            }
        }
    }

    /// Carries TLS to the service that its hello asks for, at the port of HTTPS, without a look into it. One that asks for
    /// none is given back, to be refused as what it is: no request.
    pub(super) async fn carry_tls(
        self: Rc<Self>,
        mut stream: TcpStream,
        mut first: BytesMut,
        signs: Rc<Signs>,
    ) -> Option<(TcpStream, BytesMut)> {
        let mut closing = pin!(signs.closes());
        let name = loop {
            match sight(&first) {
                Sight::Clear(Spoken::Tls(Some(name))) => break name,
                Sight::Clear(_) => return Some((stream, first)),
                Sight::Unclear => tokio::select! {
                    () = closing.as_mut() => return None,
                    read = stream.read_buf(&mut first) => if !matches!(read, Ok(1..)) { return None },
                },
            }
        };
        signs.tunnel.set(true);
        let service = format!("{name}:{HTTPS}").into_bytes();
        match self.target(&service).await {
            Ok(target) => {
                let reached = self.reach(&target).await;
                self.join(stream, first, reached, &target, &signs).await;
            }
            Err((refusal, edge)) => {
                self.state.count_refusal(refusal);
                self.state.edges.borrow_mut().unreached(edge, refusal.failure());
                tell(&stream, refusal);
            }
        }
        None
    }

    async fn carry(&self, stream: TcpStream, target: &Target, signs: &Signs) {
        let reached = self.reach(target).await;
        self.join(stream, BytesMut::new(), reached, target, signs).await;
    }

    async fn join(
        &self,
        stream: TcpStream,
        first: BytesMut,
        reached: Result<Reached, Refusal>,
        target: &Target,
        signs: &Signs,
    ) {
        match reached {
            Ok(reached) => reached.tunnel(&self.state).carry(stream, first.freeze(), signs).await,
            Err(refusal) => {
                self.unreached(target, refusal);
                tell(&stream, refusal);
            }
        }
    }

    /// Looks at what a connection speaks. Requests are served; everything else, HTTP/2 to a service that says no more than
    /// HTTP included, is carried to one endpoint as it comes, since the application knows what its service takes.
    async fn seen(self: Rc<Self>, stream: TcpStream, opened: Opened, service: Rc<[u8]>, target: Rc<Target>) {
        let (reaching, learned) = (self.reach(&target), &target.learned);
        match looked_at(&stream, &opened.signs, &self.state, learned, reaching).await {
            None => {}
            Some(Speaks::Bytes(first, reached)) => {
                self.join(stream, first, reached, &target, &opened.signs).await;
            }
            Some(Speaks::Requests(first, reached)) => {
                if let Some(Ok(reached)) = reached {
                    reached.park(&self.state);
                }
                let state = Rc::clone(&self.state);
                let toward = Rc::new(Toward { outbound: self, service });
                connection::serve_from(stream, first, opened, state, toward).await;
            }
        }
    }
}

/// Nothing can be said in a protocol that is not known: the connection is reset, as one that nobody took.
fn tell(stream: &TcpStream, refusal: Refusal) {
    tracing::debug!(reason = refusal.reason(), "a connection is refused");
    tcp::reset(stream);
}

/// Answers every request of a connection for one service, whatever the requests name.
struct Toward {
    outbound: Rc<Outbound>,
    service: Rc<[u8]>,
}

impl Serve for Toward {
    const HEADS: HeadBounds = HeadBounds::OF_APPLICATIONS;

    fn serve(
        self: Rc<Self>,
        signs: Rc<Signs>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + 'static {
        Rc::clone(&self.outbound).answer(signs, request, Some(Rc::clone(&self.service)))
    }
}
