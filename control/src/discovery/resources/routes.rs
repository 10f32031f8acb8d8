//! RDS: which requests go to which clusters. One set per authority for those who ask by name; one set of all for
//! Envoy, with a virtual host per authority.

use std::collections::HashMap;

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::{GrpcRouteMatchOptions, PathSpecifier};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, QueryParameterMatcher, Route as WireRoute, RouteAction,
    RouteConfiguration, RouteMatch as WireMatch, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::Any;
use mesh::{
    Authority, Backend, DEFAULT_NAMESPACE, GrpcMatch, HeaderMatch, MatchKind, PathMatch, Protocol,
    QueryMatch, RouteMatch, RouteRule, Session,
};

use super::super::client::Shape;
use super::super::mirror::{Entry, Mirror, OUTBOUND};
use super::retries::{hash_policy, retry_policy, stream_bound};
use super::sessions::sessions;
use super::{filters, parts};

/// The port that an authority without one means.
const DEFAULT_PORT: u16 = 80;

/// The routes of one authority, for whoever asks by name.
pub(super) fn bytes(shape: Shape, name: &str, entry: &Entry) -> Bytes {
    let host = VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        typed_per_filter_config: limits(shape, entry),
        routes: routes(shape, entry),
        ..VirtualHost::default()
    };
    let virtual_hosts = vec![host];
    parts::encoded(&RouteConfiguration { name: name.to_owned(), virtual_hosts, ..Default::default() })
}

/// The routes of all authorities, for Envoy. Opaque ports cannot be told apart by a request's authority.
pub(in super::super) fn outbound_routes(mirror: &Mirror) -> Bytes {
    let hosts = mirror
        .all_served()
        .filter(|(_, entry)| entry.port.is_some_and(|(_, protocol)| protocol != Protocol::Opaque))
        .map(|(name, entry)| VirtualHost {
            name: name.to_string(),
            domains: domains(&entry.authority),
            typed_per_filter_config: limits(Shape::Envoy, entry),
            routes: routes(Shape::Envoy, entry),
            ..VirtualHost::default()
        });
    parts::encoded(&RouteConfiguration {
        name: OUTBOUND.to_owned(),
        virtual_hosts: hosts.collect(),
        ..RouteConfiguration::default()
    })
}

/// The rate limit of a service, for Envoy; ours reads it from the cluster.
fn limits(shape: Shape, entry: &Entry) -> HashMap<String, Any> {
    let limit = entry.service_policy().and_then(|policy| policy.service.rate_limit);
    limit.filter(|_| shape == Shape::Envoy).map(|limit| filters::rate_limit(&limit)).unwrap_or_default()
}

/// Every way to say an authority, as [`Authority`]'s parser has it. No two authorities share one: Envoy refuses a
/// set of routes in which a domain appears twice.
fn domains(authority: &Authority) -> Vec<String> {
    let (service, port) = (&authority.service, authority.port);
    let mut hosts =
        vec![service.to_string(), format!("{service}.svc"), format!("{service}.svc.cluster.local")];
    if service.namespace() == DEFAULT_NAMESPACE {
        hosts.push(service.name().to_owned());
    }
    let mut domains: Vec<_> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
    if port == DEFAULT_PORT {
        domains.extend(hosts);
    }
    domains
}

/// The rules in their order, and at last everything else to the authority itself, each with what the service's policy says.
fn routes(shape: Shape, entry: &Entry) -> Vec<WireRoute> {
    let mut routes = Vec::new();
    let itself = RouteRule {
        backends: vec![Backend { authority: entry.authority.clone(), weight: 1 }],
        ..RouteRule::default()
    };
    let rules = entry.rules.iter().flat_map(|(_, rules)| rules.iter());
    for rule in rules.chain(std::iter::once(&itself)) {
        let ruled = entry
            .service_policy()
            .map(|policy| RouteRule { policy: rule.policy.clone().within(&policy.requests), ..rule.clone() });
        let rule = ruled.as_ref().unwrap_or(rule);
        let everything = [RouteMatch::default()];
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        for one in matches {
            let changed = route(shape, rule, one);
            let of_path = |path| WireRoute { r#match: Some(path), ..changed.clone() };
            routes.extend(wire_matches(shape, one).into_iter().map(of_path));
        }
    }
    routes
}

/// What becomes of the requests that `one` matches. gRPC changes none, and knows no faults of a single route.
fn route(shape: Shape, rule: &RouteRule, one: &RouteMatch) -> WireRoute {
    let mut route = WireRoute { action: Some(action(shape, rule, one)), ..WireRoute::default() };
    if shape != Shape::Grpc {
        filters::change_headers(&rule.filters, &mut route);
        route.typed_per_filter_config = rule.policy.fault.as_ref().map(filters::faults).unwrap_or_default();
    }
    route
}

/// gRPC does not know a prefix of whole path elements; two matches say the same. A call is its path, `/service/method`.
fn wire_matches(shape: Shape, one: &RouteMatch) -> Vec<WireMatch> {
    let called = one.grpc.as_ref().and_then(GrpcMatch::path);
    let paths = match one.path.as_ref().or(called.as_ref()) {
        None => vec![PathSpecifier::Prefix("/".to_owned())],
        Some(PathMatch::Exact(path)) => vec![PathSpecifier::Path(path.clone())],
        Some(PathMatch::Pattern(pattern)) => vec![PathSpecifier::SafeRegex(parts::expression(pattern))],
        Some(PathMatch::Prefix(prefix)) => match prefix.trim_end_matches('/') {
            "" => vec![PathSpecifier::Prefix("/".to_owned())],
            prefix if shape == Shape::Grpc => {
                vec![PathSpecifier::Path(prefix.to_owned()), PathSpecifier::Prefix(format!("{prefix}/"))]
            }
            prefix => vec![PathSpecifier::PathSeparatedPrefix(prefix.to_owned())],
        },
    };
    paths.into_iter().map(|path| wire_match(shape, path, one)).collect()
}

/// All that gRPC sends is gRPC: it is not told so.
fn wire_match(shape: Shape, path: PathSpecifier, one: &RouteMatch) -> WireMatch {
    let method = one.method.as_ref().map(|method| header(":method", exactly(method)));
    let headers = one.headers.iter().map(|HeaderMatch { name, value, kind }| match kind {
        MatchKind::Exact => header(name, exactly(value)),
        MatchKind::Prefix | MatchKind::Pattern => {
            header(name, HeaderMatchSpecifier::StringMatch(pattern(value, *kind)))
        }
        MatchKind::Present => header(name, HeaderMatchSpecifier::PresentMatch(true)),
    });
    WireMatch {
        path_specifier: Some(path),
        headers: method.into_iter().chain(headers).collect(),
        query_parameters: one.query.iter().map(parameter).collect(),
        grpc: one.grpc.as_ref().filter(|_| shape != Shape::Grpc).map(|_| GrpcRouteMatchOptions {}),
        ..WireMatch::default()
    }
}

fn header(name: &str, specifier: HeaderMatchSpecifier) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

fn parameter(query: &QueryMatch) -> QueryParameterMatcher {
    let specifier = match query.kind {
        MatchKind::Present => QueryParameterMatchSpecifier::PresentMatch(true),
        kind => QueryParameterMatchSpecifier::StringMatch(pattern(&query.value, kind)),
    };
    QueryParameterMatcher { name: query.name.clone(), query_parameter_match_specifier: Some(specifier) }
}

fn exactly(value: &str) -> HeaderMatchSpecifier {
    HeaderMatchSpecifier::StringMatch(pattern(value, MatchKind::Exact))
}

fn pattern(value: &str, kind: MatchKind) -> StringMatcher {
    let match_pattern = match kind {
        MatchKind::Prefix => MatchPattern::Prefix(value.to_owned()),
        MatchKind::Pattern => MatchPattern::SafeRegex(parts::expression(value)),
        MatchKind::Exact | MatchKind::Present => MatchPattern::Exact(value.to_owned()),
    };
    StringMatcher { match_pattern: Some(match_pattern), ..StringMatcher::default() }
}

/// A rule without a backend that takes anything is answered 500, a call of gRPC UNAVAILABLE, which 503 means (Gateway API,
/// `HTTPRouteRule.backendRefs`, `GRPCRouteRule.backendRefs`).
fn action(shape: Shape, rule: &RouteRule, one: &RouteMatch) -> Action {
    if let Some(redirect) = rule.filters.redirect.as_ref().filter(|_| shape != Shape::Grpc) {
        return Action::Redirect(filters::redirect(redirect, one));
    }
    let session = rule.policy.session.as_ref().filter(|_| shape != Shape::Grpc);
    let taking: Vec<&Backend> = rule.backends.iter().filter(|backend| backend.weight > 0).collect();
    let specifier = match taking.as_slice() {
        [] => {
            return Action::DirectResponse(DirectResponseAction {
                status: if one.grpc.is_some() { 503 } else { 500 },
                ..DirectResponseAction::default()
            });
        }
        [backend] if session.is_none() => ClusterSpecifier::Cluster(backend.authority.to_string()),
        several => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: several.iter().map(|backend| weighed(backend, session, one)).collect(),
            ..WeightedCluster::default()
        }),
    };
    forward(shape, specifier, rule, one)
}

fn weighed(backend: &Backend, session: Option<&Session>, one: &RouteMatch) -> ClusterWeight {
    ClusterWeight {
        name: backend.authority.to_string(),
        weight: Some(parts::number(backend.weight)),
        typed_per_filter_config: session.map(|session| sessions(session, one)).unwrap_or_default(),
        ..ClusterWeight::default()
    }
}

/// Zero is "no bound" to Envoy, whose default would be 15 seconds.
fn forward(shape: Shape, specifier: ClusterSpecifier, rule: &RouteRule, one: &RouteMatch) -> Action {
    let mut action = RouteAction {
        cluster_specifier: Some(specifier),
        timeout: Some(parts::duration(rule.request_timeout.unwrap_or_default())),
        idle_timeout: rule.policy.stream_idle.map(parts::duration),
        retry_policy: retry_policy(shape, rule),
        hash_policy: hash_policy(rule),
        max_stream_duration: stream_bound(shape, rule.request_timeout),
        ..RouteAction::default()
    };
    if shape != Shape::Grpc {
        filters::change_action(&rule.filters, one, &mut action);
    }
    Action::Route(action)
}
