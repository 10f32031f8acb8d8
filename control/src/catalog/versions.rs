//! Versions of commands: which kind of command may enter the log. A kind that older programs do not know would be applied by
//! some nodes and not by others; so it waits until every member knows it, and the log itself says when that is
//! (docs/decisions/0007-versions-of-commands.md). A new kind gets the next version here, in `needed`, and nowhere else.

use api::log::v1::PutConfig;
use api::log::v1::command::Body;
use api::v1::{Route, RouteMatch, RouteRule, TrafficPolicy};

/// Of the kinds that every program knows.
pub const FIRST: u32 = 1;
/// The newest that this program knows. It is also the newest format of a catalog's snapshot that it reads.
///
/// 2: members that come and go by the log. 3: writes that say since when they are tried, and a bound in bytes on what is
/// remembered of them. 4: routes and policies that say more than an older program reads in them (`says_more`).
pub const NEWEST: u32 = 4;

/// The version from which on a retry of a forgotten client is refused, as `writers.rs` says, and clients are forgotten for want
/// of bytes too: before, a node of an older version would apply what others refuse.
pub const WRITES_SAY_SINCE: u32 = 3;

/// The version from which on routes are of gRPC too, have sessions, and match by regular expressions.
pub const ROUTES_SAY_MORE: u32 = 4;

/// The version from which on such a command may enter the log. Raising the version is itself of the first one: who does not
/// know the version that it names must stop there.
#[must_use]
pub fn needed(body: &Body) -> u32 {
    match body {
        Body::Register(_)
        | Body::Leave(_)
        | Body::Expire(_)
        | Body::Partial(_)
        | Body::Tick(_)
        | Body::Begin(_)
        | Body::Announce(_)
        | Body::RaiseVersion(_) => FIRST,
        Body::ChangeMembers(_) => 2,
        Body::PutConfig(put) if says_more(put) => ROUTES_SAY_MORE,
        Body::DeleteConfig(delete) if delete.grpc_route.is_some() => ROUTES_SAY_MORE,
        Body::PutConfig(_) | Body::DeleteConfig(_) => FIRST,
    }
}

/// Whether a program of an older version would read less in it than it says: routes of gRPC, sessions, regular
/// expressions.
fn says_more(put: &PutConfig) -> bool {
    let in_route = |route: &Route| route.kind != 0 || route.rules.iter().any(in_rule);
    let in_policy = |policy: &TrafficPolicy| {
        policy.targets.iter().any(|target| target.grpc_route.is_some())
            || policy.requests.as_ref().is_some_and(|requests| requests.session.is_some())
    };
    put.routes.iter().any(in_route) || put.policies.iter().any(in_policy)
}

fn in_rule(rule: &RouteRule) -> bool {
    rule.matches.iter().any(in_match) || rule.policy.as_ref().is_some_and(|policy| policy.session.is_some())
}

fn in_match(one: &RouteMatch) -> bool {
    use api::v1::{header_match, query_match, route_match};
    one.grpc.is_some()
        || matches!(one.path, Some(route_match::Path::PathPattern(_)))
        || one.headers.iter().any(|header| matches!(header.value, Some(header_match::Value::Pattern(_))))
        || one.query.iter().any(|query| matches!(query.value, Some(query_match::Value::Pattern(_))))
}
