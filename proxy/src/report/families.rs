//! Conduit's and Linkerd's metric families, per direction, service and callee, for existing dashboards and habits
//! (design, decision 19). Fed with what was taken from the workers, shown on the admin port; never on a data thread.
//!
//! Latencies come from the sketch, so a value near a bucket's edge may count in the next one (relative error 1.6 %). What
//! Conduit does not have is in families that start with `penstock_proxy_`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mesh::{Direction, Edge, EdgeTraffic, Failure, WorkloadName};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::carried_over::CarriedOver;
use super::edges::{EDGE_IDLE_MAX, StatusCount};

/// Upper bounds in milliseconds, as Conduit 0.4 and Linkerd 2 have them (`linkerd/metrics/src/latency.rs`).
const BUCKETS_MS: [u32; 25] = [
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000, 10_000, 20_000,
    30_000, 40_000, 50_000,
];
/// Sets of labels told apart; later ones are shown as the authority `other`. More: a scrape of tens of thousands of
/// lines, ten seconds apart. Fewer: a gateway's services are lumped together.
const SERIES_MAX: usize = 1000;
/// Authority of what exceeds [`SERIES_MAX`].
const OTHER: &str = "other";

/// Name, help and whether it is a histogram, in the order shown.
const FAMILIES: [(&str, &str); 11] = [
    ("request_total", "Requests that ended"),
    ("response_total", "Responses, by status and classification: success or failure"),
    ("response_latency_ms", "Time from the request's head to the end of the answer"),
    ("tcp_open_total", "Connections opened to the callee"),
    ("tcp_close_total", "Connections carried as bytes that have ended"),
    ("tcp_read_bytes_total", "Bytes read from the callee: of bodies and of connections carried as bytes"),
    ("tcp_write_bytes_total", "Bytes written to the callee: of bodies and of connections carried as bytes"),
    ("penstock_proxy_failures_total", "Failed requests, by reason"),
    ("penstock_proxy_retries_total", "Tries beyond the first of a request"),
    ("penstock_proxy_request_body_bytes_total", "Body bytes from caller to callee"),
    ("penstock_proxy_response_body_bytes_total", "Body bytes from callee to caller"),
];

/// What tells one set of lines from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    outbound: bool,
    authority: String,
    callee: Option<WorkloadName>,
}

#[derive(Debug)]
struct Series {
    /// When it last had traffic.
    busy: Instant,
    /// Requests by status and whether they failed.
    statuses: BTreeMap<(u16, bool), u64>,
    /// Without latencies: those are in the buckets.
    traffic: EdgeTraffic,
    /// Per bound of [`BUCKETS_MS`], and at last what is above all; not cumulative.
    buckets: [u64; BUCKETS_MS.len() + 1],
    sum_ms: f64,
}

/// The families of one proxy; clones show the same.
#[derive(Debug, Clone)]
pub struct Families {
    workload: WorkloadName,
    series: Arc<Mutex<BTreeMap<Key, Series>>>,
    descriptions: Vec<Desc>,
}

impl Families {
    /// Families without lines yet, of a proxy beside `workload`.
    #[must_use]
    pub fn new(workload: WorkloadName) -> Self {
        let description = |(name, help): &(&str, &str)| {
            Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new())
                .expect("names and help texts are constants and valid")
        };
        let descriptions = FAMILIES.iter().map(description).collect();
        Self { workload, series: Arc::default(), descriptions }
    }

    /// Adds what was taken from the workers, and drops series without traffic for [`EDGE_IDLE_MAX`]: one that comes back
    /// starts at zero, as after a restart.
    pub fn add(&self, edges: &[(Edge, EdgeTraffic)], statuses: &[(Edge, Vec<StatusCount>)], now: Instant) {
        let mut all = self.locked();
        all.retain(|_, series| now.saturating_duration_since(series.busy) < EDGE_IDLE_MAX);
        for (edge, traffic) in edges {
            entry(&mut all, edge, now).add(traffic);
        }
        for (edge, counts) in statuses {
            let series = entry(&mut all, edge, now);
            for one in counts {
                *series.statuses.entry((one.status, one.failed)).or_default() += one.count;
            }
        }
    }

    /// All series for the process that takes over, which begins them there; here they begin anew.
    #[must_use]
    pub fn hand_over(&self) -> Vec<u8> {
        let all = std::mem::take(&mut *self.locked());
        let carried = all.into_iter().map(|(key, series)| CarriedOver {
            outbound: key.outbound,
            authority: key.authority,
            callee: key.callee.as_ref().map(ToString::to_string),
            ..CarriedOver::of(&series.traffic, &series.statuses, &series.buckets, series.sum_ms)
        });
        serde_json::to_vec(&carried.collect::<Vec<_>>()).expect("a list of texts and numbers is JSON")
    }

    /// Adds the series of the process before this one.
    ///
    /// # Errors
    /// If they cannot be read; then nothing is added.
    pub fn take_in(&self, bytes: &[u8], now: Instant) -> Result<(), serde_json::Error> {
        let carried: Vec<CarriedOver> = serde_json::from_slice(bytes)?;
        let mut all = self.locked();
        for one in carried {
            let callee = one.callee.as_ref().and_then(|callee| callee.parse().ok());
            let key = Key { outbound: one.outbound, authority: one.authority.clone(), callee };
            let series = all.entry(key).or_insert_with(|| Series::new(now));
            series.traffic.merge(&one.traffic());
            for (status, count) in one.statuses() {
                *series.statuses.entry(status).or_default() += count;
            }
            for (sum, count) in series.buckets.iter_mut().zip(&one.buckets) {
                *sum += count;
            }
            series.sum_ms += one.sum_ms;
        }
        Ok(())
    }

    /// The lock is held for sums only; a panic inside is impossible, so a poisoned one is as good.
    fn locked(&self) -> MutexGuard<'_, BTreeMap<Key, Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels(&self, key: &Key) -> Vec<LabelPair> {
        let direction = if key.outbound { "outbound" } else { "inbound" };
        let mut labels = vec![
            label("authority", &key.authority),
            label("deployment", self.workload.name()),
            label("direction", direction),
        ];
        if let Some(callee) = &key.callee {
            labels.push(label("dst_deployment", callee.name()));
            labels.push(label("dst_namespace", callee.namespace()));
        }
        labels.push(label("namespace", self.workload.namespace()));
        labels.push(label("tls", "false"));
        labels
    }
}

/// The series that `edge` counts under.
fn entry<'a>(all: &'a mut BTreeMap<Key, Series>, edge: &Edge, now: Instant) -> &'a mut Series {
    let mut key = Key {
        outbound: edge.direction == Direction::Outbound,
        authority: edge.authority.to_string(),
        callee: edge.callee.clone().filter(|_| edge.direction == Direction::Outbound),
    };
    if all.len() >= SERIES_MAX && !all.contains_key(&key) {
        OTHER.clone_into(&mut key.authority);
        key.callee = None;
    }
    let series = all.entry(key).or_insert_with(|| Series::new(now));
    series.busy = series.busy.max(now);
    series
}

impl Series {
    fn new(now: Instant) -> Self {
        Self {
            busy: now,
            statuses: BTreeMap::new(),
            traffic: EdgeTraffic::default(),
            buckets: [0; BUCKETS_MS.len() + 1],
            sum_ms: 0.0,
        }
    }

    /// Lines of `response_total`: one per class and status; without a `status_code` what got none.
    fn responses(&self, labels: &[LabelPair]) -> Vec<Metric> {
        let line = |(&(status, failed), count): (&(u16, bool), &u64)| {
            let mut labels = labels.to_vec();
            labels.push(label("classification", if failed { "failure" } else { "success" }));
            if status != 0 {
                labels.push(label("status_code", &status.to_string()));
            }
            counted(labels, *count)
        };
        self.statuses.iter().map(line).collect()
    }

    fn add(&mut self, traffic: &EdgeTraffic) {
        for (latency, count) in traffic.latency.bins() {
            let ms = latency.as_secs_f64() * 1000.0;
            let place = BUCKETS_MS.partition_point(|bound| f64::from(*bound) < ms);
            self.buckets[place] += count;
            #[allow(clippy::cast_precision_loss)] // a sum of milliseconds; counts stay far below 2^52
            let added = ms * count as f64;
            self.sum_ms += added;
        }
        let mut plain = traffic.clone();
        plain.latency = mesh::LatencySketch::default();
        self.traffic.merge(&plain);
    }

    /// The lines of the family at `place` of [`FAMILIES`].
    fn lines(&self, place: usize, labels: &[LabelPair]) -> Vec<Metric> {
        let plain = |value| vec![counted(labels.to_vec(), value)];
        let with = |name: &str, value: &str, count| {
            let mut labels = labels.to_vec();
            labels.push(label(name, value));
            counted(labels, count)
        };
        let traffic = &self.traffic;
        match place {
            0 => plain(traffic.requests()),
            1 => self.responses(labels),
            2 => vec![self.histogram(labels)],
            3 => plain(traffic.connections),
            4 => plain(traffic.closes),
            5 | 10 => plain(traffic.response_bytes),
            6 | 9 => plain(traffic.request_bytes),
            7 => {
                let failures = Failure::ALL.iter().zip(traffic.failures);
                failures.map(|(failure, count)| with("reason", failure.as_str(), count)).collect()
            }
            _ => plain(traffic.retries),
        }
    }

    fn histogram(&self, labels: &[LabelPair]) -> Metric {
        let mut cumulative = 0;
        // The encoder adds the bucket of all by itself.
        let buckets = BUCKETS_MS.iter().zip(self.buckets).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(f64::from(*bound));
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.buckets.iter().sum());
        histogram.set_sample_sum(self.sum_ms);
        let mut metric = Metric::from_label(labels.to_vec());
        metric.set_histogram(histogram);
        metric
    }
}

fn counted(labels: Vec<LabelPair>, count: u64) -> Metric {
    let mut counter = Counter::default();
    #[allow(clippy::cast_precision_loss)] // Prometheus counts in f64
    counter.set_value(count as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let all = self.locked();
        let labelled: Vec<_> = all.iter().map(|(key, series)| (self.labels(key), series)).collect();
        let family = |(place, (name, help)): (usize, &(&str, &str))| {
            let mut family = MetricFamily::default();
            family.set_name((*name).to_owned());
            family.set_help((*help).to_owned());
            let histogram = *name == "response_latency_ms";
            family.set_field_type(if histogram { MetricType::HISTOGRAM } else { MetricType::COUNTER });
            family.set_metric(
                labelled.iter().flat_map(|(labels, series)| series.lines(place, labels)).collect(),
            );
            family
        };
        FAMILIES.iter().enumerate().map(family).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use mesh::LatencySketch;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    fn edge(direction: Direction, authority: &str) -> Edge {
        Edge {
            direction,
            caller: Some("web.shop".parse().unwrap()),
            authority: authority.parse().unwrap(),
            callee: Some("cart.shop".parse().unwrap()),
        }
    }

    fn traffic(latencies_ms: &[u64], failures: [u64; 5]) -> EdgeTraffic {
        let mut latency = LatencySketch::default();
        latencies_ms.iter().for_each(|ms| latency.record(Duration::from_millis(*ms)));
        let successes = latencies_ms.len() as u64;
        EdgeTraffic { successes, failures, connections: 1, latency, ..EdgeTraffic::default() }
    }

    fn shown(families: &Families) -> String {
        let registry = Registry::new();
        registry.register(Box::new(families.clone())).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn the_families_are_the_ones_that_conduits_dashboards_ask_for() {
        let families = Families::new("web.shop".parse().unwrap());
        let called = edge(Direction::Outbound, "cart.shop");
        let count = |status, failed, count| StatusCount { status, failed, count };
        let carried = EdgeTraffic {
            closes: 1,
            request_bytes: 5,
            response_bytes: 9,
            ..traffic(&[2, 7, 70_000], [3, 0, 0, 0, 1])
        };
        families.add(
            &[(called.clone(), carried)],
            &[(called, vec![count(200, false, 3), count(503, true, 3), count(0, true, 1)])],
            Instant::now(),
        );
        let text = shown(&families);
        let labels = "authority=\"cart.shop.svc.cluster.local:80\",deployment=\"web\",direction=\"outbound\",\
                      dst_deployment=\"cart\",dst_namespace=\"shop\",namespace=\"shop\",tls=\"false\"";
        for line in [
            format!("request_total{{{labels}}} 7"),
            format!("response_total{{{labels},classification=\"success\",status_code=\"200\"}} 3"),
            format!("response_total{{{labels},classification=\"failure\",status_code=\"503\"}} 3"),
            format!("response_total{{{labels},classification=\"failure\"}} 1"),
            format!("response_latency_ms_bucket{{{labels},le=\"1\"}} 0"),
            format!("response_latency_ms_bucket{{{labels},le=\"10\"}} 2"),
            format!("response_latency_ms_bucket{{{labels},le=\"50000\"}} 2"),
            format!("response_latency_ms_bucket{{{labels},le=\"+Inf\"}} 3"),
            format!("response_latency_ms_count{{{labels}}} 3"),
            format!("tcp_open_total{{{labels}}} 1"),
            format!("tcp_close_total{{{labels}}} 1"),
            format!("tcp_write_bytes_total{{{labels}}} 5"),
            format!("tcp_read_bytes_total{{{labels}}} 9"),
            format!("penstock_proxy_failures_total{{{labels},reason=\"server\"}} 3"),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn counts_add_up_over_takes_and_over_callers_of_the_inbound_side() {
        let families = Families::new("cart.shop".parse().unwrap());
        let mut other_caller = edge(Direction::Inbound, "cart.shop");
        other_caller.caller = None;
        let called = (edge(Direction::Inbound, "cart.shop"), traffic(&[1], [0; 5]));
        families.add(&[called.clone(), (other_caller, traffic(&[1], [0; 5]))], &[], Instant::now());
        families.add(&[called], &[], Instant::now());
        let text = shown(&families);
        let line = "request_total{authority=\"cart.shop.svc.cluster.local:80\",deployment=\"cart\",\
                    direction=\"inbound\",namespace=\"shop\",tls=\"false\"} 3";
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }

    #[test]
    fn past_the_bound_services_are_shown_as_other_and_no_request_is_left_out() {
        let families = Families::new("web.shop".parse().unwrap());
        for number in 0..SERIES_MAX + 50 {
            let called = edge(Direction::Outbound, &format!("s-{number}"));
            families.add(&[(called, traffic(&[1], [0; 5]))], &[], Instant::now());
        }
        let text = shown(&families);
        let other = text.lines().find(|line| line.starts_with("request_total{authority=\"other\"")).unwrap();
        assert!(other.ends_with(" 50"), "{other}");
    }

    #[test]
    fn what_one_process_counted_goes_on_in_the_next_and_nothing_counts_twice() {
        let (old, new) =
            (Families::new("web.shop".parse().unwrap()), Families::new("web.shop".parse().unwrap()));
        let called = edge(Direction::Outbound, "cart.shop");
        let counts = vec![StatusCount { status: 200, failed: false, count: 2 }];
        let count = |families: &Families| {
            let carried = EdgeTraffic { closes: 3, ..traffic(&[2, 700], [1, 0, 0, 0, 0]) };
            families.add(&[(called.clone(), carried)], &[(called.clone(), counts.clone())], Instant::now());
        };
        count(&old);
        count(&old);
        let before = shown(&old);
        new.take_in(&old.hand_over(), Instant::now()).unwrap();
        assert_eq!(shown(&new), before);
        count(&old);
        new.take_in(&old.hand_over(), Instant::now()).unwrap();
        let whole = Families::new("web.shop".parse().unwrap());
        (0..3).for_each(|_| count(&whole));
        assert_eq!(shown(&new), shown(&whole));
        assert!(new.take_in(b"[{", Instant::now()).is_err());
        assert_eq!(shown(&new), shown(&whole));
    }

    #[test]
    fn a_series_without_traffic_goes_away_and_makes_room_for_others() {
        let (families, start) = (Families::new("web.shop".parse().unwrap()), Instant::now());
        for number in 0..SERIES_MAX {
            let called = edge(Direction::Outbound, &format!("s-{number}"));
            families.add(&[(called, traffic(&[1], [0; 5]))], &[], start);
        }
        let late = start + EDGE_IDLE_MAX;
        let busy = edge(Direction::Outbound, "s-7");
        families.add(&[(busy, traffic(&[1], [0; 5]))], &[], late - std::time::Duration::from_secs(1));
        families.add(&[(edge(Direction::Outbound, "fresh"), traffic(&[1], [0; 5]))], &[], late);
        let text = shown(&families);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("request_total{")).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].contains("fresh.default")
                && lines[1].contains("s-7.default")
                && lines[1].ends_with(" 2")
        );
    }

    #[test]
    fn every_family_is_written_down() {
        let documentation = include_str!("../../../docs/metrics.md");
        for (name, _) in FAMILIES {
            assert!(documentation.contains(&format!("`{name}`")), "{name} is missing in docs/metrics.md");
        }
    }
}
