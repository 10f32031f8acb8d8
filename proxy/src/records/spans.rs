//! The thread that exports spans to an OpenTelemetry collector, by OTLP over gRPC. A collector that is slow or gone costs
//! spans, which are counted, and nothing else. Must never run on a worker's thread, nor on the control thread: encoding a
//! busy proxy's spans must not delay a renewal.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use api::otlp::trace_service_client::TraceServiceClient;
use api::otlp::{
    ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
};
use mesh::WorkloadName;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};

use super::aside::Aside;
use super::record::Record;
use super::span::text;
use crate::metrics::RecordMetrics;

/// How often spans are sent: how late they may be.
const SEND_EVERY: Duration = Duration::from_millis(500);
/// Spans of one request, about 400 KiB: collectors take 4 MiB by default.
const BATCH_MAX: usize = 1024;
/// How long a collector may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a batch is sent at most; meanwhile the queue holds what comes.
const TRIES_MAX: u32 = 3;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Where spans go, and who sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    /// The collector, as `host:port`.
    pub(super) collector: String,
    /// What this proxy stands beside: the spans' service.
    pub(super) workload: WorkloadName,
    /// The proxy's own name: the service's instance.
    pub(super) name: String,
}

/// The exporter of one proxy.
#[derive(Debug)]
pub(super) struct Spans {
    thread: Aside,
}

impl Spans {
    /// Exports what comes from `records`, until the workers have ended.
    ///
    /// # Errors
    /// If the thread cannot be started, or the collector's address is none.
    pub(super) fn start(
        export: Export,
        records: Receiver<Box<Record>>,
        metrics: RecordMetrics,
    ) -> std::io::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{}", export.collector))
            .map_err(std::io::Error::other)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Aside::start("spans", move || {
            runtime.block_on(async {
                info!(collector = %export.collector, "exports spans");
                // Connects with the first batch, and again whenever the connection is lost.
                let client = TraceServiceClient::new(endpoint.connect_lazy());
                Exporter { client, export, metrics, is_failing: false }.run(&records).await;
            });
        })?;
        Ok(Self { thread })
    }

    /// Waits until the last spans are sent or given up, for a bounded time; the workers must have ended.
    pub(super) fn finished(self) {
        self.thread.finished();
    }
}

struct Exporter {
    client: TraceServiceClient<Channel>,
    export: Export,
    metrics: RecordMetrics,
    is_failing: bool,
}

impl Exporter {
    async fn run(mut self, records: &Receiver<Box<Record>>) {
        loop {
            let (spans, is_over) = gathered(records);
            let is_full = spans.len() >= BATCH_MAX;
            if !spans.is_empty() {
                // At the end there is one try: a stopping host must not wait for a collector that is gone.
                self.send(spans, if is_over { 1 } else { TRIES_MAX }).await;
            }
            if is_over {
                return;
            }
            if !is_full {
                tokio::time::sleep(SEND_EVERY).await;
            }
        }
    }

    async fn send(&mut self, spans: Vec<Span>, tries: u32) {
        let count = spans.len() as u64;
        let request = self.request(spans);
        let mut reason = String::new();
        for attempt in 0..tries {
            if attempt > 0 {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            match timeout(CALL_TIMEOUT, self.client.export(request.clone())).await {
                Ok(Ok(answer)) => {
                    let rejected = answer.into_inner().partial_success.map_or(0, |told| told.rejected_spans);
                    let rejected = u64::try_from(rejected).unwrap_or(0).min(count);
                    self.metrics.spans_exported.inc_by(count - rejected);
                    self.metrics.spans_lost.inc_by(rejected);
                    self.is_failing = false;
                    return;
                }
                Ok(Err(status)) => {
                    reason = format!("{:?}: {}", status.code(), status.message());
                    if !may_be_sent_again(status.code()) {
                        break;
                    }
                }
                Err(_) => reason = format!("no answer within {CALL_TIMEOUT:?}"),
            }
        }
        self.metrics.spans_lost.inc_by(count);
        // Once per disturbance.
        if !std::mem::replace(&mut self.is_failing, true) {
            let collector = &self.export.collector;
            warn!(%collector, %reason, "the collector takes no spans; they are lost until it does");
        }
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "penstock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let attributes = self.attributes();
        let resource_spans = ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let workload = &self.export.workload;
        vec![
            text("service.name", workload.name()),
            text("service.namespace", workload.namespace()),
            text("service.instance.id", &self.export.name),
        ]
    }
}

/// Spans for one request, and whether no more can come.
fn gathered(records: &Receiver<Box<Record>>) -> (Vec<Span>, bool) {
    let mut spans = Vec::new();
    while spans.len() < BATCH_MAX {
        match records.try_recv() {
            Ok(record) => spans.extend(record.span()),
            Err(TryRecvError::Empty) => return (spans, false),
            Err(TryRecvError::Disconnected) => return (spans, true),
        }
    }
    (spans, false)
}

/// By OTLP's own list (<https://opentelemetry.io/docs/specs/otlp/#failures>).
fn may_be_sent_again(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
