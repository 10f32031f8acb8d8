//! Carries the subscriber's stream over gRPC: connects to one control node, and on to the next when one is lost.
//!
//! It decides only which node and when: what is asked and what an answer means is `subscriber.rs`'s. A node that is lost
//! is left at once for the next one; a wait comes only after every node has failed in a row, and grows with jitter.

use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use runtime::backoff::Backoff;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use super::uplink::Addresses;
use crate::metrics::StreamMetrics;

/// Requests that may wait for a node to read them. A burst of new services needs some dozens; a node that leaves more
/// unread is stuck, and the stream is given up.
const REQUESTS_MAX: usize = 256;
/// Largest response. 10,000 endpoints are about 2 MB, and a reconnect may bring many services at once.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a node may take to accept a stream. Longer: one that accepts connections but is stuck holds up the next.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// A stream that lived for so long was a good one: after it, waits start over. Shorter lets a node that throws every
/// stream out after its first answer be dialled in a tight loop.
const GOOD_AFTER: Duration = Duration::from_secs(5);
/// First and last wait after every node has failed in a row. A shorter last wait burdens nodes that come up under
/// 10,000 proxies; a longer one keeps a proxy stale for longer after an outage.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LAST: Duration = Duration::from_secs(2);

/// What the carrier tells the feed, in order.
#[derive(Debug)]
pub enum StreamEvent {
    /// A stream opens; requests go here. Dropping this gives the stream up.
    Opened(Requests),
    /// The node answered.
    Answered(Box<DeltaDiscoveryResponse>),
    /// The stream is gone.
    Closed,
}

/// The way for requests of one stream, and what keeps it open.
#[derive(Debug)]
pub struct Requests {
    /// Bounded by [`REQUESTS_MAX`].
    pub(super) sender: mpsc::Sender<DeltaDiscoveryRequest>,
    _open: DropGuard,
}

/// Keeps one stream open for as long as the process lives: never returns unless `events` is closed.
///
/// `uplink` holds the connection while the stream is open. `chance` yields numbers in `[0, 1)` for the jitter.
pub async fn carry(
    mut addresses: Addresses,
    events: mpsc::Sender<StreamEvent>,
    uplink: watch::Sender<Option<Channel>>,
    metrics: StreamMetrics,
    mut chance: impl FnMut() -> f64,
) {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
    let mut failed_in_a_row = 0;
    while let Some(address) = addresses.advance() {
        let begun = Instant::now();
        match attempt(&addresses, &address, &events, &uplink, &metrics).await {
            Ok(()) => return,
            Err(reason) => {
                metrics.connected.set(0);
                uplink.send_replace(None);
                if begun.elapsed() >= GOOD_AFTER {
                    failed_in_a_row = 0;
                    backoff.reset();
                }
                failed_in_a_row += 1;
                if failed_in_a_row % addresses.count() == 0 {
                    let wait = backoff.next(chance());
                    let wait_ms = wait.as_millis();
                    if failed_in_a_row == addresses.count() {
                        warn!(%address, %reason, wait_ms, "no control node answers; serving on with what is known");
                    } else {
                        debug!(%address, %reason, wait_ms, "no control node answers yet");
                    }
                    tokio::time::sleep(wait).await;
                } else {
                    info!(%address, %reason, "left a control node for the next");
                }
            }
        }
    }
}

/// One stream to one node, from the dial to its end. `Ok` means that nobody listens to events any more.
async fn attempt(
    addresses: &Addresses,
    address: &str,
    events: &mpsc::Sender<StreamEvent>,
    uplink: &watch::Sender<Option<Channel>>,
    metrics: &StreamMetrics,
) -> Result<(), String> {
    let given_up = CancellationToken::new();
    let opening = async {
        let channel = addresses.dial(address).await.map_err(|error| described(&error))?;
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let requests = Requests { sender, _open: given_up.clone().drop_guard() };
        let mut client = AggregatedDiscoveryServiceClient::new(channel.clone())
            .max_decoding_message_size(RESPONSE_BYTES_MAX);
        // A node may wait for the first request before it accepts: the feed must be able to send at once.
        if events.send(StreamEvent::Opened(requests)).await.is_err() {
            return Ok(None);
        }
        let opened = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await;
        opened.map(|response| Some((channel, response.into_inner()))).map_err(|status| told(&status))
    };
    let opened = tokio::time::timeout(OPEN_TIMEOUT, opening)
        .await
        .unwrap_or_else(|_| Err(format!("it did not accept a stream within {OPEN_TIMEOUT:?}")));
    let result = match opened {
        Ok(None) => return Ok(()),
        Ok(Some((channel, mut responses))) => {
            metrics.opened.inc();
            metrics.connected.set(1);
            uplink.send_replace(Some(channel));
            info!(%address, "follows a control node");
            loop {
                let message = tokio::select! {
                    biased;
                    () = given_up.cancelled() => break Err("it did not read its requests".to_owned()),
                    message = responses.message() => message,
                };
                match message {
                    Ok(Some(response)) => {
                        if events.send(StreamEvent::Answered(Box::new(response))).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok(None) => break Err("it ended the stream".to_owned()),
                    Err(status) => break Err(told(&status)),
                }
            }
        }
        Err(reason) => {
            metrics.failed.inc();
            Err(reason)
        }
    };
    if events.send(StreamEvent::Closed).await.is_err() { Ok(()) } else { result }
}

fn told(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// tonic's own message is only "transport error": the reason is in the sources.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
