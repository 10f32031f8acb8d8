//! The exporter against a real OTLP receiver: a tonic server of the same service.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::net::SocketAddr;
use std::time::Duration;

use api::otlp::any_value::Value;
use api::otlp::span::SpanKind;
use api::otlp::trace_service_server::{TraceService, TraceServiceServer};
use api::otlp::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use mesh::Failure;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::super::record::fixtures::{edge, parts};
use super::super::record::{Ending, Recorder, queue};
use super::super::trace::Sampler;
use super::*;
use crate::balance::Chance;
use crate::metrics::Metrics;

const PARENT: (&str, &str) = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

/// Answers each export by `answer`, and hands it to the test.
struct Collector<A> {
    exports: mpsc::Sender<ExportTraceServiceRequest>,
    answer: A,
}

#[tonic::async_trait]
impl<A> TraceService for Collector<A>
where
    A: Fn() -> Result<ExportTraceServiceResponse, Status> + Send + Sync + 'static,
{
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.exports.send(request.into_inner()).await; // a test that is over needs no more
        (self.answer)().map(Response::new)
    }
}

async fn collector<A>(answer: A) -> (SocketAddr, mpsc::Receiver<ExportTraceServiceRequest>)
where
    A: Fn() -> Result<ExportTraceServiceResponse, Status> + Send + Sync + 'static,
{
    let (exports, received) = mpsc::channel(64);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(Collector { exports, answer });
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, received)
}

fn metrics() -> RecordMetrics {
    Metrics::new().records
}

/// Starts an exporter, lets `count` requests end, and waits for the exporter's end.
async fn export(to: SocketAddr, count: usize, metrics: &RecordMetrics) {
    let (sender, receiver) = queue();
    let workload = "shop.demo".parse().unwrap();
    let export = Export { collector: to.to_string(), workload, name: "shop-1".to_owned() };
    let spans = Spans::start(export, receiver, metrics.clone()).unwrap();
    let recorder = Recorder::new(None, Some((Sampler::ratio(0.0), sender))).unwrap();
    for _ in 0..count {
        let mut head = parts("/cart?secret=1", &[PARENT, ("tracestate", "a=1")]);
        let mut record = recorder.begin(&mut head, &edge(), None, &mut Chance::seeded(5)).unwrap();
        record.answered(http::StatusCode::BAD_GATEWAY, &http::HeaderMap::new());
        let duration = Duration::from_millis(7);
        let failure = Some(Failure::Server);
        record.end(edge(), Ending { duration, request_bytes: 1, response_bytes: 2, retries: 1, failure });
        assert_eq!(recorder.hand_over(record).spans, 0);
    }
    drop(recorder);
    tokio::task::spawn_blocking(|| spans.finished()).await.unwrap();
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_gets_each_sampled_request_as_a_child_of_its_callers_span() {
    let (address, mut received) = collector(|| Ok(ExportTraceServiceResponse::default())).await;
    let metrics = metrics();
    export(address, 3, &metrics).await;
    let sent = received.recv().await.unwrap().resource_spans.remove(0);
    let resource = sent.resource.unwrap().attributes;
    assert_eq!(attribute(&resource, "service.name"), Some(&Value::StringValue("shop".to_owned())));
    let mut spans = sent.scope_spans[0].spans.clone();
    // Where the first was gathered early, the others came in a batch of their own.
    while let Ok(batch) = received.try_recv() {
        spans.extend(batch.resource_spans[0].scope_spans[0].spans.clone());
    }
    assert_eq!((spans.len(), metrics.spans_exported.get(), metrics.spans_lost.get()), (3, 3, 0));
    let span = &spans[0];
    assert_eq!(span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(span.trace_id[..4], [0x4b, 0xf9, 0x2f, 0x35]);
    assert_eq!((span.span_id.len(), span.trace_state.as_str()), (8, "a=1"));
    assert_eq!((span.kind(), span.name.as_str()), (SpanKind::Client, "GET web.default"));
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 7_000_000);
    assert_eq!(attribute(&span.attributes, "http.response.status_code"), Some(&Value::IntValue(502)));
    assert_eq!(attribute(&span.attributes, "url.path"), Some(&Value::StringValue("/cart".to_owned())));
    assert_eq!(span.status.as_ref().unwrap().message, "server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_collector_rejects_or_refuses_is_counted_as_lost() {
    let (address, mut received) = collector(|| {
        let told = ExportTracePartialSuccess { rejected_spans: 2, error_message: "too many".to_owned() };
        Ok(ExportTraceServiceResponse { partial_success: Some(told) })
    })
    .await;
    let counted = metrics();
    export(address, 5, &counted).await;
    // Two of each batch; where the first span was gathered early, it went in a batch of its own.
    let mut lost = 0;
    while let Ok(batch) = received.try_recv() {
        lost += batch.resource_spans[0].scope_spans[0].spans.len().min(2) as u64;
    }
    assert!(lost >= 2);
    assert_eq!((counted.spans_exported.get(), counted.spans_lost.get()), (5 - lost, lost));

    let (address, mut received) = collector(|| Err(Status::invalid_argument("no"))).await;
    let counted = metrics();
    export(address, 5, &counted).await;
    assert_eq!((counted.spans_exported.get(), counted.spans_lost.get()), (0, 5));
    // They may have gone in two batches, where the first was gathered early.
    let mut told = 0;
    while let Ok(batch) = received.try_recv() {
        told += batch.resource_spans[0].scope_spans[0].spans.len();
    }
    assert_eq!(told, 5, "a refusal for good is not tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_that_is_gone_keeps_nobody_from_ending() {
    let gone = runtime::ports::addresses(1).unwrap()[0];
    let counted = metrics();
    export(gone, 4, &counted).await;
    assert_eq!((counted.spans_exported.get(), counted.spans_lost.get()), (0, 4));
}

#[test]
fn a_batch_is_bounded_and_the_end_of_the_workers_is_told() {
    let (sender, receiver) = queue();
    let recorder = Recorder::new(None, Some((Sampler::ratio(1.0), sender))).unwrap();
    for _ in 0..=BATCH_MAX {
        let begun = recorder.begin(&mut parts("/", &[]), &edge(), None, &mut Chance::seeded(5));
        assert_eq!(recorder.hand_over(begun.unwrap()).spans, 0);
    }
    assert_eq!((gathered(&receiver).0.len(), gathered(&receiver).0.len()), (BATCH_MAX, 1));
    drop(recorder);
    assert!(gathered(&receiver).1);
}
