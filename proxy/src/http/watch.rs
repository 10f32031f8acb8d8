//! Bounds on an answer that has begun: the end of the call's time, and the longest silence. Kept beside the answer's body
//! only where a route or a gRPC deadline sets one; must never look at what passes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, Sleep};

use super::refusal::Refusal;

/// The bounds of one answer.
#[derive(Debug)]
pub struct Watch {
    deadline: Option<Pin<Box<Sleep>>>,
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
    /// How much had passed when silence was last looked for.
    seen: u64,
    is_grpc: bool,
}

impl Watch {
    /// Ends an answer at `deadline`, and after `idle` without a byte in either direction; `None` when neither is set.
    #[must_use]
    pub fn within(deadline: Option<Instant>, idle: Option<Duration>, is_grpc: bool) -> Option<Box<Self>> {
        if deadline.is_none() && idle.is_none() {
            return None;
        }
        Some(Box::new(Self {
            deadline: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
            idle: idle.map(|idle| (idle, Box::pin(tokio::time::sleep(idle)))),
            seen: 0,
            is_grpc,
        }))
    }

    /// Whether the call's time is over; if not, `cx` is woken when it is.
    pub(super) fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }

    /// Asked while the caller takes nothing: ready when the call's time is over, or when that lasts too long. `passed` rises
    /// with whatever passes.
    pub(super) fn poll_over(&mut self, passed: u64, cx: &mut Context<'_>) -> Poll<Refusal> {
        if self.is_late(cx) {
            return Poll::Ready(Refusal::TimedOut);
        }
        self.poll_silence(passed, cx)
    }

    /// Asked while nothing comes: ready when that lasts too long. `passed` rises with whatever passes.
    pub(super) fn poll_silence(&mut self, passed: u64, cx: &mut Context<'_>) -> Poll<Refusal> {
        let Some((idle, silence)) = &mut self.idle else { return Poll::Pending };
        if passed != self.seen {
            self.seen = passed;
            silence.as_mut().reset(Instant::now() + *idle);
        }
        silence.as_mut().poll(cx).map(|()| Refusal::StreamIdle)
    }

    /// How a gRPC call that has begun is told of `refusal`; nothing else can be told in the middle of a body.
    pub(super) fn trailers(&self, refusal: Refusal) -> Option<HeaderMap> {
        self.is_grpc.then(|| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(u16::from(refusal.grpc_status())));
            trailers.insert("grpc-message", HeaderValue::from_static(refusal.reason()));
            trailers
        })
    }
}
