//! What a connection's service, its task and the worker's sweep tell each other, and how long the sweep waits for a caller.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::refusal::Refusal;
use super::{h1, hop};
use crate::report::edges::EdgeHandle;
use crate::snapshot::DEMAND_WAIT;
use crate::tcp::Ends;

/// The times that a worker holds its callers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a request's head may take once its first byte is there: a slow client must not hold a connection for
    /// free. Shorter cuts off clients on bad lines.
    pub head: Duration,
    /// How long a caller's connection may be idle, and how long a running request may wait for its caller to send or to read.
    /// Longer than callers keep theirs, so that they close first.
    pub idle: Duration,
    /// How long a request waits for the first word about a service.
    pub demand: Duration,
    /// How often the sweep looks at each connection; the bounds are held this exactly.
    pub sweep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            demand: DEMAND_WAIT,
            sweep: Duration::from_secs(1),
        }
    }
}

/// How far a connection's end is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Closing {
    /// It stays open.
    #[default]
    No,
    /// It closes after the next answer.
    AfterAnswer,
    /// It closes as soon as nothing runs on it.
    WhenIdle,
}

/// What the service, the connection's task and the sweep tell each other; they run on one thread.
#[derive(Debug, Default)]
pub struct Signs {
    /// Why the stream of requests was ended.
    pub refusal: Cell<Option<Refusal>>,
    /// Since when a head is incomplete.
    pub head_since: Cell<Option<Instant>>,
    /// The request was upgraded: pass bytes as they are.
    pub tunnel: Cell<bool>,
    /// Requests that run on it now.
    pub running: Cell<u32>,
    /// Requests so far.
    pub requests: Cell<u64>,
    /// Whether it is to end.
    pub closing: Cell<Closing>,
    /// Who connected.
    pub peer: Cell<Option<SocketAddr>>,
    /// When.
    pub since: Cell<Option<Instant>>,
    /// What its last request counts under, or the bytes that pass as they are.
    pub edge: Cell<Option<EdgeHandle>>,
    /// Body bytes of the requests that ended, both ways; where bytes pass as they are, those that passed.
    pub bytes: Cell<u64>,
    /// Where bytes pass as they are: between whom.
    pub ends: RefCell<Option<Rc<Ends>>>,
    /// The head of the running HTTP/1 request as it came, and of the answer to it: how they spell their names.
    pub asked_as: RefCell<Bytes>,
    /// See `asked_as`. Once the answer's head is written, its trailers, when these come.
    pub answered_as: RefCell<Bytes>,
    /// Whether the caller of the running request can be told interim answers.
    pub takes_interim: Cell<bool>,
    interim: RefCell<BytesMut>,
    /// Rises whenever something of a running request was read from the caller or written to it.
    pub moved: Cell<u64>,
    /// A piece of the request's body is waited for.
    pub waits_to_read: Cell<bool>,
    /// A piece of the answer waits for the caller to read.
    pub waits_to_write: Cell<bool>,
    stalled: Cell<(u64, Option<Instant>)>,
    waker: RefCell<Option<Waker>>,
    idle: Cell<(u64, Option<Instant>)>,
}

impl Signs {
    /// Raises how far its end is decided, and wakes its task.
    pub fn close(&self, closing: Closing) {
        if closing > self.closing.get() {
            self.closing.set(closing);
            self.wake();
        }
    }

    /// Who is woken when something must be decided: the connection's task, told by it in each poll.
    pub fn wake_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if known.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Waits until the connection is to end because nothing runs on it, or because its caller takes too long.
    pub async fn closes(&self) {
        std::future::poll_fn(|cx| {
            self.wake_by(cx.waker());
            let is_over = self.closing.get() == Closing::WhenIdle || self.refusal.get().is_some();
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Passes an interim answer on to a caller that can be told; the connection writes it before it waits again. `spelled` is
    /// its head as it came over HTTP/1.
    pub fn put_interim(&self, status: StatusCode, headers: &mut HeaderMap, spelled: &[u8]) {
        if self.takes_interim.get() {
            hop::strip(headers);
            h1::put_interim(&mut self.interim.borrow_mut(), status, headers, spelled);
        }
    }

    /// Moves the interim answers that came since the last call to `out`.
    pub fn take_interim(&self, out: &mut BytesMut) {
        let mut interim = self.interim.borrow_mut();
        if !interim.is_empty() {
            out.extend_from_slice(&std::mem::take(&mut *interim));
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends it when its head or its idleness lasts too long.
    pub fn sweep(&self, limits: &Limits, now: Instant) {
        if self.refusal.get().is_some() || self.tunnel.get() {
            return;
        }
        // A head that waits behind a running request is not slow: nobody reads it yet.
        if self.running.get() == 0
            && self.head_since.get().is_some_and(|since| now.duration_since(since) >= limits.head)
        {
            self.refusal.set(Some(Refusal::HeadTimeout));
            self.wake();
        }
        self.sweep_stalled(limits, now);
        self.sweep_idle(limits, now);
    }

    /// Ends it in peace when nothing runs on it for too long, and without peace when that does not end it: over HTTP/2 the
    /// last bytes of an answer may wait for ever, in a place that only the caller sees, for a window that it does not open.
    fn sweep_idle(&self, limits: &Limits, now: Instant) {
        let (requests, since) = self.idle.get();
        match since {
            Some(since) if requests == self.requests.get() && self.running.get() == 0 => {
                let idle = now.duration_since(since);
                if idle >= limits.idle {
                    self.close(Closing::WhenIdle);
                }
                if idle >= limits.idle * 2 {
                    self.refusal.set(Some(Refusal::CallerStalled));
                    self.wake();
                }
            }
            _ => self.idle.set((self.requests.get(), Some(now))),
        }
    }

    /// Ends it when its caller neither sends nor reads what is waited for: a request must not hold an endpoint for free.
    fn sweep_stalled(&self, limits: &Limits, now: Instant) {
        // The end of an answer waits for its caller also when the request's account is closed, as all of it has come.
        let waits = self.waits_to_write.get() || (self.running.get() > 0 && self.waits_to_read.get());
        let (moved, since) = self.stalled.get();
        match since {
            Some(since) if waits && moved == self.moved.get() => {
                if now.duration_since(since) >= limits.idle {
                    self.refusal.set(Some(Refusal::CallerStalled));
                    self.wake();
                }
            }
            _ => self.stalled.set((self.moved.get(), waits.then_some(now))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_does_not_read_the_end_of_an_answer_is_given_up_although_no_request_runs() {
        let (signs, limits, now) = (Signs::default(), Limits::default(), Instant::now());
        signs.waits_to_write.set(true);
        for (seconds, refusal) in [(0, None), (299, None), (300, Some(Refusal::CallerStalled))] {
            signs.sweep(&limits, now + Duration::from_secs(seconds));
            assert_eq!(signs.refusal.get(), refusal, "after {seconds} s");
        }
    }
}
