//! Connections whose service is known from where they came in, and not from what they say: of a listener that stands for
//! one service. What the service speaks decides: opaque bytes are carried, requests are served.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use mesh::Protocol;
use tokio::net::TcpStream;

use super::serve::Outbound;
use super::target::Target;
use crate::http::body::AnswerBody;
use crate::http::connection::{self, Serve};
use crate::http::dial::keep_alive;
use crate::http::refusal::Refusal;
use crate::http::request_body::RequestBody;
use crate::http::state::{Opened, Signs};
use crate::tcp;

impl Outbound {
    /// Serves a connection for the service that is spelled `service`.
    pub async fn take(self: Rc<Self>, stream: TcpStream, opened: Opened, service: Rc<[u8]>) {
        let known = self.targets.borrow_mut().known(&service);
        let found = match known {
            Some(target) => Ok(target),
            None => Box::pin(self.target(&service)).await,
        };
        match found {
            Ok(target) if target.protocol() != Protocol::Opaque => {
                let state = Rc::clone(&self.state);
                connection::serve(stream, opened, state, Rc::new(Toward { outbound: self, service })).await;
            }
            Ok(target) => {
                opened.signs.tunnel.set(true);
                Box::pin(self.carry(stream, &target)).await;
            }
            Err((refusal, edge)) => {
                self.state.count_refusal(refusal);
                self.state.edges.borrow_mut().unreached(edge, refusal.failure());
                tell(&stream, refusal);
            }
        }
    }

    async fn carry(&self, stream: TcpStream, target: &Target) {
        let _ = keep_alive(&stream); // fails only on a socket that is gone
        match self.reach(target).await {
            Ok(tunnel) => tunnel.carry(stream, Bytes::new()).await,
            Err(refusal) => tell(&stream, refusal),
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
    fn serve(
        self: Rc<Self>,
        signs: Rc<Signs>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + 'static {
        Rc::clone(&self.outbound).answer(signs, request, Some(Rc::clone(&self.service)))
    }
}
