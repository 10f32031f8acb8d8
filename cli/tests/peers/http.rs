//! HTTP backends in this process that answer with their names, and calls to them through a proxy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for one answer; a proxy answers at once, whatever it knows.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts one that answers `name`; it ends with the test's runtime.
pub async fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let answer = service_fn(move |_: Request<Incoming>| async move {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(name.as_bytes()))))
            });
            tokio::spawn(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

/// One call of a service through the proxy that listens at `outbound`: who answered, or what went wrong.
pub async fn call(outbound: SocketAddr, service: &str, next: bool) -> Result<String, String> {
    let answer = timeout(CALL_TIMEOUT, exchange(outbound, service, next)).await;
    answer.map_err(|_| format!("no answer within {CALL_TIMEOUT:?}"))?
}

/// An answer as a whole.
pub struct Answered {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

/// One request through the proxy that listens at `outbound`.
pub async fn request(
    outbound: SocketAddr,
    service: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Answered, String> {
    let stream = TcpStream::connect(outbound).await.map_err(|error| error.to_string())?;
    let handshake = client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", service);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let sending = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let response = timeout(CALL_TIMEOUT, sending).await.map_err(|error| error.to_string())?;
    let (parts, body) = response.map_err(|error| error.to_string())?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answered { status: parts.status.as_u16(), headers: parts.headers, body })
}

async fn exchange(outbound: SocketAddr, service: &str, next: bool) -> Result<String, String> {
    let stream = TcpStream::connect(outbound).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let handshake = client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let version = if next { "next" } else { "this" };
    let request = Request::get("/").header("host", service).header("x-version", version);
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) }
}
