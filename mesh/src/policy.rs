//! Traffic policies: what Kubernetes and Gateway API have no field for, attached to services or routes by an operator.
//! What concerns a request may be said for one route too; what concerns the endpoints only for the whole service.

use std::time::Duration;

use crate::balancing::{Balancer, Ejection, HashKey, SlowStart, ZonePreference};
use crate::fault::Fault;
use crate::limits::{CircuitBreaker, RateLimit};
use crate::name::ServiceName;
use crate::retry::{Retry, RetryBudget};
use crate::route::RouteName;
use crate::session::Session;

/// Name and namespace of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
}

/// What a policy is attached to. One target has one policy at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyTarget {
    /// Every request to a service, and its endpoints.
    Service(ServiceName),
    /// Every request that a route's rules take.
    Route(RouteName),
}

/// A policy as an operator declared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// Its name.
    pub name: PolicyName,
    /// In the policy's namespace. Never empty, each once.
    pub targets: Vec<PolicyTarget>,
    /// What concerns each request.
    pub requests: RequestPolicy,
    /// What concerns the endpoints. Says nothing when a target is a route.
    pub service: ServicePolicy,
}

/// What concerns a request. A rule's own word comes before its route's policy, and that before its service's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestPolicy {
    /// When it is tried again.
    pub retry: Option<Retry>,
    /// Longest time without a byte in either direction, once the answer has begun.
    pub stream_idle: Option<Duration>,
    /// What leads it to the same endpoint again, where the balancer is a ring.
    pub hash: Option<HashKey>,
    /// Whether it stays with the endpoint that answered before, whatever the balancer.
    pub session: Option<Session>,
    /// What happens to it before it is sent, if anything.
    pub fault: Option<Fault>,
}

/// What concerns a service's endpoints, the same for every caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicePolicy {
    /// Longest wait for a connection.
    pub connect_timeout: Option<Duration>,
    /// How many retries there may be in all.
    pub retry_budget: Option<RetryBudget>,
    /// How an endpoint is picked.
    pub balancer: Balancer,
    /// Whether a new endpoint's share grows slowly.
    pub slow_start: Option<SlowStart>,
    /// Whether requests stay in the caller's zone.
    pub zones: Option<ZonePreference>,
    /// When an endpoint is set aside.
    pub ejection: Option<Ejection>,
    /// How much may be under way to it.
    pub breaker: Option<CircuitBreaker>,
    /// How many requests may be sent to it in a time.
    pub rate_limit: Option<RateLimit>,
}

impl RequestPolicy {
    /// This, and where it says nothing, what `wider` says.
    #[must_use]
    pub fn within(mut self, wider: &Self) -> Self {
        match (&mut self.retry, &wider.retry) {
            // An HTTPRoute has no field for gRPC's codes: a policy adds them to the rule's own retry.
            (Some(own), Some(wider)) if own.grpc_codes.is_empty() => {
                own.grpc_codes.clone_from(&wider.grpc_codes);
            }
            (Some(_), _) => {}
            (None, wider) => self.retry.clone_from(wider),
        }
        self.stream_idle = self.stream_idle.or(wider.stream_idle);
        self.hash = self.hash.or_else(|| wider.hash.clone());
        self.session = self.session.or_else(|| wider.session.clone());
        self.fault = self.fault.or(wider.fault);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::GrpcCode;
    use crate::session::SessionToken;

    #[test]
    fn the_narrower_word_rules_and_the_wider_one_fills_what_it_leaves_open() {
        let retry = |codes: &[u16], grpc_codes: &[GrpcCode]| Retry {
            codes: codes.to_vec(),
            grpc_codes: grpc_codes.to_vec(),
            attempts: 1,
            backoff: Retry::DEFAULT_BACKOFF,
        };
        let wider = RequestPolicy {
            retry: Some(retry(&[500], &[GrpcCode::Unavailable])),
            stream_idle: Some(Duration::from_secs(9)),
            hash: Some(HashKey::Header("x-user".to_owned())),
            session: Some(Session { name: "s".to_owned(), token: SessionToken::Header }),
            fault: None,
        };
        assert_eq!(RequestPolicy::default().within(&wider), wider);
        let hash = Some(HashKey::Header("x-own".to_owned()));
        let own = RequestPolicy { retry: Some(retry(&[503], &[])), hash, ..RequestPolicy::default() };
        let both = own.within(&wider);
        assert_eq!(both.retry, Some(retry(&[503], &[GrpcCode::Unavailable])));
        assert_eq!((both.stream_idle, &both.session), (wider.stream_idle, &wider.session));
        assert_eq!(both.hash, Some(HashKey::Header("x-own".to_owned())));
    }
}
