//! One match of a `GRPCRoute`'s rule: the service and method that are called, and headers.

use std::collections::BTreeSet;

use api::{HEADERS_MAX, Pattern, grpc_method_fault, grpc_service_fault};
use mesh::{GrpcMatch, PathMatch, RouteMatch};
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

/// A service, a method, or both.
fn call(mut fields: Fields<'_>, complaints: &mut Complaints) -> GrpcMatch {
    let had = complaints.count();
    let words = [("Exact", false), ("RegularExpression", true)];
    let is_pattern = fields.one_of("type", false, &words, complaints).unwrap_or_default();
    let service = name(&mut fields, "service", is_pattern, grpc_service_fault, complaints);
    let method = name(&mut fields, "method", is_pattern, grpc_method_fault, complaints);
    if service.is_none() && method.is_none() && complaints.count() == had {
        fields.missing("service", "the service with its package, or a `method`, or both", complaints);
    }
    let position = fields.position;
    let grpc = GrpcMatch { service, method, is_pattern };
    // What proxies match by is one expression of both.
    if complaints.count() == had
        && let Some(PathMatch::Pattern(both)) = grpc.path()
        && let Err(fault) = Pattern::new(&both)
    {
        complaints.add(position, &fields.path("method"), format!("with its service {fault}"));
    }
    fields.finish(complaints);
    grpc
}

/// A name; an empty one is none (Gateway API).
fn name(
    fields: &mut Fields<'_>,
    field: &'static str,
    is_pattern: bool,
    rule: fn(&str) -> Option<&'static str>,
    complaints: &mut Complaints,
) -> Option<String> {
    let (name, position) = fields.text(field, complaints).filter(|(name, _)| !name.is_empty())?;
    let fault = if is_pattern { Pattern::new(name).err() } else { rule(name).map(str::to_owned) };
    if let Some(fault) = fault {
        complaints.add(position, &fields.path(field), format!("{} {fault}", shown(name)));
    }
    Some(name.to_owned())
}
