//! The streams of an HTTP/2 caller: each runs as a task, and is given up when its caller leaves the answer unread for too
//! long. Its window is closed then, and a closed window would hold the endpoint's answer for ever (RFC 9113, section 10.5).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::AnswerBody;
use super::h1::Trouble;
use super::refusal::Refusal;
use super::state::WorkerState;

/// What the streams of one connection share: hyper's future of a stream says only that it waits, not for whom. One stream is
/// polled at a time.
#[derive(Debug)]
struct Reading {
    /// Whether the answer's body was asked for something in this poll, and whether it gave something at last.
    gave: Cell<Option<bool>>,
    state: Rc<WorkerState>,
}

/// Runs the streams of one connection on the worker's own thread.
#[derive(Debug, Clone)]
pub(super) struct Streams(Rc<Reading>);

impl Streams {
    /// Those of a connection of this worker.
    pub(super) fn of(state: &Rc<WorkerState>) -> Self {
        Self(Rc::new(Reading { gave: Cell::new(None), state: Rc::clone(state) }))
    }

    /// The body of an answer on one of them.
    pub(super) fn answer(&self, body: AnswerBody) -> StreamBody {
        StreamBody { body, reading: Rc::clone(&self.0) }
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(bounded(stream, Rc::clone(&self.0)));
    }
}

/// Runs one stream to its end, or until its caller takes nothing for as long as a caller may be idle.
async fn bounded(stream: impl Future, reading: Rc<Reading>) {
    let mut stream = pin!(stream);
    let (mut holds_piece, mut patience) = (false, None::<Pin<Box<Sleep>>>);
    poll_fn(|cx| {
        reading.gave.set(None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(gave) = reading.gave.get() {
            holds_piece = gave;
            if gave {
                let until = Instant::now() + reading.state.limits.idle;
                match &mut patience {
                    Some(patience) => patience.as_mut().reset(until),
                    None => patience = Some(Box::pin(sleep_until(until))),
                }
            }
        }
        if holds_piece
            && let Some(patience) = &mut patience
            && patience.as_mut().poll(cx).is_ready()
        {
            reading.state.count_refusal(Refusal::CallerStalled);
            return Poll::Ready(()); // dropped, the stream is reset
        }
        Poll::Pending
    })
    .await;
}

/// The body of an answer, which tells its stream when something was taken from it.
#[derive(Debug)]
pub(super) struct StreamBody {
    body: AnswerBody,
    reading: Rc<Reading>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.reading.gave.set(Some(matches!(frame, Poll::Ready(Some(_)))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
