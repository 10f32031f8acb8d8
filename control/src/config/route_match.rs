//! One match of an `HTTPRoute`'s rule: path, headers, method. A regular expression is taken only as `.*` on a header,
//! which says that the header is there.

use std::collections::BTreeSet;

use api::{HEADERS_MAX, METHODS, header_name_fault, header_value_fault, path_fault};
use mesh::{HeaderMatch, MatchKind, PathMatch, RouteMatch};
use runtime::yaml::Node;

use super::complaints::Complaints;
use super::fields::{Fields, shown};

/// The pattern that every value of a header matches.
pub(super) const ANY_VALUE: &str = ".*";

pub(super) fn read(node: &Node, path: &str, complaints: &mut Complaints) -> Option<RouteMatch> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    let path = fields.fields("path", complaints).and_then(|fields| path_match(fields, complaints));
    let method = method(&mut fields, complaints);
    let items = fields.list("headers", HEADERS_MAX, complaints);
    let mut names = BTreeSet::new();
    let headers: Vec<_> =
        items.iter().map(|(path, item)| header(item, path, &mut names, complaints)).collect();
    fields.refuse(&["queryParams"], "match the path or a header instead", complaints);
    fields.finish(complaints);
    if complaints.count() > had {
        return None;
    }
    Some(RouteMatch { path, headers: headers.into_iter().collect::<Option<_>>()?, method })
}

fn path_match(mut fields: Fields<'_>, complaints: &mut Complaints) -> Option<PathMatch> {
    let kind = fields.text("type", complaints);
    let value = fields.text("value", complaints);
    let (kind_path, value_path) = (fields.path("type"), fields.path("value"));
    fields.finish(complaints);
    if let Some((value, position)) = value
        && let Some(fault) = path_fault(value)
    {
        complaints.add(position, &value_path, format!("{} {fault}", shown(value)));
    }
    let value = value.map_or("/", |(value, _)| value).to_owned();
    match kind {
        None | Some(("PathPrefix", _)) => Some(PathMatch::Prefix(value)),
        Some(("Exact", _)) => Some(PathMatch::Exact(value)),
        Some((other, position)) => {
            complaints.add(position, &kind_path, format!("{} must be Exact or PathPrefix", shown(other)));
            None
        }
    }
}

fn method(fields: &mut Fields<'_>, complaints: &mut Complaints) -> Option<String> {
    let (method, position) = fields.text("method", complaints)?;
    if METHODS.contains(&method) {
        return Some(method.to_owned());
    }
    let message = format!("{} must be one of {}", shown(method), METHODS.join(", "));
    complaints.add(position, &fields.path("method"), message);
    None
}

fn header(
    node: &Node,
    path: &str,
    names: &mut BTreeSet<String>,
    complaints: &mut Complaints,
) -> Option<HeaderMatch> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    let name = fields.text("name", complaints);
    let value = fields.text("value", complaints);
    if complaints.count() == had {
        if name.is_none() {
            fields.missing("name", "the header to look at", complaints);
        }
        if value.is_none() {
            fields.missing("value", "what the header must be", complaints);
        }
    }
    let kind = fields.text("type", complaints);
    let (name_path, value_path, kind_path) = (fields.path("name"), fields.path("value"), fields.path("type"));
    fields.finish(complaints);
    let (name, position) = name?;
    let lower = name.to_ascii_lowercase();
    if let Some(fault) = header_name_fault(name) {
        complaints.add(position, &name_path, format!("{} {fault}", shown(name)));
    } else if !names.insert(lower.clone()) {
        complaints.add(position, &name_path, format!("{} is there twice in one match", shown(name)));
    }
    let (value, position) = value?;
    if let Some(fault) = header_value_fault(value) {
        complaints.add(position, &value_path, format!("{} {fault}", shown(value)));
    }
    let matched = match kind {
        None | Some(("Exact", _)) => (value.to_owned(), MatchKind::Exact),
        Some(("RegularExpression", _)) if value == ANY_VALUE => (String::new(), MatchKind::Present),
        Some(("RegularExpression", position)) => {
            let message =
                format!("regular expressions are not supported yet, but {ANY_VALUE:?} (the header is there)");
            complaints.add(position, &kind_path, message);
            return None;
        }
        Some((other, position)) => {
            complaints.add(
                position,
                &kind_path,
                format!("{} must be Exact or RegularExpression", shown(other)),
            );
            return None;
        }
    };
    (complaints.count() == had).then_some(HeaderMatch { name: lower, value: matched.0, kind: matched.1 })
}
