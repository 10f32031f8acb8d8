//! RDS to rules: a `RouteConfiguration` with one virtual host, whose routes are tried in order.
//!
//! What the data plane cannot carry out (an inverse match, a rewrite by header) is refused with its reason rather
//! than half done: requests would go where nobody asked. Each xDS route becomes one rule with one match.

use api::Pattern;
use api::xds::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use api::xds::pb::envoy::config::route::v3::route::Action;
use api::xds::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use api::xds::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, Route, RouteAction, RouteConfiguration,
};
use api::xds::pb::envoy::config::route::v3::{
    header_matcher::HeaderMatchSpecifier,
    route_match::{GrpcRouteMatchOptions, PathSpecifier},
};
use api::xds::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};
use mesh::{
    Authority, Backend, Filters, GrpcMatch, HeaderMatch, MatchKind, PathMatch, QueryMatch, RequestPolicy,
    RouteMatch, RouteRule,
};

use super::decode_filters::{self, faults, header_changes, redirect};
use super::decode_retries::{bound, hash_key, retry};
use super::decode_sessions::session;

/// Routes in one configuration. A request tries them in order, so that more would cost every request; real ones have
/// some dozens.
const ROUTES_MAX: usize = 2_000;

/// Regular expressions in one configuration. Each worker compiles all of them, up to 32 KiB each, and a request may be asked all of them.
const EXPRESSIONS_MAX: usize = 500;

/// Every route of the configuration's one virtual host, in order.
pub(super) fn rules(configuration: RouteConfiguration) -> Result<Vec<RouteRule>, String> {
    let count = configuration.virtual_hosts.len();
    let Ok([host]) = <[_; 1]>::try_from(configuration.virtual_hosts) else {
        return Err(format!("it has {count} virtual hosts where one is expected"));
    };
    if host.routes.len() > ROUTES_MAX {
        return Err(format!(
            "{} routes are more than the {ROUTES_MAX} that a request may try",
            host.routes.len()
        ));
    }
    let rules = host.routes.into_iter().enumerate();
    let rules: Vec<RouteRule> = rules
        .map(|(at, route)| rule(route).map_err(|reason| format!("route {at}: {reason}")))
        .collect::<Result<_, _>>()?;
    let expressions: usize = rules.iter().flat_map(|rule| &rule.matches).map(RouteMatch::expressions).sum();
    if expressions > EXPRESSIONS_MAX {
        return Err(format!(
            "{expressions} regular expressions are more than the {EXPRESSIONS_MAX} that a request may be asked"
        ));
    }
    let catches_all = |rule: &RouteRule| rule.matches.is_empty();
    if !rules.last().is_some_and(catches_all) {
        return Err("its last route does not match every request".to_owned());
    }
    Ok(rules)
}

fn rule(route: Route) -> Result<RouteRule, String> {
    let (request_headers, response_headers) = header_changes(&route)?;
    let filters = Filters { request_headers, response_headers, ..Filters::default() };
    let fault = faults(&route)?;
    let matches = route.r#match.ok_or("it matches nothing")?;
    let matched = RouteMatch {
        path: path(matches.path_specifier)?,
        headers: Vec::with_capacity(matches.headers.len()),
        query: matches.query_parameters.into_iter().map(query).collect::<Result<_, _>>()?,
        method: None,
        grpc: matches.grpc.map(|GrpcRouteMatchOptions {}| GrpcMatch::default()),
    };
    let matched = matches.headers.into_iter().try_fold(matched, with_header)?;
    let matches = if matched == RouteMatch::default() { Vec::new() } else { vec![matched] };
    let policy = RequestPolicy { fault, ..RequestPolicy::default() };
    let mut rule = RouteRule { matches, filters, policy, ..RouteRule::default() };
    match route.action.ok_or("it has no action")? {
        Action::Route(action) => with_action(rule, &action),
        Action::Redirect(action) => {
            rule.filters.redirect = Some(redirect(&action)?);
            Ok(rule)
        }
        // How a rule without a backend that may be picked is sent: it is answered 500, as Gateway API asks.
        Action::DirectResponse(_) => Ok(rule),
        _ => Err("its action is neither to a cluster nor a redirect or direct response".to_owned()),
    }
}

fn with_action(rule: RouteRule, action: &RouteAction) -> Result<RouteRule, String> {
    let retry_policy = action.retry_policy.as_ref();
    let policy = RequestPolicy {
        retry: retry_policy.map(retry).transpose()?.flatten(),
        stream_idle: bound("idle_timeout", action.idle_timeout)?,
        hash: hash_key(action)?,
        session: session(action)?,
        fault: rule.policy.fault,
    };
    Ok(RouteRule {
        backends: backends(action)?,
        request_timeout: bound("timeout", action.timeout)?,
        try_timeout: bound("per_try_timeout", retry_policy.and_then(|policy| policy.per_try_timeout))?,
        filters: decode_filters::with_action(rule.filters, action)?,
        policy,
        matches: rule.matches,
    })
}

fn path(specifier: Option<PathSpecifier>) -> Result<Option<PathMatch>, String> {
    match specifier {
        Some(PathSpecifier::Prefix(prefix)) if prefix.is_empty() || prefix == "/" => Ok(None),
        // A prefix that ends in a slash matches whole elements, as ours do.
        Some(PathSpecifier::Prefix(prefix)) if prefix.ends_with('/') => Ok(Some(PathMatch::Prefix(prefix))),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => Ok(Some(PathMatch::Prefix(prefix))),
        Some(PathSpecifier::Path(path)) => Ok(Some(PathMatch::Exact(path))),
        Some(PathSpecifier::SafeRegex(regex)) => Ok(Some(PathMatch::Pattern(expression(regex)?))),
        Some(PathSpecifier::Prefix(prefix)) => {
            Err(format!("prefix {prefix:?} may end within a path element, which this proxy does not match"))
        }
        other => Err(format!("its path is matched in a way that this proxy does not know: {other:?}")),
    }
}

fn with_header(mut matched: RouteMatch, header: HeaderMatcher) -> Result<RouteMatch, String> {
    if header.invert_match {
        return Err(format!("header {:?} is matched inversely, which this proxy does not do", header.name));
    }
    let (value, kind) = match header.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(text)) => {
            pattern(text).map_err(|reason| format!("header {:?} {reason}", header.name))?
        }
        Some(HeaderMatchSpecifier::PresentMatch(true)) => (String::new(), MatchKind::Present),
        _ => {
            return Err(format!(
                "header {:?} is matched in a way that this proxy does not know",
                header.name
            ));
        }
    };
    match kind {
        MatchKind::Exact if header.name == ":method" => matched.method = Some(value),
        _ if header.name.starts_with(':') => return Err(format!("{:?} is no header to match", header.name)),
        kind => matched.headers.push(HeaderMatch { name: header.name, value, kind }),
    }
    Ok(matched)
}

/// A text that is matched as a whole, by its begin, or by a regular expression.
fn pattern(text: StringMatcher) -> Result<(String, MatchKind), String> {
    match text.match_pattern {
        Some(MatchPattern::Exact(value)) if !text.ignore_case => Ok((value, MatchKind::Exact)),
        Some(MatchPattern::Prefix(value)) if !text.ignore_case => Ok((value, MatchKind::Prefix)),
        Some(MatchPattern::SafeRegex(regex)) => Ok((expression(regex)?, MatchKind::Pattern)),
        _ => Err("is matched in a way that is not known".to_owned()),
    }
}

/// A regular expression that can be compiled: workers rely on it.
fn expression(matcher: RegexMatcher) -> Result<String, String> {
    let regex = matcher.regex;
    Pattern::new(&regex).map_err(|fault| format!("expression {regex:?} {fault}"))?;
    Ok(regex)
}

fn query(parameter: QueryParameterMatcher) -> Result<QueryMatch, String> {
    let name = parameter.name;
    let known = match parameter.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => pattern(text),
        Some(QueryParameterMatchSpecifier::PresentMatch(true)) => Ok((String::new(), MatchKind::Present)),
        _ => Err("is matched in a way that is not known".to_owned()),
    };
    let (value, kind) = known.map_err(|reason| format!("parameter {name:?} {reason}"))?;
    Ok(QueryMatch { name, value, kind })
}

fn backends(action: &RouteAction) -> Result<Vec<Backend>, String> {
    let backend = |name: &str, weight| {
        let authority: Authority = name.parse().map_err(|error: mesh::NameError| error.to_string())?;
        Ok(Backend { authority, weight })
    };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(vec![backend(name, 1)?]),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
            .clusters
            .iter()
            .map(|cluster| backend(&cluster.name, cluster.weight.map_or(0, |weight| weight.value)))
            .collect(),
        _ => Err("it sends to neither a cluster nor weighted clusters".to_owned()),
    }
}
