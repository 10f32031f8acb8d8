//! A `TrafficPolicy`, Penstock's own kind, attached to Services or routes of its namespace (GEP-713's `targetRefs`).
//! It holds what Kubernetes and Gateway API have no field for; where Gateway API has words elsewhere, they are used.

use api::{CONNECT_MS, POLICY_TARGETS_MAX, TIMEOUT_MS_MAX};
use mesh::{
    PolicyName, PolicyTarget, RequestPolicy, RouteKind, RouteName, ServiceName, ServicePolicy, TrafficPolicy,
};
use runtime::yaml::Node;

use super::balancing;
use super::complaints::Complaints;
use super::duration;
use super::fault;
use super::fields::{Fields, shown};
use super::limits;
use super::metadata::Metadata;
use super::retry::{self, Dialect};
use super::session;

/// What a policy may be attached to.
const TARGETS: &str = "Service, HTTPRoute or GRPCRoute";

/// Fields that concern endpoints, and so have no meaning for a single route.
const OF_SERVICES: [&str; 7] =
    ["retryConstraint", "balancer", "slowStart", "zonePreference", "ejection", "circuitBreaker", "rateLimit"];

/// Reads the rest of a document whose kind is `TrafficPolicy`.
pub(super) fn read(
    document: &mut Fields<'_>,
    metadata: &Metadata,
    complaints: &mut Complaints,
) -> Option<TrafficPolicy> {
    let name: Option<PolicyName> = metadata.noun(complaints);
    if document.take("spec").is_none() {
        document.missing("spec", "a TrafficPolicy has a `spec` with `targetRefs`", complaints);
        return None;
    }
    let mut spec = document.fields("spec", complaints)?;
    let had = complaints.count();
    let targets = targets(&mut spec, &metadata.name.namespace, complaints);
    let (mut requests, mut service) = (RequestPolicy::default(), ServicePolicy::default());
    requests.retry = retry::read(&mut spec, Dialect::Both, complaints);
    timeouts(&mut spec, &mut requests, &mut service, complaints);
    requests.fault = fault::read(&mut spec, complaints);
    requests.session = session::read(&mut spec, &session::usual(&metadata.name.name), complaints);
    service.retry_budget = retry::constraint(&mut spec, complaints);
    (service.balancer, requests.hash) = balancing::balancer(&mut spec, complaints);
    service.slow_start = balancing::slow_start(&mut spec, complaints);
    service.zones = balancing::zones(&mut spec, complaints);
    service.ejection = balancing::ejection(&mut spec, complaints);
    service.breaker = limits::breaker(&mut spec, complaints);
    service.rate_limit = limits::rate(&mut spec, complaints);
    let on_route = targets.iter().any(|target| matches!(target, PolicyTarget::Route(_)));
    if on_route && complaints.count() == had {
        for_services_only(&mut spec, &service, complaints);
    }
    spec.finish(complaints);
    if complaints.count() > had {
        return None;
    }
    Some(TrafficPolicy { name: name?, targets, requests, service })
}

/// Complains of what a route cannot have.
fn for_services_only(spec: &mut Fields<'_>, service: &ServicePolicy, complaints: &mut Complaints) {
    let why = "concerns endpoints, and a route has none of its own: target the Service";
    for name in OF_SERVICES {
        if let Some(node) = spec.take(name) {
            complaints.add(node.position, &spec.path(name), why);
        }
    }
    if service.connect_timeout.is_some() {
        complaints.add(spec.position, &format!("{}.connect", spec.path("timeouts")), why);
    }
}

fn targets(spec: &mut Fields<'_>, namespace: &str, complaints: &mut Complaints) -> Vec<PolicyTarget> {
    let had = complaints.count();
    let items = spec.list("targetRefs", POLICY_TARGETS_MAX, complaints);
    if items.is_empty() && complaints.count() == had {
        spec.missing("targetRefs", "a TrafficPolicy names at least one Service or route", complaints);
    }
    let mut targets = Vec::new();
    for (path, item) in &items {
        let Some(target) = target(item, path, namespace, complaints) else { continue };
        if targets.contains(&target) {
            complaints.add(item.position, path, "names the same target as one before it");
        } else {
            targets.push(target);
        }
    }
    targets
}

fn target(node: &Node, path: &str, namespace: &str, complaints: &mut Complaints) -> Option<PolicyTarget> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    let kind = fields.text("kind", complaints);
    let group = fields.text("group", complaints);
    let name = fields.text("name", complaints);
    for (field, is_there, expected) in
        [("kind", kind.is_some(), TARGETS), ("name", name.is_some(), "the name of a Service or a route")]
    {
        if !is_there && complaints.count() == had {
            fields.missing(field, expected, complaints);
        }
    }
    fields.refuse(&["namespace"], "a policy stands in the namespace of what it targets", complaints);
    fields.refuse(&["sectionName"], "a policy targets a whole Service or route", complaints);
    let (kind_path, name_path, group_path) = (fields.path("kind"), fields.path("name"), fields.path("group"));
    fields.finish(complaints);
    let ((kind, kind_at), (name, name_at)) = (kind?, name?);
    let qualified = api::v1::QualifiedName { name: name.to_owned(), namespace: namespace.to_owned() };
    let route = |kind| {
        let name = RouteName::try_from(&qualified).map(|name| PolicyTarget::Route(name.of_kind(kind)));
        ("gateway.networking.k8s.io", name)
    };
    let (expected_group, target) = match kind {
        "Service" => ("", ServiceName::try_from(&qualified).map(PolicyTarget::Service)),
        "HTTPRoute" => route(RouteKind::Http),
        "GRPCRoute" => route(RouteKind::Grpc),
        other => {
            let message = format!("{} must be {TARGETS}", shown(other));
            complaints.add(kind_at, &kind_path, message);
            return None;
        }
    };
    if let Some((group, position)) = group
        && group != expected_group
    {
        let message = format!("{} must be {expected_group:?} for kind {kind}", shown(group));
        complaints.add(position, &group_path, message);
    }
    match target {
        Ok(target) => (complaints.count() == had).then_some(target),
        // A bad namespace is a complaint about the document's metadata.
        Err(error) if error.field == "namespace" => None,
        Err(error) => {
            complaints.add(name_at, &name_path, format!("{} {}", shown(name), error.rule));
            None
        }
    }
}

fn timeouts(
    spec: &mut Fields<'_>,
    requests: &mut RequestPolicy,
    service: &mut ServicePolicy,
    complaints: &mut Complaints,
) {
    let Some(mut fields) = spec.fields("timeouts", complaints) else { return };
    service.connect_timeout = duration::field(&mut fields, "connect", &CONNECT_MS, complaints);
    requests.stream_idle = duration::field(&mut fields, "streamIdle", &(1..=TIMEOUT_MS_MAX), complaints);
    let why = "it stands in a route's `timeouts`; a TrafficPolicy has connect and streamIdle";
    fields.refuse(&["request", "backendRequest"], why, complaints);
    fields.finish(complaints);
}
