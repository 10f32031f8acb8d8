//! Routes on the wire and in the log. What comes out of here holds Gateway API's rules, see `route_rules`.

use std::time::Duration;

use mesh::{Backend, RequestPolicy, Route, RouteKind, RouteName, RouteRule, ServiceName};

use crate::field::{self, FieldError};
use crate::policy::millis;
use crate::route_rules::{
    BACKEND_WEIGHT_MAX, BACKENDS_MAX, MATCHES_MAX, PARENTS_MAX, ROUTE_MATCHES_MAX, RULES_MAX, TIMEOUT_MS_MAX,
};
use crate::v1;

impl TryFrom<&v1::Backend> for Backend {
    type Error = FieldError;

    fn try_from(message: &v1::Backend) -> Result<Self, FieldError> {
        if message.weight > BACKEND_WEIGHT_MAX {
            return Err(FieldError::wrong("weight", message.weight, "must be 0 to 1000000"));
        }
        Ok(Self {
            authority: field::required(message.authority.as_ref(), "authority")?,
            weight: message.weight,
        })
    }
}

impl From<&Backend> for v1::Backend {
    fn from(backend: &Backend) -> Self {
        Self { authority: Some((&backend.authority).into()), weight: backend.weight }
    }
}

impl TryFrom<&v1::RouteRule> for RouteRule {
    type Error = FieldError;

    fn try_from(message: &v1::RouteRule) -> Result<Self, FieldError> {
        let timeout = |millis, field: &str| match millis {
            0 => Ok(None),
            millis if millis <= TIMEOUT_MS_MAX => Ok(Some(Duration::from_millis(millis))),
            millis => Err(FieldError::wrong(field, millis, "must be at most a day (86400000)")),
        };
        Ok(Self {
            matches: field::each(&message.matches, "matches", MATCHES_MAX)?,
            backends: field::each(&message.backends, "backends", BACKENDS_MAX)?,
            request_timeout: timeout(message.request_timeout_ms, "request_timeout_ms")?,
            try_timeout: timeout(message.try_timeout_ms, "try_timeout_ms")?,
            filters: field::optional(message.filters.as_ref(), "filters")?.unwrap_or_default(),
            policy: field::optional(message.policy.as_ref(), "policy")?.unwrap_or_default(),
        })
    }
}

impl From<&RouteRule> for v1::RouteRule {
    fn from(rule: &RouteRule) -> Self {
        let says_nothing = rule.policy == RequestPolicy::default();
        Self {
            matches: rule.matches.iter().map(Into::into).collect(),
            backends: rule.backends.iter().map(Into::into).collect(),
            request_timeout_ms: rule.request_timeout.map_or(0, millis),
            try_timeout_ms: rule.try_timeout.map_or(0, millis),
            policy: (!says_nothing).then(|| (&rule.policy).into()),
            filters: (!rule.filters.is_empty()).then(|| (&rule.filters).into()),
        }
    }
}

fn parent(message: &v1::RouteParent) -> Result<(ServiceName, Option<u16>), FieldError> {
    let port = match message.port {
        0 => None,
        number => Some(field::port(number, "port")?),
    };
    Ok((field::required(message.service.as_ref(), "service")?, port))
}

impl TryFrom<&v1::Route> for Route {
    type Error = FieldError;

    fn try_from(message: &v1::Route) -> Result<Self, FieldError> {
        let name: RouteName = field::required(message.name.as_ref(), "name")?;
        let kind = v1::RouteKind::try_from(message.kind)
            .map_err(|_| FieldError::wrong("kind", message.kind, "must be 1 or 2"))?;
        let count = message.parents.len();
        if count == 0 || count > PARENTS_MAX {
            let rule = format!("must be 1 to {PARENTS_MAX}");
            return Err(FieldError::wrong("parents", format_args!("{count} items"), rule));
        }
        let mut parents = Vec::with_capacity(count);
        for (at, message) in message.parents.iter().enumerate() {
            let field = format!("parents[{at}]");
            let parent = parent(message).map_err(|error| error.within(&field))?;
            if parents.contains(&parent) {
                return Err(FieldError::wrong(&field, &parent.0, "is there twice"));
            }
            parents.push(parent);
        }
        let rules: Vec<RouteRule> = field::each(&message.rules, "rules", RULES_MAX)?;
        let matches: usize = rules.iter().map(|rule| rule.matches.len()).sum();
        if matches > ROUTE_MATCHES_MAX {
            let rule = format!("must be at most {ROUTE_MATCHES_MAX} in all rules of a route");
            return Err(FieldError::wrong("rules", format_args!("{matches} matches"), rule));
        }
        Ok(Self { name: name.of_kind(kind.into()), parents, rules })
    }
}

impl From<v1::RouteKind> for RouteKind {
    fn from(kind: v1::RouteKind) -> Self {
        match kind {
            v1::RouteKind::Unspecified | v1::RouteKind::Http => Self::Http,
            v1::RouteKind::Grpc => Self::Grpc,
        }
    }
}

impl From<&Route> for v1::Route {
    fn from(route: &Route) -> Self {
        let parent = |(service, port): &(ServiceName, Option<u16>)| v1::RouteParent {
            service: Some(service.into()),
            port: port.map_or(0, u32::from),
        };
        Self {
            name: Some((&route.name).into()),
            parents: route.parents.iter().map(parent).collect(),
            rules: route.rules.iter().map(Into::into).collect(),
            // An HTTPRoute says nothing, as it did before there were others: its bytes are what they were.
            kind: match route.name.kind {
                RouteKind::Http => v1::RouteKind::Unspecified.into(),
                RouteKind::Grpc => v1::RouteKind::Grpc.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use mesh::{GrpcMatch, HeaderMatch, MatchKind, PathMatch, QueryMatch, RouteMatch};

    use super::*;

    fn route() -> Route {
        let header =
            |name: &str, value: &str, kind| HeaderMatch { name: name.into(), value: value.into(), kind };
        Route {
            name: RouteName { namespace: "shop".into(), name: "web.canary".into(), kind: RouteKind::Http },
            parents: vec![("web.shop".parse().unwrap(), None), ("web.shop".parse().unwrap(), Some(81))],
            rules: vec![RouteRule {
                matches: vec![
                    RouteMatch {
                        path: Some(PathMatch::Exact("/a".into())),
                        headers: vec![
                            header("x-a", "1", MatchKind::Exact),
                            header("x-b", "", MatchKind::Present),
                            header("x-c", "a|b", MatchKind::Pattern),
                        ],
                        query: vec![QueryMatch {
                            name: "q".into(),
                            value: "1".into(),
                            kind: MatchKind::Prefix,
                        }],
                        method: Some("GET".into()),
                        grpc: None,
                    },
                    RouteMatch { path: Some(PathMatch::Prefix("/b".into())), ..RouteMatch::default() },
                    RouteMatch {
                        path: Some(PathMatch::Pattern("/c/[0-9]+".into())),
                        ..RouteMatch::default()
                    },
                ],
                backends: vec![Backend { authority: "web-v2.shop:80".parse().unwrap(), weight: 0 }],
                request_timeout: Some(Duration::from_millis(1500)),
                try_timeout: Some(Duration::from_millis(500)),
                filters: mesh::Filters {
                    request_headers: mesh::HeaderChanges {
                        remove: vec!["x-old".into()],
                        set: vec![("x-a".into(), "1".into())],
                        add: vec![("x-b".into(), "2".into())],
                    },
                    redirect: Some(mesh::Redirect {
                        scheme: Some("https".into()),
                        host: Some("a.example".into()),
                        port: Some(8443),
                        path: Some(mesh::PathChange::Full("/z".into())),
                        status: 308,
                    }),
                    host: Some("b.example".into()),
                    path: Some(mesh::PathChange::Prefix("/y".into())),
                    mirrors: vec![mesh::Mirror { authority: "m:81".parse().unwrap(), millionths: 7 }],
                    ..mesh::Filters::default()
                },
                policy: RequestPolicy {
                    stream_idle: Some(Duration::from_secs(1)),
                    ..RequestPolicy::default()
                },
            }],
        }
    }

    #[test]
    fn a_route_survives_the_wire() {
        assert_eq!(Route::try_from(&v1::Route::from(&route())).unwrap(), route());
        let mut of_grpc = route();
        of_grpc.name.kind = RouteKind::Grpc;
        let calls = [("shop.v1.Carts", "Add"), ("shop.v1.Carts", ""), ("", "Add"), ("", ""), ("a.*", "")];
        of_grpc.rules[0].matches = calls.map(|(service, method)| call(service, method)).to_vec();
        assert_eq!(Route::try_from(&v1::Route::from(&of_grpc)).unwrap(), of_grpc);
    }

    fn call(service: &str, method: &str) -> RouteMatch {
        let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let is_pattern = service.contains('*');
        let grpc = GrpcMatch { service: named(service), method: named(method), is_pattern };
        RouteMatch { grpc: Some(grpc), ..RouteMatch::default() }
    }

    #[test]
    fn a_route_that_cannot_match_or_lead_anywhere_is_refused_with_the_whole_path() {
        type Break = fn(&mut v1::Route);
        fn filters(route: &mut v1::Route) -> &mut v1::Filters {
            route.rules[0].filters.as_mut().unwrap()
        }
        let cases: [(Break, &str); 13] = [
            (|r| r.parents.clear(), "parents = 0 items: must be 1 to 32"),
            (|r| r.parents[1] = r.parents[0].clone(), "parents[1] = web.shop: is there twice"),
            (
                |r| r.rules[0].backends[0].weight = 1_000_001,
                "rules[0].backends[0].weight = 1000001: must be 0",
            ),
            (
                |r| r.rules[0].matches[0].method = "get".into(),
                "rules[0].matches[0].method = \"get\": must be one",
            ),
            (
                |r| r.rules[0].matches[0].headers[1].name = "X-B".into(),
                "rules[0].matches[0].headers[1].name = \"X-B\": must be lower case",
            ),
            (
                |r| r.rules[0].matches[0].headers[1].name = "x-a".into(),
                "rules[0].matches[0].headers[1].name = \"x-a\": is there twice",
            ),
            (
                |r| r.rules[0].request_timeout_ms = u64::MAX,
                "rules[0].request_timeout_ms = 18446744073709551615: must",
            ),
            (
                |r| filters(r).request_headers.as_mut().unwrap().set[0].name = "host".into(),
                "rules[0].filters.request_headers.set = \"host\": is the proxy's own",
            ),
            (
                |r| filters(r).redirect.as_mut().unwrap().status = 200,
                "rules[0].filters.redirect.status = 200",
            ),
            (|r| filters(r).host = "B".into(), "rules[0].filters.host = \"B\": must be a host"),
            (|r| r.kind = 3, "kind = 3: must be 1 or 2"),
            (
                |r| r.rules[0].matches[0] = (&call("a/b", "")).into(),
                "rules[0].matches[0].grpc.service = \"a/b\": must be a service of gRPC",
            ),
            (|r| r.rules = vec![v1::RouteRule::default(); 17], "rules = 17 items: must be at most 16"),
        ];
        for (break_it, told) in cases {
            let mut message = v1::Route::from(&route());
            break_it(&mut message);
            let error = Route::try_from(&message).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
