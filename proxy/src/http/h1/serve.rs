//! Serves one caller's connection over HTTP/1: takes a head, has it answered, writes the answer, and again. All of it runs in
//! the connection's own future, the exchange with the endpoint too; what a request needs is boxed with it, so that an idle
//! connection is a socket and little else. Knows nothing of where requests go.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, Version, header};
use http_body::Body;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::caller::{Caller, CallerBody};
use super::encode::Coding;
use super::reply::{Asked, Framing, put_head};
use super::request::{RequestHead, body_length, take_head};
use crate::http::body::AnswerBody;
use crate::http::connection::Serve;
use crate::http::head_bounds::HeadBounds;
use crate::http::refusal::{Refusal, is_grpc};
use crate::http::request_body::RequestBody;
use crate::http::signs::{Closing, Signs};
use crate::http::state::WorkerState;
use crate::http::tunnel::Tunnel;

/// How much, and how long, of a body that nobody wanted is read and dropped before the connection is given up: a body that
/// was on its way as the answer came should not cost a connection, a large one should not cost bandwidth.
const DISCARD_BYTES_MAX: usize = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// Nothing more is to be said.
    Closed,
    /// What the caller sent is refused, and can be told so.
    Refused(TcpStream, Refusal),
    /// The last answer was written, and the caller may still be sending: close so that it sees the answer.
    Linger(TcpStream),
    /// From here on bytes are carried as they are: the caller's side, what was read of it already, and the endpoint's.
    Tunnel(TcpStream, Bytes, Tunnel),
}

/// What comes after an answer.
enum Next {
    Request,
    Close,
    Linger,
    Refuse(Refusal),
    Tunnel(Tunnel),
}

type Shared = Rc<RefCell<Caller>>;

/// Serves `stream`, of which `read` was read already, until it ends.
pub async fn serve<S: Serve>(
    stream: TcpStream,
    read: BytesMut,
    signs: &Rc<Signs>,
    state: &Rc<WorkerState>,
    service: Rc<S>,
) -> End {
    let caller = Rc::new(RefCell::new(Caller::new(stream, read, signs)));
    let next = loop {
        let mut searched = 0;
        let head = std::future::poll_fn(|cx| {
            poll_head(&mut caller.borrow_mut(), &mut searched, S::HEADS, signs, state, cx)
        });
        let next = match head.await {
            Ok(head) => Box::pin(answered(&caller, head, signs, state, Rc::clone(&service))).await,
            Err(next) => next,
        };
        if !matches!(next, Next::Request) {
            break next;
        }
    };
    let mut caller = caller.borrow_mut();
    let first = std::mem::take(&mut caller.read);
    caller.rest(state);
    match (next, caller.take_stream()) {
        (Next::Refuse(refusal), Some(stream)) => End::Refused(stream, refusal),
        (Next::Linger, Some(stream)) => End::Linger(stream),
        (Next::Tunnel(tunnel), Some(stream)) => End::Tunnel(stream, first.freeze(), tunnel),
        _ => End::Closed,
    }
}

/// Waits for the next request. Holds no buffer until its first byte is there.
fn poll_head(
    caller: &mut Caller,
    searched: &mut usize,
    bounds: HeadBounds,
    signs: &Signs,
    state: &WorkerState,
    cx: &mut Context<'_>,
) -> Poll<Result<RequestHead, Next>> {
    signs.wake_by(cx.waker());
    if let Some(refusal) = signs.refusal.get() {
        return Poll::Ready(Err(Next::Refuse(refusal)));
    }
    loop {
        if !caller.read.is_empty() {
            match take_head(&mut caller.read, searched, bounds, || state.spare_headers()) {
                Ok(Some(head)) => {
                    signs.head_since.set(None);
                    return Poll::Ready(Ok(head));
                }
                Err(refusal) => return Poll::Ready(Err(Next::Refuse(refusal))),
                // Empty lines, which are no head, also where one came in halves.
                Ok(None) if caller.read.is_empty() => signs.head_since.set(None),
                Ok(None) if signs.head_since.get().is_none() => signs.head_since.set(Some(Instant::now())),
                Ok(None) => {}
            }
        }
        if caller.read.is_empty() {
            if signs.closing.get() == Closing::WhenIdle {
                return Poll::Ready(Err(Next::Close));
            }
            caller.rest(state);
            if !ready!(caller.poll_readable(cx)) {
                return Poll::Ready(Err(Next::Close));
            }
            caller.read = state.spare_buffer();
        }
        if !matches!(ready!(caller.poll_fill(cx)), Ok(1..)) {
            return Poll::Ready(Err(Next::Close));
        }
    }
}

/// Has one request answered, and writes the answer.
async fn answered<S: Serve>(
    caller: &Shared,
    head: RequestHead,
    signs: &Rc<Signs>,
    state: &Rc<WorkerState>,
    service: Rc<S>,
) -> Next {
    let RequestHead { parts, body, keep_alive, spelled, expects_continue } = head;
    signs.asked_as.replace(spelled);
    let is_head = parts.method == Method::HEAD;
    let asked = Asked { version: parts.version, is_head, closes: !keep_alive, is_tunnel: false };
    // What a caller that was not told yet sends meanwhile would make the kernel reset the connection, and eat the answer.
    let lingers = keep_alive;
    signs.takes_interim.set(asked.version == Version::HTTP_11);
    {
        let mut caller = caller.borrow_mut();
        caller.body = body;
        caller.is_waiting = expects_continue;
        if caller.out.bytes.capacity() == 0 {
            caller.out.bytes = state.spare_buffer();
        }
        signs.waits_to_read.set(false);
    }
    if state.is_short_of_memory() {
        state.count_refusal(Refusal::ShortOfMemory);
        let refused = Refusal::ShortOfMemory.response(is_grpc(&parts.headers)).map(AnswerBody::text);
        return written(caller, refused, Asked { closes: true, ..asked }, lingers, signs, state).await;
    }
    let body = if body.is_done() { RequestBody::Empty } else { RequestBody::H1(CallerBody::of(caller)) };
    let response = {
        let mut serving = pin!(service.serve(Rc::clone(signs), Request::from_parts(parts, body)));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(response) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            let caller = &mut *caller.borrow_mut();
            signs.take_interim(&mut caller.out.bytes);
            let is_broken = matches!(caller.poll_flush(cx), Poll::Ready(Err(_)));
            let is_over = is_broken || signs.refusal.get().is_some() || caller.is_gone(cx);
            if is_over { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    };
    if let Some(refusal) = caller.borrow().refusal.or_else(|| signs.refusal.get()) {
        return Next::Refuse(refusal);
    }
    match response {
        Some(response) => written(caller, response, asked, lingers, signs, state).await,
        None => Next::Close,
    }
}

/// Writes an answer to its end. `lingers`: the caller did not say that it sends no more.
async fn written(
    caller: &Shared,
    response: Response<AnswerBody>,
    mut asked: Asked,
    lingers: bool,
    signs: &Signs,
    state: &WorkerState,
) -> Next {
    let (parts, mut body) = response.into_parts();
    let tunnel = body.take_tunnel();
    asked.is_tunnel = tunnel.is_some();
    let framing = {
        let caller = &mut *caller.borrow_mut();
        signs.take_interim(&mut caller.out.bytes);
        // A caller that still waits for the word to send its body may send it or not: the connection has no next request.
        asked.closes |= signs.closing.get() != Closing::No || caller.is_waiting;
        let (size, spelled) = (body.size_hint().exact(), signs.answered_as.take());
        signs.asked_as.take(); // or the head would keep the read buffer from its next use
        put_head(&mut caller.out.bytes, parts.status, &parts.headers, size, asked, &spelled)
    };
    let stated = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| body_length(length.as_bytes()));
    let mut left = stated.or(body.size_hint().exact()).filter(|_| framing == Framing::Sized);
    state.keep_headers(parts.headers);
    let mut stage = Stage::Body;
    let mut body = pin!(body);
    let is_whole = std::future::poll_fn(|cx| {
        if signs.refusal.get().is_some() {
            return Poll::Ready(false);
        }
        poll_written(caller, body.as_mut(), framing, signs, &mut stage, &mut left, cx)
    });
    // A body that was cut off may end in good order where it can be told in trailers, which a stated length has no room for:
    // the next answer would be taken for the rest of it.
    if !is_whole.await || left.is_some_and(|left| left > 0) {
        if framing == Framing::UntilClose {
            reset(&mut caller.borrow_mut());
        }
        if let Some(refusal) = caller.borrow().refusal.or_else(|| signs.refusal.get()) {
            state.count_refusal(refusal); // in the middle of an answer it cannot be told
        }
        return Next::Close;
    }
    if let Some(tunnel) = tunnel {
        return Next::Tunnel(tunnel);
    }
    let is_read = caller.borrow().body.is_done() || Box::pin(discarded(caller)).await;
    match (is_read, asked.closes || framing == Framing::UntilClose) {
        (true, false) => Next::Request,
        (true, true) if !lingers && caller.borrow().read.is_empty() => Next::Close,
        _ => Next::Linger,
    }
}

/// How far an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Body,
    Flush,
}

/// Writes what `body` holds as it comes, and takes it from what is `left` of a stated length; ready with whether all of it was
/// written. The rest of the request's body may go out as the answer's is polled, so that the caller must not be borrowed then.
fn poll_written(
    caller: &Shared,
    mut body: Pin<&mut AnswerBody>,
    framing: Framing,
    signs: &Signs,
    stage: &mut Stage,
    left: &mut Option<u64>,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    let coding = if framing == Framing::Chunked { Coding::Chunked } else { Coding::Sized };
    while *stage == Stage::Body {
        let is_full = caller.borrow().out.is_full();
        if is_full {
            let flushed = caller.borrow_mut().poll_flush(cx);
            match flushed {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => return body.as_mut().poll_aside(cx).map(|()| false),
            }
        }
        let frame = if framing == Framing::Absent { Poll::Ready(None) } else { body.as_mut().poll_frame(cx) };
        let caller = &mut *caller.borrow_mut();
        match frame {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => {
                    *left = left.map(|left| left.saturating_sub(piece.len() as u64));
                    caller.out.put_piece(coding, piece);
                }
                Err(frame) => {
                    caller.out.put_end(coding, frame.trailers_ref(), &signs.answered_as.take());
                    *stage = Stage::Flush;
                }
            },
            Poll::Ready(None) => {
                caller.out.put_end(coding, None, b"");
                *stage = Stage::Flush;
            }
            Poll::Ready(Some(Err(_))) => {
                let _ = caller.poll_flush(cx); // what came until then may go, as far as it goes at once
                return Poll::Ready(false);
            }
            Poll::Pending => {
                let is_broken = matches!(caller.poll_flush(cx), Poll::Ready(Err(_)));
                return if is_broken || caller.is_gone(cx) { Poll::Ready(false) } else { Poll::Pending };
            }
        }
    }
    caller.borrow_mut().poll_flush(cx).map(|flushed| flushed.is_ok())
}

/// Reads and drops what is left of a request's body.
async fn discarded(caller: &Shared) -> bool {
    let mut bytes_left = DISCARD_BYTES_MAX;
    let ended = std::future::poll_fn(|cx| caller.borrow_mut().poll_discard(cx, &mut bytes_left));
    tokio::time::timeout(DISCARD_TIME, ended).await.unwrap_or(false)
}

/// Makes the end of the connection an error: an answer that ends with it would look whole.
fn reset(caller: &mut Caller) {
    if let Some(stream) = caller.take_stream() {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO)); // fails only on a socket that is gone
    }
}
