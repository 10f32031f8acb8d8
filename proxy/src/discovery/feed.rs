//! Feeds the workers: their demands go to the subscriber, what it resolves becomes the published snapshot.
//!
//! One task on the control thread owns the subscriber and carries out its outputs in order. It holds no rule of xDS, and
//! the only thing it shares with the workers is the snapshot.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use mesh::{Authority, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::cache::{self, Cache};
use super::outcome::{Holding, Outputs, Resolution};
use super::stream::{Requests, StreamEvent};
use super::subscriber::Subscriber;
use super::uplink::Uplink;
use crate::metrics::{FeedMetrics, raise};
use crate::snapshot::{Demand, Known, Owner, Published, Snapshot};

/// How often it is noted on disk that what is kept there is current. More often wears the disk; less often tells a
/// restarted proxy an older age than it has.
const CONFIRM_EVERY: Duration = Duration::from_secs(30);
/// How often idle and unknown services are looked for.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// What the feed is asked.
#[derive(Debug)]
pub struct Asked {
    /// By workers: to follow a service.
    pub demands: mpsc::Receiver<Demand>,
    /// By people: what is held.
    pub questions: mpsc::Receiver<oneshot::Sender<Holding>>,
    /// Whether a control node is followed.
    pub uplink: Uplink,
}

/// The feed, before it runs.
#[derive(Debug)]
pub struct Feed {
    subscriber: Subscriber,
    published: Arc<Published>,
    services: HashMap<Authority, Known>,
    owners: HashMap<SocketAddr, Owner>,
    requests: Option<Requests>,
    cache: Cache,
    /// Where the cache is kept; `None`: nowhere.
    directory: Option<PathBuf>,
    /// A write of the cache that runs: the next one waits for it.
    saving: Option<JoinHandle<()>>,
    /// When what is held was last known to be current: at this moment, or so long before it.
    confirmed: Instant,
    confirmed_before: Duration,
    /// When that was last noted on disk.
    noted: Option<Instant>,
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
            owners: HashMap::new(),
            requests: None,
            cache: Cache::default(),
            directory: None,
            saving: None,
            confirmed: Instant::now(),
            confirmed_before: Duration::ZERO,
            noted: None,
            metrics,
            origin: Instant::now(),
        }
    }

    /// Keeps the last good config in `directory` from now on, and takes over what is there.
    ///
    /// Returns whether something was. What cannot be read is left aside: the control plane will tell it all again.
    pub fn keep_in(&mut self, directory: PathBuf) -> bool {
        let read = cache::load(&directory).map_err(|error| error.to_string());
        let read = read.and_then(|file| match file {
            None => Ok((Vec::new(), Duration::ZERO)),
            Some((bytes, age)) => Ok((cache::responses(&bytes)?, age)),
        });
        let kept = match read {
            Ok((kept, age)) => {
                self.confirmed_before = age;
                kept
            }
            Err(reason) => {
                warn!(directory = %directory.display(), %reason, "the config kept on disk cannot be used; starting without");
                Vec::new()
            }
        };
        if let Err(error) = cache::writable(&directory) {
            warn!(
                directory = %directory.display(), %error,
                "the state directory cannot be written: this proxy's next start needs a control node; let its user write there"
            );
        }
        self.directory = Some(directory);
        let now = self.now();
        for authority in cache::followed(&kept) {
            let outputs = self.subscriber.want(&authority, now);
            self.carry_out(outputs);
        }
        for address in cache::followed_addresses(&kept) {
            let outputs = self.subscriber.want_address(address, now);
            self.carry_out(outputs);
        }
        for response in kept {
            let outputs = self.answered(response, now);
            self.carry_out(outputs);
        }
        let any = !self.services.is_empty();
        self.metrics.from_disk.set(i64::from(any));
        any
    }

    /// Runs until the workers are gone (their demands are closed).
    ///
    /// `used` brings the authorities that saw requests, once a window; `events` comes from the stream's carrier.
    pub async fn run(
        mut self,
        mut asked: Asked,
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
                demand = asked.demands.recv() => match demand {
                    Some(Demand::Service(authority)) => self.subscriber.want(&authority, now),
                    Some(Demand::Address(address)) => self.subscriber.want_address(address, now),
                    None => return,
                },
                Some(authorities) = used.recv() => {
                    authorities.iter().for_each(|authority| self.subscriber.used(authority, now));
                    Outputs::default()
                }
                Some(question) = asked.questions.recv() => {
                    let _ = question.send(self.holding(asked.uplink.borrow().is_some())); // who asked may have gone
                    Outputs::default()
                }
                _ = evictions.tick() => {
                    let outputs = self.subscriber.evict(now);
                    self.tell_age(asked.uplink.borrow().is_some());
                    self.keep();
                    outputs
                }
            };
            self.carry_out(outputs);
        }
    }

    /// Shows how old what is held is, and notes it on disk while it is current.
    fn tell_age(&mut self, is_connected: bool) {
        let mut age = self.confirmed_before + self.confirmed.elapsed();
        if is_connected {
            self.metrics.from_disk.set(0);
            if let Some(directory) = &self.directory
                && self.noted.is_none_or(|noted| noted.elapsed() >= CONFIRM_EVERY)
            {
                self.noted = Some(Instant::now());
                if let Err(error) = cache::confirm(directory) {
                    debug!(%error, "cannot note that the config kept on disk is current");
                }
            }
            (self.confirmed, self.confirmed_before, age) = (Instant::now(), Duration::ZERO, Duration::ZERO);
        }
        self.metrics.age.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    fn holding(&self, is_connected: bool) -> Holding {
        let held = self.subscriber.held().map(|(kind, name, revision)| (kind, name.clone(), revision));
        Holding { held: held.collect(), is_connected, age: self.confirmed_before + self.confirmed.elapsed() }
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
            StreamEvent::Answered(response) => self.answered(*response, now),
            StreamEvent::Closed => {
                self.requests = None;
                self.subscriber.disconnected();
                Outputs::default()
            }
        }
    }

    fn answered(&mut self, response: DeltaDiscoveryResponse, now: Timestamp) -> Outputs {
        if self.directory.is_none() {
            return self.subscriber.response(response, now);
        }
        let outputs = self.subscriber.response(response.clone(), now);
        self.cache.note(&response, &self.subscriber);
        outputs
    }

    /// Writes the cache if it changed, at most once a tick, on a thread for blocking work.
    fn keep(&mut self) {
        let Some(directory) = self.directory.clone() else { return };
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        self.cache.keep_only(&self.subscriber);
        let Some(bytes) = self.cache.changed_bytes() else { return };
        let failed = self.metrics.cache_failed.clone();
        self.saving = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = cache::save(&directory, &bytes) {
                failed.inc();
                warn!(directory = %directory.display(), %error, "cannot keep the config on disk; a restart needs the control plane");
            }
        }));
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
        if !outputs.resolutions.is_empty() || !outputs.owners.is_empty() {
            for (address, owner) in outputs.owners {
                match owner {
                    Some(owner) => self.owners.insert(address, owner),
                    None => self.owners.remove(&address),
                };
            }
            for (authority, resolution) in outputs.resolutions {
                match resolution {
                    Resolution::Known(known) => self.services.insert(authority, known),
                    Resolution::Forgotten => self.services.remove(&authority),
                };
            }
            let snapshot = Snapshot::new(self.services.clone()).with_addresses(self.owners.clone());
            self.published.publish(snapshot);
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
        raise(&metrics.digests, tally.digests);
    }
}
