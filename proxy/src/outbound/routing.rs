//! Which rule takes a request, and which of its backends. Pure: chance is handed in.

use api::Pattern;
use http::{HeaderValue, request};
use mesh::{HeaderMatch, MatchKind, QueryMatch, RouteMatch, RouteRule};

use super::patterns::{OfMatch, Patterns};
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
pub(super) fn choose(
    rules: &[RouteRule],
    patterns: &Patterns,
    request: &request::Parts,
    chance: &mut Chance,
) -> Choice {
    let takes = |(number, rule): (usize, &RouteRule)| {
        let mut wanted = rule.matches.iter().enumerate();
        rule.matches.is_empty()
            || wanted.any(|(at, one)| matches(one, patterns.of_match(number, at), request))
    };
    let Some(rule) = rules.iter().enumerate().position(takes) else { return Choice::Service };
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

fn matches(wanted: &RouteMatch, patterns: Option<&OfMatch>, request: &request::Parts) -> bool {
    let pattern = |of: fn(&OfMatch) -> &[Option<Pattern>], at: usize| of(patterns?).get(at)?.as_ref();
    let by_path = |path: &str| {
        let pattern = patterns.and_then(|patterns| patterns.path.as_ref());
        pattern.is_some_and(|pattern| pattern.matches(path.as_bytes()))
    };
    let query = request.uri.query().unwrap_or_default();
    wanted.method.as_ref().is_none_or(|method| request.method == method.as_str())
        && wanted.path.as_ref().is_none_or(|path| path.matches(request.uri.path(), by_path))
        && wanted.grpc.as_ref().is_none_or(|_| is_grpc(&request.headers))
        && wanted.headers.iter().enumerate().all(|(at, header)| {
            let value = request.headers.get(header.name.as_str()).map(HeaderValue::as_bytes);
            value.is_some_and(|value| has_value(header, value, pattern(|of| &of.headers, at)))
        })
        && wanted
            .query
            .iter()
            .enumerate()
            .all(|(at, wanted)| has_parameter(wanted, query, pattern(|of| &of.query, at)))
}

fn has_value(wanted: &HeaderMatch, value: &[u8], pattern: Option<&Pattern>) -> bool {
    match wanted.kind {
        MatchKind::Present => true,
        MatchKind::Exact => value == wanted.value.as_bytes(),
        MatchKind::Prefix => value.starts_with(wanted.value.as_bytes()),
        MatchKind::Pattern => pattern.is_some_and(|pattern| pattern.matches(value)),
    }
}

/// Whether a query has the parameter; of several of one name the first counts (Gateway API).
fn has_parameter(wanted: &QueryMatch, query: &str, pattern: Option<&Pattern>) -> bool {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let found = pairs.find(|(name, _)| decoded(name).eq(wanted.name.bytes()));
    found.is_some_and(|(_, value)| match wanted.kind {
        MatchKind::Present => true,
        MatchKind::Exact => decoded(value).eq(wanted.value.bytes()),
        MatchKind::Prefix => {
            let mut value = decoded(value);
            wanted.value.bytes().all(|byte| value.next() == Some(byte))
        }
        MatchKind::Pattern => {
            pattern.is_some_and(|pattern| pattern.matches(&decoded(value).collect::<Vec<u8>>()))
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
    use mesh::{Backend, GrpcMatch, PathMatch};

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
            assert_eq!(choose(&rules, &Patterns::default(), &parts(request), &mut chance), choice);
        }
    }

    #[test]
    fn a_rule_for_calls_of_grpc_takes_no_other_request() {
        let call = |service: &str| {
            let path = Some(PathMatch::Prefix(format!("/{service}")));
            RouteMatch { path, grpc: Some(GrpcMatch::default()), ..RouteMatch::default() }
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
            let choice = choose(&rules, &Patterns::default(), &request, &mut chance);
            assert_eq!(choice == Choice::Backend { rule: 0, backend: 0 }, is_taken, "{request:?}");
        }
    }

    #[test]
    fn expressions_are_asked_for_the_match_that_they_stand_in() {
        let of = |name: &str, value: &str| HeaderMatch {
            name: name.to_owned(),
            value: value.to_owned(),
            kind: MatchKind::Pattern,
        };
        let plain = RouteMatch { path: Some(PathMatch::Exact("/plain".to_owned())), ..RouteMatch::default() };
        let path = Some(PathMatch::Pattern("/v[0-9]+/.*".to_owned()));
        let headers = vec![of("x-a", "1|2"), of("x-b", "b+")];
        let by_pattern = RouteMatch { path, headers, ..RouteMatch::default() };
        let rules = [rule(vec![plain], &[1]), rule(vec![by_pattern], &[1])];
        let patterns = Patterns::of(&rules);
        let mut chance = Chance::seeded(1);
        for (path, a, b, rule) in [
            ("/plain", "", "", Some(0)),
            ("/v12/x?y", "2", "bb", Some(1)),
            ("/v/x", "2", "bb", None),
            ("/v1/x", "3", "bb", None),
            ("/v1/x", "1", "bc", None),
        ] {
            let request = parts(Request::get(path).header("x-a", a).header("x-b", b));
            let expected = rule.map_or(Choice::Service, |rule| Choice::Backend { rule, backend: 0 });
            assert_eq!(choose(&rules, &patterns, &request, &mut chance), expected, "{path} {a} {b}");
        }
    }

    #[test]
    fn backends_share_by_weight_and_zero_takes_none() {
        let rules = [rule(Vec::new(), &[900, 0, 100])];
        let (mut chance, mut shares) = (Chance::seeded(5), [0; 3]);
        for _ in 0..10_000 {
            let Choice::Backend { backend, .. } =
                choose(&rules, &Patterns::default(), &parts(Request::get("/")), &mut chance)
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
        let pattern = Pattern::new("y[ae]s").unwrap();
        for (query, kind, value, expected) in [
            ("x=1&a%20b=yes", MatchKind::Exact, "yes", true),
            ("a%20b=y%65s", MatchKind::Exact, "yes", true),
            ("a%20b=yes!", MatchKind::Exact, "yes", false),
            ("a%20b=no&a%20b=yes", MatchKind::Exact, "yes", false),
            ("a%20b=yesterday", MatchKind::Prefix, "yes", true),
            ("a%20b=ye", MatchKind::Prefix, "yes", false),
            ("a%20b=y%65s", MatchKind::Pattern, "", true),
            ("a%20b=yes!", MatchKind::Pattern, "", false),
            ("a%20b", MatchKind::Present, "", true),
            ("a%20", MatchKind::Present, "", false),
            ("a%zz=1&%", MatchKind::Present, "", false),
            ("", MatchKind::Present, "", false),
        ] {
            assert_eq!(
                has_parameter(&of(kind, value), query, Some(&pattern)),
                expected,
                "{query} {kind:?} {value}"
            );
        }
        let begin = HeaderMatch { name: "x-v".to_owned(), value: "can".to_owned(), kind: MatchKind::Prefix };
        let wanted = RouteMatch { headers: vec![begin], ..RouteMatch::default() };
        assert!(matches(&wanted, None, &parts(Request::get("/").header("x-v", "canary"))));
        assert!(!matches(&wanted, None, &parts(Request::get("/").header("x-v", "ca"))));
    }
}
