//! What a proxy measures of itself: every family of its admin port that starts with `penstock_proxy_`, in one place, and
//! open connections. `docs/metrics.md` says what each means. Conduit's families per edge are `report/families.rs`'s.
//!
//! Ground floor: imports nothing of its crate. Labels are bounded: no address, and a service only in [`pools`].

pub mod pools;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use self::pools::Pools;

/// All handles of one proxy; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are registered; the admin server shows it.
    pub registry: Registry,
    /// The xDS stream.
    pub stream: StreamMetrics,
    /// What the stream brings.
    pub feed: FeedMetrics,
    /// The workload's registration.
    pub register: RegisterMetrics,
    /// Traffic reports.
    pub report: ReportMetrics,
    /// The workers.
    pub workers: WorkerMetrics,
    /// Records of single requests.
    pub records: RecordMetrics,
    /// What the process uses.
    pub resources: ResourceMetrics,
}

/// The xDS stream.
#[derive(Debug, Clone)]
pub struct StreamMetrics {
    /// 1 while a stream is open.
    pub connected: IntGauge,
    /// Streams opened.
    pub opened: IntCounter,
    /// Tries that opened none.
    pub failed: IntCounter,
}

/// What the stream brings.
#[derive(Debug, Clone)]
pub struct FeedMetrics {
    /// Authorities followed.
    pub followed: IntGauge,
    /// Snapshots published.
    pub published: IntCounter,
    /// Resources taken into use.
    pub accepted: IntCounter,
    /// Resources refused.
    pub refused: IntCounter,
    /// Of those, the ones older than what is held.
    pub stale: IntCounter,
    /// Authorities dropped.
    pub evicted: IntCounter,
    /// Authorities and backends turned away.
    pub turned_away: IntCounter,
    /// Streams given up because the node did not read.
    pub clogged: IntCounter,
    /// Writes of the config to disk that failed.
    pub cache_failed: IntCounter,
    /// How long ago what is held was last known to be current, in seconds.
    pub age: IntGauge,
    /// 1 while what is held is from disk.
    pub from_disk: IntGauge,
    /// Digests told.
    pub digests: IntCounter,
}

/// The workload's registration.
#[derive(Debug, Clone)]
pub struct RegisterMetrics {
    /// 1 while every service of the application is registered.
    pub registered: IntGauge,
    /// Calls that nobody answered.
    pub unanswered: IntCounter,
    /// Registrations that were refused.
    pub refused: IntCounter,
    /// Leases that the control plane did not know any more.
    pub lost: IntCounter,
}

/// Traffic reports.
#[derive(Debug, Clone)]
pub struct ReportMetrics {
    /// Windows that wait for an acknowledgement.
    pub waiting: IntGauge,
    /// Windows acknowledged.
    pub acknowledged: IntCounter,
    /// Reports that nobody answered, or that were refused.
    pub failed: IntCounter,
    /// Windows given up.
    pub lost_windows: IntCounter,
    /// Requests in windows given up.
    pub lost_requests: IntCounter,
    /// Edges of a full window, counted under `other`.
    pub folded: IntCounter,
}

/// Records of single requests, past the workers' queues.
#[derive(Debug, Clone)]
pub struct RecordMetrics {
    /// Lines of the access log that could not be written.
    pub lines_lost: IntCounter,
    /// Spans that a collector took.
    pub spans_exported: IntCounter,
    /// Spans that no collector took.
    pub spans_lost: IntCounter,
}

/// What the process uses of what it may use.
#[derive(Debug, Clone)]
pub struct ResourceMetrics {
    /// Resident memory.
    pub resident: IntGauge,
    /// Open files.
    pub files: IntGauge,
    /// Files that may be open.
    pub files_max: IntGauge,
}

/// The workers.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    /// Open connections, by direction and peer: Conduit's family.
    pub open_connections: IntGaugeVec,
    /// Requests that run now.
    pub running: IntGauge,
    /// Connections carried as bytes now.
    pub tunnels: IntGauge,
    /// Times that bytes were copied because no pipe was left.
    pub pipes_exhausted: IntCounter,
    /// Connections that were looked at, by what they speak and what decided.
    pub detected: IntCounterVec,
    /// Intercepted connections passed on to where they were going.
    pub passed_through: IntCounter,
    /// Of those, the ones for which no word came in time.
    pub owner_timeouts: IntCounter,
    /// Connections to the application that are not in their callers' names, though that was asked for.
    pub client_addresses_lost: IntCounter,
    /// Connections accepted.
    pub accepted: IntCounter,
    /// Requests and connections refused, by reason.
    pub refused: IntCounterVec,
    /// Requests cut off at the end of a drain.
    pub cut_off: IntCounter,
    /// Idle connections closed because a pool was full.
    pub pool_overflow: IntCounter,
    /// Endpoints ejected now.
    pub ejected: IntGauge,
    /// Ejections, by reason.
    pub ejections: IntCounterVec,
    /// Ejections that the floor did not allow.
    pub ejections_refused: IntCounter,
    /// Requests that left the zone because it was too thin.
    pub zone_spilled: IntCounter,
    /// Faults injected, by kind.
    pub faults: IntCounterVec,
    /// Copies sent to mirrors.
    pub copies: IntCounter,
    /// Copies dropped, by reason.
    pub copies_dropped: IntCounterVec,
    /// Connections and endpoints as they are now, per set of endpoints.
    pub pools: Pools,
    /// Kept connections that were found dead and replaced in silence.
    pub reused_dead: IntCounter,
    /// Picks that went to another because an endpoint was too new.
    pub slow_start_passed: IntCounter,
    /// Connections carried as bytes whose host at one end was lost, by end.
    pub hosts_lost: IntCounterVec,
    /// Retries that were made.
    pub retries_made: IntCounter,
    /// Requests that a retry saved.
    pub retries_succeeded: IntCounter,
    /// Retries that were wanted and not made, by reason.
    pub retries_refused: IntCounterVec,
    /// Edges counted under `other` because a worker's table was full.
    pub edges_folded: IntCounter,
    /// Edges forgotten because they were idle.
    pub edges_evicted: IntCounter,
    /// Records that found a queue full, by what they were for.
    pub records_dropped: IntCounterVec,
}

impl Metrics {
    /// Every family, registered and at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let stream = StreamMetrics::new(&registry);
        let feed = FeedMetrics::new(&registry);
        let register = RegisterMetrics::new(&registry);
        let report = ReportMetrics::new(&registry);
        let workers = WorkerMetrics::new(&registry);
        let records = RecordMetrics::new(&registry);
        let resources = ResourceMetrics::new(&registry);
        Self { registry, stream, feed, register, report, workers, records, resources }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            connected: gauge(registry, "control_connected", "1 while a control node is followed"),
            opened: counter(registry, "control_streams_opened_total", "Streams opened to control nodes"),
            failed: counter(registry, "control_dials_failed_total", "Tries that opened no stream"),
        }
    }
}

impl FeedMetrics {
    fn new(registry: &Registry) -> Self {
        let counter = |name, help| counter(registry, name, help);
        Self {
            followed: gauge(registry, "services_followed", "Services that are followed on demand"),
            published: counter("snapshots_published_total", "Config snapshots published to the workers"),
            accepted: counter("resources_accepted_total", "xDS resources taken into use"),
            refused: counter("resources_refused_total", "xDS resources refused (NACK)"),
            stale: counter("resources_stale_total", "xDS resources refused because a later one is held"),
            evicted: counter("services_evicted_total", "Services no longer followed: idle, unknown, no room"),
            turned_away: counter("services_turned_away_total", "Services not followed for want of room"),
            clogged: counter("control_streams_clogged_total", "Streams given up: the node did not read"),
            cache_failed: counter("config_cache_failed_total", "Writes of the config to disk that failed"),
            age: gauge(
                registry,
                "config_age_seconds",
                "How long ago a control node last confirmed the config",
            ),
            from_disk: gauge(
                registry,
                "config_from_disk",
                "1 until a control node answers after a start from disk",
            ),
            digests: counter("digests_sent_total", "Digests of what is held, sent to the control node"),
        }
    }
}

impl RegisterMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            registered: gauge(
                registry,
                "registered",
                "1 while every service of the application is registered",
            ),
            unanswered: counter(
                registry,
                "registration_unanswered_total",
                "Registration calls without answer",
            ),
            refused: counter(registry, "registration_refused_total", "Registrations and leaves refused"),
            lost: counter(
                registry,
                "leases_lost_total",
                "Leases that the control plane did not know any more",
            ),
        }
    }
}

impl ReportMetrics {
    fn new(registry: &Registry) -> Self {
        let counter = |name, help| counter(registry, name, help);
        Self {
            waiting: gauge(registry, "report_windows_waiting", "Closed windows not yet acknowledged"),
            acknowledged: counter("report_windows_acknowledged_total", "Windows acknowledged"),
            failed: counter("reports_failed_total", "Reports unanswered or refused; they are sent again"),
            lost_windows: counter("report_windows_lost_total", "Windows given up: too old or refused"),
            lost_requests: counter("report_requests_lost_total", "Requests in windows given up"),
            folded: counter("report_edges_folded_total", "Edges of a full window, counted under other"),
        }
    }
}

impl RecordMetrics {
    fn new(registry: &Registry) -> Self {
        let counter = |name, help| counter(registry, name, help);
        Self {
            lines_lost: counter("access_log_lines_lost_total", "Lines that could not be written"),
            spans_exported: counter("spans_exported_total", "Spans that a collector took"),
            spans_lost: counter("spans_lost_total", "Spans that no collector took"),
        }
    }
}

impl ResourceMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            resident: gauge(registry, "memory_resident_bytes", "Resident memory of the process"),
            files: gauge(registry, "files_open", "Open files of the process"),
            files_max: gauge(registry, "files_max", "Files that the process may open"),
        }
    }
}

impl WorkerMetrics {
    fn new(registry: &Registry) -> Self {
        let options = Opts::new("tcp_open_connections", "Open connections to this proxy");
        let open = IntGaugeVec::new(options, &["direction", "peer"]).expect(VALID);
        let options =
            Opts::new("penstock_proxy_refused_total", "Requests and connections refused by the proxy");
        let refused = IntCounterVec::new(options, &["reason"]).expect(VALID);
        let options = Opts::new("penstock_proxy_detected_total", "Connections looked at for what they speak");
        let detected = IntCounterVec::new(options, &["spoken", "by"]).expect(VALID);
        let options = Opts::new("penstock_proxy_retries_refused_total", "Retries wanted and not made");
        let retries_refused = IntCounterVec::new(options, &["reason"]).expect(VALID);
        let options = Opts::new("penstock_proxy_records_dropped_total", "Records that found a queue full");
        let dropped = IntCounterVec::new(options, &["of"]).expect(VALID);
        let options = Opts::new("penstock_proxy_ejections_total", "Endpoints ejected");
        let ejections = IntCounterVec::new(options, &["reason"]).expect(VALID);
        let options = Opts::new("penstock_proxy_hosts_lost_total", "Opaque connections whose host was lost");
        let hosts_lost = IntCounterVec::new(options, &["end"]).expect(VALID);
        let options = Opts::new("penstock_proxy_faults_injected_total", "Faults injected by policies");
        let faults = IntCounterVec::new(options, &["kind"]).expect(VALID);
        let options =
            Opts::new("penstock_proxy_mirror_dropped_total", "Copies for mirrors that were dropped");
        let copies_dropped = IntCounterVec::new(options, &["reason"]).expect(VALID);
        Self {
            faults: registered(registry, faults),
            copies: counter(registry, "mirror_sent_total", "Copies of requests sent to mirrors"),
            copies_dropped: registered(registry, copies_dropped),
            ejected: gauge(registry, "endpoints_ejected", "Endpoints ejected now, over all workers"),
            ejections: registered(registry, ejections),
            ejections_refused: counter(registry, "ejections_refused_total", "Ejections refused by the floor"),
            zone_spilled: counter(registry, "zone_spilled_total", "Requests that left a zone too thin"),
            retries_refused: registered(registry, retries_refused),
            pools: registered(registry, Pools::default()),
            reused_dead: counter(registry, "pool_reused_dead_total", "Kept connections found dead, replaced"),
            slow_start_passed: counter(
                registry,
                "slow_start_passed_total",
                "Picks passed on: endpoint too new",
            ),
            retries_made: counter(
                registry,
                "retries_made_total",
                "Retries that a route allowed and that were made",
            ),
            retries_succeeded: counter(registry, "retries_succeeded_total", "Requests that a retry saved"),
            open_connections: registered(registry, open),
            running: gauge(registry, "requests_running", "Requests that run now"),
            tunnels: gauge(registry, "tunnels_open", "Connections carried as bytes now"),
            pipes_exhausted: counter(
                registry,
                "pipes_exhausted_total",
                "Times that no pipe was left to splice",
            ),
            detected: registered(registry, detected),
            hosts_lost: registered(registry, hosts_lost),
            passed_through: counter(registry, "passed_through_total", "Connections to what is no service's"),
            owner_timeouts: counter(registry, "owner_timeouts_total", "Destinations without word in time"),
            client_addresses_lost: counter(
                registry,
                "client_addresses_lost_total",
                "Connections to the application not in their callers' names",
            ),
            accepted: counter(registry, "connections_accepted_total", "Connections accepted"),
            refused: registered(registry, refused),
            cut_off: counter(registry, "requests_cut_off_total", "Requests cut off at the end of a drain"),
            pool_overflow: counter(registry, "pool_overflow_total", "Idle connections closed: pool full"),
            edges_folded: counter(registry, "worker_edges_folded_total", "Edges past a worker's table"),
            edges_evicted: counter(registry, "worker_edges_evicted_total", "Edges forgotten: idle"),
            records_dropped: registered(registry, dropped),
        }
    }
}

/// Brings a counter up to a total that somebody else counts. Called by one thread per counter.
pub fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

const VALID: &str = "names, labels and help texts are constants and valid";

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    registered(registry, IntGauge::new(format!("penstock_proxy_{name}"), help).expect(VALID))
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    registered(registry, IntCounter::new(format!("penstock_proxy_{name}"), help).expect(VALID))
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect("each family is registered once");
    collector
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::pools::{Connects, SetCounts};
    use super::*;

    #[test]
    fn every_family_is_written_down() {
        let documentation = include_str!("../../docs/metrics.md");
        let metrics = Metrics::new();
        metrics.workers.refused.with_label_values(&["malformed"]).inc();
        metrics.workers.faults.with_label_values(&["delay"]).inc();
        metrics.workers.copies_dropped.with_label_values(&["busy"]).inc();
        metrics.workers.ejections.with_label_values(&["success_rate"]).inc();
        metrics.workers.detected.with_label_values(&["http1", "bytes"]).inc();
        metrics.workers.hosts_lost.with_label_values(&["endpoint"]).inc();
        metrics.workers.retries_refused.with_label_values(&["budget"]).inc();
        metrics.workers.records_dropped.with_label_values(&["access_log"]).inc();
        metrics.workers.open_connections.with_label_values(&["inbound", "src"]).set(1);
        metrics
            .workers
            .pools
            .show([("web".to_owned(), SetCounts::default())].into_iter(), &Connects::default());
        for family in metrics.registry.gather() {
            let name = family.name();
            assert!(documentation.contains(&format!("`{name}`")), "{name} is missing in docs/metrics.md");
        }
    }

    #[test]
    fn a_counter_is_raised_to_a_total_and_never_falls() {
        let counter = IntCounter::new("counted", "in a test").unwrap();
        for (total, expected) in [(5, 5), (5, 5), (9, 9), (2, 9)] {
            raise(&counter, total);
            assert_eq!(counter.get(), expected);
        }
    }
}
