//! Carries out the filters of a rule on a request's head and on its answer's: pure, asked only of rules that have any.
//! Where a request goes is decided already; these only change what is said.

use bytes::Bytes;
use http::uri::{Authority as UriAuthority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header, request};
use mesh::{HeaderChanges, PathChange, PathMatch, Redirect, RouteRule, is_below};

use crate::http::passing::spelled_authority;

/// The prefix that `rule` matched of `path`, in whole elements.
fn matched<'r>(rule: &'r RouteRule, path: &str) -> &'r str {
    let prefixes = rule.matches.iter().filter_map(|one| match &one.path {
        Some(PathMatch::Prefix(prefix)) if is_below(path, prefix) => Some(prefix.as_str()),
        _ => None,
    });
    prefixes.max_by_key(|prefix| prefix.len()).unwrap_or("/")
}

/// Changes what the endpoint sees.
pub(super) fn change_request(rule: &RouteRule, parts: &mut request::Parts) {
    let filters = &rule.filters;
    change_headers(&filters.request_headers, &mut parts.headers);
    if let Some(change) = &filters.path {
        rewrite_path(change, rule, parts);
    }
    if let Some(host) = &filters.host {
        if let Ok(value) = HeaderValue::from_str(host) {
            parts.headers.insert(header::HOST, value);
        }
        // HTTP/2 names the host in its URI; without one there, the header is what counts.
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        if uri.authority.is_some() {
            uri.authority = UriAuthority::try_from(host.as_str()).ok();
        }
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
    }
}

fn rewrite_path(change: &PathChange, rule: &RouteRule, parts: &mut request::Parts) {
    let changed = with_query(change, rule, &parts.uri);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Ok(path) = PathAndQuery::try_from(changed) {
        uri.path_and_query = Some(path);
    }
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// The path of `uri` after `change`, with the query that it had.
fn with_query(change: &PathChange, rule: &RouteRule, uri: &Uri) -> String {
    let mut path = change.applied(uri.path(), matched(rule, uri.path()));
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// Changes headers: takes away, sets, adds.
pub(super) fn change_headers(changes: &HeaderChanges, headers: &mut HeaderMap) {
    for name in &changes.remove {
        headers.remove(name.as_str());
    }
    // Names and values were checked when the rule was taken in.
    let pair = |(name, value): &(String, String)| {
        Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
    };
    for (name, value) in changes.set.iter().filter_map(pair) {
        headers.insert(name, value);
    }
    for (name, value) in changes.add.iter().filter_map(pair) {
        headers.append(name, value);
    }
}

/// The answer that sends the caller elsewhere.
pub(super) fn redirected(redirect: &Redirect, rule: &RouteRule, parts: &request::Parts) -> Response<Bytes> {
    let asked = String::from_utf8_lossy(spelled_authority(parts)).into_owned();
    let (asked_host, asked_port) = match asked.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port.parse().ok()),
        _ => (asked.as_str(), None),
    };
    let scheme = redirect.scheme.as_deref().unwrap_or("http");
    let usual = if scheme == "https" { 443 } else { 80 };
    let kept = if redirect.scheme.is_some() { None } else { asked_port };
    let port = redirect.port.or(kept).filter(|port| *port != usual);
    let host = redirect.host.as_deref().unwrap_or(asked_host);
    let path = match &redirect.path {
        Some(change) => with_query(change, rule, &parts.uri),
        None => parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::from_str(&format!("{scheme}://{host}{port}{path}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    change_headers(&rule.filters.response_headers, response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use http::Request;
    use mesh::{Filters, RouteMatch};

    use super::*;

    fn rule(prefix: &str, filters: Filters) -> RouteRule {
        let path = Some(PathMatch::Prefix(prefix.to_owned()));
        RouteRule {
            matches: vec![RouteMatch { path, ..RouteMatch::default() }],
            filters,
            ..RouteRule::default()
        }
    }

    fn parts(uri: &str) -> request::Parts {
        let request = Request::get(uri).header("host", "web:8080").header("x-old", "1");
        request.body(()).unwrap().into_parts().0
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn headers_are_taken_away_then_set_then_added() {
        let changes = HeaderChanges {
            remove: vec!["x-old".to_owned(), "x-none".to_owned()],
            set: pairs(&[("host", "other"), ("x-new", "a")]),
            add: pairs(&[("x-new", "b"), ("x-old", "2")]),
        };
        let mut headers = parts("/").headers;
        change_headers(&changes, &mut headers);
        let mut all: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort();
        assert_eq!(all, ["host: other", "x-new: a", "x-new: b", "x-old: 2"]);
    }

    #[test]
    fn a_rewrite_changes_path_and_host_and_keeps_the_query() {
        let filters = Filters {
            path: Some(PathChange::Prefix("/v2".to_owned())),
            host: Some("other.shop".to_owned()),
            ..Filters::default()
        };
        for (uri, expected) in
            [("/cart/7?a=b", "/v2/7?a=b"), ("/cart", "/v2"), ("http://web/cart/x", "http://other.shop/v2/x")]
        {
            let mut parts = parts(uri);
            change_request(&rule("/cart", filters.clone()), &mut parts);
            assert_eq!(parts.uri, expected);
            assert_eq!(parts.headers["host"], "other.shop");
        }
    }

    #[test]
    fn a_redirect_changes_what_it_states_and_keeps_the_rest() {
        let redirect = |scheme: &str, host: &str, port, path| Redirect {
            scheme: Some(scheme.to_owned()).filter(|text| !text.is_empty()),
            host: Some(host.to_owned()).filter(|text| !text.is_empty()),
            port,
            path,
            status: 301,
        };
        let full = Some(PathChange::Full("/z".to_owned()));
        for (redirect, location) in [
            (redirect("", "", None, None), "http://web:8080/cart/7?a=b"),
            (redirect("https", "", None, None), "https://web/cart/7?a=b"),
            (redirect("https", "", Some(8443), None), "https://web:8443/cart/7?a=b"),
            (redirect("https", "", Some(443), None), "https://web/cart/7?a=b"),
            (redirect("", "other", Some(80), None), "http://other/cart/7?a=b"),
            (redirect("", "", None, full), "http://web:8080/z?a=b"),
            (
                redirect("", "", None, Some(PathChange::Prefix("/new".to_owned()))),
                "http://web:8080/new/7?a=b",
            ),
        ] {
            let response = redirected(&redirect, &rule("/cart", Filters::default()), &parts("/cart/7?a=b"));
            assert_eq!(response.status(), 301);
            assert_eq!(response.headers()["location"], location);
        }
    }
}
