//! HTTP/2 towards endpoints: one connection per worker and endpoint, shared by all its requests. Its driver is a task of
//! its own; a request's stream is polled inside the caller's future. Used by `http::send`; must never pool or pick.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header, request};
use http_body::Body;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::dial::{dial, unconnected};
use super::h1::{INTERIM_MAX, Trouble};
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::signs::Signs;
use super::upstream::Upstream;

/// Flow-control windows: the defaults of 64 KiB throttle a single stream across any distance.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Most bytes that one stream may have waiting to be written.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// The shared connection of an upstream.
#[derive(Debug, Default)]
pub(super) enum Shared {
    /// There is none.
    #[default]
    None,
    /// One is being made; these wait for it.
    Dialing(Vec<oneshot::Sender<Result<Numbered, Refusal>>>),
    /// It is there, until its driver ends.
    Ready(Numbered),
}

/// A connection of an upstream, told apart from those before it and after it.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    pub(super) connection: SendRequest<Bytes>,
    pub(super) number: u64,
}

/// The shared connection, made if there is none; in which time, if it was made for this request.
///
/// # Errors
/// Why there is none.
pub(super) async fn connection(upstream: &Rc<Upstream>) -> Result<(Numbered, Option<Duration>), Refusal> {
    let (sender, receiver) = oneshot::channel();
    let first = {
        let mut shared = upstream.shared.borrow_mut();
        match &mut *shared {
            Shared::Ready(connection) => return Ok((connection.clone(), None)),
            Shared::Dialing(waiting) => {
                waiting.push(sender);
                false
            }
            Shared::None => {
                *shared = Shared::Dialing(vec![sender]);
                true
            }
        }
    };
    let begun = first.then(Instant::now);
    if first {
        // A task of its own, so that the others still get their connection when this request's caller leaves.
        tokio::task::spawn_local(drive(Rc::clone(upstream)));
    }
    let connection = receiver.await.unwrap_or(Err(Refusal::ConnectFailed))?;
    Ok((connection, begun.map(|begun| begun.elapsed())))
}

/// Forgets connection `number`, which turned out to be dead; another may have taken its place.
pub(super) fn forget(upstream: &Upstream, number: u64) {
    let mut shared = upstream.shared.borrow_mut();
    if matches!(&*shared, Shared::Ready(known) if known.number == number) {
        *shared = Shared::None;
    }
}

/// Connects, tells those who wait, and drives the connection to its end.
async fn drive(upstream: Rc<Upstream>) {
    let made = handshake(&upstream).await;
    let number = upstream.connections_made.get();
    upstream.connections_made.set(number + 1);
    let (connection, driver) = match made {
        Ok((connection, driver)) => (Ok(Numbered { connection, number }), Some(driver)),
        Err(refusal) => (Err(refusal), None),
    };
    let next = connection.clone().map_or(Shared::None, Shared::Ready);
    let waiting = std::mem::replace(&mut *upstream.shared.borrow_mut(), next);
    if let Shared::Dialing(waiting) = waiting {
        for sender in waiting {
            let _ = sender.send(connection.clone()); // a caller that has left needs no connection
        }
    }
    drop(connection);
    // An upstream that is no longer an endpoint must be able to go, and its connection with it.
    let left = Rc::downgrade(&upstream);
    drop(upstream);
    if let Some(driver) = driver {
        let _ = driver.await; // how it ended shows in each of its streams
        if let Some(upstream) = left.upgrade() {
            forget(&upstream, number);
        }
    }
}

type Driver = h2::client::Connection<TcpStream, Bytes>;

async fn handshake(upstream: &Upstream) -> Result<(SendRequest<Bytes>, Driver), Refusal> {
    let stream = dial(upstream).await.map_err(|error| unconnected(&error))?;
    let made = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(upstream.answers.list_bytes())
        .enable_push(false)
        .handshake(stream)
        .await;
    made.map_err(|_| Refusal::ConnectFailed)
}

/// A request's body on its way into a stream.
#[derive(Debug)]
pub struct Pump {
    body: Option<RequestBody>,
    stream: SendStream<Bytes>,
    pending: Bytes,
    is_last: bool,
    /// It had a body, which is sent.
    is_over: bool,
    /// Bytes that were taken from the caller.
    pub bytes: u64,
}

impl Pump {
    /// The body, if nothing of it was taken yet.
    pub(super) fn untouched_body(&mut self) -> Option<RequestBody> {
        let is_untouched = self.bytes == 0 && self.pending.is_empty() && !self.is_over;
        is_untouched.then(|| self.body.take().unwrap_or_default())
    }

    fn end(&mut self) {
        self.body = None;
        self.is_over = true;
    }

    /// Sends what the body holds; ready when all of it is sent.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        loop {
            while !self.pending.is_empty() {
                self.stream.reserve_capacity(self.pending.len());
                if self.stream.capacity() == 0 {
                    match std::task::ready!(self.stream.poll_capacity(cx)) {
                        Some(Ok(_)) => continue,
                        Some(Err(_)) | None => return Poll::Ready(Err(Trouble::Broken)),
                    }
                }
                let step = self.stream.capacity().min(self.pending.len());
                let piece = self.pending.split_to(step);
                let ends = self.is_last && self.pending.is_empty();
                self.stream.send_data(piece, ends).map_err(|_| Trouble::Broken)?;
                if ends {
                    self.end();
                }
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                None => {
                    self.stream.send_data(Bytes::new(), true).map_err(|_| Trouble::Broken)?;
                    self.end();
                }
                Some(Err(_)) => return Poll::Ready(Err(Trouble::CallerGone)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        self.is_last = body.is_end_stream();
                        self.bytes += piece.len() as u64;
                        if piece.is_empty() && self.is_last {
                            self.stream.send_data(Bytes::new(), true).map_err(|_| Trouble::Broken)?;
                            self.end();
                        }
                        self.pending = piece;
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.stream.send_trailers(trailers).map_err(|_| Trouble::Broken)?;
                        self.end();
                    }
                },
            }
        }
    }
}

/// The request as HTTP/2 has it: authority in the URI, no `host`.
pub(super) fn head_of(parts: &mut request::Parts) -> Option<Request<()>> {
    let host = parts.headers.remove(header::HOST);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    if let Some(host) = host {
        uri.authority = Some(http::uri::Authority::from_maybe_shared(bytes_of(&host)).ok()?);
    }
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    // Neither an upgrade nor the wait for a word to continue is spoken there (RFC 9113, section 8.2.2); not to grant what was
    // asked for is always allowed.
    for name in [header::EXPECT, header::CONNECTION, header::UPGRADE] {
        parts.headers.remove(name);
    }
    let mut head = Request::new(());
    *head.method_mut() = parts.method.clone();
    *head.uri_mut() = Uri::from_parts(uri).ok()?;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = std::mem::take(&mut parts.headers);
    Some(head)
}

fn bytes_of(value: &HeaderValue) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

/// Opens a stream for `head`; nothing of `body` was taken yet.
///
/// # Errors
/// `Broken` if the connection takes no more streams.
pub(super) fn open(
    connection: &mut SendRequest<Bytes>,
    head: Request<()>,
    body: Option<RequestBody>,
) -> Result<(ResponseFuture, Pump), Trouble> {
    let (answer, stream) = connection.send_request(head, body.is_none()).map_err(|_| Trouble::Broken)?;
    Ok((answer, Pump { body, stream, pending: Bytes::new(), is_last: false, is_over: false, bytes: 0 }))
}

/// Waits for the head of the answer while the body goes out. Interim answers are passed on by `signs`.
///
/// # Errors
/// `CallerGone` if the request's body breaks off, `Broken` if the stream does, `BadAnswer` where interim answers do not end.
pub(super) async fn answer(
    mut future: ResponseFuture,
    pump: &mut Pump,
    signs: &Signs,
) -> Result<Response<RecvStream>, Trouble> {
    let mut interim = 0;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(Err(Trouble::CallerGone)) = pump.poll(cx) {
            return Poll::Ready(Err(Trouble::CallerGone));
        }
        while let Poll::Ready(Some(Ok(told))) = future.poll_informational(cx) {
            interim += 1;
            if interim > INTERIM_MAX {
                return Poll::Ready(Err(Trouble::BadAnswer));
            }
            let (head, ()) = told.into_parts();
            let mut headers = head.headers;
            if head.status != StatusCode::CONTINUE {
                signs.put_interim(head.status, &mut headers, b"");
            }
        }
        Pin::new(&mut future).poll(cx).map_err(|error| trouble(&error))
    })
    .await
}

/// A stream that the endpoint refused, or left behind when it said goodbye in peace, was not begun on (RFC 9113, section 8.7).
fn trouble(error: &h2::Error) -> Trouble {
    let reason = error.reason();
    let is_refused = error.is_reset() && reason == Some(Reason::REFUSED_STREAM);
    let is_left = error.is_go_away() && error.is_remote() && reason == Some(Reason::NO_ERROR);
    if is_refused || is_left { Trouble::Refused } else { Trouble::Broken }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::Protocol;
    use tokio::net::TcpListener;

    use super::*;
    use crate::balance::{ASSUMED_LATENCY, PeakEwma};

    #[test]
    fn the_end_of_an_old_connection_leaves_the_one_in_its_place_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let latency = PeakEwma::assumed(ASSUMED_LATENCY);
            let upstream = Rc::new(Upstream::new(listener.local_addr().unwrap(), Protocol::Http2, latency));
            let made = async |upstream: &Rc<Upstream>| {
                let (made, accepted) = tokio::join!(connection(upstream), async {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream
                });
                (made.unwrap().0, accepted)
            };
            let (old, far_end) = made(&upstream).await;
            forget(&upstream, old.number);
            let (new, _far_end_of_new) = made(&upstream).await;
            let mut old = old.connection;
            drop(far_end);
            // Its driver has ended once it takes no streams.
            while std::future::poll_fn(|cx| old.poll_ready(cx)).await.is_ok() {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            let shared = upstream.shared.borrow();
            assert!(matches!(&*shared, Shared::Ready(known) if known.number == new.number), "{shared:?}");
        });
    }
}
