//! What is rendered from the store says what was applied: applying it again changes nothing.

use std::time::Duration;

use control::catalog::Catalog;
use control::config::{policy_yaml, route_yaml, service_yaml};
use mesh::{
    Abort, Backend, Balancer, CircuitBreaker, Ejection, Fault, GrpcCode, HashKey, HeaderMatch, MatchKind,
    PathMatch, PolicyName, PolicyTarget, Protocol, RateLimit, RequestPolicy, Retry, RetryBudget, Route,
    RouteMatch, RouteName, RouteRule, Service, ServicePolicy, ServicePort, SlowStart, SuccessRate,
    TrafficPolicy, ZonePreference,
};
use prost::Message;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::checked;

const GOOD: &str = include_str!("good.yaml");

fn put(catalog: &mut Catalog, command: api::log::v1::PutConfig) -> Vec<String> {
    let body = Some(api::log::v1::command::Body::PutConfig(command));
    let command = api::log::v1::Command { id: None, at_ms: 1, body };
    let applied = catalog.apply(catalog.applied().index + 1, &command.encode_to_vec());
    match applied.outcome.result {
        Some(api::log::v1::outcome::Result::Done(done)) => done.actions,
        other => panic!("{other:?}"),
    }
}

#[test]
fn applying_what_was_got_changes_nothing() {
    let mut catalog = Catalog::new(1);
    assert_eq!(
        put(&mut catalog, checked(&[GOOD]).unwrap().command),
        ["created", "created", "created", "created"]
    );
    let declared = catalog.services().filter_map(|(_, stored)| stored.declared.as_ref());
    let mut got: Vec<String> = declared.map(|(service, _)| service_yaml(service)).collect();
    got.extend(catalog.routes().map(|(_, stored)| route_yaml(&stored.route)));
    got.extend(catalog.policies().map(|(_, stored)| policy_yaml(&stored.policy)));
    let revision = catalog.routing();
    assert_eq!(
        put(&mut catalog, checked(&[&got.join("---\n")]).unwrap().command),
        ["unchanged", "unchanged", "unchanged", "unchanged"]
    );
    assert_eq!(catalog.routing(), revision);
}

/// The route of `good.yaml`, as it is given back.
const ROUTE_YAML: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web.canary
  namespace: shop
spec:
  parentRefs:
  - group: \"\"
    kind: Service
    name: web
    port: 80
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: \"/cart\"
      method: \"GET\"
      headers:
      - name: x-canary
        type: Exact
        value: \"1\"
      - name: x-debug
        type: RegularExpression
        value: \".*\"
      - name: x-begin
        type: RegularExpression
        value: \"canary-.*\"
      queryParams:
      - name: \"Q\"
        type: Exact
        value: \"1\"
    - path:
        type: Exact
        value: \"/\"
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set:
        - name: x-set
          value: \"1\"
        add:
        - name: x-add
          value: b
        remove:
        - x-old
    - type: URLRewrite
      urlRewrite:
        hostname: a.example
        path:
          type: ReplaceFullPath
          replaceFullPath: \"/z\"
    - type: RequestMirror
      requestMirror:
        backendRef:
          name: web-mirror
          port: 80
        fraction:
          numerator: 50000
          denominator: 1000000
    backendRefs:
    - name: web-v1
      port: 80
      weight: 90
    - name: web-v2
      namespace: canary
      port: 80
      weight: 10
    timeouts:
      request: 1m30s
      backendRequest: 2s
    retry:
      codes: [500, 503]
      attempts: 3
      backoff: 50ms
  - backendRefs:
    - name: web
      port: 80
      weight: 1
";

#[test]
fn a_route_is_rendered_as_a_kubernetes_user_writes_it() {
    let checked = checked(&[GOOD]).unwrap();
    let route = Route::try_from(&checked.command.routes[0]).unwrap();
    assert_eq!(route_yaml(&route), ROUTE_YAML);
}

/// Texts that YAML might take for something else.
const VALUES: [&str; 17] = [
    "a", "1", "true", "a: b", " x ", "\"", "\\", "ä€", "null", "1e3", "- a", "#", "'", "a\tb", "~", "0x1f",
    "\u{2028}",
];

fn chance_matches(pick: &mut impl FnMut(u64) -> u64) -> Vec<RouteMatch> {
    let mut matches = Vec::new();
    for _ in 0..pick(3) {
        let path = match pick(3) {
            0 => None,
            1 => Some(PathMatch::Exact("/a/%20b".into())),
            _ => Some(PathMatch::Prefix("/~x:y".into())),
        };
        let header = |at: u64, value: u64| match value as usize {
            0 => HeaderMatch { name: format!("x-{at}"), value: String::new(), kind: MatchKind::Present },
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
        matches.push(RouteMatch { path, headers, query, method: (pick(2) == 0).then(|| "PATCH".to_owned()) });
    }
    matches
}

fn chance_filters(pick: &mut impl FnMut(u64) -> u64) -> mesh::Filters {
    let mut changes = || mesh::HeaderChanges {
        remove: (0..pick(3)).map(|at| format!("x-r{at}")).collect(),
        set: (0..pick(3)).map(|at| (format!("{at}"), VALUES[pick(17) as usize].to_owned())).collect(),
        add: (0..pick(3)).map(|at| (format!("x-a{at}"), "null".to_owned())).collect(),
    };
    let (request_headers, response_headers) = (changes(), changes());
    let redirect = (pick(3) == 0).then(|| mesh::Redirect {
        scheme: (pick(2) == 0).then(|| "https".to_owned()),
        host: (pick(2) == 0).then(|| "null".to_owned()),
        port: (pick(2) == 0).then_some(8443),
        path: (pick(2) == 0).then(|| mesh::PathChange::Full("/z".to_owned())),
        status: mesh::Redirect::STATUSES[pick(5) as usize],
    });
    let rewrites = redirect.is_none();
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

fn chance_route(rng: &mut ChaCha8Rng) -> Route {
    let mut pick = |below: u64| rng.next_u64() % below;
    let mut rules = Vec::new();
    for _ in 0..1 + pick(3) {
        let matches = chance_matches(&mut pick);
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
            codes: (0..pick(3)).map(|at| 500 + at as u16).collect(),
            grpc_codes: Vec::new(),
            attempts: 1 + pick(10) as u32,
            backoff: Duration::from_millis(1 + pick(60_000)),
        });
        let policy = RequestPolicy { retry, ..RequestPolicy::default() };
        let filters = chance_filters(&mut pick);
        rules.push(RouteRule { matches, backends, request_timeout, try_timeout, filters, policy });
    }
    let name =
        RouteName { namespace: "shop".into(), name: ["r", "1", "null", "1.5"][pick(4) as usize].into() };
    Route {
        name,
        parents: vec![("web.shop".parse().unwrap(), None), ("1.shop".parse().unwrap(), Some(80))],
        rules,
    }
}

#[test]
fn any_route_and_any_service_survives_being_rendered_and_read() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..300 {
        let route = chance_route(&mut rng);
        let yaml = route_yaml(&route);
        let read = checked(&[&yaml]).unwrap_or_else(|complaints| panic!("{complaints:?}\n{yaml}"));
        assert_eq!(Route::try_from(&read.command.routes[0]).unwrap(), route, "{yaml}");
    }
    let port = |name: &str, port, protocol| ServicePort { name: name.into(), port, protocol };
    for ports in [
        vec![port("", 80, Protocol::Http1)],
        vec![
            port("1", 1, Protocol::Opaque),
            port("null", 2, Protocol::Http2),
            port("a", 65_535, Protocol::Grpc),
        ],
    ] {
        let addresses = vec!["10.96.0.10".parse().unwrap(), "fd00::10".parse().unwrap()];
        let service = Service { name: "true.null".parse().unwrap(), ports, addresses };
        let read = checked(&[&service_yaml(&service)]).unwrap();
        assert_eq!(Service::try_from(&read.command.services[0]).unwrap(), service);
    }
}

#[test]
fn a_policy_is_rendered_in_gateway_apis_words_where_there_are_any() {
    let checked = checked(&[GOOD]).unwrap();
    let policies: Vec<TrafficPolicy> =
        checked.command.policies.iter().map(|policy| TrafficPolicy::try_from(policy).unwrap()).collect();
    let expected = "apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata:
  name: web
  namespace: shop
spec:
  targetRefs:
  - group: \"\"
    kind: Service
    name: web
  retry:
    grpcCodes: [resource-exhausted, unavailable]
    attempts: 2
    backoff: 25ms
  retryConstraint:
    budget:
      percent: 25
      interval: 20s
    minRetryRate:
      count: 5
      interval: 1s
  fault:
    delay:
      percent: 5
      duration: 200ms
    abort:
      percent: 1
      grpcStatus: 14
  balancer:
    type: RingHash
    hashOn:
      cookie:
        name: user
        ttl: 1h
  slowStart:
    window: 1m
    minPercent: 10
  zonePreference:
    minEndpoints: 1
  ejection:
    consecutiveFailures: 7
    successRate:
      minRequests: 50
      minEndpoints: 3
      stdevFactor: 1900
    interval: 10s
    baseTime: 30s
    maxTime: 5m
    maxPercent: 30
    minReady: 1
  circuitBreaker:
    maxConnections: 10
    maxPendingRequests: 0
  rateLimit:
    requests: 100
    interval: 1s
    burst: 100
  timeouts:
    connect: 500ms
    streamIdle: 5m
";
    assert_eq!(policy_yaml(&policies[0]), expected);
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

fn chance_policy(rng: &mut ChaCha8Rng) -> TrafficPolicy {
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
    let target = match on_route {
        true => PolicyTarget::Route(RouteName { namespace: "shop".into(), name: "r.1".into() }),
        false => PolicyTarget::Service("1.shop".parse().unwrap()),
    };
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
        requests: RequestPolicy { retry, stream_idle, hash, fault },
        service: if on_route { ServicePolicy::default() } else { service },
    }
}

#[test]
fn any_policy_survives_being_rendered_and_read() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..300 {
        let policy = chance_policy(&mut rng);
        let yaml = policy_yaml(&policy);
        let read = checked(&[&yaml]).unwrap_or_else(|complaints| panic!("{complaints:?}\n{yaml}"));
        assert_eq!(TrafficPolicy::try_from(&read.command.policies[0]).unwrap(), policy, "{yaml}");
    }
}
