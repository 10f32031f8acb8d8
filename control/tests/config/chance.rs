//! Routes and policies by chance, for whoever renders and reads them: each field, and texts that YAML could take for something
//! else.

use std::time::Duration;

use mesh::{
    Abort, Backend, Balancer, CircuitBreaker, Ejection, Fault, GrpcCode, GrpcMatch, HashKey, HeaderMatch,
    MatchKind, PathMatch, PolicyName, PolicyTarget, RateLimit, RequestPolicy, Retry, RetryBudget, Route,
    RouteKind, RouteMatch, RouteName, RouteRule, ServicePolicy, Session, SessionToken, SlowStart,
    SuccessRate, TrafficPolicy, ZonePreference,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

/// Texts that YAML might take for something else.
const VALUES: [&str; 17] = [
    "a", "1", "true", "a: b", " x ", "\"", "\\", "ä€", "null", "1e3", "- a", "#", "'", "a\tb", "~", "0x1f",
    "\u{2028}",
];

fn chance_matches(kind: RouteKind, pick: &mut impl FnMut(u64) -> u64) -> Vec<RouteMatch> {
    let mut matches = Vec::new();
    for _ in 0..pick(3) {
        if kind == RouteKind::Grpc {
            let is_pattern = pick(3) == 0;
            let names = if is_pattern { ["a.*|b", "[^:]+"] } else { ["true.null", "Shop._1"] };
            let service = (pick(3) > 0).then(|| names[pick(2) as usize].to_owned());
            let method = (pick(2) == 0).then(|| "null".to_owned());
            let is_pattern = is_pattern && (service.is_some() || method.is_some());
            let grpc = Some(GrpcMatch { service, method, is_pattern });
            matches.push(RouteMatch { grpc, ..RouteMatch::default() });
            continue;
        }
        let path = match pick(4) {
            0 => None,
            3 => Some(PathMatch::Pattern("/a: [0-9]+\\.\"#".into())),
            1 => Some(PathMatch::Exact("/a/%20b".into())),
            _ => Some(PathMatch::Prefix("/~x:y".into())),
        };
        let header = |at: u64, value: u64| match value as usize {
            0 => HeaderMatch { name: format!("x-{at}"), value: String::new(), kind: MatchKind::Present },
            1 => HeaderMatch { name: format!("y-{at}"), value: "a|\\d: '".into(), kind: MatchKind::Pattern },
            value => {
                HeaderMatch { name: format!("{at}"), value: VALUES[value].into(), kind: MatchKind::Exact }
            }
        };
        let headers = (0..pick(3)).map(|at| header(at, pick(VALUES.len() as u64))).collect();
        let query = |at: u64, value: u64| {
            let HeaderMatch { name, value, kind } = header(at, value);
            mesh::QueryMatch { name, value, kind }
        };
        let query = (0..pick(3)).map(|at| query(at, pick(VALUES.len() as u64))).collect();
        let method = (pick(2) == 0).then(|| "PATCH".to_owned());
        matches.push(RouteMatch { path, headers, query, method, grpc: None });
    }
    matches
}

fn chance_session(pick: &mut impl FnMut(u64) -> u64) -> Option<Session> {
    let token = match pick(4) {
        0 => SessionToken::Header,
        1 => SessionToken::Cookie(None),
        2 => SessionToken::Cookie(Some(Duration::from_millis(1_000 + pick(31_535_999_001)))),
        _ => return None,
    };
    let name = if token == SessionToken::Header { "x-null" } else { "NULL" };
    Some(Session { name: name.to_owned(), token })
}

fn chance_filters(kind: RouteKind, pick: &mut impl FnMut(u64) -> u64) -> mesh::Filters {
    let mut changes = || mesh::HeaderChanges {
        remove: (0..pick(3)).map(|at| format!("x-r{at}")).collect(),
        set: (0..pick(3)).map(|at| (format!("{at}"), VALUES[pick(17) as usize].to_owned())).collect(),
        add: (0..pick(3)).map(|at| (format!("x-a{at}"), "null".to_owned())).collect(),
    };
    let (request_headers, response_headers) = (changes(), changes());
    let redirect = (kind == RouteKind::Http && pick(3) == 0).then(|| mesh::Redirect {
        scheme: (pick(2) == 0).then(|| "https".to_owned()),
        host: (pick(2) == 0).then(|| "null".to_owned()),
        port: (pick(2) == 0).then_some(8443),
        path: (pick(2) == 0).then(|| mesh::PathChange::Full("/z".to_owned())),
        status: mesh::Redirect::STATUSES[pick(5) as usize],
    });
    let rewrites = kind == RouteKind::Http && redirect.is_none();
    let mirror = |millionths: u64| mesh::Mirror {
        authority: "1.true:81".parse().unwrap(),
        millionths: millionths as u32,
    };
    mesh::Filters {
        request_headers,
        response_headers,
        host: (rewrites && pick(2) == 0).then(|| "1.5".to_owned()),
        path: (rewrites && pick(2) == 0).then(|| mesh::PathChange::Full("/%20".to_owned())),
        mirrors: (0..pick(3)).map(|_| mirror(pick(1_000_001))).collect(),
        redirect,
    }
}

pub(crate) fn chance_route(rng: &mut ChaCha8Rng) -> Route {
    let mut pick = |below: u64| rng.next_u64() % below;
    let kind = [RouteKind::Http, RouteKind::Grpc][pick(2) as usize];
    let mut rules = Vec::new();
    for _ in 0..1 + pick(3) {
        let matches = chance_matches(kind, &mut pick);
        let backend = |namespace: u64, weight: u64| Backend {
            authority: format!("b-{weight}.{}:81", ["shop", "null", "true"][namespace as usize])
                .parse()
                .unwrap(),
            weight: weight as u32,
        };
        let backends = (0..pick(3)).map(|_| backend(pick(3), pick(1_000_001))).collect();
        let request_timeout = (pick(2) == 0).then(|| Duration::from_millis(1 + pick(86_400_000)));
        let try_timeout = (pick(2) == 0).then(|| Duration::from_millis(1 + pick(1_000)));
        let try_timeout = try_timeout.filter(|each| request_timeout.is_none_or(|all| *each <= all));
        let retry = (pick(2) == 0).then(|| Retry {
            codes: (0..if kind == RouteKind::Http { pick(3) } else { 0 }).map(|at| 500 + at as u16).collect(),
            grpc_codes: GrpcCode::ALL
                .into_iter()
                .filter(|_| kind == RouteKind::Grpc && pick(2) == 0)
                .collect(),
            attempts: 1 + pick(10) as u32,
            backoff: Duration::from_millis(1 + pick(60_000)),
        });
        let session = chance_session(&mut pick);
        let policy = RequestPolicy { retry, session, ..RequestPolicy::default() };
        let filters = chance_filters(kind, &mut pick);
        rules.push(RouteRule { matches, backends, request_timeout, try_timeout, filters, policy });
    }
    let name = RouteName {
        namespace: "shop".into(),
        name: ["r", "1", "null", "1.5"][pick(4) as usize].into(),
        kind,
    };
    Route {
        name,
        parents: vec![("web.shop".parse().unwrap(), None), ("1.shop".parse().unwrap(), Some(80))],
        rules,
    }
}

fn chance_ejection(pick: &mut impl FnMut(u64) -> u64) -> Option<Ejection> {
    let success_rate = (pick(2) == 0).then(|| SuccessRate {
        min_requests: 1 + pick(1_000_000) as u32,
        min_endpoints: 1 + pick(1_000_000) as u32,
        stdev_factor: 1 + pick(100_000) as u32,
    });
    let base = 100 + pick(86_399_900);
    (pick(2) == 0).then(|| Ejection {
        consecutive_failures: (pick(2) == 0).then(|| 1 + pick(1_000_000) as u32),
        success_rate,
        interval: Duration::from_millis(100 + pick(86_399_901)),
        base_time: Duration::from_millis(base),
        max_time: Duration::from_millis(base + pick(86_400_001 - base)),
        max_percent: 1 + pick(100) as u32,
        min_ready: pick(1_000_001) as u32,
    })
}

fn chance_target(on_route: bool, pick: &mut impl FnMut(u64) -> u64) -> PolicyTarget {
    if !on_route {
        return PolicyTarget::Service("1.shop".parse().unwrap());
    }
    let kind = [RouteKind::Http, RouteKind::Grpc][pick(2) as usize];
    PolicyTarget::Route(RouteName { namespace: "shop".into(), name: "r.1".into(), kind })
}

pub(crate) fn chance_policy(rng: &mut ChaCha8Rng) -> TrafficPolicy {
    let mut pick = |below: u64| rng.next_u64() % below;
    let mut span = |most: u64| (pick(2) == 0).then(|| Duration::from_millis(1 + pick(most)));
    let (stream_idle, connect_timeout) = (span(86_400_000), span(60_000));
    let retry = (pick(2) == 0).then(|| Retry {
        codes: (0..pick(4)).map(|at| 400 + 7 * at as u16).collect(),
        grpc_codes: GrpcCode::ALL.into_iter().filter(|_| pick(2) == 0).collect(),
        attempts: 1 + pick(10) as u32,
        backoff: Duration::from_millis(1 + pick(60_000)),
    });
    let retry_budget = (pick(2) == 0).then(|| RetryBudget {
        percent: pick(101) as u32,
        window: Duration::from_millis(1_000 + pick(3_599_001)),
        min_retries: pick(1_000_001) as u32,
        min_window: Duration::from_millis(1_000 + pick(3_599_001)),
    });
    let on_route = pick(3) == 0;
    let target = chance_target(on_route, &mut pick);
    let balancer = [Balancer::PeakEwma, Balancer::LeastRequest, Balancer::RoundRobin, Balancer::RingHash]
        [if on_route { 0 } else { pick(4) as usize }];
    let ttl = (pick(2) == 0).then(|| Duration::from_millis(1_000 + pick(31_535_999_001)));
    let hash = (balancer == Balancer::RingHash).then(|| match pick(2) {
        0 => HashKey::Header("x-user".into()),
        _ => HashKey::Cookie { name: "null".into(), ttl },
    });
    let ejection = chance_ejection(&mut pick);
    let slow_start = (pick(2) == 0).then(|| SlowStart {
        window: Duration::from_millis(1 + pick(3_600_000)),
        min_percent: 1 + pick(100) as u32,
    });
    let zones = (pick(2) == 0).then(|| ZonePreference { min_endpoints: 1 + pick(1_000_000) as u32 });
    let breaker = (pick(2) == 0).then(|| CircuitBreaker {
        max_connections: Some(1 + pick(1_000_000) as u32),
        max_pending: (pick(2) == 0).then(|| pick(1_000_000) as u32),
        max_requests: (pick(2) == 0).then(|| 1 + pick(1_000_000) as u32),
    });
    let rate_limit = (pick(2) == 0).then(|| RateLimit {
        requests: 1 + pick(1_000_000) as u32,
        interval: Duration::from_millis(100 + pick(3_599_901)),
        burst: 1 + pick(1_000_000) as u32,
    });
    let fault = (pick(2) == 0).then(|| Fault {
        delay: Some((1 + pick(100) as u32, Duration::from_millis(1 + pick(600_000)))),
        abort: (pick(2) == 0).then(|| match pick(2) {
            0 => (1 + pick(100) as u32, Abort::Http(200 + pick(400) as u16)),
            _ => (1 + pick(100) as u32, Abort::Grpc(pick(17) as u8)),
        }),
    });
    let service = ServicePolicy {
        connect_timeout,
        retry_budget,
        balancer,
        slow_start,
        zones,
        ejection,
        breaker,
        rate_limit,
    };
    TrafficPolicy {
        name: PolicyName { namespace: "shop".into(), name: "null".into() },
        targets: vec![target],
        requests: RequestPolicy { retry, stream_idle, hash, session: chance_session(&mut pick), fault },
        service: if on_route { ServicePolicy::default() } else { service },
    }
}
