//! How much a `TrafficPolicy` lets a caller's proxy send to a service: `circuitBreaker` and `rateLimit`.

use std::time::Duration;

use api::{COUNT, RATE_MS};
use mesh::{CircuitBreaker, RateLimit};

use super::complaints::Complaints;
use super::duration;
use super::fields::Fields;

/// Reads `circuitBreaker`.
pub(super) fn breaker(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<CircuitBreaker> {
    let mut fields = outer.fields("circuitBreaker", complaints)?;
    let max_connections = fields.number("maxConnections", COUNT, complaints);
    let max_pending = fields.number("maxPendingRequests", 0..=*COUNT.end() - 1, complaints);
    let max_requests = fields.number("maxRequests", COUNT, complaints);
    if max_pending.is_some() && max_connections.is_none() {
        let why = "needs `maxConnections`: without a bound on connections no request waits for one";
        complaints.add(fields.position, &fields.path("maxPendingRequests"), why);
    }
    fields.finish(complaints);
    Some(CircuitBreaker { max_connections, max_pending, max_requests })
}

/// Reads `rateLimit`.
pub(super) fn rate(outer: &mut Fields<'_>, complaints: &mut Complaints) -> Option<RateLimit> {
    let mut fields = outer.fields("rateLimit", complaints)?;
    let had = complaints.count();
    let requests = fields.number("requests", COUNT, complaints);
    if requests.is_none() && complaints.count() == had {
        fields.missing("requests", "how many may be sent within `interval`", complaints);
    }
    let interval = duration::field(&mut fields, "interval", &RATE_MS, complaints);
    let burst = fields.number("burst", COUNT, complaints);
    fields.finish(complaints);
    let requests = requests?;
    let interval = interval.unwrap_or(Duration::from_secs(1));
    Some(RateLimit { requests, interval, burst: burst.unwrap_or(requests) })
}
