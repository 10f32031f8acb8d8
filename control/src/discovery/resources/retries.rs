//! Retries, timeouts and the hash key of a route, in xDS's words: Envoy and our own proxy take all of them, gRPC those of gRFC A44.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::RetryPolicy;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{
    RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType,
};
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{Cookie, Header, PolicySpecifier};
use envoy_types::pb::envoy::config::route::v3::route_action::{HashPolicy, MaxStreamDuration};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use mesh::{GrpcCode, HashKey, Retry, RouteRule};

use super::super::client::Shape;
use super::parts;

/// What Envoy tries again whenever it may try at all: what was provably not processed.
const UNSENT: [&str; 2] = ["connect-failure", "refused-stream"];

/// How often Envoy draws again when it draws an endpoint that was tried.
const REDRAWS: i64 = 3;

/// When a request is tried again, and how long one try may take.
pub(super) fn retry_policy(shape: Shape, rule: &RouteRule) -> Option<RetryPolicy> {
    let policy = match &rule.policy.retry {
        Some(retry) => allowed(shape, retry),
        // Envoy reads the time of a try also where it never tries again; gRPC does not read it.
        None if rule.try_timeout.is_some() && shape != Shape::Grpc => RetryPolicy::default(),
        None => return None,
    };
    Some(RetryPolicy { per_try_timeout: rule.try_timeout.map(parts::duration), ..policy })
}

fn allowed(shape: Shape, retry: &Retry) -> RetryPolicy {
    let mut on: Vec<&str> = UNSENT.to_vec();
    if !retry.codes.is_empty() {
        on.push("retriable-status-codes");
    }
    on.extend(retry.grpc_codes.iter().copied().map(GrpcCode::as_str));
    let elsewhere = RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(ConfigType::TypedConfig(parts::any(&PreviousHostsPredicate {}))),
    };
    let is_envoy = shape == Shape::Envoy;
    RetryPolicy {
        retry_on: on.join(","),
        num_retries: Some(parts::number(retry.attempts)),
        retriable_status_codes: retry.codes.iter().map(|code| u32::from(*code)).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(parts::duration(retry.backoff)),
            max_interval: Some(parts::duration(retry.backoff * Retry::MAX_BACKOFF_FACTOR)),
        }),
        retry_host_predicate: if is_envoy { vec![elsewhere] } else { Vec::new() },
        host_selection_retry_max_attempts: if is_envoy { REDRAWS } else { 0 },
        ..RetryPolicy::default()
    }
}

/// What leads a request to the same endpoint again.
pub(super) fn hash_policy(rule: &RouteRule) -> Vec<HashPolicy> {
    let specifier = rule.policy.hash.as_ref().map(|hash| match hash {
        HashKey::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.clone(), ..Header::default() })
        }
        HashKey::Cookie { name, ttl } => PolicySpecifier::Cookie(Cookie {
            name: name.clone(),
            ttl: ttl.map(parts::duration),
            path: if ttl.is_some() { "/".to_owned() } else { String::new() },
            ..Cookie::default()
        }),
    });
    let policy = |specifier| HashPolicy { policy_specifier: Some(specifier), ..HashPolicy::default() };
    specifier.into_iter().map(policy).collect()
}

/// The bound of a whole stream. gRPC reads only this one as a request's timeout; it would cut Envoy's long streams, which
/// instead is told to keep to the deadline of each gRPC call (zero: whatever that says).
pub(super) fn stream_bound(shape: Shape, timeout: Option<Duration>) -> Option<MaxStreamDuration> {
    match shape {
        Shape::Grpc => timeout.map(|timeout| MaxStreamDuration {
            max_stream_duration: Some(parts::duration(timeout)),
            ..MaxStreamDuration::default()
        }),
        Shape::Envoy | Shape::Penstock => Some(MaxStreamDuration {
            grpc_timeout_header_max: Some(parts::duration(Duration::ZERO)),
            ..MaxStreamDuration::default()
        }),
    }
}
