//! Callers that keep a proxy busy over HTTP/1.1 and HTTP/2, as any client would: each keeps its connection until it is told
//! that it closes, and then opens another one. Every request that was sent must be answered, every connection be taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What the callers have seen.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    answered: AtomicU64,
    connections: AtomicU64,
}

/// Callers at work.
pub(crate) struct Load {
    seen: Arc<Seen>,
    callers: JoinSet<()>,
}

impl Load {
    /// Starts `each` callers of either protocol that ask the proxy at `outbound` for `host`.
    pub(crate) fn start(outbound: SocketAddr, host: &'static str, each: usize) -> Self {
        let (seen, mut callers) = (Arc::<Seen>::default(), JoinSet::new());
        for _ in 0..each {
            callers.spawn(http1(outbound, host, Arc::clone(&seen)));
            callers.spawn(http2(outbound, host, Arc::clone(&seen)));
        }
        Self { seen, callers }
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.seen.answered.load(Ordering::Relaxed)
    }

    /// Waits until `more` requests are answered from now on; a caller that failed ends the test.
    pub(crate) async fn goes_on(&mut self, more: u64) {
        let goal = self.answered() + more;
        let deadline = tokio::time::Instant::now() + crate::stage::PATIENCE;
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
        while self.answered() < goal {
            looks.tick().await;
            if let Some(ended) = self.callers.try_join_next() {
                ended.expect("a caller failed");
            }
            assert!(tokio::time::Instant::now() < deadline, "the callers are stuck at {}", self.answered());
        }
    }

    /// Ends the callers; how many requests were answered, and on how many connections.
    pub(crate) async fn end(mut self) -> (u64, u64) {
        self.seen.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("a caller failed");
        }
        (self.answered(), self.seen.connections.load(Ordering::Relaxed))
    }
}

async fn connected(outbound: SocketAddr, seen: &Seen) -> TcpStream {
    let stream = TcpStream::connect(outbound).await.expect("a connection is taken");
    stream.set_nodelay(true).unwrap();
    seen.connections.fetch_add(1, Ordering::Relaxed);
    stream
}

async fn http1(outbound: SocketAddr, host: &'static str, seen: Arc<Seen>) {
    while !seen.is_over.load(Ordering::Relaxed) {
        let io = TokioIo::new(connected(outbound, &seen).await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut is_open = true;
        while is_open && !seen.is_over.load(Ordering::Relaxed) {
            let request = Request::get("/").header("host", host).body(Full::<Bytes>::default()).unwrap();
            let answer = sender.send_request(request).await.expect("a request that was sent is answered");
            assert_eq!(answer.status(), 200, "{:?}", answer.headers());
            is_open = answer.headers().get("connection").is_none_or(|value| value != "close");
            answer.into_body().collect().await.expect("an answer that began ends");
            seen.answered.fetch_add(1, Ordering::Relaxed);
            is_open = is_open && sender.ready().await.is_ok();
        }
    }
}

async fn http2(outbound: SocketAddr, host: &'static str, seen: Arc<Seen>) {
    while !seen.is_over.load(Ordering::Relaxed) {
        let io = TokioIo::new(connected(outbound, &seen).await);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        while sender.ready().await.is_ok() && !seen.is_over.load(Ordering::Relaxed) {
            let uri = format!("http://{host}/");
            let request = Request::get(uri).body(Full::<Bytes>::default()).unwrap();
            let answer = match sender.send_request(request).await {
                Ok(answer) => answer,
                // GOAWAY said that this stream was never taken: the caller sends it anew (RFC 9113, section 6.8).
                Err(error) if is_untaken(&error) => break,
                Err(error) => panic!("a request that was sent is answered: {error:?}"),
            };
            assert_eq!(answer.status(), 200, "{:?}", answer.headers());
            answer.into_body().collect().await.expect("an answer that began ends");
            seen.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_untaken(error: &hyper::Error) -> bool {
    use std::error::Error;
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_canceled()
        || h2.is_some_and(|error| error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}
