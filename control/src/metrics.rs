//! What a control node measures of itself: every family of its port 4102, in one place; `docs/metrics.md` says what each means.
//! Ground floor: imports nothing of its crate. Labels are bounded: no service, no proxy, no address.

mod held;
mod inbox;
mod standing;

pub use held::HeldMetrics;
pub use inbox::InboxMetrics;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
pub use standing::StandingMetrics;

/// Buckets for what a disk or a round to the leader takes: 50 us to 1.6 s, doubling.
const SECONDS_FROM: f64 = 0.000_05;
const SECONDS_STEPS: usize = 16;

/// All families of one node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are registered; the admin server shows it.
    pub registry: Registry,
    /// Raft and the catalog.
    pub replica: ReplicaMetrics,
    /// How the replica stands.
    pub standing: StandingMetrics,
    /// What waits for the truth thread.
    pub inbox: InboxMetrics,
    /// The log's thread.
    pub disk: DiskMetrics,
    /// The streams to peers.
    pub peers: PeerMetrics,
    /// Forwarding.
    pub door: DoorMetrics,
    /// Registrations and leases.
    pub intake: IntakeMetrics,
    /// Traffic reports.
    pub rollup: RollupMetrics,
    /// Streams of proxies.
    pub discovery: DiscoveryMetrics,
    /// Members that come and go unasked.
    pub autopilot: AutopilotMetrics,
}

/// Members that come and go unasked.
#[derive(Debug, Clone)]
pub struct AutopilotMetrics {
    /// Learners that got their vote.
    pub promoted: IntCounter,
    /// Nodes that came back on a new disk and began again as learners.
    pub reseated: IntCounter,
    /// Dead nodes whose seats went.
    pub removed: IntCounter,
    /// Dead nodes whose seats stay, on the leader.
    pub held: IntGauge,
}

impl AutopilotMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            promoted: make
                .counter("penstock_autopilot_promoted_total", "Learners that caught up and got their vote"),
            reseated: make.counter(
                "penstock_autopilot_reseated_total",
                "Nodes that came back on a new disk and began again as learners",
            ),
            removed: make.counter("penstock_autopilot_removed_total", "Dead nodes whose seats went"),
            held: make.gauge("penstock_autopilot_held_nodes", "Dead nodes whose seats stay"),
        }
    }
}

/// Raft and the catalog.
#[derive(Debug, Clone)]
pub struct ReplicaMetrics {
    /// 1 while this node leads.
    pub leads: IntGauge,
    /// Raft's term.
    pub term: IntGauge,
    /// Last applied entry.
    pub applied: IntGauge,
    /// Times that another leader was seen.
    pub leader_changes: IntCounter,
    /// Proposals that wait for their commit.
    pub in_flight: IntGauge,
    /// How long a proposal waited for its commit.
    pub commit_seconds: Histogram,
    /// Proposals and reads refused at a bound, by class.
    pub refused: IntCounterVec,
    /// Snapshots made durable.
    pub snapshots: IntCounter,
    /// Times that the newest one could not be read to be sent.
    pub snapshots_unreadable: IntCounter,
    /// How long the truth thread stood still to copy the catalog for one.
    pub snapshot_pause_seconds: Histogram,
    /// 1 while this node's catalog differs from another's.
    pub diverged: IntGauge,
    /// Times that a room was too slow for the catalog's changes and got the whole view.
    pub subscriber_overruns: IntCounter,
    /// What the catalog holds, and what its bounds cost.
    pub held: HeldMetrics,
}

/// The log's thread.
#[derive(Debug, Clone)]
pub struct DiskMetrics {
    /// How long one fsync took, with its writes.
    pub sync_seconds: Histogram,
    /// Batches made durable.
    pub batches: IntCounter,
    /// Times that the disk was found full.
    pub full: IntCounter,
    /// Bytes that are free on the disk.
    pub free_bytes: IntGauge,
    /// 1 while writes are refused for want of space.
    pub short: IntGauge,
}

/// The streams to peers.
#[derive(Debug, Clone)]
pub struct PeerMetrics {
    /// Frames given to a stream.
    pub frames: IntCounter,
    /// Frames dropped because the stream's queue was full.
    pub dropped_full: IntCounter,
    /// Frames dropped because no stream was up.
    pub dropped_unconnected: IntCounter,
    /// Bytes of snapshots that were sent.
    pub snapshot_bytes: IntCounter,
    /// Snapshots that went on where an earlier try broke off.
    pub snapshot_resumes: IntCounter,
    /// Calls of strangers refused because as many are heard as may be.
    pub guests_refused: IntCounter,
}

/// Forwarding.
#[derive(Debug, Clone)]
pub struct DoorMetrics {
    /// Writes sent to the leader on another node.
    pub forwarded: IntCounter,
    /// Tries beyond the first.
    pub retries: IntCounter,
    /// Writes that found no leader within their deadline.
    pub given_up: IntCounter,
}

/// Registrations and leases.
#[derive(Debug, Clone)]
pub struct IntakeMetrics {
    /// Leases that this node, as the leader, watches.
    pub leases: IntGauge,
    /// Renewals taken.
    pub renewals: IntCounter,
    /// Leases expired.
    pub expired: IntCounter,
    /// Leases that are due and held by the brake: somebody should look.
    pub held: IntGauge,
}

/// Traffic reports.
#[derive(Debug, Clone)]
pub struct RollupMetrics {
    /// Windows of proxies taken in.
    pub windows: IntCounter,
    /// Windows that a proxy sent again after they were counted.
    pub duplicates: IntCounter,
    /// Windows refused for their age.
    pub too_old: IntCounter,
    /// Reports refused at a bound; their proxies send them again.
    pub refused: IntCounter,
    /// Windows that came without a proxy to send them again (load reports) and were lost.
    pub lost: IntCounter,
    /// Partials committed.
    pub partials: IntCounter,
}

/// Streams of proxies.
#[derive(Debug, Clone)]
pub struct DiscoveryMetrics {
    /// Open streams.
    pub sessions: IntGauge,
    /// Streams that wait for this node to catch up with what their clients have seen.
    pub held: IntGauge,
    /// Requests read.
    pub requests: IntCounter,
    /// Answers given to streams.
    pub pushes: IntCounter,
    /// Resources in these answers.
    pub resources: IntCounter,
    /// Resources encoded; far fewer than sent, when many follow the same.
    pub encodings: IntCounter,
    /// Resources that clients refused.
    pub refused: IntCounter,
    /// Times that a client did not hold what it should.
    pub drifts: IntCounter,
    /// Streams refused at the bound of streams.
    pub turned_away: IntCounter,
    /// Streams ended because their client answered without reading.
    pub overruns: IntCounter,
    /// Windows of load reports lost because rollup was busy.
    pub load_lost: IntCounter,
}

impl DiscoveryMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            sessions: make.gauge("penstock_discovery_sessions", "Open discovery streams"),
            held: make.gauge(
                "penstock_discovery_sessions_held",
                "Streams that wait for this node to catch up with what their clients have seen",
            ),
            requests: make.counter("penstock_discovery_requests_total", "Discovery requests read"),
            pushes: make.counter("penstock_discovery_pushes_total", "Answers given to discovery streams"),
            resources: make.counter("penstock_discovery_resources_total", "Resources in these answers"),
            encodings: make.counter("penstock_discovery_encodings_total", "Resources encoded"),
            refused: make.counter("penstock_discovery_refused_total", "Resources that clients refused"),
            drifts: make.counter(
                "penstock_discovery_drifts_total",
                "Times that a proxy did not hold what it should; each was healed",
            ),
            turned_away: make.counter(
                "penstock_discovery_turned_away_total",
                "Discovery streams refused because the node has as many as it can carry",
            ),
            overruns: make.counter(
                "penstock_discovery_overruns_total",
                "Discovery streams ended because their client answered without reading",
            ),
            load_lost: make.counter(
                "penstock_discovery_load_windows_lost_total",
                "Windows of load reports lost because rollup was busy",
            ),
        }
    }
}

impl Metrics {
    /// All families, in a registry of their own.
    ///
    /// # Panics
    /// If two families have the same name: a fault of this file.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        let replica = ReplicaMetrics::new(&make);
        Self {
            inbox: InboxMetrics::new(&make, &replica.refused),
            replica,
            standing: StandingMetrics::new(&make),
            disk: DiskMetrics::new(&make),
            peers: PeerMetrics::new(&make),
            door: DoorMetrics::new(&make),
            intake: IntakeMetrics::new(&make),
            rollup: RollupMetrics::new(&make),
            discovery: DiscoveryMetrics::new(&make),
            autopilot: AutopilotMetrics::new(&make),
            registry,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplicaMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            leads: make.gauge("penstock_raft_leads", "1 while this node leads"),
            term: make.gauge("penstock_raft_term", "Raft's term"),
            applied: make.gauge("penstock_raft_applied_index", "Last log entry applied to the catalog"),
            leader_changes: make
                .counter("penstock_raft_leader_changes_total", "Times that another leader was seen"),
            in_flight: make
                .gauge("penstock_raft_proposals_in_flight", "Proposals that wait for their commit here"),
            commit_seconds: make.seconds(
                "penstock_raft_commit_duration_seconds",
                "From the proposal of a write on the leader until it was committed and applied there",
            ),
            refused: make.counters(
                "penstock_raft_refused_total",
                "Proposals and reads refused at a bound, by class",
                "class",
            ),
            snapshots: make.counter("penstock_raft_snapshots_total", "Snapshots made durable"),
            snapshots_unreadable: make.counter(
                "penstock_raft_snapshots_unreadable_total",
                "Times that the newest snapshot could not be read from the disk to be sent",
            ),
            snapshot_pause_seconds: make.seconds(
                "penstock_raft_snapshot_pause_seconds",
                "Standstill of the truth thread while it copies the catalog for a snapshot",
            ),
            diverged: make
                .gauge("penstock_catalog_diverged", "1 while this node's catalog differs from another's"),
            subscriber_overruns: make.counter(
                "penstock_catalog_overruns_total",
                "Times that a room was too slow for the catalog's changes and got the whole view",
            ),
            held: HeldMetrics::new(make),
        }
    }
}

impl DiskMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            sync_seconds: make
                .seconds("penstock_log_sync_duration_seconds", "One fsync of the log, with its writes"),
            batches: make.counter("penstock_log_batches_total", "Batches made durable"),
            full: make.counter("penstock_log_disk_full_total", "Times that the disk was found full"),
            free_bytes: make
                .gauge("penstock_log_disk_free_bytes", "Bytes free on the disk of the data directory"),
            short: make.gauge("penstock_log_disk_short", "1 while writes are refused for want of space"),
        }
    }
}

impl PeerMetrics {
    fn new(make: &Maker<'_>) -> Self {
        let dropped = make.counters(
            "penstock_peer_frames_dropped_total",
            "Raft frames dropped; Raft sends again",
            "reason",
        );
        Self {
            frames: make.counter("penstock_peer_frames_total", "Raft frames given to the streams to peers"),
            dropped_full: dropped.with_label_values(&["full"]),
            dropped_unconnected: dropped.with_label_values(&["unconnected"]),
            snapshot_bytes: make
                .counter("penstock_peer_snapshot_bytes_total", "Bytes of snapshots sent to peers"),
            snapshot_resumes: make.counter(
                "penstock_peer_snapshot_resumes_total",
                "Snapshots that went on where an earlier try broke off",
            ),
            guests_refused: make.counter(
                "penstock_peer_guests_refused_total",
                "Calls of unknown nodes refused while no leader is known, because as many are heard as may be",
            ),
        }
    }
}

impl DoorMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            forwarded: make
                .counter("penstock_writes_forwarded_total", "Writes sent to the leader on another node"),
            retries: make.counter("penstock_write_retries_total", "Tries of a write beyond the first"),
            given_up: make.counter("penstock_writes_given_up_total", "Writes that found no leader in time"),
        }
    }
}

impl IntakeMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            leases: make.gauge("penstock_intake_leases", "Leases watched by this node as the leader"),
            renewals: make.counter("penstock_intake_renewals_total", "Renewals taken"),
            expired: make.counter("penstock_intake_expired_total", "Leases expired"),
            held: make.gauge(
                "penstock_intake_held_leases",
                "Lapsed leases held by the brake: somebody should look",
            ),
        }
    }
}

impl RollupMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            windows: make.counter("penstock_rollup_windows_total", "Windows of proxies taken in"),
            duplicates: make
                .counter("penstock_rollup_duplicates_total", "Windows sent again after they were counted"),
            too_old: make.counter("penstock_rollup_too_old_total", "Windows refused for their age"),
            refused: make.counter("penstock_rollup_refused_total", "Reports refused at a bound"),
            lost: make.counter("penstock_rollup_lost_total", "Windows of load reports that were lost"),
            partials: make.counter("penstock_rollup_partials_total", "Partials committed"),
        }
    }
}

struct Maker<'r>(&'r Registry);

impl Maker<'_> {
    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::new(name, help).expect("the names and help texts of this file are valid");
        self.register(gauge)
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(Opts::new(name, help), &[label]);
        self.register(gauges.expect("the names and help texts of this file are valid"))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::new(name, help).expect("the names and help texts of this file are valid");
        self.register(counter)
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label]);
        self.register(counters.expect("the names and help texts of this file are valid"))
    }

    fn seconds(&self, name: &str, help: &str) -> Histogram {
        let buckets = prometheus::exponential_buckets(SECONDS_FROM, 2.0, SECONDS_STEPS);
        let buckets = buckets.expect("the constants of this file give rising buckets");
        let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets));
        self.register(histogram.expect("the names and help texts of this file are valid"))
    }

    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, family: C) -> C {
        let registered = self.0.register(Box::new(family.clone()));
        registered.expect("the names of this file differ from each other");
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_own_name_and_starts_with_penstock() {
        let families = Metrics::new().registry.gather();
        assert!(!families.is_empty());
        assert!(families.iter().all(|family| family.name().starts_with("penstock_")));
    }

    #[test]
    fn every_family_is_explained_in_the_documentation() {
        let documentation = include_str!("../../docs/metrics.md");
        let metrics = Metrics::new();
        for family in metrics.registry.gather() {
            let name = family.name();
            assert!(documentation.contains(&format!("`{name}`")), "{name} is missing in docs/metrics.md");
        }
    }
}
