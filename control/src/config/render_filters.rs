//! What is stored of a rule's filters, as the YAML it was applied as.

use mesh::{Filters, HeaderChanges, Mirror, PathChange, Redirect};

use super::lines::{Lines, quoted};

/// The `filters` of a rule whose route stands in `namespace`.
pub(super) fn filter_lines(lines: &mut Lines, filters: &Filters, namespace: &str) {
    if filters.is_empty() {
        return;
    }
    lines.line("filters:");
    lines.depth += 1;
    let mut one = |kind: &str, field: &str, inner: &dyn Fn(&mut Lines)| {
        lines.item = true;
        lines.line(&format!("type: {kind}"));
        lines.under(field, |lines| inner(lines));
    };
    if !filters.request_headers.is_empty() {
        let changes = |lines: &mut Lines| header_lines(lines, &filters.request_headers);
        one("RequestHeaderModifier", "requestHeaderModifier", &changes);
    }
    if !filters.response_headers.is_empty() {
        let changes = |lines: &mut Lines| header_lines(lines, &filters.response_headers);
        one("ResponseHeaderModifier", "responseHeaderModifier", &changes);
    }
    if let Some(redirect) = &filters.redirect {
        one("RequestRedirect", "requestRedirect", &|lines| redirect_lines(lines, redirect));
    }
    if filters.host.is_some() || filters.path.is_some() {
        one("URLRewrite", "urlRewrite", &|lines| {
            host_and_path(lines, filters.host.as_deref(), filters.path.as_ref());
        });
    }
    for mirror in &filters.mirrors {
        one("RequestMirror", "requestMirror", &|lines| mirror_lines(lines, mirror, namespace));
    }
    lines.depth -= 1;
}

fn header_lines(lines: &mut Lines, changes: &HeaderChanges) {
    for (key, pairs) in [("set", &changes.set), ("add", &changes.add)] {
        lines.list(key, pairs, |lines, (name, value)| {
            lines.line(&format!("name: {}", quoted(name)));
            lines.line(&format!("value: {}", quoted(value)));
        });
    }
    lines.list("remove", &changes.remove, |lines, name| lines.line(&quoted(name)));
}

fn host_and_path(lines: &mut Lines, host: Option<&str>, path: Option<&PathChange>) {
    if let Some(host) = host {
        lines.line(&format!("hostname: {}", quoted(host)));
    }
    if let Some(path) = path {
        let (kind, field, path) = match path {
            PathChange::Full(path) => ("ReplaceFullPath", "replaceFullPath", path),
            PathChange::Prefix(path) => ("ReplacePrefixMatch", "replacePrefixMatch", path),
        };
        lines.under("path", |lines| {
            lines.line(&format!("type: {kind}"));
            lines.line(&format!("{field}: {}", quoted(path)));
        });
    }
}

fn redirect_lines(lines: &mut Lines, redirect: &Redirect) {
    if let Some(scheme) = &redirect.scheme {
        lines.line(&format!("scheme: {scheme}"));
    }
    host_and_path(lines, redirect.host.as_deref(), redirect.path.as_ref());
    if let Some(port) = redirect.port {
        lines.line(&format!("port: {port}"));
    }
    lines.line(&format!("statusCode: {}", redirect.status));
}

fn mirror_lines(lines: &mut Lines, mirror: &Mirror, namespace: &str) {
    let service = &mirror.authority.service;
    lines.under("backendRef", |lines| {
        lines.line(&format!("name: {}", quoted(service.name())));
        if service.namespace() != namespace {
            lines.line(&format!("namespace: {}", quoted(service.namespace())));
        }
        lines.line(&format!("port: {}", mirror.authority.port));
    });
    if mirror.millionths != Mirror::ALL {
        lines.under("fraction", |lines| {
            lines.line(&format!("numerator: {}", mirror.millionths));
            lines.line(&format!("denominator: {}", Mirror::ALL));
        });
    }
}
