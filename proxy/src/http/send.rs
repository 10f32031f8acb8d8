//! Sends one request to one upstream, by whatever it speaks, and hands back the answer with its body still to be read.
//! A connection from the pool that turns out to be dead is replaced once, in silence, where that is safe.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, request};
use mesh::Protocol;

use super::body::Source;
use super::breaker::{Breaker, Place};
use super::dial::{dial, unconnected};
use super::h1::{self, Link, Trouble, Upload};
use super::h2;
use super::refusal::Refusal;
use super::replay::Replay;
use super::request_body::RequestBody;
use super::tally::Tally;
use super::upstream::Upstream;
use super::watch::Watch;

/// A request on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// Its head, without hop-by-hop headers.
    pub parts: request::Parts,
    /// Its body.
    pub upload: Upload,
}

impl Outgoing {
    /// A request of this head and body.
    #[must_use]
    pub fn new(parts: request::Parts, body: RequestBody) -> Self {
        Self { parts, upload: Upload::new(body) }
    }

    /// Keeps what is read of its body from now on, so that it can be sent again as a whole.
    pub fn keep_body(&mut self) -> Replay {
        let replay = Replay::of(self.upload.take_body().unwrap_or_default());
        self.upload = Upload::new(replay.body().unwrap_or_default());
        replay
    }

    /// Whether it may be written again although an endpoint may have seen its head: either that does no harm
    /// (RFC 9110, section 9.2.2), or the endpoint had not got all of it.
    fn may_be_sent_again(&self) -> bool {
        !self.upload.started() && (self.upload.has_body() || self.parts.method.is_idempotent())
    }
}

/// The head of an answer, and where its body comes from.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, as they came.
    pub headers: HeaderMap,
    /// Its body.
    pub source: Source,
    /// What bounds the body in time; nothing as a rule.
    pub watch: Option<Box<Watch>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// Nothing was sent: another endpoint may be tried.
    NotConnected,
    /// The endpoint says that it has not begun on it (HTTP/2: RFC 9113, section 8.7), and nothing of its body was taken: it is
    /// whole, and may be sent anywhere, whatever its method.
    Unbegun,
    /// The same of one whose body was given away in part.
    Refused,
    /// It was sent, at least in part, and no answer came.
    Lost(Refusal),
    /// The caller left.
    CallerGone,
}

impl Unsent {
    /// Whether the endpoint is to blame. What the caller did wrong, or the proxy has no room for, must not eject an endpoint.
    #[must_use]
    pub fn blames_endpoint(self) -> bool {
        match self {
            Self::NotConnected | Self::Unbegun | Self::Refused => true,
            Self::Lost(refusal) => matches!(
                refusal,
                Refusal::ConnectFailed | Refusal::BrokenOff | Refusal::BadAnswer | Refusal::TimedOut
            ),
            Self::CallerGone => false,
        }
    }

    /// What the caller is told when nothing more is tried.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self {
            Self::NotConnected => Refusal::ConnectFailed,
            // The answer to a caller that is gone reaches nobody; its account counts as broken off.
            Self::Unbegun | Self::Refused | Self::CallerGone => Refusal::BrokenOff,
            Self::Lost(refusal) => refusal,
        }
    }
}

impl From<Trouble> for Unsent {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Broken => Self::Lost(Refusal::BrokenOff),
            Trouble::Refused => Self::Refused,
            Trouble::BadAnswer => Self::Lost(Refusal::BadAnswer),
            Trouble::CallerGone => Self::CallerGone,
        }
    }
}

/// Sends `outgoing` to `upstream`.
///
/// # Errors
/// See [`Unsent`]; after `NotConnected` and `Unbegun` the request is whole.
pub async fn send(
    upstream: &Rc<Upstream>,
    outgoing: &mut Outgoing,
    tally: &mut Tally,
) -> Result<Answer, Unsent> {
    match upstream.protocol {
        Protocol::Http1 => send_h1(upstream, outgoing, tally).await,
        Protocol::Http2 | Protocol::Grpc => send_h2(upstream, outgoing, tally).await,
        Protocol::Opaque => Err(Unsent::Lost(Refusal::Unsupported(
            "the service speaks plain TCP: reach it by CONNECT on this port, or by a listener of its own (upstreams)",
        ))),
    }
}

/// A connection was made for this request, in this time.
fn connected(upstream: &Upstream, tally: &mut Tally, took: Duration) {
    upstream.connected();
    tally.connected();
    tally.state().count(|counters| counters.connects.add(took));
}

/// There is no connection: that is held against the endpoint, unless the proxy itself cannot have one.
fn no_link(upstream: &Upstream, refusal: Refusal) -> Unsent {
    if refusal == Refusal::OutOfFiles {
        return Unsent::Lost(refusal);
    }
    upstream.connect_failed(Instant::now());
    Unsent::NotConnected
}

async fn fresh_link(upstream: &Upstream, tally: &mut Tally) -> Result<Link, Unsent> {
    let begun = Instant::now();
    match dial(upstream).await {
        Ok(stream) => {
            connected(upstream, tally, begun.elapsed());
            Ok(Link::new(stream))
        }
        Err(error) => {
            tracing::debug!(address = %upstream.address, %error, "connection to an endpoint failed");
            Err(no_link(upstream, unconnected(&error)))
        }
    }
}

/// A connection for one request: an idle one, a new one, or the next that is free where a policy bounds them.
async fn link(upstream: &Rc<Upstream>, tally: &mut Tally) -> Result<Link, Unsent> {
    if let Some(link) = upstream.idle_link() {
        return Ok(link);
    }
    let breaker = upstream.breaker.borrow().clone();
    let place = match breaker {
        None => None,
        Some(breaker) => match breaker.place(&upstream.connections) {
            Some(place) => Some(place),
            None => return Box::pin(awaited_link(upstream, &breaker, tally)).await,
        },
    };
    placed_link(upstream, place, tally).await
}

async fn placed_link(upstream: &Upstream, place: Option<Place>, tally: &mut Tally) -> Result<Link, Unsent> {
    let mut link = fresh_link(upstream, tally).await?;
    link.place = place;
    Ok(link)
}

/// Waits for a connection that is free, or for room for one more.
async fn awaited_link(
    upstream: &Rc<Upstream>,
    breaker: &Rc<Breaker>,
    tally: &mut Tally,
) -> Result<Link, Unsent> {
    loop {
        if !breaker.wait().await {
            return Err(Unsent::Lost(Refusal::TooManyPending));
        }
        if let Some(link) = upstream.idle_link() {
            return Ok(link);
        }
        if let Some(place) = breaker.place(&upstream.connections) {
            return placed_link(upstream, Some(place), tally).await;
        }
    }
}

async fn send_h1(
    upstream: &Rc<Upstream>,
    outgoing: &mut Outgoing,
    tally: &mut Tally,
) -> Result<Answer, Unsent> {
    let mut link = link(upstream, tally).await?;
    link.read = tally.state().spare_buffer();
    let head = loop {
        match h1::exchange(
            &mut link,
            &mut outgoing.upload,
            &mut outgoing.parts,
            tally.signs(),
            upstream.answers,
        )
        .await
        {
            Ok(head) => break head,
            // One that said anything was alive, and what it said must not stand before another's answer.
            Err(Trouble::Broken) if link.reused && link.read.is_empty() && outgoing.may_be_sent_again() => {
                tally.state().count(|counters| counters.reused_dead_total += 1);
                let (buffer, place) = (std::mem::take(&mut link.read), link.place.take());
                link = fresh_link(upstream, tally).await?;
                (link.read, link.place) = (buffer, place);
            }
            Err(trouble) => return Err(trouble.into()),
        }
    };
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let (stream, read) = link.into_tunnel();
        return Ok(Answer {
            status: head.status,
            headers: head.headers,
            source: Source::Tunnel(Some(tally.tunnel(stream, read))),
            watch: None,
        });
    }
    let source = Source::H1 {
        link: Some(link),
        upload: std::mem::replace(&mut outgoing.upload, Upload::none()),
        decoder: head.body,
        keep_alive: head.keep_alive,
        upstream: Rc::clone(upstream),
    };
    Ok(Answer { status: head.status, headers: head.headers, source, watch: None })
}

async fn send_h2(
    upstream: &Rc<Upstream>,
    outgoing: &mut Outgoing,
    tally: &mut Tally,
) -> Result<Answer, Unsent> {
    if outgoing.parts.method == Method::CONNECT {
        return Err(Unsent::Lost(Refusal::Unsupported("CONNECT is not carried; send the request itself")));
    }
    let mut connection = None;
    for _ in 0..2 {
        let made = h2::connection(upstream).await;
        let (candidate, made_in) = made.map_err(|refusal| no_link(upstream, refusal))?;
        if let Some(took) = made_in {
            connected(upstream, tally, took);
        }
        // An old connection may have ended since: nothing was sent, so a fresh one is tried.
        let number = candidate.number;
        if let Ok(ready) = candidate.connection.ready().await {
            connection = Some(ready);
            break;
        }
        h2::forget(upstream, number);
        tally.state().count(|counters| counters.reused_dead_total += u64::from(made_in.is_none()));
    }
    let Some(mut connection) = connection else { return Err(Unsent::NotConnected) };
    // An endpoint that says goodbye leaves behind what was on its way to it: such a request is sent again with this head.
    let kept = outgoing.parts.clone();
    let Some(head) = h2::head_of(&mut outgoing.parts) else {
        return Err(Unsent::Lost(Refusal::Malformed("the host header is not an authority")));
    };
    let (future, mut pump) = h2::open(&mut connection, head, outgoing.upload.take_body())?;
    let answered = h2::answer(future, &mut pump, tally.signs()).await;
    tally.request_bytes = pump.bytes;
    if matches!(answered, Err(Trouble::Refused))
        && let Some(body) = pump.untouched_body()
    {
        (outgoing.parts, outgoing.upload) = (kept, Upload::new(body));
        return Err(Unsent::Unbegun);
    }
    let (head, stream) = answered?.into_parts();
    let source = Source::H2 { stream, pump };
    Ok(Answer { status: head.status, headers: head.headers, source, watch: None })
}
