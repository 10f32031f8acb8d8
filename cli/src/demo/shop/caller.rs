//! How an instance calls other services: through its proxy's outbound port, by the service's name in `Host` or
//! `:authority`. Connections are kept and used again, as any HTTP client does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use mesh::Protocol;

use super::CALLER_HEADER;
use super::grpc;
use super::services::named;
use super::tally::{Heard, Tally};

/// Kept connections for each callee; more only hold memory.
const IDLE_MAX: usize = 64;

/// Longest wait for an answer; longer than any answer of the shop, so that only what is lost runs into it.
const CALL_MAX: Duration = Duration::from_secs(30);

/// The header by which the mesh says that it answers itself.
const MESH_ERROR: &str = "penstock-error";

/// Where calls to each service go: the caller's proxy, for all of them.
pub(crate) type Ways = BTreeMap<&'static str, SocketAddr>;

/// One instance's way to other services.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    workload: &'static str,
    ways: Ways,
    tally: Tally,
    /// Of HTTP/1.1 callees.
    idle: Mutex<BTreeMap<&'static str, Vec<SendRequest<Empty<Bytes>>>>>,
    /// Of gRPC callees.
    channels: BTreeMap<&'static str, Channel>,
}

impl Caller {
    /// A way for calls of `workload`, counted in `tally`.
    #[must_use]
    pub(crate) fn new(workload: &'static str, ways: &Ways, tally: &Tally) -> Self {
        let grpc = ways.iter().filter(|(callee, _)| named(callee).protocol == Protocol::Grpc);
        let channels = grpc.map(|(callee, address)| (*callee, channel(callee, *address))).collect();
        let idle = Mutex::default();
        Self(Arc::new(Inner { workload, ways: ways.clone(), tally: tally.clone(), idle, channels }))
    }

    /// Calls a service and waits for the whole answer; counted once, whatever happens.
    pub(crate) async fn call(&self, callee: &'static str) -> Heard {
        let begun = Instant::now();
        let heard = match tokio::time::timeout(CALL_MAX, self.send(callee)).await {
            Ok(heard) => heard,
            Err(_) => Heard::Mesh(format!("no answer within {} s", CALL_MAX.as_secs())),
        };
        self.0.tally.heard(self.0.workload, callee, &heard, begun.elapsed());
        heard
    }

    async fn send(&self, callee: &'static str) -> Heard {
        match self.0.channels.get(callee) {
            Some(channel) => grpc::call(channel.clone(), callee, self.0.workload).await,
            None => self.send_http(callee).await.unwrap_or_else(Heard::Mesh),
        }
    }

    async fn send_http(&self, callee: &'static str) -> Result<Heard, String> {
        loop {
            let (mut connection, used) = self.connection(callee).await?;
            let response = match connection.try_send_request(self.request(callee)).await {
                Ok(response) => response,
                // A kept connection may have been closed meanwhile: what was never sent is sent on another.
                Err(mut error) => {
                    if used && error.take_message().is_some() {
                        continue;
                    }
                    return Err(format!("connection broke: {}", error.into_error()));
                }
            };
            let status = response.status();
            let reason = response
                .headers()
                .get(MESH_ERROR)
                .map(|why| String::from_utf8_lossy(why.as_bytes()).into_owned());
            response.into_body().collect().await.map_err(|error| format!("answer broke: {error}"))?;
            self.keep(callee, connection);
            return Ok(match reason {
                Some(reason) => Heard::Mesh(format!("{} {reason}", status.as_u16())),
                None if status.is_server_error() => Heard::Failure,
                None if status == StatusCode::OK => Heard::Good,
                None => Heard::Mesh(format!("status {} that no service of the shop gives", status.as_u16())),
            });
        }
    }

    /// The caller's URI names only the path; the service is named by `Host`.
    fn request(&self, callee: &'static str) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from_static("/");
        let headers = request.headers_mut();
        headers.insert(http::header::HOST, http::HeaderValue::from_static(callee));
        headers.insert(CALLER_HEADER, http::HeaderValue::from_static(self.0.workload));
        request
    }

    /// A kept connection, or a new one; and whether it was used before.
    async fn connection(&self, callee: &'static str) -> Result<(SendRequest<Empty<Bytes>>, bool), String> {
        while let Some(mut kept) = self.take(callee) {
            if kept.ready().await.is_ok() {
                return Ok((kept, true));
            }
        }
        let address = self.0.ways[callee];
        let wrong = |error: &dyn std::fmt::Display| format!("cannot connect to {address}: {error}");
        let stream = TcpStream::connect(address).await.map_err(|error| wrong(&error))?;
        stream.set_nodelay(true).map_err(|error| wrong(&error))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
        tokio::spawn(connection); // ends with its connection; errors reach the one who waits for an answer
        Ok((sender, false))
    }

    fn take(&self, callee: &'static str) -> Option<SendRequest<Empty<Bytes>>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(callee)?.pop()
    }

    fn keep(&self, callee: &'static str, connection: SendRequest<Empty<Bytes>>) {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(callee).or_default();
        if kept.len() < IDLE_MAX {
            kept.push(connection);
        }
    }
}

/// A channel to `address` whose requests name `callee` as their authority.
fn channel(callee: &'static str, address: SocketAddr) -> Channel {
    let origin = format!("http://{callee}.default").parse().expect("names of services are hosts");
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).expect("a socket address is an authority");
    endpoint.origin(origin).tcp_nodelay(true).connect_lazy()
}

/// What a gRPC answer says.
pub(super) fn heard_in(status: &tonic::Status) -> Heard {
    if let Some(reason) = status.metadata().get(MESH_ERROR) {
        let reason = String::from_utf8_lossy(reason.as_encoded_bytes()).into_owned();
        return Heard::Mesh(format!("grpc {:?} {reason}", status.code()));
    }
    match status.code() {
        tonic::Code::Internal if std::error::Error::source(status).is_none() => Heard::Failure,
        code => Heard::Mesh(format!("grpc {code:?}: {}", status.message())),
    }
}
