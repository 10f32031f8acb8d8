//! What is stored, as YAML of the kind it was applied as. Applying it again changes nothing. Text is written in JSON's
//! double quotes where YAML could read it as something else, so that no value changes its meaning.

use std::fmt::Write;

use mesh::{Backend, HeaderMatch, MatchKind, PathMatch, Route, RouteMatch, RouteRule, Service};

use super::check::Kind;
use super::duration;
use super::route_match::ANY_VALUE;

/// Lines of YAML, each at its depth.
#[derive(Default)]
struct Lines {
    text: String,
    depth: usize,
    /// The next line is the first of a list's item.
    item: bool,
}

impl Lines {
    fn line(&mut self, line: &str) {
        let indent = "  ".repeat(self.depth);
        if std::mem::take(&mut self.item) {
            let outer = "  ".repeat(self.depth.saturating_sub(1));
            writeln!(self.text, "{outer}- {line}").expect("a string grows as needed");
        } else {
            writeln!(self.text, "{indent}{line}").expect("a string grows as needed");
        }
    }

    fn under(&mut self, key: &str, inner: impl FnOnce(&mut Self)) {
        self.line(&format!("{key}:"));
        self.depth += 1;
        inner(self);
        self.depth -= 1;
    }

    fn list<T>(&mut self, key: &str, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        if items.is_empty() {
            return;
        }
        self.line(&format!("{key}:"));
        self.depth += 1;
        for item in items {
            self.item = true;
            each(self, item);
        }
        self.depth -= 1;
    }
}

/// `text` so that YAML reads it as this text: bare where nothing else is possible, else in double quotes.
fn quoted(text: &str) -> String {
    let bare = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-./".contains(&byte))
        && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text)
        && text.parse::<f64>().is_err();
    if bare {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            // What YAML does not take as it is, or folds: controls, and Unicode's own line breaks and byte order mark.
            char if char.is_control() || ['\u{2028}', '\u{2029}', '\u{feff}'].contains(&char) => {
                write!(quoted, "\\u{:04x}", u32::from(char)).expect("a string grows as needed");
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn head(lines: &mut Lines, kind: Kind, name: &str, namespace: &str) {
    lines.line(&format!("apiVersion: {}", kind.api_version()));
    lines.line(&format!("kind: {}", kind.as_str()));
    lines.under("metadata", |lines| {
        lines.line(&format!("name: {}", quoted(name)));
        lines.line(&format!("namespace: {}", quoted(namespace)));
    });
}

/// A service as the `Service` that declares it.
#[must_use]
pub fn service_yaml(service: &Service) -> String {
    let mut lines = Lines::default();
    head(&mut lines, Kind::Service, service.name.name(), service.name.namespace());
    lines.under("spec", |lines| {
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

/// A route as the `HTTPRoute` that declares it.
#[must_use]
pub fn route_yaml(route: &Route) -> String {
    let namespace = route.name.namespace.as_str();
    let mut lines = Lines::default();
    head(&mut lines, Kind::HttpRoute, &route.name.name, namespace);
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

fn rule_lines(lines: &mut Lines, rule: &RouteRule, namespace: &str) {
    lines.list("matches", &rule.matches, match_lines);
    lines.list("backendRefs", &rule.backends, |lines, backend| backend_lines(lines, backend, namespace));
    if let Some(timeout) = rule.request_timeout {
        lines.under("timeouts", |lines| lines.line(&format!("request: {}", duration::rendered(timeout))));
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
        };
        lines.under("path", |lines| {
            lines.line(&format!("type: {kind}"));
            lines.line(&format!("value: {}", quoted(value)));
        });
    }
    if let Some(method) = &route_match.method {
        lines.line(&format!("method: {}", quoted(method)));
    }
    lines.list("headers", &route_match.headers, header_lines);
    if lines.item {
        lines.line("{}"); // a match that every request meets
    }
}

fn header_lines(lines: &mut Lines, header: &HeaderMatch) {
    lines.line(&format!("name: {}", quoted(&header.name)));
    let (kind, value) = match header.kind {
        MatchKind::Exact => ("Exact", header.value.as_str()),
        MatchKind::Present => ("RegularExpression", ANY_VALUE),
    };
    lines.line(&format!("type: {kind}"));
    lines.line(&format!("value: {}", quoted(value)));
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
