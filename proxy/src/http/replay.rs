//! The body of a request that may have to be sent again: what was read of it is kept, up to a bound, and each try reads it
//! from the start. Made only for requests that a route allows to be tried again; must never keep more than the bound.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::h1::Trouble;
use super::request_body::RequestBody;

/// Most bytes kept of one body (Linkerd's bound too). A larger body is sent once: keeping it would let a few uploads take
/// the memory of all.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// What all tries of one request share.
#[derive(Debug)]
struct Kept {
    source: RequestBody,
    pieces: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// More came than is kept.
    overflowed: bool,
    /// Who waits until all of it is there, or too much.
    waiting: Vec<Waker>,
}

impl Kept {
    fn wake(&mut self) {
        if self.ended || self.overflowed {
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }
}

/// Makes a body for each try.
#[derive(Debug, Clone)]
pub struct Replay(Rc<RefCell<Kept>>);

impl Replay {
    /// Keeps what is read of `source` from now on.
    #[must_use]
    pub fn of(source: RequestBody) -> Self {
        Self(Rc::new(RefCell::new(Kept {
            source,
            pieces: Vec::new(),
            bytes: 0,
            trailers: None,
            ended: false,
            overflowed: false,
            waiting: Vec::new(),
        })))
    }

    /// A body of its own once all of it was read by another; `None` when more was read than is kept. Never reads itself.
    pub async fn whole(&self) -> Option<RequestBody> {
        std::future::poll_fn(|cx| {
            let mut kept = self.0.borrow_mut();
            if kept.ended || kept.overflowed {
                return Poll::Ready(());
            }
            kept.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.body()
    }

    /// The whole body, once more; `None` when more was read than is kept. The body before it must not be read any more.
    #[must_use]
    pub fn body(&self) -> Option<RequestBody> {
        let whole = !self.0.borrow().overflowed;
        whole.then(|| RequestBody::Replayed(Replayed { kept: Rc::clone(&self.0), next: 0, ended: false }))
    }
}

/// The body of one try.
#[derive(Debug)]
pub struct Replayed {
    kept: Rc<RefCell<Kept>>,
    next: usize,
    ended: bool,
}

impl Replayed {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let kept = &mut *self.kept.borrow_mut();
        if let Some(piece) = kept.pieces.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if kept.ended {
            let trailers = kept.trailers.clone().filter(|_| !std::mem::replace(&mut self.ended, true));
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let Some(frame) = ready!(Pin::new(&mut kept.source).poll_frame(cx)) else {
            (kept.ended, self.ended) = (true, true);
            kept.wake();
            return Poll::Ready(None);
        };
        let frame = frame?;
        if let Some(piece) = frame.data_ref() {
            kept.bytes += piece.len();
            if kept.bytes > REPLAY_BYTES_MAX {
                kept.overflowed = true;
                kept.pieces = Vec::new();
                self.next = 0;
            } else {
                kept.pieces.push(piece.clone());
                self.next += 1;
            }
            kept.ended = kept.source.is_end_stream();
        } else if let Some(trailers) = frame.trailers_ref() {
            kept.trailers = Some(trailers.clone());
            (kept.ended, self.ended) = (true, true);
        }
        kept.wake();
        Poll::Ready(Some(Ok(frame)))
    }

    /// The section of the trailers as it came over HTTP/1.
    pub(super) fn trailers_as(&self) -> Bytes {
        self.kept.borrow().source.trailers_as()
    }

    pub(super) fn is_ended(&self) -> bool {
        let kept = self.kept.borrow();
        if self.next < kept.pieces.len() {
            return false;
        }
        if kept.ended { self.ended || kept.trailers.is_none() } else { kept.source.is_end_stream() }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let kept = self.kept.borrow();
        let read: usize = kept.pieces[..self.next.min(kept.pieces.len())].iter().map(Bytes::len).sum();
        match kept.source.size_hint().exact() {
            Some(left) if !kept.overflowed => SizeHint::with_exact(left + (kept.bytes - read) as u64),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    /// The pieces of a body, as text; trailers as `t`.
    fn read(body: &mut RequestBody, most: usize) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut told = Vec::new();
        while told.len() < most {
            match Pin::new(&mut *body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => told.push(match frame.data_ref() {
                    Some(piece) if piece.len() > 100 => piece.len().to_string(),
                    Some(piece) => String::from_utf8(piece.to_vec()).unwrap(),
                    None => "t".to_owned(),
                }),
                Poll::Ready(None) => break,
                other => panic!("{other:?}"),
            }
        }
        told
    }

    /// A body of these pieces, kept from one request body and so read as any other.
    fn source(pieces: &[&[u8]], trailers: bool) -> RequestBody {
        let replay = Replay::of(RequestBody::Empty);
        {
            let mut kept = replay.0.borrow_mut();
            kept.pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
            kept.bytes = pieces.iter().map(|piece| piece.len()).sum();
            kept.trailers = trailers.then(HeaderMap::new);
            kept.ended = true;
        }
        replay.body().unwrap()
    }

    #[test]
    fn each_try_reads_the_whole_body_whatever_the_one_before_it_had_read() {
        for trailers in [false, true] {
            let whole: Vec<&str> = if trailers { vec!["a", "b", "c", "t"] } else { vec!["a", "b", "c"] };
            for before in 0..=whole.len() {
                let replay = Replay::of(source(&[b"a", b"b", b"c"], trailers));
                let mut first = replay.body().unwrap();
                assert_eq!(read(&mut first, before), whole[..before]);
                let mut second = replay.body().unwrap();
                assert!(!second.is_end_stream());
                assert_eq!(read(&mut second, 9), whole, "after {before} with trailers {trailers}");
                assert!(second.is_end_stream());
            }
        }
    }

    #[test]
    fn a_body_that_is_larger_than_the_bound_is_read_once_and_not_kept() {
        let half = vec![b'x'; REPLAY_BYTES_MAX / 2];
        let replay = Replay::of(source(&[&half, &half, b"y", b"z"], false));
        let mut body = replay.body().unwrap();
        let size = half.len().to_string();
        assert_eq!(read(&mut body, 2), [size.as_str(), size.as_str()]);
        assert!(replay.body().is_some(), "exactly the bound is kept");
        assert_eq!(read(&mut body, 9), ["y", "z"]);
        assert!(replay.body().is_none());
        assert!(replay.0.borrow().pieces.is_empty());
    }
}
