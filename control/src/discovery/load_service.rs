//! The load reporting service (LRS) that Envoy and proxyless gRPC report to: asks for reports, hands closed windows to
//! rollup. Holds no rule; a busy rollup loses a window, which is counted, and never slows a client.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingService;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use envoy_types::pb::google::protobuf::Duration;
use futures_util::stream::{BoxStream, StreamExt as _};
use mesh::{Timestamp, TrafficReport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};
use tracing::warn;

use crate::metrics::DiscoveryMetrics;

use super::load::LoadTally;

/// How often clients report. More often costs them and us a message each; more rarely puts traffic into the wrong
/// window, which is ten seconds long.
const INTERVAL: Duration = Duration { seconds: 2, nanos: 0 };

/// Load reporting of one node.
#[derive(Clone)]
pub struct LoadReports {
    out: mpsc::Sender<TrafficReport>,
    metrics: DiscoveryMetrics,
}

impl LoadReports {
    pub(super) fn new(out: mpsc::Sender<TrafficReport>, metrics: DiscoveryMetrics) -> Self {
        Self { out, metrics }
    }

    fn give(&self, report: Option<TrafficReport>) {
        let Some(report) = report else { return };
        if let Err(error) = self.out.try_send(report) {
            self.metrics.load_lost.inc();
            warn!(%error, "a window of a load report is lost");
        }
    }

    async fn carry(&self, mut requests: Streaming<LoadStatsRequest>) {
        let mut tally: Option<LoadTally> = None;
        while let Ok(Some(request)) = requests.message().await {
            let now = now();
            if tally.is_none() {
                // Only the first request has a node.
                let node = request.node.clone().unwrap_or_default();
                tally = Some(LoadTally::new(&node, incarnation(now), now));
            }
            self.give(tally.as_mut().and_then(|tally| tally.reported(&request.cluster_stats, now)));
        }
        self.give(tally.as_mut().and_then(LoadTally::close));
    }
}

#[tonic::async_trait]
impl LoadReportingService for LoadReports {
    type StreamLoadStatsStream = BoxStream<'static, Result<LoadStatsResponse, Status>>;

    async fn stream_load_stats(
        &self,
        request: tonic::Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let (out, answers) = mpsc::channel(1);
        let (reports, requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let wish = LoadStatsResponse {
                send_all_clusters: true,
                load_reporting_interval: Some(INTERVAL),
                ..LoadStatsResponse::default()
            };
            if out.send(Ok(wish)).await.is_ok() {
                reports.carry(requests).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }
}

/// One of its own for each stream of each node, and rising: milliseconds, and chance for streams of the same one.
fn incarnation(now: Timestamp) -> u64 {
    const CHANCE_BITS: u32 = 20;
    let chance = RandomState::new().build_hasher().finish();
    (now.0 << CHANCE_BITS) | (chance & ((1 << CHANCE_BITS) - 1))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}
