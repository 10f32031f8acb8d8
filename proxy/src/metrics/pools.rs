//! Pools and balancers as they are now, per set of endpoints, and how long connections took to make: families that are shown from what the
//! workers told last. Ground floor, as the other metrics.
//!
//! A label names a set of endpoints (a service's port), never an endpoint; past `SETS_MAX` sets they are shown together as `other`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// Sets told apart. More: a scrape of thousands of lines, seven for each. Fewer: a gateway's services are lumped together.
const SETS_MAX: usize = 200;
/// What those past `SETS_MAX` are called.
const OTHER: &str = "other";

/// Upper bounds in milliseconds: from a neighbour to a SYN that was sent again.
const BOUNDS_MS: [u16; 8] = [1, 2, 5, 10, 50, 100, 500, 1000];

/// Name, help and label beside `authority` of each family of gauges.
const GAUGES: [(&str, &str); 3] = [
    ("penstock_proxy_pool_connections", "Connections to a service's endpoints, by state: busy or idle"),
    ("penstock_proxy_pool_requests_waiting", "Requests that wait for a connection to a service's endpoints"),
    (
        "penstock_proxy_balancer_endpoints",
        "Endpoints of a service, by state: ready, refusing, ejected or half_open",
    ),
];
const CONNECTS: (&str, &str) =
    ("penstock_proxy_connect_duration_seconds", "How long connections to endpoints took to make");

/// One set of endpoints, as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetCounts {
    /// Connections that carry a request.
    pub busy: u64,
    /// Connections that wait for one.
    pub idle: u64,
    /// Requests that wait for a connection, where a policy bounds these.
    pub waiting: u64,
    /// Endpoints that are picked.
    pub ready: u64,
    /// Endpoints left alone because they refused a connection.
    pub refusing: u64,
    /// Endpoints that are ejected.
    pub ejected: u64,
    /// Endpoints that are probed by one request at a time.
    pub half_open: u64,
}

impl SetCounts {
    /// Adds what another worker has.
    pub fn merge(&mut self, other: &Self) {
        self.busy += other.busy;
        self.idle += other.idle;
        self.waiting += other.waiting;
        self.ready += other.ready;
        self.refusing += other.refusing;
        self.ejected += other.ejected;
        self.half_open += other.half_open;
    }

    /// Per family of [`GAUGES`], states and counts.
    fn states(&self, family: usize) -> Vec<(Option<&'static str>, u64)> {
        match family {
            0 => vec![(Some("busy"), self.busy), (Some("idle"), self.idle)],
            1 => vec![(None, self.waiting)],
            _ => vec![
                (Some("ready"), self.ready),
                (Some("refusing"), self.refusing),
                (Some("ejected"), self.ejected),
                (Some("half_open"), self.half_open),
            ],
        }
    }
}

/// How long connections took to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connects {
    /// Per bound, and at last what is above all; not cumulative.
    counts: [u64; BOUNDS_MS.len() + 1],
    micros: u64,
}

impl Connects {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let place = BOUNDS_MS.partition_point(|bound| Duration::from_millis((*bound).into()) < took);
        self.counts[place] += 1;
        self.micros = self.micros.saturating_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds what another worker has.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        self.micros = self.micros.saturating_add(other.micros);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    #[allow(clippy::cast_precision_loss)] // Prometheus counts in f64
    fn metric(&self) -> Metric {
        let mut cumulative = 0;
        // The encoder adds the bucket of all by itself.
        let buckets = BOUNDS_MS.iter().zip(self.counts).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(f64::from(*bound) / 1e3);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count());
        histogram.set_sample_sum(self.micros as f64 / 1e6);
        let mut metric = Metric::from_label(Vec::new());
        metric.set_histogram(histogram);
        metric
    }
}

#[derive(Debug, Default)]
struct Shown {
    sets: BTreeMap<String, SetCounts>,
    connects: Connects,
}

/// The families; clones show the same.
#[derive(Debug, Clone)]
pub struct Pools {
    shown: Arc<Mutex<Shown>>,
    descriptions: Vec<Desc>,
}

impl Default for Pools {
    fn default() -> Self {
        let description = |(name, help): &(&str, &str)| {
            Desc::new((*name).to_owned(), (*help).to_owned(), Vec::new(), HashMap::new())
                .expect("names and help texts are constants and valid")
        };
        let descriptions = GAUGES.iter().chain([&CONNECTS]).map(description).collect();
        Self { shown: Arc::default(), descriptions }
    }
}

impl Pools {
    /// Shows these sets, one of which may be there once per worker, and nothing of others any more.
    pub fn show(&self, sets: impl Iterator<Item = (String, SetCounts)>, connects: &Connects) {
        let mut shown: BTreeMap<String, SetCounts> = BTreeMap::new();
        for (name, counts) in sets {
            let is_known = shown.contains_key(&name) || shown.len() < SETS_MAX;
            shown.entry(if is_known { name } else { OTHER.to_owned() }).or_default().merge(&counts);
        }
        let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *all = Shown { sets: shown, connects: *connects };
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[allow(clippy::cast_precision_loss)] // Prometheus counts in f64
fn gauge(authority: &str, state: Option<&str>, count: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(count as f64);
    let labels = [label("authority", authority)].into_iter().chain(state.map(|state| label("state", state)));
    let mut metric = Metric::from_label(labels.collect());
    metric.set_gauge(gauge);
    metric
}

impl Collector for Pools {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let family = |(name, help): (&str, &str), kind: MetricType, metrics: Vec<Metric>| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics);
            family
        };
        let gauges = GAUGES.iter().enumerate().map(|(place, named)| {
            let lines = all.sets.iter().flat_map(|(authority, counts)| {
                counts.states(place).into_iter().map(move |(state, count)| gauge(authority, state, count))
            });
            family(*named, MetricType::GAUGE, lines.collect())
        });
        let connects = family(CONNECTS, MetricType::HISTOGRAM, vec![all.connects.metric()]);
        gauges.chain([connects]).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use prometheus::{Registry, TextEncoder};

    use super::*;

    fn shown(pools: &Pools) -> String {
        let registry = Registry::new();
        registry.register(Box::new(pools.clone())).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn what_several_workers_have_of_one_set_is_one_line_and_a_set_that_is_gone_is_none() {
        let (pools, mut connects) = (Pools::default(), Connects::default());
        [1, 7, 7, 3_000].into_iter().for_each(|millis| connects.add(Duration::from_millis(millis)));
        let counts = SetCounts { busy: 2, idle: 3, ejected: 1, ..SetCounts::default() };
        pools.show(
            [("web", counts), ("web", counts), ("old", counts)]
                .map(|(name, counts)| (name.to_owned(), counts))
                .into_iter(),
            &connects,
        );
        pools.show(
            [("web", counts), ("web", counts)].map(|(name, counts)| (name.to_owned(), counts)).into_iter(),
            &connects,
        );
        let text = shown(&pools);
        for line in [
            "penstock_proxy_pool_connections{authority=\"web\",state=\"busy\"} 4",
            "penstock_proxy_pool_connections{authority=\"web\",state=\"idle\"} 6",
            "penstock_proxy_pool_requests_waiting{authority=\"web\"} 0",
            "penstock_proxy_balancer_endpoints{authority=\"web\",state=\"ejected\"} 2",
            "penstock_proxy_balancer_endpoints{authority=\"web\",state=\"half_open\"} 0",
            "penstock_proxy_connect_duration_seconds_bucket{le=\"0.001\"} 1",
            "penstock_proxy_connect_duration_seconds_bucket{le=\"0.01\"} 3",
            "penstock_proxy_connect_duration_seconds_bucket{le=\"+Inf\"} 4",
            "penstock_proxy_connect_duration_seconds_sum 3.015",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("old"), "{text}");
    }

    #[test]
    fn past_the_bound_sets_are_shown_together_and_no_endpoint_is_left_out() {
        let pools = Pools::default();
        let counts = SetCounts { ready: 3, ..SetCounts::default() };
        pools.show((0..SETS_MAX + 50).map(|number| (format!("s-{number}"), counts)), &Connects::default());
        let other = "penstock_proxy_balancer_endpoints{authority=\"other\",state=\"ready\"} 150";
        assert!(shown(&pools).lines().any(|line| line == other));
    }
}
