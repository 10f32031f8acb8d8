//! Routes: which requests to a service go to which backends. The shape is Gateway API's HTTPRoute and GRPCRoute
//! (<https://gateway-api.sigs.k8s.io/api-types/httproute/>, <https://gateway-api.sigs.k8s.io/api-types/grpcroute/>) with a
//! `Service` as their parent.

use std::time::Duration;

use crate::filters::Filters;
use crate::name::{Authority, ServiceName};
use crate::policy::RequestPolicy;

/// Which of Gateway API's routes it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RouteKind {
    /// `HTTPRoute`: any request.
    #[default]
    Http,
    /// `GRPCRoute`: gRPC's calls alone, which it takes before any `HTTPRoute` does.
    Grpc,
}

impl RouteKind {
    /// As `kind` of a document says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }
}

/// Name, namespace and kind of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the namespace among routes of its kind.
    pub name: String,
    /// What it is.
    pub kind: RouteKind,
}

impl RouteName {
    /// The same name of a route of another kind.
    #[must_use]
    pub fn of_kind(self, kind: RouteKind) -> Self {
        Self { kind, ..self }
    }
}

impl std::fmt::Display for RouteName {
    /// `HTTPRoute namespace/name`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// Rules for the requests of every caller of its parents. Rules are tried in order; where none matches, and where
/// a parent has no route, requests go to the parent itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// The services (and ports; `None` means each port) whose requests it rules. Never empty.
    pub parents: Vec<(ServiceName, Option<u16>)>,
    /// Tried in order.
    pub rules: Vec<RouteRule>,
}

/// One rule: what it matches and where that goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteRule {
    /// Any of these; empty matches every request.
    pub matches: Vec<RouteMatch>,
    /// Picked by weight. All weights zero, or no backend: the request is answered 500, as Gateway API asks.
    pub backends: Vec<Backend>,
    /// Longest time from request to the end of the response head, if bounded.
    pub request_timeout: Option<Duration>,
    /// Longest time of one try, if bounded (Gateway API `timeouts.backendRequest`).
    pub try_timeout: Option<Duration>,
    /// What is done to its requests.
    pub filters: Filters,
    /// What the rule itself says, and once policies are laid over it, what they say.
    pub policy: RequestPolicy,
}

/// All parts must match (Gateway API `HTTPRouteMatch`, `GRPCRouteMatch`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteMatch {
    /// The path, without the query.
    pub path: Option<PathMatch>,
    /// Each of these headers.
    pub headers: Vec<HeaderMatch>,
    /// Each of these parameters of the query.
    pub query: Vec<QueryMatch>,
    /// The method, upper case.
    pub method: Option<String>,
    /// Only calls of gRPC, and of these.
    pub grpc: Option<GrpcMatch>,
}

/// Which calls of gRPC match (Gateway API `GRPCMethodMatch`); what is `None` matches each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrpcMatch {
    /// The service with its package, for instance `shop.v1.Carts`.
    pub service: Option<String>,
    /// The method, for instance `Add`.
    pub method: Option<String>,
}

/// How a path matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole path elements from the left: `/foo` matches `/foo` and `/foo/bar`, not `/foobar`.
    Prefix(String),
}

/// A header that must be there with this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// The value, or a pattern of it.
    pub value: String,
    /// How `value` is compared.
    pub kind: MatchKind,
}

/// A parameter of the query that must be there with this value; of several of one name the first counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    /// As it stands in the query, once decoded.
    pub name: String,
    /// The value, decoded, or the begin of it.
    pub value: String,
    /// How `value` is compared.
    pub kind: MatchKind,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchKind {
    /// Byte by byte.
    Exact,
    /// It begins with this.
    Prefix,
    /// The header is there, whatever its value.
    Present,
}

/// Where a share of a rule's requests goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The service and port.
    pub authority: Authority,
    /// Share relative to its siblings, 0 to 1,000,000; zero takes none.
    pub weight: u32,
}

impl PathMatch {
    /// Whether `path` (without query) matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl GrpcMatch {
    /// Whether the call that `path` names matches: `/service/method`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let called = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let is = |wanted: &Option<String>, named: &str| wanted.as_ref().is_none_or(|wanted| wanted == named);
        match called {
            Some((service, method)) => is(&self.service, service) && is(&self.method, method),
            None => *self == Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_whole_path_elements_only() {
        let prefix = PathMatch::Prefix("/foo".to_owned());
        assert!(prefix.matches("/foo") && prefix.matches("/foo/") && prefix.matches("/foo/bar"));
        assert!(!prefix.matches("/foobar") && !prefix.matches("/"));
        assert!(PathMatch::Prefix("/".to_owned()).matches("/anything"));
    }
    #[test]
    fn a_call_matches_by_its_service_and_its_method_where_they_are_named() {
        let of = |service: &str, method: &str| {
            let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            GrpcMatch { service: named(service), method: named(method) }
        };
        for (service, method, expected) in [
            ("shop.Carts", "Add", true),
            ("shop.Carts", "", true),
            ("", "Add", true),
            ("", "", true),
            ("shop.Cart", "Add", false),
            ("shop.Carts", "Ad", false),
            ("", "Remove", false),
        ] {
            assert_eq!(of(service, method).matches("/shop.Carts/Add"), expected, "{service}/{method}");
        }
        assert!(!of("shop.Carts", "").matches("/shop.Carts") && of("", "").matches("/shop.Carts"));
        assert!(!of("", "Add").matches("/a/b/Add"), "a method has no slash");
    }
}
