//! The streams of an HTTP/2 caller: each runs as a task. One whose caller sends nothing of a body that is waited for is answered when
//! that lasts too long. While its caller's window is closed, the rest of its own body goes on to the endpoint, and the call's time runs; it
//! is given up when that is over, or when its caller leaves the answer unread for too long: a closed window would hold the endpoint's
//! answer for ever (RFC 9113, section 10.5).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::body::AnswerBody;
use super::h1::Trouble;
use super::refusal::Refusal;
use super::request_body::RequestBody;
use super::state::WorkerState;

/// An answer's body, which hyper reads, and its stream's task looks after while hyper has no room for more of it.
type Shared = Rc<RefCell<AnswerBody>>;

/// What the streams of one connection share: hyper's future of a stream says only that it waits, not for whom. One stream is
/// polled at a time.
#[derive(Debug)]
struct Reading {
    /// Whether the answer's body was asked for something in this poll, and whether it gave something at last.
    gave: Cell<Option<bool>>,
    /// The body of the answer that was made in this poll.
    made: RefCell<Option<Shared>>,
    /// Whether the request's body was asked for something in this poll and has no more at last, and whether something came of it.
    lacks: Cell<bool>,
    came: Cell<bool>,
    state: Rc<WorkerState>,
}

/// Runs the streams of one connection on the worker's own thread.
#[derive(Debug, Clone)]
pub(super) struct Streams(Rc<Reading>);

impl Streams {
    /// Those of a connection of this worker.
    pub(super) fn of(state: &Rc<WorkerState>) -> Self {
        let state = Rc::clone(state);
        let (gave, made, lacks, came) = Default::default();
        Self(Rc::new(Reading { gave, made, lacks, came, state }))
    }

    /// The body of a request on one of them.
    pub(super) fn request(&self, body: Incoming) -> RequestBody {
        if body.is_end_stream() {
            return RequestBody::Empty;
        }
        RequestBody::Hyper(CallerPieces { body, reading: Rc::clone(&self.0) })
    }

    /// Runs `serving` to its answer, or to `None` when its caller has sent nothing of a body that is waited for, for as long as one may
    /// be idle. That an endpoint takes its time, or takes no more of the body, is not the caller's silence.
    pub(super) async fn heard<T>(&self, serving: impl Future<Output = T>) -> Option<T> {
        let (mut serving, mut patience) = (pin!(serving), None::<Pin<Box<Sleep>>>);
        poll_fn(|cx| {
            self.0.lacks.set(false);
            self.0.came.set(false);
            if let Poll::Ready(answer) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            if self.0.came.get() || !self.0.lacks.get() {
                patience = None;
            }
            if !self.0.lacks.get() {
                return Poll::Pending;
            }
            let patience = patience.get_or_insert_with(|| Box::pin(sleep(self.0.state.limits.idle)));
            patience.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// The body of an answer on the one that is polled.
    pub(super) fn answer(&self, body: AnswerBody) -> StreamBody {
        let body = Rc::new(RefCell::new(body));
        self.0.made.replace(Some(Rc::clone(&body)));
        StreamBody { body, reading: Rc::clone(&self.0) }
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(bounded(stream, Rc::clone(&self.0)));
    }
}

/// Runs one stream to its end, or until its call's time is over while its caller takes nothing of the answer, or until its caller
/// has neither taken nor sent anything for as long as one may be idle.
async fn bounded(stream: impl Future, reading: Rc<Reading>) {
    let mut stream = pin!(stream);
    let (mut answer, mut holds_piece) = (None, false);
    let (mut patience, mut passed) = (None::<Pin<Box<Sleep>>>, 0);
    poll_fn(|cx| {
        reading.gave.set(None);
        if stream.as_mut().poll(cx).is_ready() {
            reading.made.take();
            return Poll::Ready(());
        }
        answer = reading.made.take().or_else(|| answer.take());
        holds_piece = reading.gave.get().unwrap_or(holds_piece);
        let (true, Some(answer)) = (holds_piece, &answer) else { return Poll::Pending };
        let mut answer = answer.borrow_mut();
        if answer.poll_aside(cx).is_ready() {
            return Poll::Ready(()); // dropped, the stream is reset
        }
        let until = Instant::now() + reading.state.limits.idle;
        let patience = patience.get_or_insert_with(|| Box::pin(sleep_until(until)));
        let before = std::mem::replace(&mut passed, answer.passed());
        if passed != before {
            patience.as_mut().reset(until);
        }
        patience.as_mut().poll(cx).map(|()| reading.state.count_refusal(Refusal::CallerStalled))
    })
    .await;
}

/// The body of a request, which tells its stream when its caller is waited for.
#[derive(Debug)]
pub struct CallerPieces {
    body: Incoming,
    reading: Rc<Reading>,
}

impl Body for CallerPieces {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.reading.lacks.set(frame.is_pending());
        self.reading.came.set(self.reading.came.get() || frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which tells its stream when something was taken from it.
#[derive(Debug)]
pub(super) struct StreamBody {
    body: Shared,
    reading: Rc<Reading>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let frame = Pin::new(&mut *self.body.borrow_mut()).poll_frame(cx);
        self.reading.gave.set(Some(matches!(frame, Poll::Ready(Some(_)))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.borrow().size_hint()
    }
}
