//! One match of a `GRPCRoute`'s rule: the service and method that are called, and headers.

use std::collections::BTreeSet;

use api::{HEADERS_MAX, grpc_method_fault, grpc_service_fault};
use mesh::{GrpcMatch, RouteMatch};
use runtime::yaml::Node;

use super::complaints::Complaints;
use super::fields::{Fields, shown};
use super::route_match::header;

pub(super) fn read(node: &Node, path: &str, complaints: &mut Complaints) -> Option<RouteMatch> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    let call = fields.fields("method", complaints).map(|fields| call(fields, complaints));
    let items = fields.list("headers", HEADERS_MAX, complaints);
    let mut names = BTreeSet::new();
    let headers: Vec<_> =
        items.iter().map(|(path, item)| header(item, path, &mut names, complaints)).collect();
    fields.finish(complaints);
    if complaints.count() > had {
        return None;
    }
    let headers = headers.into_iter().collect::<Option<_>>()?;
    Some(RouteMatch { grpc: Some(call.unwrap_or_default()), headers, ..RouteMatch::default() })
}

/// A service, or a service and its method.
fn call(mut fields: Fields<'_>, complaints: &mut Complaints) -> GrpcMatch {
    let had = complaints.count();
    fields.only("type", &["Exact"], "names are matched as a whole (Exact)", complaints);
    let service = name(&mut fields, "service", grpc_service_fault, complaints);
    let method = name(&mut fields, "method", grpc_method_fault, complaints);
    if service.is_none() && complaints.count() == had {
        fields.missing("service", "the service with its package, for instance shop.v1.Carts", complaints);
    }
    fields.finish(complaints);
    GrpcMatch { service, method }
}

/// A name; an empty one is none (Gateway API).
fn name(
    fields: &mut Fields<'_>,
    field: &'static str,
    rule: fn(&str) -> Option<&'static str>,
    complaints: &mut Complaints,
) -> Option<String> {
    let (name, position) = fields.text(field, complaints).filter(|(name, _)| !name.is_empty())?;
    if let Some(fault) = rule(name) {
        complaints.add(position, &fields.path(field), format!("{} {fault}", shown(name)));
    }
    Some(name.to_owned())
}
