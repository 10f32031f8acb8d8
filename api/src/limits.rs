//! Circuit breakers and rate limits on the wire, in the log, and inside xDS clusters.

use mesh::{CircuitBreaker, RateLimit};

use crate::field::FieldError;
use crate::policy::{millis, number, span};
use crate::policy_rules::{COUNT, RATE_MS};
use crate::v1;

impl TryFrom<&v1::CircuitBreaker> for CircuitBreaker {
    type Error = FieldError;

    fn try_from(message: &v1::CircuitBreaker) -> Result<Self, FieldError> {
        let bound = |count: u32, field: &str| match count {
            0 => Ok(None),
            count => number(count, field, &COUNT).map(Some),
        };
        let pending = bound(message.max_pending_plus_one, "max_pending_plus_one")?;
        Ok(Self {
            max_connections: bound(message.max_connections, "max_connections")?,
            max_pending: pending.map(|count| count - 1),
            max_requests: bound(message.max_requests, "max_requests")?,
        })
    }
}

impl From<&CircuitBreaker> for v1::CircuitBreaker {
    fn from(breaker: &CircuitBreaker) -> Self {
        Self {
            max_connections: breaker.max_connections.unwrap_or(0),
            max_pending_plus_one: breaker.max_pending.map_or(0, |count| count.saturating_add(1)),
            max_requests: breaker.max_requests.unwrap_or(0),
        }
    }
}

impl TryFrom<&v1::RateLimit> for RateLimit {
    type Error = FieldError;

    fn try_from(message: &v1::RateLimit) -> Result<Self, FieldError> {
        Ok(Self {
            requests: number(message.requests, "requests", &COUNT)?,
            interval: span(message.interval_ms, "interval_ms", &RATE_MS)?,
            burst: number(message.burst, "burst", &COUNT)?,
        })
    }
}

impl From<&RateLimit> for v1::RateLimit {
    fn from(limit: &RateLimit) -> Self {
        Self { requests: limit.requests, interval_ms: millis(limit.interval), burst: limit.burst }
    }
}
