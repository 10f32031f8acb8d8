//! One request over one connection, up to the head of its answer: writes head and body, reads at the same time, passes
//! interim answers on. Polled in the caller's future; the rest of the body may still be going out when the answer begins.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{StatusCode, Version, request};
use http_body::Body;
use tokio::time::Sleep;

pub use super::answer::AnswerHead;
use super::answer::take_head;
use super::encode::{Coding, put_end, put_head, put_piece};
use super::link::Link;
use crate::http::head_bounds::HeadBounds;
use crate::http::request_body::RequestBody;
use crate::http::signs::Signs;

/// How long a body is held back for an endpoint's `100 (Continue)` (RFC 9110, section 10.1.1: not indefinitely).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// Most interim (1xx) answers before the final one.
pub(in crate::http) const INTERIM_MAX: u32 = 16;

/// Why an answer did not come, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The endpoint closed or broke the connection.
    #[error("the endpoint broke off the connection")]
    Broken,
    /// The endpoint did not begin on the request (HTTP/2 alone can say so).
    #[error("the endpoint refused the request unseen")]
    Refused,
    /// What the endpoint sent is not an answer.
    #[error("the endpoint's answer is not well-formed HTTP")]
    BadAnswer,
    /// The caller's body ended with an error: it is gone.
    #[error("the caller left before its request was whole")]
    CallerGone,
}

/// A request's body on its way out.
#[derive(Debug)]
pub struct Upload {
    body: Option<RequestBody>,
    coding: Coding,
    held: Option<Pin<Box<Sleep>>>,
    started: bool,
    yielded: bool,
    /// Bytes that were taken from the caller.
    pub bytes: u64,
}

impl Upload {
    /// The body of a request; nothing is taken from it yet.
    #[must_use]
    pub fn new(body: RequestBody) -> Self {
        let body = (!body.is_end_stream()).then_some(body);
        Self { body, coding: Coding::Sized, held: None, started: false, yielded: false, bytes: 0 }
    }

    /// A body that is not there.
    #[must_use]
    pub fn none() -> Self {
        Self { body: None, coding: Coding::Sized, held: None, started: false, yielded: false, bytes: 0 }
    }

    /// Whether a piece of the body was taken: then the request cannot be written again.
    #[must_use]
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether a body is or was there.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.started || self.body.is_some()
    }

    /// Whether all of it was taken.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.body.is_none()
    }

    /// The body, if nothing was taken from it, for another protocol's exchange.
    pub fn take_body(&mut self) -> Option<RequestBody> {
        self.body.take()
    }

    /// Writes what the body holds; ready when all of it is written.
    pub fn poll(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        loop {
            if self.body.is_none() || link.is_full() {
                std::task::ready!(link.poll_flush(cx)).map_err(|_| Trouble::Broken)?;
            }
            if let Some(held) = &mut self.held {
                std::task::ready!(link.poll_flush(cx)).map_err(|_| Trouble::Broken)?;
                std::task::ready!(held.as_mut().poll(cx));
                self.held = None;
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
                // The first piece is usually a poll away, because the server reads it only once it is asked for:
                // waiting for it saves a system call for each small body.
                if std::mem::replace(&mut self.yielded, true) {
                    std::task::ready!(link.poll_flush(cx)).map_err(|_| Trouble::Broken)?;
                } else {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            };
            self.started = true;
            match frame {
                None => {
                    put_end(&mut link.write, self.coding, None, b"");
                    self.body = None;
                }
                Some(Err(_)) => return Poll::Ready(Err(Trouble::CallerGone)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        self.bytes += piece.len() as u64;
                        put_piece(&mut link.write, self.coding, &piece);
                        if body.is_end_stream() {
                            put_end(&mut link.write, self.coding, None, b"");
                            self.body = None;
                        }
                    }
                    Err(frame) => {
                        put_end(&mut link.write, self.coding, frame.trailers_ref(), &body.trailers_as());
                        self.body = None;
                    }
                },
            }
        }
    }
}

/// Sends the request of `parts` and `upload` and waits for the head of the final answer, which takes over the memory of
/// `parts.headers` and must be within `bounds`. On trouble `parts` is whole again, and may be sent anew if the upload has not started.
///
/// # Errors
/// See [`Trouble`].
pub async fn exchange(
    link: &mut Link,
    upload: &mut Upload,
    parts: &mut request::Parts,
    signs: &Signs,
    bounds: HeadBounds,
) -> Result<AnswerHead, Trouble> {
    upload.coding = put_head(&mut link.write, parts, upload.body.is_some(), &signs.asked_as.borrow());
    if upload.body.is_some() && parts.headers.contains_key(http::header::EXPECT) {
        upload.held = Some(Box::pin(tokio::time::sleep(CONTINUE_WAIT)));
    }
    let asks_upgrade = parts.headers.contains_key(http::header::UPGRADE);
    let mut interim = 0;
    std::future::poll_fn(|cx| {
        let sending = match upload.poll(link, cx) {
            Poll::Ready(Err(Trouble::CallerGone)) => return Poll::Ready(Err(Trouble::CallerGone)),
            // An endpoint may answer and close before it has read the whole body: look for its answer first.
            sending => sending,
        };
        loop {
            let head = if link.read.is_empty() {
                None
            } else {
                take_head(&mut link.read, &parts.method, bounds, &mut parts.headers)
                    .map_err(|_| Trouble::BadAnswer)?
            };
            match head {
                Some(mut head) if head.status.is_informational() && head.status != 101 => {
                    interim += 1;
                    if head.status != StatusCode::CONTINUE {
                        // The word to continue is between two neighbours; all others are for the caller.
                        signs.put_interim(head.status, &mut head.headers, &head.spelled);
                    }
                    upload.started = true; // its headers are gone, and the endpoint has it: never send it again
                    if interim > INTERIM_MAX {
                        return Poll::Ready(Err(Trouble::BadAnswer));
                    }
                    if upload.held.take().is_some() {
                        cx.waker().wake_by_ref();
                    }
                }
                // From then on nobody would look at what follows, and the caller takes it for answers (RFC 9110, section 15.2.2).
                Some(head) if head.status == StatusCode::SWITCHING_PROTOCOLS && !asks_upgrade => {
                    return Poll::Ready(Err(Trouble::BadAnswer));
                }
                Some(head) => {
                    if parts.version < Version::HTTP_2 {
                        signs.answered_as.replace(head.spelled.clone());
                    }
                    return Poll::Ready(Ok(head));
                }
                None => match link.poll_fill(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Trouble::Broken)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending if matches!(sending, Poll::Ready(Err(_))) => {
                        return Poll::Ready(Err(Trouble::Broken));
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn the_spelling_of_an_answer_is_kept_only_for_a_caller_that_reads_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (version, is_kept) in [(Version::HTTP_2, false), (Version::HTTP_11, true)] {
            let mut link = Link::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (mut endpoint, _) = listener.accept().await.unwrap();
            endpoint.write_all(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n").await.unwrap();
            let request = http::Request::get("/").header("host", "web").version(version);
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let signs = Signs::default();
            exchange(&mut link, &mut Upload::none(), &mut parts, &signs, HeadBounds::OF_PROXIES)
                .await
                .unwrap();
            assert_eq!(!signs.answered_as.borrow().is_empty(), is_kept, "{version:?}");
        }
    }
}
