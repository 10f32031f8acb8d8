//! Feeds the workers: their demands go to the subscriber, what it resolves becomes the published snapshot.
//!
//! One task on the control thread owns the subscriber and carries out its outputs in order. It holds no rule of xDS, and
//! the only thing it shares with the workers is the snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mesh::{Authority, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::outcome::{Outputs, Resolution};
use super::stream::{Requests, StreamEvent};
use super::subscriber::Subscriber;
use crate::metrics::{FeedMetrics, raise};
use crate::snapshot::{Demand, Known, Published, Snapshot};

/// How often idle and unknown services are looked for.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// The feed, before it runs.
#[derive(Debug)]
pub struct Feed {
    subscriber: Subscriber,
    published: Arc<Published>,
    services: HashMap<Authority, Known>,
    requests: Option<Requests>,
    metrics: FeedMetrics,
    origin: Instant,
}

impl Feed {
    /// Feeds `published` from `subscriber`.
    #[must_use]
    pub fn new(subscriber: Subscriber, published: Arc<Published>, metrics: FeedMetrics) -> Self {
        Self {
            subscriber,
            published,
            services: HashMap::new(),
            requests: None,
            metrics,
            origin: Instant::now(),
        }
    }

    /// Runs until the workers are gone (`demands` is closed).
    ///
    /// `used` brings the authorities that saw requests, once a window; `events` comes from the stream's carrier.
    pub async fn run(
        mut self,
        mut demands: mpsc::Receiver<Demand>,
        mut used: mpsc::Receiver<Vec<Authority>>,
        mut events: mpsc::Receiver<StreamEvent>,
    ) {
        let mut evictions = interval(EVICT_EVERY);
        evictions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = self.now();
            let outputs = tokio::select! {
                biased;
                Some(event) = events.recv() => self.stream_event(event, now),
                demand = demands.recv() => match demand {
                    Some(demand) => self.subscriber.want(&demand.authority, now),
                    None => return,
                },
                Some(authorities) = used.recv() => {
                    authorities.iter().for_each(|authority| self.subscriber.used(authority, now));
                    Outputs::default()
                }
                _ = evictions.tick() => self.subscriber.evict(now),
            };
            self.carry_out(outputs);
        }
    }

    /// Monotone, from an origin of its own: only differences matter.
    fn now(&self) -> Timestamp {
        Timestamp(0).plus(self.origin.elapsed())
    }

    fn stream_event(&mut self, event: StreamEvent, now: Timestamp) -> Outputs {
        match event {
            StreamEvent::Opened(requests) => {
                self.requests = Some(requests);
                Outputs { requests: self.subscriber.connected(), ..Outputs::default() }
            }
            StreamEvent::Answered(response) => self.subscriber.response(*response, now),
            StreamEvent::Closed => {
                self.requests = None;
                self.subscriber.disconnected();
                Outputs::default()
            }
        }
    }

    fn carry_out(&mut self, outputs: Outputs) {
        for request in outputs.requests {
            if let Some(refusal) = &request.error_detail {
                warn!(reason = %refusal.message, type_url = %request.type_url, "refused config; the last good one stays");
            }
            let Some(requests) = &self.requests else { break };
            if let Err(error) = requests.sender.try_send(request) {
                debug!(%error, "gives up a stream");
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    self.metrics.clogged.inc();
                }
                // Dropping it ends the stream; the reconnect shows all that is held.
                self.requests = None;
                self.subscriber.disconnected();
            }
        }
        if !outputs.resolutions.is_empty() {
            for (authority, resolution) in outputs.resolutions {
                match resolution {
                    Resolution::Known(known) => self.services.insert(authority, known),
                    Resolution::Forgotten => self.services.remove(&authority),
                };
            }
            self.published.publish(Snapshot::new(self.services.clone()));
            self.metrics.published.inc();
        }
        self.count();
    }

    fn count(&self) {
        let (tally, metrics) = (self.subscriber.tally(), &self.metrics);
        metrics.followed.set(i64::try_from(self.subscriber.wanted().count()).unwrap_or(i64::MAX));
        raise(&metrics.accepted, tally.accepted);
        raise(&metrics.refused, tally.refused);
        raise(&metrics.stale, tally.stale);
        raise(&metrics.evicted, tally.evicted);
        raise(&metrics.turned_away, tally.turned_away);
    }
}
