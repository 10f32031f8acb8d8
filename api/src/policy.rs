//! Policies on the wire, in the log, and inside xDS clusters. What comes out of here holds `policy_rules`.

use std::ops::RangeInclusive;
use std::time::Duration;

use mesh::{
    GrpcCode, PolicyName, PolicyTarget, RequestPolicy, Retry, RetryBudget, RouteKind, RouteName, ServiceName,
    ServicePolicy, TrafficPolicy,
};

use crate::balancing::balancer;
use crate::field::{self, FieldError};
use crate::policy_rules::{
    BACKOFF_MS, BUDGET_WINDOW_MS, CONNECT_MS, MIN_RETRIES_MAX, POLICY_TARGETS_MAX, RETRY_CODES,
    RETRY_CODES_MAX,
};
use crate::route_rules::TIMEOUT_MS_MAX;
use crate::v1;

/// Under which an xDS cluster holds a `penstock.v1.ServicePolicy` in its typed metadata.
pub const POLICY_TYPE_URL: &str = "type.googleapis.com/penstock.v1.ServicePolicy";

/// Whole milliseconds within `range`.
pub(crate) fn span(millis: u64, field: &str, range: &RangeInclusive<u64>) -> Result<Duration, FieldError> {
    if range.contains(&millis) {
        return Ok(Duration::from_millis(millis));
    }
    Err(FieldError::wrong(field, millis, format!("must be {} to {} ms", range.start(), range.end())))
}

/// Milliseconds within `range`, or zero for none.
pub(crate) fn optional_span(
    millis: u64,
    field: &str,
    range: &RangeInclusive<u64>,
) -> Result<Option<Duration>, FieldError> {
    if millis == 0 { Ok(None) } else { span(millis, field, range).map(Some) }
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A number within `range`.
pub(crate) fn number(value: u32, field: &str, range: &RangeInclusive<u32>) -> Result<u32, FieldError> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(FieldError::wrong(field, value, format!("must be {} to {}", range.start(), range.end())))
}

/// Whether `items` are in order and each is there once.
fn ordered<T: Ord>(items: &[T], field: &str) -> Result<(), FieldError> {
    if items.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(());
    }
    Err(FieldError::wrong(field, format_args!("{} items", items.len()), "must be in order, each once"))
}

impl TryFrom<&v1::QualifiedName> for PolicyName {
    type Error = FieldError;

    fn try_from(message: &v1::QualifiedName) -> Result<Self, FieldError> {
        let RouteName { namespace, name, .. } = RouteName::try_from(message)?;
        Ok(Self { namespace, name })
    }
}

impl From<&PolicyName> for v1::QualifiedName {
    fn from(name: &PolicyName) -> Self {
        Self { name: name.name.clone(), namespace: name.namespace.clone() }
    }
}

impl TryFrom<&v1::PolicyTarget> for PolicyTarget {
    type Error = FieldError;

    fn try_from(message: &v1::PolicyTarget) -> Result<Self, FieldError> {
        let service: Option<ServiceName> = field::optional(message.service.as_ref(), "service")?;
        let route: Option<RouteName> = field::optional(message.route.as_ref(), "route")?;
        let grpc_route: Option<RouteName> = field::optional(message.grpc_route.as_ref(), "grpc_route")?;
        match (service, route, grpc_route) {
            (Some(service), None, None) => Ok(Self::Service(service)),
            (None, Some(route), None) => Ok(Self::Route(route)),
            (None, None, Some(route)) => Ok(Self::Route(route.of_kind(RouteKind::Grpc))),
            (None, None, None) => Err(FieldError::missing("service, route or grpc_route")),
            _ => {
                let rule = "must be alone: one of service, route and grpc_route".to_owned();
                Err(FieldError { field: String::new(), value: None, rule })
            }
        }
    }
}

impl From<&PolicyTarget> for v1::PolicyTarget {
    fn from(target: &PolicyTarget) -> Self {
        match target {
            PolicyTarget::Service(service) => Self { service: Some(service.into()), ..Self::default() },
            PolicyTarget::Route(route) => match route.kind {
                RouteKind::Http => Self { route: Some(route.into()), ..Self::default() },
                RouteKind::Grpc => Self { grpc_route: Some(route.into()), ..Self::default() },
            },
        }
    }
}

impl TryFrom<&v1::Retry> for Retry {
    type Error = FieldError;

    fn try_from(message: &v1::Retry) -> Result<Self, FieldError> {
        if message.codes.len() > RETRY_CODES_MAX {
            let rule = format!("must be at most {RETRY_CODES_MAX}");
            return Err(FieldError::wrong("codes", format_args!("{} items", message.codes.len()), rule));
        }
        let code = |code: &u32| {
            let code = number(*code, "codes", &RETRY_CODES)?;
            Ok(u16::try_from(code).expect("the range holds it below 600"))
        };
        let codes = message.codes.iter().map(code).collect::<Result<Vec<_>, FieldError>>()?;
        let grpc = |code: &u32| {
            let rule = "must be 1, 4, 8, 13 or 14";
            GrpcCode::numbered(*code).ok_or_else(|| FieldError::wrong("grpc_codes", code, rule))
        };
        let grpc_codes = message.grpc_codes.iter().map(grpc).collect::<Result<Vec<_>, _>>()?;
        ordered(&codes, "codes")?;
        ordered(&grpc_codes, "grpc_codes")?;
        Ok(Self {
            codes,
            grpc_codes,
            attempts: number(message.attempts, "attempts", &(1..=Self::MAX_ATTEMPTS))?,
            backoff: span(message.backoff_ms, "backoff_ms", &BACKOFF_MS)?,
        })
    }
}

impl From<&Retry> for v1::Retry {
    fn from(retry: &Retry) -> Self {
        Self {
            codes: retry.codes.iter().map(|code| u32::from(*code)).collect(),
            grpc_codes: retry.grpc_codes.iter().map(|code| code.number()).collect(),
            attempts: retry.attempts,
            backoff_ms: millis(retry.backoff),
        }
    }
}

impl TryFrom<&v1::RetryBudget> for RetryBudget {
    type Error = FieldError;

    fn try_from(message: &v1::RetryBudget) -> Result<Self, FieldError> {
        Ok(Self {
            percent: number(message.percent, "percent", &(0..=100))?,
            window: span(message.window_ms, "window_ms", &BUDGET_WINDOW_MS)?,
            min_retries: number(message.min_retries, "min_retries", &(0..=MIN_RETRIES_MAX))?,
            min_window: span(message.min_window_ms, "min_window_ms", &BUDGET_WINDOW_MS)?,
        })
    }
}

impl From<&RetryBudget> for v1::RetryBudget {
    fn from(budget: &RetryBudget) -> Self {
        Self {
            percent: budget.percent,
            window_ms: millis(budget.window),
            min_retries: budget.min_retries,
            min_window_ms: millis(budget.min_window),
        }
    }
}

impl TryFrom<&v1::RequestPolicy> for RequestPolicy {
    type Error = FieldError;

    fn try_from(message: &v1::RequestPolicy) -> Result<Self, FieldError> {
        Ok(Self {
            retry: field::optional(message.retry.as_ref(), "retry")?,
            stream_idle: optional_span(message.stream_idle_ms, "stream_idle_ms", &(1..=TIMEOUT_MS_MAX))?,
            hash: field::optional(message.hash.as_ref(), "hash")?,
            session: field::optional(message.session.as_ref(), "session")?,
            fault: field::optional(message.fault.as_ref(), "fault")?,
        })
    }
}

impl From<&RequestPolicy> for v1::RequestPolicy {
    fn from(policy: &RequestPolicy) -> Self {
        Self {
            retry: policy.retry.as_ref().map(Into::into),
            stream_idle_ms: policy.stream_idle.map_or(0, millis),
            hash: policy.hash.as_ref().map(Into::into),
            session: policy.session.as_ref().map(Into::into),
            fault: policy.fault.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&v1::ServicePolicy> for ServicePolicy {
    type Error = FieldError;

    fn try_from(message: &v1::ServicePolicy) -> Result<Self, FieldError> {
        Ok(Self {
            connect_timeout: optional_span(message.connect_timeout_ms, "connect_timeout_ms", &CONNECT_MS)?,
            retry_budget: field::optional(message.retry_budget.as_ref(), "retry_budget")?,
            balancer: balancer(message.balancer)?,
            slow_start: field::optional(message.slow_start.as_ref(), "slow_start")?,
            zones: field::optional(message.zones.as_ref(), "zones")?,
            ejection: field::optional(message.ejection.as_ref(), "ejection")?,
            breaker: field::optional(message.breaker.as_ref(), "breaker")?,
            rate_limit: field::optional(message.rate_limit.as_ref(), "rate_limit")?,
        })
    }
}

impl From<&ServicePolicy> for v1::ServicePolicy {
    fn from(policy: &ServicePolicy) -> Self {
        Self {
            connect_timeout_ms: policy.connect_timeout.map_or(0, millis),
            retry_budget: policy.retry_budget.as_ref().map(Into::into),
            balancer: v1::Balancer::from(policy.balancer).into(),
            slow_start: policy.slow_start.as_ref().map(Into::into),
            zones: policy.zones.as_ref().map(Into::into),
            ejection: policy.ejection.as_ref().map(Into::into),
            breaker: policy.breaker.as_ref().map(Into::into),
            rate_limit: policy.rate_limit.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&v1::TrafficPolicy> for TrafficPolicy {
    type Error = FieldError;

    fn try_from(message: &v1::TrafficPolicy) -> Result<Self, FieldError> {
        let name: PolicyName = field::required(message.name.as_ref(), "name")?;
        let targets: Vec<PolicyTarget> = field::each(&message.targets, "targets", POLICY_TARGETS_MAX)?;
        if targets.is_empty() {
            return Err(FieldError::missing("targets"));
        }
        for (at, target) in targets.iter().enumerate() {
            let namespace = match target {
                PolicyTarget::Service(service) => service.namespace(),
                PolicyTarget::Route(route) => &route.namespace,
            };
            let field = format!("targets[{at}]");
            if namespace != name.namespace {
                let rule = format!("must be {}, the policy's own", name.namespace);
                return Err(FieldError::wrong("namespace", namespace, rule).within(&field));
            }
            if targets[..at].contains(target) {
                return Err(FieldError::wrong(&field, format_args!("{target:?}"), "is there twice"));
            }
        }
        let requests = field::optional(message.requests.as_ref(), "requests")?.unwrap_or_default();
        let service: ServicePolicy =
            field::optional(message.service.as_ref(), "service")?.unwrap_or_default();
        let on_route = targets.iter().any(|target| matches!(target, PolicyTarget::Route(_)));
        if on_route && service != ServicePolicy::default() {
            let rule = "must say nothing where a target is a route";
            return Err(FieldError { field: "service".to_owned(), value: None, rule: rule.to_owned() });
        }
        Ok(Self { name, targets, requests, service })
    }
}

impl From<&TrafficPolicy> for v1::TrafficPolicy {
    fn from(policy: &TrafficPolicy) -> Self {
        Self {
            name: Some((&policy.name).into()),
            targets: policy.targets.iter().map(Into::into).collect(),
            requests: Some((&policy.requests).into()),
            service: Some((&policy.service).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::{
        Abort, Balancer, CircuitBreaker, Ejection, Fault, HashKey, RateLimit, SlowStart, SuccessRate,
        ZonePreference,
    };

    use super::*;

    fn policy() -> TrafficPolicy {
        TrafficPolicy {
            name: PolicyName { namespace: "shop".into(), name: "web.slow".into() },
            targets: vec![PolicyTarget::Service("web.shop".parse().unwrap())],
            requests: RequestPolicy {
                retry: Some(Retry {
                    codes: vec![500, 503],
                    grpc_codes: vec![GrpcCode::Cancelled, GrpcCode::Unavailable],
                    attempts: 3,
                    backoff: Duration::from_millis(7),
                }),
                stream_idle: Some(Duration::from_secs(5)),
                hash: Some(HashKey::Cookie { name: "user".into(), ttl: Some(Duration::from_secs(60)) }),
                session: Some(mesh::Session { name: "s".into(), token: mesh::SessionToken::Header }),
                fault: Some(Fault {
                    delay: Some((10, Duration::from_millis(200))),
                    abort: Some((5, Abort::Grpc(14))),
                }),
            },
            service: ServicePolicy {
                connect_timeout: Some(Duration::from_millis(300)),
                retry_budget: Some(RetryBudget::default()),
                balancer: Balancer::RingHash,
                slow_start: Some(SlowStart::default()),
                zones: Some(ZonePreference { min_endpoints: 2 }),
                ejection: Some(Ejection {
                    consecutive_failures: None,
                    success_rate: Some(SuccessRate::default()),
                    ..Ejection::default()
                }),
                breaker: Some(CircuitBreaker {
                    max_connections: Some(3),
                    max_pending: Some(0),
                    max_requests: None,
                }),
                rate_limit: Some(RateLimit { requests: 9, interval: Duration::from_secs(2), burst: 4 }),
            },
        }
    }

    #[test]
    fn a_policy_survives_the_wire() {
        assert_eq!(TrafficPolicy::try_from(&v1::TrafficPolicy::from(&policy())).unwrap(), policy());
    }

    #[test]
    fn a_policy_that_has_no_meaning_is_refused_with_the_whole_path() {
        type Break = fn(&mut v1::TrafficPolicy);
        fn retry(policy: &mut v1::TrafficPolicy) -> &mut v1::Retry {
            policy.requests.as_mut().unwrap().retry.as_mut().unwrap()
        }
        fn budget(policy: &mut v1::TrafficPolicy) -> &mut v1::RetryBudget {
            policy.service.as_mut().unwrap().retry_budget.as_mut().unwrap()
        }
        fn ejection(policy: &mut v1::TrafficPolicy) -> &mut v1::Ejection {
            policy.service.as_mut().unwrap().ejection.as_mut().unwrap()
        }
        let cases: [(Break, &str); 16] = [
            (|p| p.targets.clear(), "targets: is missing"),
            (|p| p.targets.push(p.targets[0].clone()), "targets[1] = Service"),
            (
                |p| p.targets[0] = v1::PolicyTarget::default(),
                "targets[0].service, route or grpc_route: is missing",
            ),
            (
                |p| p.name.as_mut().unwrap().namespace = "other".into(),
                "targets[0].namespace = shop: must be other",
            ),
            (
                |p| {
                    let (namespace, name) = ("shop".into(), "r".into());
                    let route = RouteName { namespace, name, kind: RouteKind::Grpc };
                    p.targets[0] = (&PolicyTarget::Route(route)).into();
                },
                "service: must say nothing where a target is a route",
            ),
            (|p| retry(p).codes[0] = 399, "requests.retry.codes = 399: must be 400 to 599"),
            (|p| retry(p).codes.reverse(), "requests.retry.codes = 2 items: must be in order"),
            (|p| retry(p).grpc_codes[0] = 0, "requests.retry.grpc_codes = 0: must be 1, 4, 8, 13 or 14"),
            (|p| retry(p).attempts = 0, "requests.retry.attempts = 0: must be 1 to 10"),
            (|p| retry(p).backoff_ms = 0, "requests.retry.backoff_ms = 0: must be 1 to 60000 ms"),
            (|p| budget(p).percent = 101, "service.retry_budget.percent = 101: must be 0 to 100"),
            (
                |p| p.requests.as_mut().unwrap().hash = Some(v1::HashKey::default()),
                "requests.hash.key: is missing",
            ),
            (|p| p.service.as_mut().unwrap().balancer = 9, "service.balancer = 9: must be 1 to 4"),
            (|p| ejection(p).max_percent = 0, "service.ejection.max_percent = 0: must be 1 to 100"),
            (
                |p| ejection(p).max_time_ms = 1_000,
                "service.ejection.max_time_ms = 1000: must not be less than",
            ),
            (
                |p| ejection(p).success_rate.as_mut().unwrap().min_requests = 0,
                "service.ejection.success_rate.min_requests = 0: must be 1 to 1000000",
            ),
        ];
        for (break_it, told) in cases {
            let mut message = v1::TrafficPolicy::from(&policy());
            break_it(&mut message);
            let error = TrafficPolicy::try_from(&message).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
