//! RDS to filters and faults: the words that the control plane uses, and no others.

use std::time::Duration;

use api::xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use api::xds::pb::envoy::config::core::v3::{HeaderValueOption, RuntimeFractionalPercent};
use api::xds::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use api::xds::pb::envoy::config::route::v3::route_action::{HostRewriteSpecifier, RequestMirrorPolicy};
use api::xds::pb::envoy::config::route::v3::{RedirectAction, Route, RouteAction};
use api::xds::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use api::xds::pb::envoy::extensions::filters::http::fault::v3::{HttpFault, fault_abort::ErrorType};
use api::xds::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use api::xds::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use api::{changed_header_fault, header_value_fault};
use mesh::{Abort, Fault, Filters, HeaderChanges, Mirror, PathChange, Redirect};
use prost::{Message, Name};

use super::decode_retries::bound;

/// Where the faults of a route stand.
const FAULT_FILTER: &str = "envoy.filters.http.fault";

/// The header changes of a route.
pub(super) fn header_changes(route: &Route) -> Result<(HeaderChanges, HeaderChanges), String> {
    let request = changes(&route.request_headers_to_add, &route.request_headers_to_remove)?;
    let response = changes(&route.response_headers_to_add, &route.response_headers_to_remove)?;
    Ok((request, response))
}

fn changes(options: &[HeaderValueOption], remove: &[String]) -> Result<HeaderChanges, String> {
    let mut changes = HeaderChanges { remove: remove.to_vec(), ..HeaderChanges::default() };
    for option in options {
        let header = option.header.as_ref().ok_or("it changes a header without a name")?;
        let pair = (header.key.clone(), header.value.clone());
        match HeaderAppendAction::try_from(option.append_action) {
            Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => changes.set.push(pair),
            Ok(HeaderAppendAction::AppendIfExistsOrAdd) => changes.add.push(pair),
            _ => return Err(format!("header {:?} is changed in a way that is not known", header.key)),
        }
    }
    let pairs = || changes.set.iter().chain(&changes.add);
    for name in changes.remove.iter().chain(pairs().map(|(name, _)| name)) {
        if let Some(fault) = changed_header_fault(name) {
            return Err(format!("header {name:?} {fault}"));
        }
    }
    match pairs().find_map(|(name, value)| Some((name, header_value_fault(value)?))) {
        Some((name, fault)) => Err(format!("the value of header {name:?} {fault}")),
        None => Ok(changes),
    }
}

/// What an action changes of a request, and where copies of it go.
pub(super) fn with_action(mut filters: Filters, action: &RouteAction) -> Result<Filters, String> {
    filters.host = match &action.host_rewrite_specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(host.clone()),
        Some(_) => return Err("its host is rewritten in a way that is not known".to_owned()),
    };
    filters.path = match (&action.regex_rewrite, action.prefix_rewrite.as_str()) {
        (Some(pattern), _) => Some(by_pattern(pattern)?),
        (None, "") => None,
        (None, prefix) => Some(PathChange::Prefix(prefix.to_owned())),
    };
    filters.mirrors = action.request_mirror_policies.iter().map(mirror).collect::<Result<_, _>>()?;
    Ok(filters)
}

/// The two patterns that are said where Envoy has no other word: the whole path, and a prefix of which nothing stays.
fn by_pattern(rewrite: &RegexMatchAndSubstitute) -> Result<PathChange, String> {
    let pattern = rewrite.pattern.as_ref().map_or("", |pattern| pattern.regex.as_str());
    match (pattern, rewrite.substitution.as_str()) {
        ("^.*$", path) => Ok(PathChange::Full(path.replace("\\\\", "\\"))),
        (pattern, "/") if pattern.starts_with("^/") && pattern.ends_with("/*") => {
            Ok(PathChange::Prefix("/".to_owned()))
        }
        _ => Err(format!("its path is rewritten by a pattern, {pattern:?}, which this proxy does not do")),
    }
}

fn mirror(policy: &RequestMirrorPolicy) -> Result<Mirror, String> {
    let authority = policy.cluster.parse().map_err(|error: mesh::NameError| error.to_string())?;
    let share = policy
        .runtime_fraction
        .as_ref()
        .and_then(|RuntimeFractionalPercent { default_value, .. }| default_value.as_ref().map(millionths));
    Ok(Mirror { authority, millionths: share.unwrap_or(Mirror::ALL) })
}

fn millionths(percent: &FractionalPercent) -> u32 {
    let each = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::Hundred) | Err(_) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
    };
    percent.numerator.saturating_mul(each).min(Mirror::ALL)
}

/// The answer that sends a caller elsewhere.
pub(super) fn redirect(action: &RedirectAction) -> Result<Redirect, String> {
    let status = match RedirectResponseCode::try_from(action.response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => 301,
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Err(_) => return Err(format!("redirect code {} is not known", action.response_code)),
    };
    let scheme = match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme.clone()),
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    let path = match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => Some(PathChange::Full(path.clone())),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => Some(PathChange::Prefix(prefix.clone())),
        Some(PathRewriteSpecifier::RegexRewrite(pattern)) => Some(by_pattern(pattern)?),
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err("its redirect changes the path in a way that is not known".to_owned());
        }
        None => None,
    };
    let port = match action.port_redirect {
        0 => None,
        port => Some(u16::try_from(port).map_err(|_| format!("redirect port {port} is none"))?),
    };
    let host = Some(action.host_redirect.clone()).filter(|host| !host.is_empty());
    Ok(Redirect { scheme, host, port, path, status })
}

/// The faults of a route.
pub(super) fn faults(route: &Route) -> Result<Option<Fault>, String> {
    let Some(sent) = route.typed_per_filter_config.get(FAULT_FILTER) else { return Ok(None) };
    if sent.type_url != HttpFault::type_url() {
        return Err(format!("its fault is a {:?}", sent.type_url));
    }
    let sent = HttpFault::decode(sent.value.as_slice()).map_err(|error| error.to_string())?;
    let percent = |share: Option<&FractionalPercent>| share.map_or(0, |share| millionths(share) / 10_000);
    let delay = match sent.delay {
        None => None,
        Some(delay) => match delay.fault_delay_secifier {
            Some(FaultDelaySecifier::FixedDelay(time)) => {
                let time = bound("fixed_delay", Some(time))?.unwrap_or(Duration::ZERO);
                Some((percent(delay.percentage.as_ref()), time))
            }
            _ => return Err("its delay is not a fixed one".to_owned()),
        },
    };
    let abort = match sent.abort {
        None => None,
        Some(abort) => {
            let how = match abort.error_type {
                Some(ErrorType::HttpStatus(status)) => u16::try_from(status).ok().map(Abort::Http),
                Some(ErrorType::GrpcStatus(status)) => u8::try_from(status).ok().map(Abort::Grpc),
                _ => None,
            };
            Some((percent(abort.percentage.as_ref()), how.ok_or("its abort states no status")?))
        }
    };
    Ok(Some(Fault { delay, abort }))
}
