//! Which rule takes a request, and which of its backends. Pure: chance is handed in.

use http::request;
use mesh::{MatchKind, QueryMatch, RouteMatch, RouteRule};

use crate::balance::Chance;
use crate::http::refusal::is_grpc;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// No rule matches: to the service itself.
    Service,
    /// To this backend of this rule.
    Backend { rule: usize, backend: usize },
    /// A rule matches, and none of its backends takes requests.
    Nowhere,
    /// A rule matches, and sends the caller elsewhere.
    Redirect { rule: usize },
}

/// The first rule that matches, and one of its backends by weight.
pub(super) fn choose(rules: &[RouteRule], request: &request::Parts, chance: &mut Chance) -> Choice {
    let Some(rule) = rules.iter().position(|rule| {
        rule.matches.is_empty() || rule.matches.iter().any(|wanted| matches(wanted, request))
    }) else {
        return Choice::Service;
    };
    if rules[rule].filters.redirect.is_some() {
        return Choice::Redirect { rule };
    }
    let backends = &rules[rule].backends;
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if total == 0 {
        return Choice::Nowhere;
    }
    if let [_] = backends[..] {
        return Choice::Backend { rule, backend: 0 };
    }
    let mut ticket = chance.below(total);
    let backend = backends.iter().position(|backend| {
        let weight = u64::from(backend.weight);
        let hit = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        hit
    });
    Choice::Backend { rule, backend: backend.expect("the ticket is below the sum of the weights") }
}

fn matches(wanted: &RouteMatch, request: &request::Parts) -> bool {
    wanted.method.as_ref().is_none_or(|method| request.method == method.as_str())
        && wanted.path.as_ref().is_none_or(|path| path.matches(request.uri.path()))
        && wanted
            .grpc
            .as_ref()
            .is_none_or(|call| is_grpc(&request.headers) && call.matches(request.uri.path()))
        && wanted.headers.iter().all(|header| match header.kind {
            MatchKind::Present => request.headers.contains_key(header.name.as_str()),
            MatchKind::Exact => {
                request.headers.get(header.name.as_str()).is_some_and(|value| value == header.value.as_str())
            }
            MatchKind::Prefix => request
                .headers
                .get(header.name.as_str())
                .is_some_and(|value| value.as_bytes().starts_with(header.value.as_bytes())),
        })
        && wanted.query.iter().all(|query| has_parameter(query, request.uri.query().unwrap_or_default()))
}

/// Whether a query has the parameter; of several of one name the first counts (Gateway API).
fn has_parameter(wanted: &QueryMatch, query: &str) -> bool {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let found = pairs.find(|(name, _)| decoded(name).eq(wanted.name.bytes()));
    found.is_some_and(|(_, value)| match wanted.kind {
        MatchKind::Present => true,
        MatchKind::Exact => decoded(value).eq(wanted.value.bytes()),
        MatchKind::Prefix => {
            let mut value = decoded(value);
            wanted.value.bytes().all(|byte| value.next() == Some(byte))
        }
    })
}

/// The bytes of a part of a query; what is no `%xx` stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        rest = after;
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if *first == b'%'
            && let (Some(high), Some(low)) = (digit(0), digit(1))
        {
            rest = &after[2..];
            return u8::try_from(high * 16 + low).ok();
        }
        Some(*first)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;
    use http::Request;
    use mesh::{Backend, GrpcMatch, HeaderMatch, PathMatch};

    fn rule(matches: Vec<RouteMatch>, weights: &[u32]) -> RouteRule {
        let backends = weights
            .iter()
            .enumerate()
            .map(|(number, weight)| Backend {
                authority: format!("web-{number}").parse().unwrap(),
                weight: *weight,
            })
            .collect();
        RouteRule { matches, backends, ..RouteRule::default() }
    }

    fn parts(request: http::request::Builder) -> request::Parts {
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_first_matching_rule_takes_the_request_and_all_its_parts_must_match() {
        let beta = HeaderMatch { name: "x-beta".to_owned(), value: "yes".to_owned(), kind: MatchKind::Exact };
        let rules = [
            rule(
                vec![RouteMatch {
                    path: Some(PathMatch::Prefix("/cart".to_owned())),
                    headers: vec![beta],
                    query: Vec::new(),
                    method: Some("POST".to_owned()),
                    grpc: None,
                }],
                &[1],
            ),
            rule(
                vec![RouteMatch {
                    path: Some(PathMatch::Exact("/down".to_owned())),
                    ..RouteMatch::default()
                }],
                &[0],
            ),
        ];
        let mut chance = Chance::seeded(1);
        for (request, choice) in [
            (Request::post("/cart/7").header("x-beta", "yes"), Choice::Backend { rule: 0, backend: 0 }),
            (Request::get("/cart/7").header("x-beta", "yes"), Choice::Service),
            (Request::post("/cart/7").header("x-beta", "no"), Choice::Service),
            (Request::post("/cart/7"), Choice::Service),
            (Request::get("/down?x"), Choice::Nowhere),
            (Request::get("/"), Choice::Service),
        ] {
            assert_eq!(choose(&rules, &parts(request), &mut chance), choice);
        }
    }

    #[test]
    fn a_rule_for_calls_of_grpc_takes_no_other_request() {
        let call = |service: &str| {
            let grpc = Some(GrpcMatch { service: Some(service.to_owned()), method: None });
            RouteMatch { grpc, ..RouteMatch::default() }
        };
        let rules = [rule(vec![call("shop.Carts")], &[1])];
        let mut chance = Chance::seeded(1);
        let grpc = |path: &str, kind: &str| parts(Request::post(path).header("content-type", kind));
        for (request, is_taken) in [
            (grpc("/shop.Carts/Add", "application/grpc"), true),
            (grpc("/shop.Carts/Add", "application/grpc+proto"), true),
            (grpc("/shop.Carts/Add", "application/json"), false),
            (grpc("/shop.Orders/Add", "application/grpc"), false),
            (parts(Request::get("/shop.Carts/Add")), false),
        ] {
            let choice = choose(&rules, &request, &mut chance);
            assert_eq!(choice == Choice::Backend { rule: 0, backend: 0 }, is_taken, "{request:?}");
        }
    }

    #[test]
    fn backends_share_by_weight_and_zero_takes_none() {
        let rules = [rule(Vec::new(), &[900, 0, 100])];
        let (mut chance, mut shares) = (Chance::seeded(5), [0; 3]);
        for _ in 0..10_000 {
            let Choice::Backend { backend, .. } = choose(&rules, &parts(Request::get("/")), &mut chance)
            else {
                panic!("a backend takes it")
            };
            shares[backend] += 1;
        }
        assert!((8850..9150).contains(&shares[0]) && shares[1] == 0, "{shares:?}");
    }

    #[test]
    fn values_are_matched_whole_by_their_begin_or_by_being_there() {
        let of = |kind: MatchKind, value: &str| QueryMatch {
            name: "a b".to_owned(),
            value: value.to_owned(),
            kind,
        };
        for (query, kind, value, expected) in [
            ("x=1&a%20b=yes", MatchKind::Exact, "yes", true),
            ("a%20b=y%65s", MatchKind::Exact, "yes", true),
            ("a%20b=yes!", MatchKind::Exact, "yes", false),
            ("a%20b=no&a%20b=yes", MatchKind::Exact, "yes", false),
            ("a%20b=yesterday", MatchKind::Prefix, "yes", true),
            ("a%20b=ye", MatchKind::Prefix, "yes", false),
            ("a%20b", MatchKind::Present, "", true),
            ("a%20", MatchKind::Present, "", false),
            ("a%zz=1&%", MatchKind::Present, "", false),
            ("", MatchKind::Present, "", false),
        ] {
            assert_eq!(has_parameter(&of(kind, value), query), expected, "{query} {kind:?} {value}");
        }
        let begin = HeaderMatch { name: "x-v".to_owned(), value: "can".to_owned(), kind: MatchKind::Prefix };
        let wanted = RouteMatch { headers: vec![begin], ..RouteMatch::default() };
        assert!(matches(&wanted, &parts(Request::get("/").header("x-v", "canary"))));
        assert!(!matches(&wanted, &parts(Request::get("/").header("x-v", "ca"))));
    }
}
