//! One caller's connection, from its first byte to its end: tells HTTP/1 from HTTP/2 by the preface, serves requests,
//! answers what had to be refused, and ends when the worker drains. Runs as one task; HTTP/2 adds one per stream.

use std::future::Future;
use std::io::Read;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::AnswerBody;
use super::h1::{self, End};
use super::head_bounds::HeadBounds;
use super::hop;
use super::prefixed::Prefixed;
use super::refusal::{Refusal, is_grpc};
use super::request_body::RequestBody;
use super::signs::{Closing, Signs};
use super::state::{Opened, WorkerState};
use super::streams::Streams;

/// The HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a record with a client's hello begins (RFC 8446, section 5.1); no request does.
const TLS_HANDSHAKE: u8 = 22;

/// What the first read asks for: a whole head as a rule.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// Most streams of one HTTP/2 connection. More only queue in the endpoint; a client opens another connection.
const STREAMS_MAX: u32 = 1000;

/// Streams that a caller may reset before they were taken in, and resets that its faults may cost us, before it is told to
/// go away: the bounds against rapid reset (CVE-2023-44487) and its reverse. A browser that leaves a page resets some ten.
const PENDING_RESETS_MAX: usize = 20;
const LOCAL_RESETS_MAX: usize = 256;

/// A caller's host that vanished without a word is found by a ping; its streams would hold endpoints for ever.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Flow-control windows of an HTTP/2 caller.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// How much, and how long, is read and dropped after a refusal: closing at once would make the kernel reset the
/// connection, and the caller would never see the answer.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What answers the requests of a connection.
pub trait Serve: 'static {
    /// How large the heads of requests may be.
    const HEADS: HeadBounds;

    /// Answers one request; what goes wrong is an answer too.
    fn serve(
        self: Rc<Self>,
        signs: Rc<Signs>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + 'static;

    /// Takes a connection that begins like TLS, of which `first` was read; gives it back where it takes none.
    fn take_tls(
        self: Rc<Self>,
        stream: TcpStream,
        first: BytesMut,
        _signs: Rc<Signs>,
    ) -> impl Future<Output = Option<(TcpStream, BytesMut)>> + 'static {
        std::future::ready(Some((stream, first)))
    }
}

/// Serves `stream` until it ends.
pub fn serve<S: Serve>(
    stream: TcpStream,
    opened: Opened,
    state: Rc<WorkerState>,
    service: Rc<S>,
) -> impl Future<Output = ()> {
    serve_from(stream, BytesMut::new(), opened, state, service)
}

/// Serves `stream`, of which `read` was read already, until it ends.
pub async fn serve_from<S: Serve>(
    mut stream: TcpStream,
    read: BytesMut,
    opened: Opened,
    state: Rc<WorkerState>,
    service: Rc<S>,
) {
    let signs = Rc::clone(&opened.signs);
    match first_bytes(&mut stream, read, &signs, &state).await {
        // Boxed, like all that is rare below: a future is as large as the largest thing it may ever wait for, and every
        // idle connection pays for it.
        Some((first, true)) => Box::pin(serve_h2(stream, first.freeze(), &signs, &state, service)).await,
        Some((first, false)) if first.first() == Some(&TLS_HANDSHAKE) => {
            signs.head_since.set(Some(Instant::now())); // of the hello
            let taken = Box::pin(Rc::clone(&service).take_tls(stream, first, Rc::clone(&signs))).await;
            signs.head_since.set(None);
            match (taken, signs.refusal.get()) {
                (Some((stream, first)), _) => serve_h1(stream, first, &signs, &state, service).await,
                (None, Some(refusal)) => state.count_refusal(refusal),
                (None, None) => {}
            }
        }
        Some((first, false)) => serve_h1(stream, first, &signs, &state, service).await,
        None => {
            if let Some(refusal) = signs.refusal.get() {
                Box::pin(refuse(stream, refusal, &state)).await;
            }
        }
    }
    drop(opened);
}

/// Answers a connection that exceeds a bound, as well as a socket that just opened lets us: the executor does not know yet whether it
/// takes bytes, the kernel does. What came already is read, or the end of the connection would be a reset, which may overtake the answer.
/// The count is kept by who calls.
pub fn turn_away(stream: &TcpStream, refusal: Refusal) {
    let (socket, mut first) = (SockRef::from(stream), [0; FIRST_READ_BYTES]);
    let _ = (&*socket).read(&mut first);
    let _ = socket.send(&refusal.raw_response());
}

/// What came first, and whether it is HTTP/2's preface. Holds no buffer until the first byte is there.
async fn first_bytes(
    stream: &mut TcpStream,
    mut first: BytesMut,
    signs: &Signs,
    state: &WorkerState,
) -> Option<(BytesMut, bool)> {
    loop {
        if !first.is_empty() {
            let compared = first.len().min(PREFACE.len());
            if first[..compared] != PREFACE[..compared] {
                return Some((first, false));
            }
            if compared == PREFACE.len() {
                signs.head_since.set(None);
                return Some((first, true));
            }
            if signs.head_since.get().is_none() {
                signs.head_since.set(Some(Instant::now()));
            }
        }
        let read = std::future::poll_fn(|cx| {
            signs.wake_by(cx.waker());
            if signs.refusal.get().is_some() || signs.closing.get() == Closing::WhenIdle {
                return Poll::Ready(0);
            }
            if first.capacity() == 0 {
                if ready!(stream.poll_read_ready(cx)).is_err() {
                    return Poll::Ready(0);
                }
                first = state.spare_buffer();
                first.reserve(FIRST_READ_BYTES);
            }
            pin!(stream.read_buf(&mut first)).poll(cx).map(|read| read.unwrap_or(0))
        })
        .await;
        if read == 0 {
            return None;
        }
    }
}

async fn serve_h1<S: Serve>(
    stream: TcpStream,
    first: BytesMut,
    signs: &Rc<Signs>,
    state: &Rc<WorkerState>,
    service: Rc<S>,
) {
    match h1::serve(stream, first, signs, state, service).await {
        End::Closed => {}
        End::Refused(stream, refusal) => Box::pin(refuse(stream, refusal, state)).await,
        End::Linger(stream) => Box::pin(linger(stream)).await,
        End::Tunnel(stream, first, tunnel) => {
            signs.tunnel.set(true);
            Box::pin(tunnel.carry(stream, first, signs)).await;
        }
    }
}

async fn serve_h2<S: Serve>(
    stream: TcpStream,
    first: Bytes,
    signs: &Rc<Signs>,
    state: &Rc<WorkerState>,
    service: Rc<S>,
) {
    let (told, held) = (Rc::clone(signs), Rc::clone(state));
    let streams = Streams::of(state);
    let executor = streams.clone();
    let answer = service_fn(move |mut request: Request<Incoming>| {
        hop::join_cookies(request.headers_mut());
        let refused = refused(&request, S::HEADS, &held);
        let (service, told, streams) = (Rc::clone(&service), Rc::clone(&told), streams.clone());
        let held = Rc::clone(&held);
        async move {
            let answer = match refused {
                Some(refused) => refused,
                // Either end of a gRPC stream may be silent for as long as it likes, before its first answer too.
                None if is_grpc(request.headers()) => {
                    service.serve(told, request.map(|body| streams.request(body))).await
                }
                None => {
                    let serving = service.serve(told, request.map(|body| streams.request(body)));
                    streams.heard(serving).await.unwrap_or_else(|| stalled(&held))
                }
            };
            Ok::<_, std::convert::Infallible>(answer.map(|body| streams.answer(body)))
        }
    });
    let stream = Prefixed::new(stream, first);
    let mut connection = pin!(
        hyper::server::conn::http2::Builder::new(executor)
            .auto_date_header(false)
            .max_concurrent_streams(STREAMS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(S::HEADS.list_bytes())
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_local_error_reset_streams(LOCAL_RESETS_MAX)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(stream), answer)
    );
    let mut is_told = false;
    let ended = std::future::poll_fn(|cx| {
        signs.wake_by(cx.waker());
        if let Some(refusal) = signs.refusal.get() {
            state.count_refusal(refusal);
            return Poll::Ready(Ok(()));
        }
        // GOAWAY lets running streams finish and loses none that is on its way (RFC 9113, section 6.8).
        if signs.closing.get() != Closing::No && !std::mem::replace(&mut is_told, true) {
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a caller's connection ended early");
    }
}

/// The answer to a request that is not carried, whatever it asks for.
fn refused(
    request: &Request<Incoming>,
    bounds: HeadBounds,
    state: &WorkerState,
) -> Option<Response<AnswerBody>> {
    let refusal = if state.is_short_of_memory() {
        Refusal::ShortOfMemory
    } else if request.headers().len() > bounds.lines {
        Refusal::HeadTooLarge
    } else {
        return None;
    };
    state.count_refusal(refusal);
    Some(refusal.response(is_grpc(request.headers())).map(AnswerBody::text))
}

/// The answer to one that sends nothing of the body that it announced.
fn stalled(state: &WorkerState) -> Response<AnswerBody> {
    state.count_refusal(Refusal::CallerStalled);
    Refusal::CallerStalled.response(false).map(AnswerBody::text)
}

/// Answers what could not be read, and closes.
async fn refuse(mut stream: TcpStream, refusal: Refusal, state: &WorkerState) {
    state.count_refusal(refusal);
    let told = tokio::time::timeout(LINGER_TIME, stream.write_all(&refusal.raw_response())).await;
    if matches!(told, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Closes so that the caller still sees what was written.
async fn linger(mut stream: TcpStream) {
    let dropped = async {
        stream.shutdown().await?;
        let (mut dropped, mut buffer) = (0, [0_u8; 4096]);
        while dropped < LINGER_BYTES_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => dropped += read,
            }
        }
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER_TIME, dropped).await; // the caller may be gone, which is its own affair
}
