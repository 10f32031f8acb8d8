//! The body of a request as it comes from a caller, whatever the caller speaks: what `Serve` is handed, and what goes out
//! through an `Upload` or a `Pump`. Read as the endpoint takes it; holds no piece but where it may have to be sent again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::h1::{CallerBody, Trouble};
use super::replay::Replayed;
use super::streams::CallerPieces;

/// A request's body.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// There is none.
    #[default]
    Empty,
    /// From a caller that speaks HTTP/1.
    H1(CallerBody),
    /// From a caller that speaks HTTP/2, whom hyper serves.
    Hyper(CallerPieces),
    /// From either, and kept so that it can be sent again.
    Replayed(Replayed),
}

impl RequestBody {
    /// The section of its trailers as it came over HTTP/1, for the spelling of their names.
    pub(super) fn trailers_as(&self) -> Bytes {
        match self {
            Self::Empty | Self::Hyper(_) => Bytes::new(),
            Self::H1(body) => body.trailers_as(),
            Self::Replayed(body) => body.trailers_as(),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    /// Always `CallerGone`: what comes from a caller breaks off with the caller.
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::H1(body) => body.poll_frame(cx),
            Self::Hyper(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Trouble::CallerGone)))
            }
            Self::Replayed(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::H1(body) => body.is_read(),
            Self::Hyper(body) => body.is_end_stream(),
            Self::Replayed(body) => body.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::H1(body) => body.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Hyper(body) => body.size_hint(),
            Self::Replayed(body) => body.size_hint(),
        }
    }
}
