//! A caller's connection that speaks HTTP/1.1, as its request's body and its answer share it: the socket, what was read and
//! not used yet, where the running request's body ends, and what waits to be written. One thread and one task hold it, and
//! no borrow of it outlives a poll.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::decode::{Decoded, Decoder};
use super::exchange::Trouble;
use super::outbox::Outbox;
use crate::http::refusal::Refusal;
use crate::http::signs::Signs;
use crate::http::state::WorkerState;

/// What one read of a head asks for: a whole head as a rule.
const HEAD_READ_BYTES: usize = 4 * 1024;

/// What one read of a body asks for. Smaller costs system calls on large bodies, larger memory per busy connection.
const BODY_READ_BYTES: usize = 16 * 1024;

/// One caller's connection.
#[derive(Debug)]
pub(super) struct Caller {
    /// Gone once the connection is handed on.
    stream: Option<TcpStream>,
    /// What was read and not used yet. Has no memory while the connection is idle.
    pub(super) read: BytesMut,
    /// What waits to be written. Has no memory while the connection is idle.
    pub(super) out: Outbox,
    /// Where the body of the running request ends.
    pub(super) body: Decoder,
    /// The caller waits for the word to send its body.
    pub(super) is_waiting: bool,
    /// The section of the running request's trailers as it came. Has no memory while the connection is idle.
    trailers_as: Bytes,
    /// Why the running request's body cannot be read.
    pub(super) refusal: Option<Refusal>,
    signs: Rc<Signs>,
}

/// The body of the request that runs on a caller's connection.
#[derive(Debug)]
pub struct CallerBody(Rc<RefCell<Caller>>);

impl CallerBody {
    /// The body of the request whose head was just taken.
    pub(super) fn of(caller: &Rc<RefCell<Caller>>) -> Self {
        Self(Rc::clone(caller))
    }

    /// The next piece.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        self.0.borrow_mut().poll_body(cx)
    }

    /// Whether it is read to its end.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.0.borrow().body.is_done()
    }

    /// The section of its trailers as it came; empty before these were read, or if there are none.
    #[must_use]
    pub fn trailers_as(&self) -> Bytes {
        self.0.borrow().trailers_as.clone()
    }

    /// Bytes still to come, where the caller stated them.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.0.borrow().body.remaining()
    }
}

impl Caller {
    /// The connection of a caller, of which `read` was read already.
    pub(super) fn new(stream: TcpStream, read: BytesMut, signs: &Rc<Signs>) -> Self {
        Self {
            stream: Some(stream),
            read,
            out: Outbox::default(),
            body: Decoder::EMPTY,
            is_waiting: false,
            trailers_as: Bytes::new(),
            refusal: None,
            signs: Rc::clone(signs),
        }
    }

    /// Gives the socket away; from then on the connection is at its end.
    pub(super) fn take_stream(&mut self) -> Option<TcpStream> {
        self.stream.take()
    }

    /// Ready when a read would not wait; `false` if the caller is gone.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.stream
            .as_ref()
            .map_or(Poll::Ready(false), |stream| stream.poll_read_ready(cx).map(|readable| readable.is_ok()))
    }

    /// Reads once; zero is the end of the connection.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(0)) };
        let wanted = if self.body.is_done() { HEAD_READ_BYTES } else { BODY_READ_BYTES };
        if self.read.capacity() - self.read.len() < wanted / 2 {
            self.read.reserve(wanted);
        }
        pin!(stream.read_buf(&mut self.read)).poll(cx)
    }

    /// Writes what waits to be written; an error is that the caller is gone.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let before = self.out.len();
        let flushed = self.out.poll_flush(stream, cx);
        self.signs.moved.set(self.signs.moved.get() + u64::from(self.out.len() < before));
        self.signs.waits_to_write.set(flushed.is_pending());
        flushed
    }

    /// Whether the caller left while its answer is made. Looks only where a whole request was read and no next one began;
    /// an end of its sending counts as leaving, since the two cannot be told apart.
    pub(super) fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.body.is_done() || !self.read.is_empty() {
            return false;
        }
        loop {
            match self.poll_readable(cx) {
                Poll::Pending => return false,
                Poll::Ready(false) => return true,
                Poll::Ready(true) => {}
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => return false,
                Poll::Pending => {}
            }
        }
    }

    /// The next piece of the running request's body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        loop {
            match self.body.decode_strictly(&mut self.read) {
                Ok(Decoded::Data(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(Decoded::Trailers(trailers, section)) => {
                    self.trailers_as = section;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(_) => {
                    self.refusal = Some(Refusal::Malformed("the chunked coding of the body is malformed"));
                    return Poll::Ready(Some(Err(Trouble::CallerGone)));
                }
            }
            if std::mem::take(&mut self.is_waiting) {
                self.out.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if matches!(self.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Some(Err(Trouble::CallerGone)));
            }
            let filled = self.poll_fill(cx);
            self.signs.waits_to_read.set(filled.is_pending());
            if !matches!(ready!(filled), Ok(1..)) {
                return Poll::Ready(Some(Err(Trouble::CallerGone)));
            }
            self.signs.moved.set(self.signs.moved.get() + 1);
        }
    }

    /// Reads and drops what is left of the running request's body; ready with whether it ended within `bytes_left`.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, bytes_left: &mut usize) -> Poll<bool> {
        if self.is_waiting {
            return Poll::Ready(false); // it may come or not: the connection cannot be read any further
        }
        loop {
            match ready!(self.poll_body(cx)) {
                None => return Poll::Ready(true),
                Some(Ok(frame)) => match frame.data_ref() {
                    Some(piece) if piece.len() > *bytes_left => return Poll::Ready(false),
                    Some(piece) => *bytes_left -= piece.len(),
                    None => return Poll::Ready(true),
                },
                Some(Err(_)) => return Poll::Ready(false),
            }
        }
    }

    /// Gives the worker back what memory is not needed while the connection is idle.
    pub(super) fn rest(&mut self, state: &WorkerState) {
        self.trailers_as = Bytes::new();
        if self.read.is_empty() && self.read.capacity() > 0 {
            state.keep_buffer(std::mem::take(&mut self.read));
        }
        if self.out.bytes.capacity() > 0 {
            state.keep_buffer(std::mem::take(&mut self.out.bytes));
        }
    }
}
