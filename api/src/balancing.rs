//! Balancing and ejection on the wire, in the log, and inside xDS clusters.

use mesh::{Balancer, Ejection, HashKey, SlowStart, SuccessRate, ZonePreference};

use crate::field::{self, FieldError};
use crate::policy::{millis, number, optional_span, span};
use crate::policy_rules::{COOKIE_MS, COUNT, EJECTION_MS, SLOW_START_MS, SOME_PERCENT, STDEV_FACTOR};
use crate::route_rules::header_name_fault;
use crate::v1;

pub(crate) fn balancer(number: i32) -> Result<Balancer, FieldError> {
    match v1::Balancer::try_from(number) {
        Ok(v1::Balancer::Unspecified | v1::Balancer::PeakEwma) => Ok(Balancer::PeakEwma),
        Ok(v1::Balancer::LeastRequest) => Ok(Balancer::LeastRequest),
        Ok(v1::Balancer::RoundRobin) => Ok(Balancer::RoundRobin),
        Ok(v1::Balancer::RingHash) => Ok(Balancer::RingHash),
        Err(_) => Err(FieldError::wrong("balancer", number, "must be 1 to 4")),
    }
}

impl From<Balancer> for v1::Balancer {
    fn from(balancer: Balancer) -> Self {
        match balancer {
            Balancer::PeakEwma => Self::PeakEwma,
            Balancer::LeastRequest => Self::LeastRequest,
            Balancer::RoundRobin => Self::RoundRobin,
            Balancer::RingHash => Self::RingHash,
        }
    }
}

/// A header's or a cookie's name: a token of RFC 9110.
fn token(name: &str, field: &str) -> Result<(), FieldError> {
    match header_name_fault(name) {
        Some(rule) => Err(FieldError::wrong(field, format_args!("{name:?}"), rule)),
        None => Ok(()),
    }
}

impl TryFrom<&v1::HashKey> for HashKey {
    type Error = FieldError;

    fn try_from(message: &v1::HashKey) -> Result<Self, FieldError> {
        match &message.key {
            Some(v1::hash_key::Key::Header(name)) => {
                token(name, "header")?;
                if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(FieldError::wrong("header", format_args!("{name:?}"), "must be lower case"));
                }
                Ok(Self::Header(name.clone()))
            }
            Some(v1::hash_key::Key::Cookie(cookie)) => {
                token(&cookie.name, "cookie.name")?;
                let ttl = optional_span(cookie.ttl_ms, "cookie.ttl_ms", &COOKIE_MS)?;
                Ok(Self::Cookie { name: cookie.name.clone(), ttl })
            }
            None => Err(FieldError::missing("key")),
        }
    }
}

impl From<&HashKey> for v1::HashKey {
    fn from(key: &HashKey) -> Self {
        let key = match key {
            HashKey::Header(name) => v1::hash_key::Key::Header(name.clone()),
            HashKey::Cookie { name, ttl } => v1::hash_key::Key::Cookie(v1::hash_key::Cookie {
                name: name.clone(),
                ttl_ms: ttl.map_or(0, millis),
            }),
        };
        Self { key: Some(key) }
    }
}

impl TryFrom<&v1::SlowStart> for SlowStart {
    type Error = FieldError;

    fn try_from(message: &v1::SlowStart) -> Result<Self, FieldError> {
        Ok(Self {
            window: span(message.window_ms, "window_ms", &SLOW_START_MS)?,
            min_percent: number(message.min_percent, "min_percent", &SOME_PERCENT)?,
        })
    }
}

impl From<&SlowStart> for v1::SlowStart {
    fn from(policy: &SlowStart) -> Self {
        Self { window_ms: millis(policy.window), min_percent: policy.min_percent }
    }
}

impl TryFrom<&v1::ZonePreference> for ZonePreference {
    type Error = FieldError;

    fn try_from(message: &v1::ZonePreference) -> Result<Self, FieldError> {
        Ok(Self { min_endpoints: number(message.min_endpoints, "min_endpoints", &COUNT)? })
    }
}

impl From<&ZonePreference> for v1::ZonePreference {
    fn from(policy: &ZonePreference) -> Self {
        Self { min_endpoints: policy.min_endpoints }
    }
}

impl TryFrom<&v1::ejection::SuccessRate> for SuccessRate {
    type Error = FieldError;

    fn try_from(message: &v1::ejection::SuccessRate) -> Result<Self, FieldError> {
        Ok(Self {
            min_requests: number(message.min_requests, "min_requests", &COUNT)?,
            min_endpoints: number(message.min_endpoints, "min_endpoints", &COUNT)?,
            stdev_factor: number(message.stdev_factor, "stdev_factor", &STDEV_FACTOR)?,
        })
    }
}

impl From<&SuccessRate> for v1::ejection::SuccessRate {
    fn from(rate: &SuccessRate) -> Self {
        Self {
            min_requests: rate.min_requests,
            min_endpoints: rate.min_endpoints,
            stdev_factor: rate.stdev_factor,
        }
    }
}

impl TryFrom<&v1::Ejection> for Ejection {
    type Error = FieldError;

    fn try_from(message: &v1::Ejection) -> Result<Self, FieldError> {
        let consecutive_failures = match message.consecutive_failures {
            0 => None,
            count => Some(number(count, "consecutive_failures", &COUNT)?),
        };
        if message.max_time_ms < message.base_time_ms {
            let rule = "must not be less than base_time_ms";
            return Err(FieldError::wrong("max_time_ms", message.max_time_ms, rule));
        }
        Ok(Self {
            consecutive_failures,
            success_rate: field::optional(message.success_rate.as_ref(), "success_rate")?,
            interval: span(message.interval_ms, "interval_ms", &EJECTION_MS)?,
            base_time: span(message.base_time_ms, "base_time_ms", &EJECTION_MS)?,
            max_time: span(message.max_time_ms, "max_time_ms", &EJECTION_MS)?,
            max_percent: number(message.max_percent, "max_percent", &SOME_PERCENT)?,
            min_ready: number(message.min_ready, "min_ready", &(0..=*COUNT.end()))?,
        })
    }
}

impl From<&Ejection> for v1::Ejection {
    fn from(policy: &Ejection) -> Self {
        Self {
            consecutive_failures: policy.consecutive_failures.unwrap_or(0),
            success_rate: policy.success_rate.as_ref().map(Into::into),
            interval_ms: millis(policy.interval),
            base_time_ms: millis(policy.base_time),
            max_time_ms: millis(policy.max_time),
            max_percent: policy.max_percent,
            min_ready: policy.min_ready,
        }
    }
}
