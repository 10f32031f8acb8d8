//! The filters and faults of a route, in xDS's words. gRPC changes no requests and mirrors none: it gets none of them.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption, RuntimeFractionalPercent};
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{HostRewriteSpecifier, RequestMirrorPolicy};
use envoy_types::pb::envoy::config::route::v3::{RedirectAction, Route as WireRoute, RouteAction};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::envoy::r#type::v3::{
    FractionalPercent, TokenBucket, fractional_percent::DenominatorType,
};
use envoy_types::pb::google::protobuf::Any;
use mesh::{Abort, Fault, Filters, Mirror, PathChange, PathMatch, RateLimit, Redirect, RouteMatch};

use super::parts;

/// Under which Envoy looks for the rate limit of a virtual host, and how it counts those it refused.
pub(super) const LIMIT_FILTER: &str = "envoy.filters.http.local_ratelimit";
pub(super) const LIMIT_STATS: &str = "penstock";

/// Under which Envoy looks for the faults of a route.
pub(super) const FAULT_FILTER: &str = "envoy.filters.http.fault";

/// Says the header changes in `route`.
pub(super) fn change_headers(filters: &Filters, route: &mut WireRoute) {
    let (request, response) = (&filters.request_headers, &filters.response_headers);
    let options = |set: &[(String, String)], add: &[(String, String)]| {
        let option = |(name, value): &(String, String), action: HeaderAppendAction| HeaderValueOption {
            header: Some(HeaderValue { key: name.clone(), value: value.clone(), ..HeaderValue::default() }),
            append_action: action.into(),
            ..HeaderValueOption::default()
        };
        let set = set.iter().map(|pair| option(pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
        set.chain(add.iter().map(|pair| option(pair, HeaderAppendAction::AppendIfExistsOrAdd))).collect()
    };
    route.request_headers_to_add = options(&request.set, &request.add);
    route.request_headers_to_remove.clone_from(&request.remove);
    route.response_headers_to_add = options(&response.set, &response.add);
    route.response_headers_to_remove.clone_from(&response.remove);
}

/// How Envoy says a change of path: as a prefix where it can, else as a pattern of the whole path.
enum Words {
    Prefix(String),
    Pattern(RegexMatchAndSubstitute),
}

/// Envoy replaces a prefix letter by letter, so that `/` in place of `/foo` would make `//bar` of `/foo/bar`.
fn words(change: &PathChange, one: &RouteMatch) -> Words {
    let pattern = |pattern: String, substitution: &str| {
        Words::Pattern(RegexMatchAndSubstitute {
            pattern: Some(parts::expression(&pattern)),
            substitution: substitution.replace('\\', "\\\\"),
        })
    };
    match change {
        PathChange::Full(path) => pattern("^.*$".to_owned(), path),
        PathChange::Prefix(prefix) => {
            let matched = match &one.path {
                Some(PathMatch::Prefix(matched)) => matched.trim_end_matches('/'),
                _ => "",
            };
            match (matched.is_empty(), prefix.trim_end_matches('/')) {
                (false, "") => pattern(format!("^{}/*", escaped(matched)), "/"),
                (false, prefix) => Words::Prefix(prefix.to_owned()),
                // Every path begins with the slash that is matched.
                (true, prefix) => Words::Prefix(format!("{prefix}/")),
            }
        }
    }
}

/// `text` as a pattern that matches it and nothing else (RE2's syntax).
fn escaped(text: &str) -> String {
    let special = |letter: char| r".+*?()|[]{}^$\".contains(letter);
    text.chars().fold(String::new(), |mut escaped, letter| {
        if special(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
        escaped
    })
}

/// Says rewrites and mirrors in `action`.
pub(super) fn change_action(filters: &Filters, one: &RouteMatch, action: &mut RouteAction) {
    action.host_rewrite_specifier = filters.host.clone().map(HostRewriteSpecifier::HostRewriteLiteral);
    match filters.path.as_ref().map(|change| words(change, one)) {
        Some(Words::Prefix(prefix)) => action.prefix_rewrite = prefix,
        Some(Words::Pattern(pattern)) => action.regex_rewrite = Some(pattern),
        None => {}
    }
    action.request_mirror_policies = filters.mirrors.iter().map(mirror).collect();
}

fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.authority.to_string(),
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: mirror.millionths,
                denominator: DenominatorType::Million.into(),
            }),
            ..RuntimeFractionalPercent::default()
        }),
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    }
}

/// The answer that sends the caller elsewhere.
pub(super) fn redirect(redirect: &Redirect, one: &RouteMatch) -> RedirectAction {
    let code = match redirect.status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.map_or(0, u32::from),
        response_code: code.into(),
        scheme_rewrite_specifier: redirect.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: redirect.path.as_ref().map(|change| match (change, words(change, one)) {
            (PathChange::Full(path), _) => PathRewriteSpecifier::PathRedirect(path.clone()),
            (_, Words::Prefix(prefix)) => PathRewriteSpecifier::PrefixRewrite(prefix),
            (_, Words::Pattern(pattern)) => PathRewriteSpecifier::RegexRewrite(pattern),
        }),
        ..RedirectAction::default()
    }
}

/// The faults of a route, for its `typed_per_filter_config`: a map of one key, see `parts::metadata`.
pub(super) fn faults(fault: &Fault) -> HashMap<String, Any> {
    let percent =
        |numerator: u32| Some(FractionalPercent { numerator, denominator: DenominatorType::Hundred.into() });
    let fault = HttpFault {
        delay: fault.delay.map(|(share, delay)| FaultDelay {
            percentage: percent(share),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(parts::duration(delay))),
        }),
        abort: fault.abort.map(|(share, abort)| FaultAbort {
            percentage: percent(share),
            error_type: Some(match abort {
                Abort::Http(status) => ErrorType::HttpStatus(status.into()),
                Abort::Grpc(status) => ErrorType::GrpcStatus(status.into()),
            }),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    };
    [(FAULT_FILTER.to_owned(), parts::any(&fault))].into()
}

/// The local rate limit of a virtual host, for its `typed_per_filter_config`: a map of one key, see `parts::metadata`.
pub(super) fn rate_limit(limit: &RateLimit) -> HashMap<String, Any> {
    let every = RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: 100,
            denominator: DenominatorType::Hundred.into(),
        }),
        ..RuntimeFractionalPercent::default()
    };
    let (per_fill, interval) = fill(limit);
    let limit = LocalRateLimit {
        stat_prefix: LIMIT_STATS.to_owned(),
        token_bucket: Some(TokenBucket {
            max_tokens: limit.burst,
            tokens_per_fill: Some(parts::number(per_fill)),
            fill_interval: Some(parts::duration(interval)),
        }),
        filter_enabled: Some(every.clone()),
        filter_enforced: Some(every),
        rate_limited_as_resource_exhausted: true,
        ..LocalRateLimit::default()
    };
    [(LIMIT_FILTER.to_owned(), parts::any(&limit))].into()
}

/// Envoy fills in steps of at least 50 ms: as small ones as make whole requests.
fn fill(limit: &RateLimit) -> (u32, Duration) {
    let steps = u32::try_from(limit.interval.as_millis() / 50).unwrap_or(u32::MAX);
    let steps = (1..=steps.min(limit.requests))
        .rev()
        .find(|steps| limit.requests.is_multiple_of(*steps))
        .unwrap_or(1);
    (limit.requests / steps, limit.interval / steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_filled_in_small_steps_that_add_up_to_the_limit() {
        for (requests, millis, per_fill, fill_ms) in
            [(10, 1_000, 1, 100), (100, 1_000, 5, 50), (1, 1_000, 1, 1_000), (7, 100, 7, 100)]
        {
            let interval = Duration::from_millis(millis);
            let filled = fill(&RateLimit { requests, interval, burst: 1 });
            assert_eq!(filled, (per_fill, Duration::from_millis(fill_ms)), "{requests} in {millis} ms");
        }
    }

    #[test]
    fn a_path_is_said_so_that_envoy_replaces_whole_elements() {
        let one = |prefix: &str| RouteMatch {
            path: Some(PathMatch::Prefix(prefix.to_owned())),
            ..RouteMatch::default()
        };
        for (matched, replacement, expected) in
            [("/foo", "/bar", "/bar"), ("/foo/", "/bar/", "/bar"), ("/", "/bar", "/bar/"), ("/", "/", "/")]
        {
            match words(&PathChange::Prefix(replacement.to_owned()), &one(matched)) {
                Words::Prefix(prefix) => assert_eq!(prefix, expected, "{matched} to {replacement}"),
                Words::Pattern(_) => panic!("{matched} to {replacement} is a pattern"),
            }
        }
        let Words::Pattern(pattern) = words(&PathChange::Prefix("/".to_owned()), &one("/a.b")) else {
            panic!("a prefix of which nothing stays is a pattern")
        };
        assert_eq!(pattern.pattern.map(|pattern| pattern.regex).as_deref(), Some(r"^/a\.b/*"));
        assert_eq!(pattern.substitution, "/");
    }
}
