//! What is rendered from the store says what was applied: applying it again changes nothing.

use api::log::v1::RaiseVersion;
use api::log::v1::command::Body;
use control::catalog::{Catalog, versions};
use control::config::{policy_yaml, route_yaml, service_yaml};
use mesh::{Protocol, Route, RouteKind, Service, ServicePort, TrafficPolicy};
use prost::Message;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::chance::{chance_policy, chance_route};
use crate::checked;

const GOOD: &str = include_str!("good.yaml");

fn put(catalog: &mut Catalog, command: api::log::v1::PutConfig) -> Vec<String> {
    run(catalog, Body::PutConfig(command))
}

fn run(catalog: &mut Catalog, body: Body) -> Vec<String> {
    let body = Some(body);
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
    run(&mut catalog, Body::RaiseVersion(RaiseVersion { version: versions::NEWEST }));
    assert_eq!(put(&mut catalog, checked(&[GOOD]).unwrap().command), ["created"; 5]);
    let declared = catalog.services().filter_map(|(_, stored)| stored.declared.as_ref());
    let mut got: Vec<String> = declared.map(|(service, _)| service_yaml(service)).collect();
    got.extend(catalog.routes().map(|(_, stored)| route_yaml(&stored.route)));
    got.extend(catalog.policies().map(|(_, stored)| policy_yaml(&stored.policy)));
    let revision = catalog.routing();
    assert_eq!(put(&mut catalog, checked(&[&got.join("---\n")]).unwrap().command), ["unchanged"; 5]);
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
    - path:
        type: RegularExpression
        value: \"/v[0-9]+/.*\"
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
    sessionPersistence:
      sessionName: session-web.canary-1
      type: Cookie
";

#[test]
fn a_route_is_rendered_as_a_kubernetes_user_writes_it() {
    let checked = checked(&[GOOD]).unwrap();
    let route = Route::try_from(&checked.command.routes[0]).unwrap();
    assert_eq!(route_yaml(&route), ROUTE_YAML);
}

/// The route of gRPC of `good.yaml`, as it is given back.
const GRPC_ROUTE_YAML: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata:
  name: web.canary
  namespace: shop
spec:
  parentRefs:
  - group: \"\"
    kind: Service
    name: web
    port: 8081
  rules:
  - matches:
    - method:
        service: \"shop.v1.Carts\"
        method: \"Add\"
      headers:
      - name: x-canary
        type: Exact
        value: \"1\"
    - method:
        service: \"shop.v1.Orders\"
    - method:
        method: \"Ping\"
    - method:
        type: RegularExpression
        service: \"shop\\\\..*\"
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        remove:
        - x-old
    backendRefs:
    - name: web-v2
      port: 8081
      weight: 1
    timeouts:
      request: 2s
      backendRequest: 500ms
    retry:
      grpcCodes: [resource-exhausted, unavailable]
      attempts: 3
      backoff: 25ms
  - backendRefs:
    - name: web
      port: 8081
      weight: 1
    sessionPersistence:
      sessionName: x-cart
      type: Header
";

#[test]
fn a_route_of_grpc_has_the_name_of_an_http_route_and_is_another() {
    let checked = checked(&[GOOD]).unwrap();
    let route = Route::try_from(&checked.command.routes[1]).unwrap();
    assert_eq!(route.name.kind, RouteKind::Grpc);
    assert_eq!(route_yaml(&route), GRPC_ROUTE_YAML);
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

/// The first policy of `good.yaml`, as it is given back.
const POLICY_YAML: &str = "apiVersion: penstock.io/v1alpha1
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
  sessionPersistence:
    sessionName: cart
    type: Cookie
    absoluteTimeout: 12h
    cookieConfig:
      lifetimeType: Permanent
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

#[test]
fn a_policy_is_rendered_in_gateway_apis_words_where_there_are_any() {
    let checked = checked(&[GOOD]).unwrap();
    let policies: Vec<TrafficPolicy> =
        checked.command.policies.iter().map(|policy| TrafficPolicy::try_from(policy).unwrap()).collect();
    assert_eq!(policy_yaml(&policies[0]), POLICY_YAML);
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
