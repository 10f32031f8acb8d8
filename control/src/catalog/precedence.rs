//! Several routes on one parent become one ordered list of rules, by Gateway API's precedence
//! (<https://gateway-api.sigs.k8s.io/reference/spec/>, `HTTPRouteRule.matches`): the first match in the list rules.
//!
//! Order of matches: an exact path; the longest regular expression of a path; the longest path prefix; a method; the most headers; the most query parameters. Ties: the route that was
//! created first; the route's namespace and name; the earlier rule; the earlier match. A rule's matches may thus stand
//! apart in the list; a rule with no match matches what the prefix `/` does.
//!
//! Calls of gRPC are taken by `GRPCRoute`s before any `HTTPRoute`, in the order of `GRPCRouteRule.matches`, names
//! before regular expressions: the longest service; the longest method; the most headers; the same ties. A rule of theirs with no match matches every call, and no other request.

use std::cmp::Reverse;

use mesh::{GrpcMatch, PathMatch, RequestPolicy, RouteKind, RouteMatch, RouteRule};

use super::topology::StoredRoute;

/// Smaller is tried first.
type Rank<'a> = (
    Reverse<bool>,
    Reverse<u8>,
    Reverse<usize>,
    Reverse<usize>,
    Reverse<(usize, usize)>,
    u64,
    (&'a str, &'a str),
    usize,
    usize,
);

fn rank<'a>(stored: &'a StoredRoute, route_match: Option<&RouteMatch>, rule: usize, at: usize) -> Rank<'a> {
    let (exact, length) = match route_match.and_then(|route_match| route_match.path.as_ref()) {
        Some(PathMatch::Exact(path)) => (2, path.len()),
        Some(PathMatch::Pattern(pattern)) => (1, pattern.len()),
        Some(PathMatch::Prefix(path)) => (0, path.trim_end_matches('/').len()),
        None => (0, 0),
    };
    let method = usize::from(route_match.is_some_and(|route_match| route_match.method.is_some()));
    let call = route_match.and_then(|route_match| route_match.grpc.as_ref());
    let (exact, length, method) = call.map_or((exact, length, method), |call| {
        let letters = |name: &Option<String>| name.as_ref().map_or(0, String::len);
        let names = match call {
            GrpcMatch { service: None, method: None, .. } => 0,
            GrpcMatch { is_pattern: true, .. } => 1,
            GrpcMatch { is_pattern: false, .. } => 2,
        };
        (names, letters(&call.service), letters(&call.method))
    });
    let counts = route_match.map_or((0, 0), |one| (one.headers.len(), one.query.len()));
    let name = (stored.route.name.namespace.as_str(), stored.route.name.name.as_str());
    (
        Reverse(call.is_some()),
        Reverse(exact),
        Reverse(length),
        Reverse(method),
        Reverse(counts),
        stored.created_index,
        name,
        rule,
        at,
    )
}

/// The rules of all `routes` together, each with what the policy on its route says, in the order in which they are to be
/// tried.
pub(super) fn merged_rules<'a>(
    routes: impl Iterator<Item = (&'a StoredRoute, Option<&'a RequestPolicy>)>,
) -> Vec<RouteRule> {
    let every_call = RouteMatch { grpc: Some(GrpcMatch::default()), ..RouteMatch::default() };
    let mut candidates = Vec::new();
    for (stored, policy) in routes {
        for (number, rule) in stored.route.rules.iter().enumerate() {
            if rule.matches.is_empty() {
                let all = (stored.route.name.kind == RouteKind::Grpc).then_some(&every_call);
                candidates.push((rank(stored, all, number, 0), rule, all, policy));
            }
            for (at, route_match) in rule.matches.iter().enumerate() {
                candidates.push((
                    rank(stored, Some(route_match), number, at),
                    rule,
                    Some(route_match),
                    policy,
                ));
            }
        }
    }
    candidates.sort_by(|left, right| left.0.cmp(&right.0));
    let mut merged: Vec<RouteRule> = Vec::new();
    let mut last: Option<&RouteRule> = None;
    for (_, rule, route_match, policy) in candidates {
        match (merged.last_mut(), route_match) {
            // Neighbours of the same rule stay one rule.
            (Some(open), Some(route_match)) if last.is_some_and(|last| std::ptr::eq(last, rule)) => {
                open.matches.push(route_match.clone());
            }
            _ => merged.push(RouteRule {
                matches: route_match.into_iter().cloned().collect(),
                policy: match policy {
                    Some(policy) => rule.policy.clone().within(policy),
                    None => rule.policy.clone(),
                },
                ..RouteRule { matches: Vec::new(), ..rule.clone() }
            }),
        }
        last = Some(rule);
    }
    merged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::sync::Arc;

    use mesh::{Backend, HeaderMatch, MatchKind, Revision, Route, RouteName};

    use super::*;

    fn stored(name: &str, created_index: u64, rules: Vec<RouteRule>) -> StoredRoute {
        let name = RouteName { namespace: "default".into(), name: name.into(), kind: RouteKind::Http };
        let route = Arc::new(Route { name, parents: vec![("web".parse().unwrap(), None)], rules });
        StoredRoute { route, revision: Revision::default(), created_index }
    }

    fn rule(to: &str, matches: Vec<RouteMatch>) -> RouteRule {
        let backends = vec![Backend { authority: to.parse().unwrap(), weight: 1 }];
        RouteRule { matches, backends, ..RouteRule::default() }
    }

    fn path(text: &str) -> RouteMatch {
        let path = match text.strip_prefix('=') {
            Some(exact) => PathMatch::Exact(exact.into()),
            None if text.contains('*') => PathMatch::Pattern(text.into()),
            None => PathMatch::Prefix(text.into()),
        };
        RouteMatch { path: Some(path), ..RouteMatch::default() }
    }

    fn header(name: &str) -> HeaderMatch {
        HeaderMatch { name: name.into(), value: String::new(), kind: MatchKind::Present }
    }

    fn order(routes: &[StoredRoute]) -> Vec<String> {
        let rules = merged_rules(routes.iter().map(|stored| (stored, None)));
        rules.iter().map(|rule| rule.backends[0].authority.service.name().to_owned()).collect()
    }

    #[test]
    fn the_more_specific_match_is_tried_first_whatever_the_order_of_the_rules() {
        let method = RouteMatch { method: Some("GET".into()), ..path("/a") };
        let headers = RouteMatch { headers: vec![header("x"), header("y")], ..path("/a") };
        let one_header = RouteMatch { headers: vec![header("x")], ..path("/a") };
        let route = stored(
            "r",
            1,
            vec![
                rule("all", vec![]),
                rule("prefix", vec![path("/a")]),
                rule("one-header", vec![one_header]),
                rule("headers", vec![headers]),
                rule("method", vec![method]),
                rule("longer", vec![path("/a/b")]),
                rule("exact", vec![path("=/a")]),
                rule("pattern", vec![path("/.*")]),
            ],
        );
        let expected = ["exact", "pattern", "longer", "method", "headers", "one-header", "prefix", "all"];
        assert_eq!(order(&[route]), expected);
    }

    #[test]
    fn of_equal_matches_the_older_route_rules_then_the_name_then_the_earlier_rule() {
        let routes = [
            stored("a-young", 9, vec![rule("young", vec![path("/")])]),
            stored("b-old", 3, vec![rule("old-first", vec![path("/")]), rule("old-second", vec![])]),
            stored("a-old", 3, vec![rule("a-old", vec![path("/")])]),
        ];
        assert_eq!(order(&routes), ["a-old", "old-first", "old-second", "young"]);
    }

    #[test]
    fn calls_of_grpc_are_taken_by_their_own_routes_first_by_the_longest_service_and_then_the_longest_method()
    {
        let call = |service: &str, method: &str, headers: usize| {
            let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let is_pattern = service.contains('*');
            let grpc = Some(GrpcMatch { service: named(service), method: named(method), is_pattern });
            let headers = (0..headers).map(|at| header(&format!("x-{at}"))).collect();
            RouteMatch { grpc, headers, ..RouteMatch::default() }
        };
        let http = stored("a-http", 1, vec![rule("http", vec![path("=/shop.Carts/Add")])]);
        let mut grpc = stored(
            "grpc",
            9,
            vec![
                rule("all-calls", vec![]),
                rule("method", vec![call("", "Add", 0)]),
                rule("service", vec![call("shop.Carts", "", 0)]),
                rule("service-header", vec![call("shop.Carts", "", 1)]),
                rule("call", vec![call("shop.Carts", "Add", 0)]),
                rule("longer-method", vec![call("shop.Carts", "AddAll", 0)]),
                rule("longer-service", vec![call("shop.CartsOld", "", 0)]),
                rule("pattern", vec![call("shop.CartsOlder.*", "", 0)]),
            ],
        );
        Arc::get_mut(&mut grpc.route).unwrap().name.kind = RouteKind::Grpc;
        let expected = [
            "longer-service",
            "longer-method",
            "call",
            "service-header",
            "service",
            "method",
            "pattern",
            "all-calls",
            "http",
        ];
        let routes = [http, grpc];
        assert_eq!(order(&routes), expected);
        let rules = merged_rules(routes.iter().map(|stored| (stored, None)));
        assert_eq!(rules[7].matches, [call("", "", 0)], "it leaves other requests alone");
    }

    #[test]
    fn matches_of_one_rule_stay_together_when_nothing_comes_between() {
        let route = stored(
            "r",
            1,
            vec![rule("v1", vec![path("/a/b"), path("/c/d"), path("/")]), rule("v2", vec![path("/a")])],
        );
        let rules = merged_rules(std::iter::once((&route, None)));
        let counts: Vec<_> = rules.iter().map(|rule| rule.matches.len()).collect();
        assert_eq!(counts, [2, 1, 1], "v1 with the long prefixes, v2, v1 with the short one");
    }
}
