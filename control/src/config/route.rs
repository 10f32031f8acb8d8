//! An `HTTPRoute` or a `GRPCRoute` of Gateway API's `gateway.networking.k8s.io/v1` with Services as parents (GAMMA, GEP-1294).
//! They differ in what a match says, in which filters there are, and in what a retry names; `timeouts` and `retry` of a
//! `GRPCRoute` are ours, in the shape that an `HTTPRoute` has them in.
//!
//! A route rules the requests of every caller, so it must stand in its parents' namespace (a producer route); consumer
//! routes are not supported yet. Backends may stand in other namespaces without a ReferenceGrant: the mesh has no borders
//! between namespaces yet. Filters of a single backend are refused in words.

use api::v1::QualifiedName;
use api::{BACKEND_WEIGHT_MAX, BACKENDS_MAX, MATCHES_MAX, PARENTS_MAX, ROUTE_MATCHES_MAX, RULES_MAX};
use mesh::{Authority, Backend, RequestPolicy, Route, RouteKind, RouteName, RouteRule, ServiceName};
use runtime::yaml::{Node, Position};

use super::complaints::Complaints;
use super::fields::{Fields, shown};
use super::filters;
use super::grpc_match;
use super::metadata::Metadata;
use super::retry::{self, Dialect};
use super::route_match;
use super::session;

/// Weight of a backend that states none (Gateway API).
const DEFAULT_WEIGHT: u32 = 1;

/// What a route is called in a sentence.
fn said(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Http => "an HTTPRoute",
        RouteKind::Grpc => "a GRPCRoute",
    }
}

/// Reads the rest of a document whose kind is `HTTPRoute` or `GRPCRoute`.
pub(super) fn read(
    kind: RouteKind,
    document: &mut Fields<'_>,
    metadata: &Metadata,
    complaints: &mut Complaints,
) -> Option<Route> {
    let name: Option<RouteName> = metadata.noun(complaints);
    let namespace = metadata.name.namespace.as_str();
    if document.take("spec").is_none() {
        let expected = format!("{} has a `spec` with `parentRefs` and `rules`", said(kind));
        document.missing("spec", &expected, complaints);
        return None;
    }
    let mut spec = document.fields("spec", complaints)?;
    let had = complaints.count();
    let parents = parents(kind, &mut spec, namespace, complaints);
    let rules_had = complaints.count();
    let items = spec.list("rules", RULES_MAX, complaints);
    if items.is_empty() && complaints.count() == rules_had {
        spec.missing("rules", &format!("{} has at least one rule", said(kind)), complaints);
    }
    let rules: Vec<_> =
        items.iter().map(|(path, item)| rule(kind, item, path, &metadata.name, complaints)).collect();
    let why = "a route with a Service as its parent rules every request to it; leave it out";
    spec.refuse(&["hostnames"], why, complaints);
    spec.refuse(&["useDefaultGateways"], "Penstock has no Gateway; leave it out", complaints);
    let rules: Option<Vec<RouteRule>> = rules.into_iter().collect();
    let matches: usize = rules.iter().flatten().map(|rule| rule.matches.len()).sum();
    if matches > ROUTE_MATCHES_MAX {
        let message = format!("must hold at most {ROUTE_MATCHES_MAX} matches in all rules, holds {matches}");
        complaints.add(spec.position, "spec.rules", message);
    }
    spec.finish(complaints);
    if complaints.count() > had {
        return None;
    }
    Some(Route { name: name?.of_kind(kind), parents: parents?, rules: rules? })
}

fn parents(
    kind: RouteKind,
    spec: &mut Fields<'_>,
    namespace: &str,
    complaints: &mut Complaints,
) -> Option<Vec<(ServiceName, Option<u16>)>> {
    let had = complaints.count();
    let items = spec.list("parentRefs", PARENTS_MAX, complaints);
    if items.is_empty() && complaints.count() == had {
        let expected = format!("{} names at least one Service whose requests it rules", said(kind));
        spec.missing("parentRefs", &expected, complaints);
    }
    let mut parents: Vec<(ServiceName, Option<u16>)> = Vec::new();
    for (path, item) in &items {
        let Some(parent) = parent(item, path, namespace, complaints) else { continue };
        if parents.contains(&parent) {
            complaints.add(item.position, path, "names the same Service and port as one before it");
        } else {
            parents.push(parent);
        }
    }
    (complaints.count() == had).then_some(parents)
}

fn parent(
    node: &Node,
    path: &str,
    namespace: &str,
    complaints: &mut Complaints,
) -> Option<(ServiceName, Option<u16>)> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    fields.only("group", &["", "core"], "a parent is a Service; write group: \"\"", complaints);
    if fields.take("kind").is_none() {
        fields.missing(
            "kind",
            "write kind: Service (Gateway API takes a Gateway otherwise, and Penstock has none)",
            complaints,
        );
    }
    fields.only("kind", &["Service"], "a parent is a Service", complaints);
    let name = service_name(&mut fields, namespace, complaints);
    if let Some(name) = &name
        && name.namespace() != namespace
    {
        let message = format!(
            "{} is not supported yet: a route rules Services of its own namespace ({namespace}) only",
            shown(name.namespace())
        );
        complaints.add(node.position, &fields.path("namespace"), message);
    }
    let port = fields.port("port", complaints);
    fields.refuse(&["sectionName"], "name the parent's `port` instead", complaints);
    fields.finish(complaints);
    if complaints.count() > had { None } else { Some((name?, port)) }
}

/// `name` and `namespace` of a reference to a Service.
pub(super) fn service_name(
    fields: &mut Fields<'_>,
    namespace: &str,
    complaints: &mut Complaints,
) -> Option<ServiceName> {
    let had = complaints.count();
    let name = fields.text("name", complaints);
    if name.is_none() && complaints.count() == had {
        fields.missing("name", "the name of a Service", complaints);
    }
    let stated = fields.text("namespace", complaints);
    let rule = "must be 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'";
    let mut wrong = |text: &str, position: Position, field: &str| {
        if ServiceName::new(text, text).is_err() {
            complaints.add(position, &fields.path(field), format!("{} {rule}", shown(text)));
        }
    };
    if let Some((text, position)) = stated {
        wrong(text, position, "namespace");
    }
    let (name, position) = name?;
    wrong(name, position, "name");
    // A bad namespace of the document is a complaint of its own.
    ServiceName::new(name, stated.map_or(namespace, |(text, _)| text)).ok()
}

/// What the session of a rule is called when nobody says it: no two rules may share a name, or each would take the other's
/// endpoints for its own.
fn usual_session(document: &QualifiedName, path: &str) -> String {
    let number: String = path.chars().filter(char::is_ascii_digit).collect();
    format!("{}-{number}", session::usual(&document.name))
}

fn rule(
    kind: RouteKind,
    node: &Node,
    path: &str,
    document: &QualifiedName,
    complaints: &mut Complaints,
) -> Option<RouteRule> {
    let namespace = document.namespace.as_str();
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    let matches = fields.list("matches", MATCHES_MAX, complaints);
    let read = match kind {
        RouteKind::Http => route_match::read,
        RouteKind::Grpc => grpc_match::read,
    };
    let matches: Vec<_> = matches.iter().map(|(path, item)| read(item, path, complaints)).collect();
    let backends = fields.list("backendRefs", BACKENDS_MAX, complaints);
    let backends: Vec<_> =
        backends.iter().map(|(path, item)| backend(item, path, namespace, complaints)).collect();
    let (request_timeout, try_timeout) = retry::timeouts(&mut fields, complaints);
    let retry = retry::read(&mut fields, Dialect::of(kind), complaints);
    let filters = fields.list("filters", filters::MAX, complaints);
    let known: Vec<_> = matches.iter().flatten().cloned().collect();
    let filters = filters::read(kind, &filters, &known, namespace, complaints);
    let session = session::read(&mut fields, &usual_session(document, path), complaints);
    fields.refuse(&["name"], "leave it out", complaints);
    fields.finish(complaints);
    if complaints.count() > had {
        return None;
    }
    let matches = matches.into_iter().collect::<Option<_>>()?;
    let backends = backends.into_iter().collect::<Option<_>>()?;
    let policy = RequestPolicy { retry, session, ..RequestPolicy::default() };
    Some(RouteRule { matches, backends, request_timeout, try_timeout, filters, policy })
}

fn backend(node: &Node, path: &str, namespace: &str, complaints: &mut Complaints) -> Option<Backend> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    fields.only("group", &["", "core"], "a backend is a Service; leave it out", complaints);
    fields.only("kind", &["Service"], "a backend is a Service; leave it out", complaints);
    let name = service_name(&mut fields, namespace, complaints);
    let port_had = complaints.count();
    let port = fields.port("port", complaints);
    if port.is_none() && complaints.count() == port_had {
        fields.missing("port", "the Service's port, 1 to 65535", complaints);
    }
    let weight = fields.number("weight", 0..=BACKEND_WEIGHT_MAX, complaints).unwrap_or(DEFAULT_WEIGHT);
    fields.refuse(&["filters"], "filter the requests of the whole rule instead", complaints);
    fields.finish(complaints);
    if complaints.count() > had {
        None
    } else {
        Some(Backend { authority: Authority::new(name?, port?), weight })
    }
}
