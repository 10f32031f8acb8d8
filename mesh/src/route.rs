//! Routes: which requests to a service go to which backends. The shape is Gateway API's HTTPRoute
//! (<https://gateway-api.sigs.k8s.io/api-types/httproute/>) with a `Service` as its parent.

use std::time::Duration;

use crate::filters::Filters;
use crate::name::{Authority, ServiceName};
use crate::policy::RequestPolicy;

/// Name and namespace of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the namespace.
    pub name: String,
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

/// All parts must match (Gateway API `HTTPRouteMatch`).
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
}
