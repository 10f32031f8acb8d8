//! The body of an answer on its way back: read from the endpoint as the caller asks for it, counted, and when it ends the
//! request's account is closed and the connection goes back to its pool. Must never hold more than one piece.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use super::h1::{Decoded, Decoder, Link, Trouble, Upload};
use super::h2::Pump;
use super::refusal::Refusal;
use super::state::WorkerState;
use super::tally::Tally;
use super::tunnel::Tunnel;
use super::upstream::Upstream;
use super::watch::Watch;

/// Where an answer's body comes from.
pub enum Source {
    /// There is none.
    Empty,
    /// From the proxy itself.
    Text(Bytes),
    /// Not a body: the connection after an upgrade, until the service takes it.
    Tunnel(Option<Tunnel>),
    /// From an HTTP/1.1 endpoint.
    H1 {
        /// The connection, until it goes back to the pool.
        link: Option<Link>,
        /// What is still to be sent of the request.
        upload: Upload,
        /// Where the body ends.
        decoder: Decoder,
        /// Whether the connection may be used again.
        keep_alive: bool,
        /// Whose pool it goes back to.
        upstream: Rc<Upstream>,
    },
    /// From an HTTP/2 endpoint.
    H2 {
        /// The answer's stream.
        stream: RecvStream,
        /// What is still to be sent of the request.
        pump: Pump,
    },
}

impl Source {
    /// Lets go of an answer that nobody reads: where all of it is there, its connection goes back to the pool.
    pub fn set_aside(self, state: &WorkerState) {
        if let Self::H1 { link: Some(link), upload, decoder, keep_alive, upstream } = self
            && keep_alive
            && decoder.is_done()
            && link.is_clean()
            && upload.is_taken()
        {
            upstream.park(link, state, Instant::now());
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Text(_) => "Text",
            Self::Tunnel(_) => "Tunnel",
            Self::H1 { .. } => "H1",
            Self::H2 { .. } => "H2",
        })
    }
}

/// An answer's body with the account of its request.
#[derive(Debug)]
pub struct AnswerBody {
    source: Source,
    tally: Option<Tally>,
    /// What bounds it in time; nothing as a rule.
    watch: Option<Box<Watch>>,
}

impl AnswerBody {
    /// The body that comes from `source`; `tally` is closed when it ends.
    #[must_use]
    pub fn new(source: Source, tally: Tally, watch: Option<Box<Watch>>) -> Self {
        let mut body = Self { source, tally: Some(tally), watch };
        if body.is_end_stream() {
            body.finish(None);
        }
        body
    }

    /// A body of the proxy's own, whose account is closed already.
    #[must_use]
    pub fn text(text: Bytes) -> Self {
        let source = if text.is_empty() { Source::Empty } else { Source::Text(text) };
        Self { source, tally: None, watch: None }
    }

    /// No body, but a connection that is joined with the caller's once the head is out: the answer to CONNECT.
    #[must_use]
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self { source: Source::Tunnel(Some(tunnel)), tally: None, watch: None }
    }

    /// The connection after an upgrade, once.
    pub fn take_tunnel(&mut self) -> Option<Tunnel> {
        match &mut self.source {
            Source::Tunnel(connection) => connection.take(),
            _ => None,
        }
    }

    /// The answer is whole.
    fn finish(&mut self, trailers: Option<&http::HeaderMap>) {
        let Some(mut tally) = self.tally.take() else { return };
        if matches!(self.source, Source::Tunnel(_)) {
            return tally.ended(trailers);
        }
        match std::mem::replace(&mut self.source, Source::Empty) {
            Source::H1 { link: Some(link), upload, keep_alive, upstream, .. } => {
                tally.request_bytes = upload.bytes;
                if keep_alive && link.is_clean() && upload.is_taken() {
                    upstream.park(link, tally.state(), Instant::now());
                }
            }
            Source::H2 { pump, .. } => tally.request_bytes = pump.bytes,
            _ => {}
        }
        tally.ended(trailers);
    }

    fn broken(&mut self, trouble: Trouble) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        if let Some(mut tally) = self.tally.take() {
            if trouble == Trouble::CallerGone {
                tally.absolve();
            }
            tally.broken();
        }
        self.source = Source::Empty;
        Poll::Ready(Some(Err(trouble)))
    }

    /// Rises with each byte from either side, and with whatever of them a caller over HTTP/1 takes.
    pub(super) fn passed(&self) -> u64 {
        let sent = match &self.source {
            Source::H1 { upload, .. } => upload.bytes,
            Source::H2 { pump, .. } => pump.bytes,
            _ => 0,
        };
        sent + self.tally.as_ref().map_or(0, |tally| tally.response_bytes + tally.signs().moved.get())
    }

    /// Nothing came: pending, unless that has lasted too long.
    fn waited(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let passed = self.passed();
        let Some(watch) = &mut self.watch else { return Poll::Pending };
        let refusal = ready!(watch.poll_silence(passed, cx));
        self.cut_off(refusal)
    }

    /// Whether the call's time is over: an answer that comes without end, or that nobody takes, must not escape it.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.watch.as_mut().is_some_and(|watch| watch.is_late(cx))
    }

    /// What is to go on while the caller does not take the answer: the rest of its own body goes to the endpoint, as many
    /// callers read nothing before they have sent everything. Ready when the answer is over, and was not whole.
    pub(super) fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.source, Source::Empty) {
            return Poll::Pending; // all of it was taken, and waits to be written
        }
        let passed = self.passed();
        let watch = self.watch.as_mut();
        if let Some(Poll::Ready(refusal)) = watch.map(|watch| watch.poll_over(passed, cx)) {
            self.tally.iter_mut().for_each(Tally::absolve); // it is not the endpoint that all wait for
            let _ = self.cut_off(refusal); // there is no room for trailers either
            return Poll::Ready(());
        }
        let sent = match &mut self.source {
            Source::H1 { link: Some(link), upload, .. } if !(upload.is_taken() && link.write.is_empty()) => {
                upload.poll(link, cx)
            }
            Source::H2 { pump, .. } => pump.poll(cx),
            _ => return Poll::Pending,
        };
        // An endpoint that takes no more of it may still have an answer to give.
        if let Poll::Ready(Err(Trouble::CallerGone)) = sent {
            let _ = self.broken(Trouble::CallerGone);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn cut_off(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let Some(watch) = &self.watch else { return Poll::Pending };
        let trailers = watch.trailers(refusal);
        if let Some(mut tally) = self.tally.take() {
            tally.cut_off(refusal);
        }
        self.source = Source::Empty;
        match trailers {
            Some(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            None => Poll::Ready(Some(Err(Trouble::Broken))),
        }
    }

    fn piece(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        if let Some(tally) = &mut self.tally {
            tally.response_bytes += piece.len() as u64;
        }
        if self.is_end_stream() {
            self.finish(None);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn end(&mut self, trailers: Option<http::HeaderMap>) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        self.finish(trailers.as_ref());
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

/// The next piece of an HTTP/1.1 answer.
fn poll_h1(
    link: &mut Link,
    upload: &mut Upload,
    decoder: &mut Decoder,
    cx: &mut Context<'_>,
) -> Poll<Result<Decoded, Trouble>> {
    loop {
        match decoder.decode(&mut link.read).map_err(|_| Trouble::BadAnswer)? {
            Decoded::More => {}
            decoded => return Poll::Ready(Ok(decoded)),
        }
        if !(upload.is_taken() && link.write.is_empty())
            && let Poll::Ready(Err(Trouble::CallerGone)) = upload.poll(link, cx)
        {
            return Poll::Ready(Err(Trouble::CallerGone));
        }
        if ready!(link.poll_fill(cx)).map_err(|_| Trouble::Broken)? == 0 {
            let ended = *decoder == Decoder::UntilClose;
            return Poll::Ready(if ended { Ok(Decoded::End) } else { Err(Trouble::Broken) });
        }
    }
}

/// The next piece of an HTTP/2 answer.
fn poll_h2(stream: &mut RecvStream, pump: &mut Pump, cx: &mut Context<'_>) -> Poll<Result<Decoded, Trouble>> {
    if let Poll::Ready(Err(Trouble::CallerGone)) = pump.poll(cx) {
        return Poll::Ready(Err(Trouble::CallerGone));
    }
    match ready!(stream.poll_data(cx)) {
        Some(Ok(piece)) => {
            let _ = stream.flow_control().release_capacity(piece.len()); // fails only on a stream that is gone
            Poll::Ready(Ok(Decoded::Data(piece)))
        }
        Some(Err(_)) => Poll::Ready(Err(Trouble::Broken)),
        None => match ready!(stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Ok(Decoded::Trailers(trailers, Bytes::new()))),
            Ok(None) => Poll::Ready(Ok(Decoded::End)),
            Err(_) => Poll::Ready(Err(Trouble::Broken)),
        },
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let this = &mut *self;
        if !matches!(this.source, Source::Empty) && this.is_late(cx) {
            return this.cut_off(Refusal::TimedOut);
        }
        let decoded = match &mut this.source {
            Source::Empty | Source::Tunnel(_) => return Poll::Ready(None),
            Source::Text(text) => {
                let text = std::mem::take(text);
                this.source = Source::Empty;
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
            Source::H1 { link: Some(link), upload, decoder, .. } => poll_h1(link, upload, decoder, cx),
            Source::H1 { link: None, .. } => return Poll::Ready(None),
            Source::H2 { stream, pump } => poll_h2(stream, pump, cx),
        };
        let Poll::Ready(decoded) = decoded else { return this.waited(cx) };
        match decoded {
            Ok(Decoded::Data(piece)) => this.piece(piece),
            Ok(Decoded::Trailers(trailers, spelled)) => {
                if let Some(tally) = &this.tally {
                    tally.signs().answered_as.replace(spelled);
                }
                this.end(Some(trailers))
            }
            Ok(Decoded::End | Decoded::More) => this.end(None),
            Err(trouble) => this.broken(trouble),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Tunnel(_) => true,
            Source::Text(text) => text.is_empty(),
            Source::H1 { decoder, .. } => decoder.is_done(),
            Source::H2 { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Tunnel(_) => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::H1 { decoder, .. } => {
                decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Source::H2 { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use http_body_util::BodyExt;
    use mesh::{Direction, Locality, Protocol};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::balance::{ASSUMED_LATENCY, PeakEwma};
    use crate::http::signs::{Limits, Signs};
    use crate::resources::Pressure;

    /// An answer of which the next chunk is always there, and whose deadline has passed.
    async fn endless(state: &Rc<WorkerState>, is_grpc: bool) -> AnswerBody {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut link = Link::new(TcpStream::connect(address).await.unwrap());
        (0..100).for_each(|_| link.read.extend_from_slice(b"1\r\na\r\n"));
        let latency = PeakEwma::assumed(ASSUMED_LATENCY);
        let upstream = Rc::new(Upstream::new(address, Protocol::Http1, latency));
        let (link, upload, decoder) = (Some(link), Upload::none(), Decoder::ChunkSize);
        let source = Source::H1 { link, upload, decoder, keep_alive: true, upstream };
        let edge = state.edges.borrow_mut().folded(Direction::Outbound);
        let tally = Tally::open(state, &Rc::new(Signs::default()), edge, Instant::now());
        let over = tokio::time::Instant::now() - Duration::from_secs(1);
        AnswerBody::new(source, tally, Watch::within(Some(over), None, is_grpc))
    }

    #[tokio::test]
    async fn an_answer_that_comes_without_a_pause_does_not_escape_the_calls_deadline() {
        let (workload, limits) = ("web.demo".parse().unwrap(), Limits::default());
        let state = WorkerState::new(&workload, &Locality::default(), 1, limits, Pressure::default(), None);
        let mut body = endless(&state, false).await;
        assert!(matches!(body.frame().await, Some(Err(Trouble::Broken))));
        let mut body = endless(&state, true).await;
        let told = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(told["grpc-status"], "4");
        assert!(body.frame().await.is_none());
        assert_eq!(state.counters().requests_running, 0, "both accounts are closed");
    }
}
