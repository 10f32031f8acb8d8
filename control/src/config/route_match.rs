//! One match of an `HTTPRoute`'s rule: path, headers, query, method. A regular expression that says no more than that a
//! header or parameter is there (`.*`), or how its value begins (`canary-.*`), is kept as that, which is cheaper to match.

use std::collections::BTreeSet;

use api::{HEADERS_MAX, METHODS, Pattern, header_name_fault, header_value_fault, path_fault};
use mesh::{HeaderMatch, MatchKind, PathMatch, QueryMatch, RouteMatch};
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
    let items = fields.list("queryParams", HEADERS_MAX, complaints);
    let mut names = BTreeSet::new();
    let query: Vec<_> = items.iter().map(|(path, item)| query(item, path, &mut names, complaints)).collect();
    fields.finish(complaints);
    if complaints.count() > had {
        return None;
    }
    let (headers, query) =
        (headers.into_iter().collect::<Option<_>>()?, query.into_iter().collect::<Option<_>>()?);
    Some(RouteMatch { path, headers, query, method, grpc: None })
}

/// What a path becomes that is matched in some way.
type PathKind = fn(String) -> PathMatch;

const PATH_KINDS: [(&str, PathKind); 3] = [
    ("Exact", PathMatch::Exact),
    ("PathPrefix", PathMatch::Prefix),
    ("RegularExpression", PathMatch::Pattern),
];

fn path_match(mut fields: Fields<'_>, complaints: &mut Complaints) -> Option<PathMatch> {
    let kind = fields.one_of("type", PathMatch::Prefix as PathKind, &PATH_KINDS, complaints);
    let value = fields.text("value", complaints);
    let value_path = fields.path("value");
    let (text, position) = value.unwrap_or(("/", fields.position));
    fields.finish(complaints);
    let matched = kind.map(|kind| kind(text.to_owned()));
    let fault = match &matched {
        Some(PathMatch::Pattern(pattern)) => Pattern::new(pattern).err(),
        _ => path_fault(text).map(str::to_owned),
    };
    if let Some(fault) = fault {
        complaints.add(position, &value_path, format!("{} {fault}", shown(text)));
    }
    matched
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

pub(super) fn header(
    node: &Node,
    path: &str,
    names: &mut BTreeSet<String>,
    complaints: &mut Complaints,
) -> Option<HeaderMatch> {
    let (name, value, kind) = named_value(node, path, "header", names, true, complaints)?;
    Some(HeaderMatch { name, value, kind })
}

fn query(
    node: &Node,
    path: &str,
    names: &mut BTreeSet<String>,
    complaints: &mut Complaints,
) -> Option<QueryMatch> {
    let (name, value, kind) = named_value(node, path, "parameter", names, false, complaints)?;
    Some(QueryMatch { name, value, kind })
}

/// Reads a header or a parameter that is matched: its name, in lower case where case has no meaning, and its value.
fn named_value(
    node: &Node,
    path: &str,
    what: &str,
    names: &mut BTreeSet<String>,
    is_caseless: bool,
    complaints: &mut Complaints,
) -> Option<(String, String, MatchKind)> {
    let mut fields = Fields::of(node, path, complaints)?;
    let had = complaints.count();
    let name = fields.text("name", complaints);
    let value = fields.text("value", complaints);
    if complaints.count() == had {
        if name.is_none() {
            fields.missing("name", &format!("the {what} to look at"), complaints);
        }
        if value.is_none() {
            fields.missing("value", &format!("what the {what} must be"), complaints);
        }
    }
    let words = [("Exact", false), ("RegularExpression", true)];
    let is_pattern = fields.one_of("type", false, &words, complaints);
    let (name_path, value_path) = (fields.path("name"), fields.path("value"));
    fields.finish(complaints);
    let (name, position) = name?;
    let known = if is_caseless { name.to_ascii_lowercase() } else { name.to_owned() };
    if let Some(fault) = header_name_fault(name) {
        complaints.add(position, &name_path, format!("{} {fault}", shown(name)));
    } else if !names.insert(known.clone()) {
        complaints.add(position, &name_path, format!("{} is there twice in one match", shown(name)));
    }
    let (value, position) = value?;
    let fault = match is_pattern {
        Some(true) => Pattern::new(value).err(),
        _ => header_value_fault(value).map(str::to_owned),
    };
    if let Some(fault) = fault {
        complaints.add(position, &value_path, format!("{} {fault}", shown(value)));
    }
    let (value, kind) = match (is_pattern?, begin_of(value)) {
        (false, _) => (value, MatchKind::Exact),
        (true, _) if value == ANY_VALUE => ("", MatchKind::Present),
        (true, Some(prefix)) => (prefix, MatchKind::Prefix),
        (true, None) => (value, MatchKind::Pattern),
    };
    let value = value.to_owned();
    (complaints.count() == had).then_some((known, value, kind))
}

/// The text that an expression asks a value to begin with, when it asks for nothing else.
fn begin_of(expression: &str) -> Option<&str> {
    let prefix = expression.strip_suffix(ANY_VALUE)?;
    let prefix = prefix.strip_prefix('^').unwrap_or(prefix);
    let special = |letter: char| r".+*?()|[]{}^$\".contains(letter);
    (!prefix.is_empty() && !prefix.contains(special)).then_some(prefix)
}
