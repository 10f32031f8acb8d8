//! How a service's requests are spread over its endpoints, and when an endpoint is set aside.

use std::time::Duration;

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Balancer {
    /// The better of two by latency and requests in flight.
    #[default]
    PeakEwma,
    /// The better of two by requests in flight.
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// The one that the request's key leads to on a ring.
    RingHash,
}

/// What of a request leads it to the same endpoint again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The value of this header, lower case.
    Header(String),
    /// The value of this cookie. Where a request has none and `ttl` is set, the answer gives it one.
    Cookie {
        /// Its name.
        name: String,
        /// How long it lives.
        ttl: Option<Duration>,
    },
}

/// A new endpoint's share of requests grows over a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// Until it has its whole share.
    pub window: Duration,
    /// What it begins with, 1 to 100 %.
    pub min_percent: u32,
}

/// Requests stay in the caller's zone while that has enough endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZonePreference {
    /// With fewer ready ones in the zone, all endpoints take them. At least 1.
    pub min_endpoints: u32,
}

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// After so many failures in a row, if at all.
    pub consecutive_failures: Option<u32>,
    /// When it succeeds far less often than its siblings, if at all.
    pub success_rate: Option<SuccessRate>,
    /// How often success rates are compared.
    pub interval: Duration,
    /// How long it is out the first time; twice as long each further time.
    pub base_time: Duration,
    /// At most so long.
    pub max_time: Duration,
    /// At most so many of the endpoints are out, 1 to 100 %; one is always allowed to be.
    pub max_percent: u32,
    /// At least so many stay in, whatever the percentage.
    pub min_ready: u32,
}

/// How success rates are compared (Envoy's outlier detection).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// Endpoints with fewer requests in the interval are not compared.
    pub min_requests: u32,
    /// With fewer endpoints to compare, none is ejected.
    pub min_endpoints: u32,
    /// Ejected are those below the mean by more than so many thousandths of the standard deviation.
    pub stdev_factor: u32,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), min_percent: 10 }
    }
}

impl Default for ZonePreference {
    fn default() -> Self {
        Self { min_endpoints: 1 }
    }
}

impl Default for Ejection {
    /// Envoy's defaults, but that half of the endpoints may be out (Envoy: a tenth), since a floor holds beside it.
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            success_rate: None,
            interval: Duration::from_secs(10),
            base_time: Duration::from_secs(30),
            max_time: Duration::from_secs(300),
            max_percent: 50,
            min_ready: 1,
        }
    }
}

impl Default for SuccessRate {
    /// Envoy's defaults, but that three endpoints are enough to compare (Envoy: five).
    fn default() -> Self {
        Self { min_requests: 100, min_endpoints: 3, stdev_factor: 1900 }
    }
}
