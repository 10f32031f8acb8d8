//! What is stored of services and routes, as YAML of the kind it was applied as. Applying it again changes nothing.

use mesh::{Backend, GrpcMatch, MatchKind, PathMatch, Route, RouteKind, RouteMatch, RouteRule, Service};

use super::check::Kind;
use super::duration;
use super::lines::{Lines, head, quoted};
use super::render_filters::filter_lines;
use super::render_policy::{retry_lines, session_lines};
use super::route_match::ANY_VALUE;

/// A service as the `Service` that declares it.
#[must_use]
pub fn service_yaml(service: &Service) -> String {
    let mut lines = Lines::default();
    head(&mut lines, Kind::Service, service.name.name(), service.name.namespace());
    lines.under("spec", |lines| {
        lines.list("clusterIPs", &service.addresses, |lines, address| {
            lines.line(&quoted(&address.to_string()));
        });
        lines.list("ports", &service.ports, |lines, port| {
            if !port.name.is_empty() {
                lines.line(&format!("name: {}", quoted(&port.name)));
            }
            lines.line(&format!("port: {}", port.port));
            lines.line(&format!("appProtocol: {}", port.protocol.as_str()));
        });
    });
    lines.text
}

/// A route as the `HTTPRoute` or `GRPCRoute` that declares it.
#[must_use]
pub fn route_yaml(route: &Route) -> String {
    let namespace = route.name.namespace.as_str();
    let mut lines = Lines::default();
    head(&mut lines, kind_of(route.name.kind), &route.name.name, namespace);
    lines.under("spec", |lines| {
        lines.list("parentRefs", &route.parents, |lines, (service, port)| {
            lines.line("group: \"\"");
            lines.line("kind: Service");
            lines.line(&format!("name: {}", quoted(service.name())));
            if service.namespace() != namespace {
                lines.line(&format!("namespace: {}", quoted(service.namespace())));
            }
            if let Some(port) = port {
                lines.line(&format!("port: {port}"));
            }
        });
        lines.list("rules", &route.rules, |lines, rule| rule_lines(lines, rule, namespace));
    });
    lines.text
}

/// The kind of document that declares such a route.
pub(super) fn kind_of(kind: RouteKind) -> Kind {
    match kind {
        RouteKind::Http => Kind::HttpRoute,
        RouteKind::Grpc => Kind::GrpcRoute,
    }
}

fn rule_lines(lines: &mut Lines, rule: &RouteRule, namespace: &str) {
    lines.list("matches", &rule.matches, match_lines);
    filter_lines(lines, &rule.filters, namespace);
    lines.list("backendRefs", &rule.backends, |lines, backend| backend_lines(lines, backend, namespace));
    let timeouts = [("request", rule.request_timeout), ("backendRequest", rule.try_timeout)];
    if timeouts.iter().any(|(_, timeout)| timeout.is_some()) {
        lines.under("timeouts", |lines| {
            for (key, timeout) in timeouts {
                if let Some(timeout) = timeout {
                    lines.line(&format!("{key}: {}", duration::rendered(timeout)));
                }
            }
        });
    }
    if let Some(retry) = &rule.policy.retry {
        retry_lines(lines, retry);
    }
    if let Some(session) = &rule.policy.session {
        session_lines(lines, session);
    }
    if lines.item {
        lines.line("{}"); // a rule that says nothing
    }
}

fn match_lines(lines: &mut Lines, route_match: &RouteMatch) {
    if let Some(path) = &route_match.path {
        let (kind, value) = match path {
            PathMatch::Exact(value) => ("Exact", value),
            PathMatch::Prefix(value) => ("PathPrefix", value),
            PathMatch::Pattern(value) => ("RegularExpression", value),
        };
        lines.under("path", |lines| {
            lines.line(&format!("type: {kind}"));
            lines.line(&format!("value: {}", quoted(value)));
        });
    }
    if let Some(method) = &route_match.method {
        lines.line(&format!("method: {}", quoted(method)));
    }
    if let Some(call) = route_match.grpc.as_ref().filter(|call| **call != GrpcMatch::default()) {
        lines.under("method", |lines| {
            if call.is_pattern {
                lines.line("type: RegularExpression");
            }
            for (key, name) in [("service", &call.service), ("method", &call.method)] {
                if let Some(name) = name {
                    lines.line(&format!("{key}: {}", quoted(name)));
                }
            }
        });
    }
    lines.list("headers", &route_match.headers, |lines, header| {
        value_lines(lines, &header.name, &header.value, header.kind);
    });
    lines.list("queryParams", &route_match.query, |lines, query| {
        value_lines(lines, &query.name, &query.value, query.kind);
    });
    if lines.item {
        lines.line("{}"); // a match that every request meets
    }
}

fn value_lines(lines: &mut Lines, name: &str, value: &str, kind: MatchKind) {
    lines.line(&format!("name: {}", quoted(name)));
    let (kind, value) = match kind {
        MatchKind::Exact => ("Exact", value.to_owned()),
        MatchKind::Prefix => ("RegularExpression", format!("{value}{ANY_VALUE}")),
        MatchKind::Present => ("RegularExpression", ANY_VALUE.to_owned()),
        MatchKind::Pattern => ("RegularExpression", value.to_owned()),
    };
    lines.line(&format!("type: {kind}"));
    lines.line(&format!("value: {}", quoted(&value)));
}

fn backend_lines(lines: &mut Lines, backend: &Backend, namespace: &str) {
    let service = &backend.authority.service;
    lines.line(&format!("name: {}", quoted(service.name())));
    if service.namespace() != namespace {
        lines.line(&format!("namespace: {}", quoted(service.namespace())));
    }
    lines.line(&format!("port: {}", backend.authority.port));
    lines.line(&format!("weight: {}", backend.weight));
}
