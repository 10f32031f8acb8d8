//! The `filters` of a route's rule: header changes and mirrors, and of an `HTTPRoute` redirects and rewrites too. An
//! `ExtensionRef` and filters of a single backend are refused in words.

use api::{HEADERS_MAX, MIRRORS_MAX, changed_header_fault, header_value_fault, host_fault, path_fault};
use mesh::{
    Authority, Filters, HeaderChanges, Mirror, PathChange, PathMatch, Redirect, RouteKind, RouteMatch,
};
use runtime::yaml::{Node, Position};

use super::complaints::Complaints;
use super::fields::{Fields, shown, text_of};
use super::route::service_name;

/// Most filters of a rule (Gateway API).
const FILTERS_MAX: usize = 16;
const KINDS: [(&str, &str); 5] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
];

/// Those that a route of this kind may have: calls of gRPC are neither redirected nor rewritten (Gateway API).
fn kinds(kind: RouteKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        RouteKind::Http => &KINDS,
        RouteKind::Grpc => &KINDS[..3],
    }
}

/// Reads a rule's filters; `matches` are the rule's.
pub(super) fn read(
    route: RouteKind,
    items: &[(String, &Node)],
    matches: &[RouteMatch],
    namespace: &str,
    complaints: &mut Complaints,
) -> Filters {
    let mut filters = Filters::default();
    let mut seen: Vec<&str> = Vec::new();
    for (path, item) in items {
        let Some(mut fields) = Fields::of(item, path, complaints) else { continue };
        let had = complaints.count();
        let Some((kind, position)) = fields.text("type", complaints) else {
            if complaints.count() == had {
                fields.missing("type", "the kind of filter, for instance RequestHeaderModifier", complaints);
            }
            continue;
        };
        let Some((kind, field)) = kinds(route).iter().copied().find(|(known, _)| *known == kind) else {
            let names = kinds(route).iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let message = format!("{} must be one of {names}", shown(kind));
            complaints.add(position, &fields.path("type"), message);
            continue;
        };
        if seen.contains(&kind) && kind != "RequestMirror" {
            complaints.add(position, &fields.path("type"), format!("{kind} is there twice in one rule"));
        }
        seen.push(kind);
        let had = complaints.count();
        if let Some(inner) = fields.fields(field, complaints) {
            one(kind, inner, matches, namespace, &mut filters, complaints);
        } else if complaints.count() == had {
            fields.missing(field, &format!("what a {kind} does"), complaints);
        }
        fields.finish(complaints);
    }
    if filters.redirect.is_some() && (filters.path.is_some() || filters.host.is_some()) {
        let position = items.first().map_or(Position { line: 1, column: 1 }, |(_, item)| item.position);
        let path = items.first().map_or("", |(path, _)| path.trim_end_matches("[0]"));
        complaints.add(
            position,
            path,
            "must not hold a RequestRedirect and a URLRewrite: the one or the other",
        );
    }
    filters
}

/// Most items of `filters`.
pub(super) const MAX: usize = FILTERS_MAX;

fn one(
    kind: &str,
    mut fields: Fields<'_>,
    matches: &[RouteMatch],
    namespace: &str,
    filters: &mut Filters,
    complaints: &mut Complaints,
) {
    match kind {
        "RequestHeaderModifier" => filters.request_headers = headers(&mut fields, complaints),
        "ResponseHeaderModifier" => filters.response_headers = headers(&mut fields, complaints),
        "RequestRedirect" => filters.redirect = Some(redirect(&mut fields, matches, complaints)),
        "URLRewrite" => {
            filters.host = hostname(&mut fields, complaints);
            filters.path = path_change(&mut fields, matches, complaints);
        }
        _ => {
            if filters.mirrors.len() == MIRRORS_MAX {
                let message = format!("at most {MIRRORS_MAX} mirrors in one rule");
                complaints.add(fields.position, &fields.path("backendRef"), message);
            }
            filters.mirrors.extend(mirror(&mut fields, namespace, complaints));
        }
    }
    fields.finish(complaints);
}

fn headers(fields: &mut Fields<'_>, complaints: &mut Complaints) -> HeaderChanges {
    let set = pairs(fields, "set", complaints);
    let add = pairs(fields, "add", complaints);
    let mut remove = Vec::new();
    for (path, item) in fields.list("remove", HEADERS_MAX, complaints) {
        let Some(name) = text_of(item, &path, complaints) else { continue };
        remove.extend(changed(name, item.position, &path, complaints));
    }
    HeaderChanges { remove, set, add }
}

/// The name of a header that may be changed, in lower case.
fn changed(name: &str, position: Position, path: &str, complaints: &mut Complaints) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some(fault) = changed_header_fault(&lower) {
        complaints.add(position, path, format!("{} {fault}", shown(name)));
        return None;
    }
    Some(lower)
}

fn pairs(fields: &mut Fields<'_>, field: &'static str, complaints: &mut Complaints) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (path, item) in fields.list(field, HEADERS_MAX, complaints) {
        let Some(mut pair) = Fields::of(item, &path, complaints) else { continue };
        let had = complaints.count();
        let (name, value) = (pair.text("name", complaints), pair.text("value", complaints));
        let (name_path, value_path) = (pair.path("name"), pair.path("value"));
        for (field, is_there) in [("name", name.is_some()), ("value", value.is_some())] {
            if !is_there && complaints.count() == had {
                pair.missing(field, "a header has a name and a value", complaints);
            }
        }
        pair.finish(complaints);
        let (Some((name, name_at)), Some((value, value_at))) = (name, value) else { continue };
        if let Some(fault) = header_value_fault(value) {
            complaints.add(value_at, &value_path, format!("{} {fault}", shown(value)));
        }
        let Some(name) = changed(name, name_at, &name_path, complaints) else { continue };
        if pairs.iter().any(|(known, _)| *known == name) {
            complaints.add(name_at, &name_path, format!("{} is there twice", shown(&name)));
        }
        pairs.push((name, value.to_owned()));
    }
    pairs
}

fn hostname(fields: &mut Fields<'_>, complaints: &mut Complaints) -> Option<String> {
    let (host, position) = fields.text("hostname", complaints)?;
    if let Some(fault) = host_fault(host) {
        complaints.add(position, &fields.path("hostname"), format!("{} {fault}", shown(host)));
        return None;
    }
    Some(host.to_owned())
}

fn path_change(
    outer: &mut Fields<'_>,
    matches: &[RouteMatch],
    complaints: &mut Complaints,
) -> Option<PathChange> {
    let mut fields = outer.fields("path", complaints)?;
    let kind = fields.text("type", complaints);
    let full = fields.text("replaceFullPath", complaints);
    let prefix = fields.text("replacePrefixMatch", complaints);
    let paths = [fields.path("replaceFullPath"), fields.path("replacePrefixMatch")];
    let (position, kind_path) = (fields.position, fields.path("type"));
    fields.finish(complaints);
    for (value, path) in [full, prefix].into_iter().zip(&paths) {
        if let Some((value, position)) = value
            && let Some(fault) = path_fault(value)
        {
            complaints.add(position, path, format!("{} {fault}", shown(value)));
        }
    }
    match (kind, full, prefix) {
        (Some(("ReplaceFullPath", _)), Some((path, _)), None) => Some(PathChange::Full(path.to_owned())),
        (Some(("ReplacePrefixMatch", _)), None, Some((path, at))) => {
            let by_prefix = |one: &RouteMatch| matches!(&one.path, None | Some(PathMatch::Prefix(_)));
            if !matches.iter().all(by_prefix) {
                let why = "needs matches of type PathPrefix in its rule, whose prefix it replaces";
                complaints.add(at, &paths[1], why);
            }
            Some(PathChange::Prefix(path.to_owned()))
        }
        (kind, _, _) => {
            let position = kind.map_or(position, |(_, position)| position);
            let message = "must be ReplaceFullPath with `replaceFullPath`, or ReplacePrefixMatch with `replacePrefixMatch`";
            complaints.add(position, &kind_path, message);
            None
        }
    }
}

fn redirect(fields: &mut Fields<'_>, matches: &[RouteMatch], complaints: &mut Complaints) -> Redirect {
    let scheme = fields.text("scheme", complaints);
    if let Some((text, position)) = scheme
        && !["http", "https"].contains(&text)
    {
        let message = format!("{} must be http or https", shown(text));
        complaints.add(position, &fields.path("scheme"), message);
    }
    let host = hostname(fields, complaints);
    let path = path_change(fields, matches, complaints);
    let port = fields.port("port", complaints);
    let status_at = fields.take("statusCode").map_or(fields.position, |node| node.position);
    let status = fields.number("statusCode", 300..=399, complaints);
    let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(Redirect::DEFAULT_STATUS);
    if !Redirect::STATUSES.contains(&status) {
        let message = format!("{status} must be 301, 302, 303, 307 or 308");
        complaints.add(status_at, &fields.path("statusCode"), message);
    }
    Redirect { scheme: scheme.map(|(text, _)| text.to_owned()), host, port, path, status }
}

fn mirror(fields: &mut Fields<'_>, namespace: &str, complaints: &mut Complaints) -> Option<Mirror> {
    let percent = fields.number("percent", 0..=100, complaints);
    let fraction = fields.fields("fraction", complaints).and_then(|mut fraction| {
        let numerator = fraction.number("numerator", 0..=1_000_000, complaints);
        let denominator = fraction.number("denominator", 1..=1_000_000, complaints).unwrap_or(100);
        fraction.finish(complaints);
        let numerator = numerator?;
        if numerator > denominator {
            let message = "must not exceed the denominator";
            complaints.add(fields.position, &format!("{}.numerator", fields.path("fraction")), message);
            return None;
        }
        let millionths = u64::from(numerator) * u64::from(Mirror::ALL) / u64::from(denominator);
        u32::try_from(millionths).ok()
    });
    if percent.is_some() && fraction.is_some() {
        complaints.add(fields.position, &fields.path("percent"), "must not be there beside `fraction`");
    }
    let had = complaints.count();
    let Some(mut backend) = fields.fields("backendRef", complaints) else {
        if complaints.count() == had {
            fields.missing("backendRef", "the Service that gets the copies", complaints);
        }
        return None;
    };
    backend.only("group", &["", "core"], "a mirror is a Service; leave it out", complaints);
    backend.only("kind", &["Service"], "a mirror is a Service; leave it out", complaints);
    let name = service_name(&mut backend, namespace, complaints);
    let port = backend.port("port", complaints);
    if port.is_none() && complaints.count() == had {
        backend.missing("port", "the Service's port, 1 to 65535", complaints);
    }
    backend.finish(complaints);
    let millionths = fraction.or(percent.map(|percent| percent * (Mirror::ALL / 100))).unwrap_or(Mirror::ALL);
    Some(Mirror { authority: Authority::new(name?, port?), millionths })
}
