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
    /// Whether these are regular expressions of names.
    pub is_pattern: bool,
}

/// How a path matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole path elements from the left: `/foo` matches `/foo` and `/foo/bar`, not `/foobar`.
    Prefix(String),
    /// A regular expression of the whole path, in the words of RE2.
    Pattern(String),
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
    /// A regular expression of the whole value, in the words of RE2.
    Pattern,
}

/// Where a share of a rule's requests goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The service and port.
    pub authority: Authority,
    /// Share relative to its siblings, 0 to 1,000,000; zero takes none.
    pub weight: u32,
}

impl RouteMatch {
    /// How many regular expressions it has.
    #[must_use]
    pub fn expressions(&self) -> usize {
        let of_path = usize::from(matches!(self.path, Some(PathMatch::Pattern(_))));
        let kinds =
            self.headers.iter().map(|header| header.kind).chain(self.query.iter().map(|query| query.kind));
        of_path + kinds.filter(|kind| *kind == MatchKind::Pattern).count()
    }
}

impl PathMatch {
    /// Whether `path` (without query) matches; of a pattern, `by_pattern` says it, which has it compiled.
    #[must_use]
    pub fn matches(&self, path: &str, by_pattern: impl FnOnce(&str) -> bool) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => is_below(path, prefix),
            Self::Pattern(_) => by_pattern(path),
        }
    }

    /// The longest path below which all that matches is, in whole elements: what a cookie for it is bound to (GEP-1619). No element that a cookie
    /// could not say is in it.
    #[must_use]
    pub fn stem(&self) -> &str {
        let stem = match self {
            Self::Exact(path) => path,
            Self::Prefix(prefix) => prefix.trim_end_matches('/'),
            Self::Pattern(pattern) => literal_elements(pattern),
        };
        if stem.is_empty() || stem.contains(';') { "/" } else { stem }
    }
}

/// The elements that all paths begin with that an expression matches.
fn literal_elements(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    if pattern.contains('|') {
        return "";
    }
    let end = pattern.find(|letter| r".+*?()[]{}^$\".contains(letter));
    let mut literal = &pattern[..end.unwrap_or(pattern.len())];
    // What may be repeated may be left out.
    if end.is_some_and(|end| pattern[end..].starts_with(['*', '?', '{'])) {
        literal = literal.char_indices().next_back().map_or("", |(last, _)| &literal[..last]);
    }
    if end.is_none() { literal } else { literal.rfind('/').map_or("", |slash| &literal[..slash]) }
}

/// Whether `path` is `prefix` or below it, in whole elements.
#[must_use]
pub fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl GrpcMatch {
    /// What the paths of these calls are, `/service/method`; `None` is any.
    #[must_use]
    pub fn path(&self) -> Option<PathMatch> {
        let any = "[^/]+";
        Some(match (&self.service, &self.method) {
            (None, None) => return None,
            (Some(service), Some(method)) if !self.is_pattern => {
                PathMatch::Exact(format!("/{service}/{method}"))
            }
            (Some(service), None) if !self.is_pattern => PathMatch::Prefix(format!("/{service}")),
            // A method without its service has no letter that a pattern would mean as another.
            (None, Some(method)) if !self.is_pattern => PathMatch::Pattern(format!("/{any}/{method}")),
            (service, method) => {
                let part = |name: &Option<String>| {
                    name.as_ref().map_or(any.to_owned(), |name| format!("(?:{name})"))
                };
                PathMatch::Pattern(format!("/{}/{}", part(service), part(method)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_whole_path_elements_only() {
        for (path, prefix, expected) in [
            ("/foo", "/foo", true),
            ("/foo/", "/foo", true),
            ("/foo/bar", "/foo", true),
            ("/foobar", "/foo", false),
            ("/", "/foo", false),
            ("/anything", "/", true),
        ] {
            assert_eq!(is_below(path, prefix), expected, "{path} below {prefix}");
            let prefix = PathMatch::Prefix(prefix.to_owned());
            assert_eq!(prefix.matches(path, |_| panic!("it is no pattern")), expected);
        }
        assert!(PathMatch::Pattern(String::new()).matches("/a", |path| path == "/a"));
    }

    #[test]
    fn what_matches_is_below_its_stem() {
        let pattern = |text: &str| PathMatch::Pattern(text.to_owned());
        for (matched, stem) in [
            (PathMatch::Exact("/a/b".to_owned()), "/a/b"),
            (PathMatch::Prefix("/a/".to_owned()), "/a"),
            (PathMatch::Prefix("/".to_owned()), "/"),
            (PathMatch::Prefix("/a;b=c".to_owned()), "/"),
            (pattern("/a/v[0-9]+/b"), "/a"),
            (pattern("^/a/b/.*"), "/a/b"),
            (pattern("/a/b"), "/a/b"),
            (pattern("/a/b|/c/d"), "/"),
            (pattern("/a/?b"), "/"),
            (pattern("/a/bc*"), "/a"),
            (pattern(r"/a/b\.c"), "/a"),
            (pattern(".*"), "/"),
            (pattern("(?i)/a/b"), "/"),
        ] {
            assert_eq!(matched.stem(), stem, "{matched:?}");
        }
    }

    #[test]
    fn a_call_is_a_path_as_far_as_its_service_and_its_method_are_named() {
        let of = |service: &str, method: &str, is_pattern| {
            let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            GrpcMatch { service: named(service), method: named(method), is_pattern }.path()
        };
        let pattern = |text: &str| Some(PathMatch::Pattern(text.to_owned()));
        assert_eq!(of("", "", false), None);
        assert_eq!(of("a.B", "Do", false), Some(PathMatch::Exact("/a.B/Do".to_owned())));
        assert_eq!(of("a.B", "", false), Some(PathMatch::Prefix("/a.B".to_owned())));
        assert_eq!(of("", "Do", false), pattern("/[^/]+/Do"));
        assert_eq!(of("a.*|b", "", true), pattern("/(?:a.*|b)/[^/]+"));
        assert_eq!(of("a.*", "Do|Undo", true), pattern("/(?:a.*)/(?:Do|Undo)"));
    }
}
