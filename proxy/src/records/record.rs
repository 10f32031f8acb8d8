//! What is known of one request when it ends, and the worker's way to those who asked for it.
//!
//! A record is begun by the request's tally at its head and filled as the request goes. It leaves the worker by a queue
//! that is never waited for: a full one drops the record, which is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request};
use mesh::{Edge, Failure};

use super::line::Format;
use super::span::span;
use super::trace::{OwnSpan, Sampler, TRACESTATE, TraceContext};
use crate::balance::Chance;

/// Records that may wait for a writer, which looks every 100 ms: 80,000 requests a second fit. Each is some 500 bytes.
/// Fewer drop records of a burst; more are memory that a stuck disk or collector holds.
const RECORDS_MAX: usize = 8192;
/// Bytes kept of a path, and of any other text that a caller chooses. Longer ones are cut, which is rarely seen.
const TEXT_BYTES_MAX: usize = 1024;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// One request that ended.
#[derive(Debug, Clone)]
pub struct Record {
    /// When its head was there.
    pub(super) began: SystemTime,
    /// From its head to the end of the answer.
    pub(super) duration: Duration,
    /// Who connected.
    pub(super) peer: Option<SocketAddr>,
    /// Who called whom, in which direction.
    pub(super) edge: Arc<Edge>,
    /// Which address it was sent to, if to any.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) method: Method,
    /// With its query.
    pub(super) path: Box<str>,
    pub(super) version: Version,
    /// Of the combined log and of JSON.
    pub(super) referer: Option<Box<str>>,
    pub(super) user_agent: Option<Box<str>>,
    /// What the caller got, if it got anything.
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<u16>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) retries: u64,
    /// Why it counts as failed, if it does.
    pub(super) failure: Option<Failure>,
    /// Where the request stands in its trace, as it was sent on.
    pub(super) trace: Option<TraceContext>,
    /// Our own span, if the trace is sampled and spans are exported.
    pub(super) own_span: Option<OwnSpan>,
    pub(super) trace_state: Option<Box<str>>,
}

/// How a request ended, as its tally knows.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// From its head to the end of the answer.
    pub duration: Duration,
    /// Body bytes from caller to callee.
    pub request_bytes: u64,
    /// Body bytes from callee to caller.
    pub response_bytes: u64,
    /// Tries beyond the first.
    pub retries: u64,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

impl Record {
    /// It was sent to this address (and no longer to the one before).
    pub fn sent_to(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// The head of the answer is there.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        self.note_grpc(headers);
    }

    /// The proxy answers itself; a gRPC caller gets its status in a 200.
    pub fn refused(&mut self, status: StatusCode, grpc_status: Option<u8>) {
        self.status = Some(if grpc_status.is_some() { StatusCode::OK } else { status });
        self.grpc_status = grpc_status.map(u16::from);
    }

    /// Reads the gRPC status, which stands in the head or in the trailers.
    pub fn note_grpc(&mut self, headers: &HeaderMap) {
        if let Some(value) = headers.get(GRPC_STATUS) {
            self.grpc_status = value.to_str().ok().and_then(|text| text.parse().ok());
        }
    }

    /// It as a line of the access log, the line's end included.
    #[must_use]
    pub fn line(&self, format: Format) -> String {
        let mut line = String::new();
        format.write(self, &mut line);
        line
    }

    /// It as a span; `None` when its trace is not sampled.
    #[must_use]
    pub fn span(&self) -> Option<api::otlp::Span> {
        span(self)
    }

    /// It is over.
    pub fn end(&mut self, edge: Arc<Edge>, ending: Ending) {
        self.edge = edge;
        self.duration = ending.duration;
        (self.request_bytes, self.response_bytes) = (ending.request_bytes, ending.response_bytes);
        (self.retries, self.failure) = (ending.retries, ending.failure);
    }
}

/// A queue of records, from all workers to one writer.
#[must_use]
pub fn queue() -> (SyncSender<Box<Record>>, Receiver<Box<Record>>) {
    sync_channel(RECORDS_MAX)
}

/// What one worker does about records; there is none while nobody asks for them.
#[derive(Debug, Clone)]
pub struct Recorder {
    log: Option<(Format, SyncSender<Box<Record>>)>,
    spans: Option<(Sampler, SyncSender<Box<Record>>)>,
}

/// Records that found a queue full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of the access log.
    pub lines: u64,
    /// Of the exporter.
    pub spans: u64,
}

impl Recorder {
    /// Records for these two; `None` if neither is there.
    #[must_use]
    pub fn new(
        log: Option<(Format, SyncSender<Box<Record>>)>,
        spans: Option<(Sampler, SyncSender<Box<Record>>)>,
    ) -> Option<Self> {
        (log.is_some() || spans.is_some()).then_some(Self { log, spans })
    }

    /// Begins the record of a request, and puts our span into its trace if spans are exported. `None` when nobody wants
    /// to hear of this one.
    pub fn begin(
        &self,
        parts: &mut request::Parts,
        edge: &Arc<Edge>,
        peer: Option<SocketAddr>,
        chance: &mut Chance,
    ) -> Option<Box<Record>> {
        let span = self.spans.as_ref().and_then(|(sampler, _)| sampler.enter(&mut parts.headers, chance));
        if span.is_none() && self.log.is_none() {
            return None;
        }
        let text = |name: HeaderName| parts.headers.get(name).map(text_of);
        let named = |wanted: bool, name: HeaderName| if wanted { text(name) } else { None };
        let has_agents = self.log.as_ref().is_some_and(|(format, _)| format.shows_agents());
        Some(Box::new(Record {
            began: SystemTime::now(),
            duration: Duration::ZERO,
            peer,
            edge: Arc::clone(edge),
            endpoint: None,
            method: parts.method.clone(),
            path: cut(parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str)),
            version: parts.version,
            referer: named(has_agents, header::REFERER),
            user_agent: named(has_agents, header::USER_AGENT),
            status: None,
            grpc_status: None,
            request_bytes: 0,
            response_bytes: 0,
            retries: 0,
            failure: None,
            trace: TraceContext::read(&parts.headers),
            trace_state: named(span.is_some(), TRACESTATE),
            own_span: span,
        }))
    }

    /// Hands a record to whoever wants it; says what had to be dropped.
    #[must_use]
    pub fn hand_over(&self, record: Box<Record>) -> Dropped {
        let mut dropped = Dropped::default();
        let spans = self.spans.as_ref().filter(|_| record.own_span.is_some()).map(|(_, queue)| queue);
        match (&self.log, spans) {
            (Some((_, log)), Some(spans)) => {
                dropped.spans += u64::from(spans.try_send(record.clone()).is_err());
                dropped.lines += u64::from(log.try_send(record).is_err());
            }
            (Some((_, log)), None) => dropped.lines += u64::from(log.try_send(record).is_err()),
            (None, Some(spans)) => dropped.spans += u64::from(spans.try_send(record).is_err()),
            (None, None) => {}
        }
        dropped
    }
}

/// A header's value as text; what is not ASCII is shown as `?`.
fn text_of(value: &HeaderValue) -> Box<str> {
    match value.to_str() {
        Ok(text) => cut(text),
        Err(_) => {
            let visible = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '?' };
            value.as_bytes().iter().take(TEXT_BYTES_MAX).map(visible).collect::<String>().into()
        }
    }
}

fn cut(text: &str) -> Box<str> {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX.min(text.len()));
    text[..end].into()
}

#[cfg(test)]
pub(super) mod fixtures {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::Direction;

    use super::*;

    /// The edge from `shop` to `web`, as its caller counts it.
    pub(in crate::records) fn edge() -> Arc<Edge> {
        Arc::new(Edge {
            direction: Direction::Outbound,
            caller: Some("shop.demo".parse().unwrap()),
            authority: "web".parse().unwrap(),
            callee: Some("web.default".parse().unwrap()),
        })
    }

    /// A request with `headers`.
    pub(in crate::records) fn parts(uri: &str, headers: &[(&'static str, &str)]) -> request::Parts {
        let builder =
            headers.iter().fold(http::Request::get(uri), |b, (name, value)| b.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::fixtures::{edge, parts};
    use super::*;

    const SAMPLED: (&str, &str) = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    const UNSAMPLED: (&str, &str) =
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");

    fn begun(recorder: &Recorder, parts: &mut request::Parts) -> Option<Box<Record>> {
        recorder.begin(parts, &edge(), None, &mut Chance::seeded(3))
    }

    #[test]
    fn nobody_who_asks_means_no_recorder() {
        assert!(Recorder::new(None, None).is_none());
    }

    #[test]
    fn the_log_alone_leaves_the_trace_headers_as_they_came() {
        let (sender, receiver) = queue();
        let recorder = Recorder::new(Some((Format::Json, sender)), None).unwrap();
        let mut head = parts("/a?b=c", &[SAMPLED, ("tracestate", "x=y")]);
        let before = head.headers.clone();
        let record = begun(&recorder, &mut head).unwrap();
        assert_eq!(head.headers, before);
        assert_eq!(recorder.hand_over(record), Dropped::default());
        let record = receiver.try_recv().unwrap();
        assert_eq!(record.trace.unwrap().trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((&*record.path, record.own_span), ("/a?b=c", None));
    }

    #[test]
    fn only_sampled_requests_become_spans_and_every_one_becomes_a_line() {
        let ((log, lines), (spans, exported)) = (queue(), queue());
        let recorder = Recorder::new(Some((Format::Json, log)), Some((Sampler::ratio(0.0), spans))).unwrap();
        for header in [SAMPLED, UNSAMPLED] {
            let record = begun(&recorder, &mut parts("/", &[header])).unwrap();
            assert_eq!(recorder.hand_over(record), Dropped::default());
        }
        assert_eq!((lines.try_iter().count(), exported.try_iter().count()), (2, 1));
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        let (sender, receiver) = queue();
        let recorder = Recorder::new(Some((Format::Json, sender)), None).unwrap();
        let record = begun(&recorder, &mut parts("/", &[])).unwrap();
        let lines: u64 = (0..RECORDS_MAX + 5).map(|_| recorder.hand_over(record.clone()).lines).sum();
        assert_eq!((lines, receiver.try_iter().count()), (5, RECORDS_MAX));
    }

    #[test]
    fn what_a_caller_chooses_is_kept_to_a_bound() {
        let (sender, _receiver) = queue();
        let recorder = Recorder::new(Some((Format::Combined, sender)), None).unwrap();
        let long = "x".repeat(TEXT_BYTES_MAX * 2);
        let mut head = parts(&format!("/{long}"), &[("user-agent", &long)]);
        head.headers.insert("referer", HeaderValue::from_bytes(b"http://\xff/").unwrap());
        let record = begun(&recorder, &mut head).unwrap();
        assert_eq!((record.path.len(), record.user_agent.unwrap().len()), (TEXT_BYTES_MAX, TEXT_BYTES_MAX));
        assert_eq!(&*record.referer.unwrap(), "http://?/");
    }
}
