//! What the control plane says of rules and policies over xDS, Penstock's own proxy reads back as it was meant, word by word.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::sync::Arc;
use std::time::Duration;

use api::xds::pb::envoy::config::core::v3::Node;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use api::xds::pb::google::protobuf::Any;
use control::catalog::Change;
use control::discovery::{Client, Kind, Shelf};
use mesh::{
    Abort, Authority, Backend, Balancer, CircuitBreaker, Ejection, Fault, Filters, GrpcCode, GrpcMatch,
    HashKey, HeaderChanges, HeaderMatch, MatchKind, Mirror, PathChange, PathMatch, PolicyName, PolicyTarget,
    Protocol, QueryMatch, RateLimit, Redirect, RequestPolicy, Retry, RetryBudget, Revision, RouteMatch,
    RouteRule, Service, ServicePolicy, ServicePort, Session, SessionToken, SlowStart, SuccessRate, Timestamp,
    TrafficPolicy, ZonePreference,
};
use proxy::discovery::{Bounds, Resolution, Subscriber};
use proxy::snapshot::{Known, ServiceView};

const AT: Revision = Revision { epoch: 1, index: 9 };

fn service(name: &str) -> Change {
    let port = ServicePort { name: String::new(), port: 80, protocol: Protocol::Http1 };
    let service = Service { name: name.parse().unwrap(), ports: vec![port], addresses: Vec::new() };
    Change::Service { name: service.name.clone(), revision: AT, service: Some(Arc::new(service)) }
}

/// What the proxy makes of `web` when these are its rules and its policy.
fn read_back(rules: &[RouteRule], policy: Option<TrafficPolicy>) -> Arc<ServiceView> {
    let web: Authority = "web".parse().unwrap();
    let mut changes: Vec<_> = ["web", "canary", "shadow"].map(service).into();
    changes.push(Change::Routes { authority: web.clone(), revision: AT, rules: rules.into() });
    let policy = policy.map(Arc::new);
    changes.push(Change::Policy { service: web.service.clone(), revision: AT, policy });
    let mut shelf = Shelf::default();
    shelf.changed(&changes, AT, AT, true);
    let node = Node { id: "p1".to_owned(), user_agent_name: "penstock".to_owned(), ..Node::default() };
    let client = Client::of(Some(&node)).unwrap();
    let mut subscriber = Subscriber::new(node, Bounds::default());
    subscriber.want(&web, Timestamp(0));
    let mut told = None;
    // The routes come first, so that the clusters that they name are asked for.
    for kind in [Kind::Routes, Kind::Cluster, Kind::Endpoints] {
        let named = |name: &str| {
            let name = name.parse::<Authority>().unwrap().to_string();
            let found = shelf.resource(kind, &client, &name).unwrap();
            let any = Any { type_url: kind.type_url(), value: found.bytes.to_vec() };
            Resource { name, version: AT.to_string(), resource: Some(any), ..Resource::default() }
        };
        let names = if kind == Kind::Routes { &["web"][..] } else { &["web", "canary", "shadow"] };
        let resources = names.iter().copied().map(named).collect();
        let response = DeltaDiscoveryResponse {
            type_url: kind.type_url(),
            nonce: "1".to_owned(),
            resources,
            ..DeltaDiscoveryResponse::default()
        };
        let outputs = subscriber.response(response, Timestamp(0));
        let refused = outputs.requests.iter().find_map(|request| request.error_detail.as_ref());
        assert!(refused.is_none(), "{refused:?}");
        told = outputs.resolutions.get(&web).cloned().or(told);
    }
    match told {
        Some(Resolution::Known(Known::Service(view))) => view,
        other => panic!("{other:?}"),
    }
}

fn backend(name: &str, weight: u32) -> Backend {
    Backend { authority: name.parse().unwrap(), weight }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A rule that says all that a rule can say, but a redirect.
fn everything() -> RouteRule {
    let header =
        |name: &str, value: &str, kind| HeaderMatch { name: name.to_owned(), value: value.to_owned(), kind };
    let query =
        |name: &str, value: &str, kind| QueryMatch { name: name.to_owned(), value: value.to_owned(), kind };
    RouteRule {
        matches: vec![RouteMatch {
            path: Some(PathMatch::Prefix("/old".to_owned())),
            headers: vec![
                header("x-a", "1", MatchKind::Exact),
                header("x-b", "be", MatchKind::Prefix),
                header("x-c", "", MatchKind::Present),
                header("x-d", "d|e", MatchKind::Pattern),
            ],
            query: vec![
                query("a", "1", MatchKind::Exact),
                query("B", "be", MatchKind::Prefix),
                query("c", "", MatchKind::Present),
                query("d", "[0-9]+", MatchKind::Pattern),
            ],
            method: Some("PUT".to_owned()),
            grpc: None,
        }],
        backends: vec![backend("web", 3), backend("canary", 1)],
        request_timeout: Some(Duration::from_millis(1500)),
        try_timeout: Some(Duration::from_millis(500)),
        filters: Filters {
            request_headers: HeaderChanges {
                remove: vec!["x-old".to_owned()],
                set: vec![pair("x-set", "a b")],
                add: vec![pair("x-add", "%")],
            },
            response_headers: HeaderChanges { set: vec![pair("x-set", "c")], ..HeaderChanges::default() },
            redirect: None,
            host: Some("other.example".to_owned()),
            path: Some(PathChange::Prefix("/new".to_owned())),
            mirrors: vec![Mirror { authority: "shadow".parse().unwrap(), millionths: 123_456 }],
        },
        policy: RequestPolicy {
            retry: Some(Retry {
                codes: vec![500, 503],
                grpc_codes: vec![GrpcCode::Cancelled, GrpcCode::Unavailable],
                attempts: 4,
                backoff: Duration::from_millis(7),
            }),
            stream_idle: Some(Duration::from_secs(60)),
            hash: Some(HashKey::Cookie { name: "user".to_owned(), ttl: Some(Duration::from_secs(60)) }),
            session: Some(Session { name: "s".to_owned(), token: SessionToken::Header }),
            fault: Some(Fault {
                delay: Some((10, Duration::from_millis(20))),
                abort: Some((5, Abort::Grpc(14))),
            }),
        },
    }
}

#[test]
fn a_rule_that_says_everything_is_read_back_as_it_was() {
    let view = read_back(&[everything()], None);
    assert_eq!(view.rules[0], everything());
    assert_eq!(view.rules.len(), 2, "and at last everything else to the service itself");
    assert!(view.clusters.contains_key(&"shadow".parse().unwrap()), "the mirror is followed too");
}

#[test]
fn each_kind_of_session_is_read_back_as_it_was_to_one_backend_and_to_several() {
    for token in [
        SessionToken::Header,
        SessionToken::Cookie(None),
        SessionToken::Cookie(Some(Duration::from_secs(3600))),
    ] {
        let session = Some(Session { name: "cart".to_owned(), token });
        for backends in [vec![backend("web", 1)], vec![backend("web", 3), backend("canary", 1)]] {
            let policy = RequestPolicy { session: session.clone(), ..RequestPolicy::default() };
            let rule = RouteRule { backends, policy, ..RouteRule::default() };
            assert_eq!(read_back(std::slice::from_ref(&rule), None).rules[0], rule);
        }
    }
}

/// The path says all of a call but that it is one.
#[test]
fn a_match_of_grpc_is_read_back_as_a_path_that_only_calls_match() {
    let rule = |call: GrpcMatch| RouteRule {
        matches: vec![RouteMatch { grpc: Some(call), ..RouteMatch::default() }],
        backends: vec![backend("web", 1)],
        ..RouteRule::default()
    };
    let carts = || Some("shop.Carts".to_owned());
    for (call, path) in [
        (GrpcMatch::default(), None),
        (
            GrpcMatch { service: carts(), ..GrpcMatch::default() },
            Some(PathMatch::Prefix("/shop.Carts".to_owned())),
        ),
        (
            GrpcMatch { service: carts(), method: Some("Add".to_owned()), is_pattern: false },
            Some(PathMatch::Exact("/shop.Carts/Add".to_owned())),
        ),
        (
            GrpcMatch { service: carts(), method: Some("A.*".to_owned()), is_pattern: true },
            Some(PathMatch::Pattern("/(?:shop.Carts)/(?:A.*)".to_owned())),
        ),
    ] {
        let read = read_back(&[rule(call)], None);
        let expected = RouteMatch { path, grpc: Some(GrpcMatch::default()), ..RouteMatch::default() };
        assert_eq!(read.rules[0].matches, [expected]);
    }
}

#[test]
fn each_change_of_a_path_is_read_back_as_it_was() {
    let replaced = |matched: &str, path: PathChange, is_redirect: bool| {
        let mut rule = RouteRule { backends: vec![backend("web", 1)], ..RouteRule::default() };
        if matched != "/" {
            let path = Some(PathMatch::Prefix(matched.to_owned()));
            rule.matches = vec![RouteMatch { path, ..RouteMatch::default() }];
        }
        if is_redirect {
            rule.backends.clear();
            let redirect = Redirect {
                scheme: Some("https".to_owned()),
                host: Some("other.example".to_owned()),
                port: Some(8443),
                path: Some(path),
                status: 308,
            };
            rule.filters.redirect = Some(redirect);
        } else {
            rule.filters.path = Some(path);
        }
        rule
    };
    for is_redirect in [false, true] {
        for (matched, change) in [
            ("/a", PathChange::Full("/z".to_owned())),
            ("/a", PathChange::Prefix("/z".to_owned())),
            ("/a.b", PathChange::Prefix("/".to_owned())),
        ] {
            let rule = replaced(matched, change, is_redirect);
            assert_eq!(read_back(std::slice::from_ref(&rule), None).rules[0], rule);
        }
        // A prefix of every path is said with the slash that it ends in, and means the same.
        let read = read_back(&[replaced("/", PathChange::Prefix("/z".to_owned()), is_redirect)], None);
        let filters = &read.rules[0].filters;
        let path = filters.path.as_ref().or(filters.redirect.as_ref().and_then(|one| one.path.as_ref()));
        assert_eq!(path.unwrap().applied("/x", "/"), "/z/x");
    }
}

#[test]
fn a_policy_on_a_service_reaches_every_rule_and_the_cluster_whole() {
    let policy = TrafficPolicy {
        name: PolicyName { namespace: "default".to_owned(), name: "web".to_owned() },
        targets: vec![PolicyTarget::Service("web".parse().unwrap())],
        requests: everything().policy,
        service: ServicePolicy {
            connect_timeout: Some(Duration::from_millis(300)),
            retry_budget: Some(RetryBudget { percent: 7, ..RetryBudget::default() }),
            balancer: Balancer::RingHash,
            slow_start: Some(SlowStart::default()),
            zones: Some(ZonePreference { min_endpoints: 2 }),
            ejection: Some(Ejection { success_rate: Some(SuccessRate::default()), ..Ejection::default() }),
            breaker: Some(CircuitBreaker { max_requests: Some(5), ..CircuitBreaker::default() }),
            rate_limit: Some(RateLimit { requests: 5, interval: Duration::from_secs(1), burst: 9 }),
        },
    };
    let rule = RouteRule { backends: vec![backend("canary", 1)], ..RouteRule::default() };
    let view = read_back(&[rule], Some(policy.clone()));
    assert!(view.rules.iter().all(|rule| rule.policy == policy.requests), "{:?}", view.rules);
    let set = |name: &str| &view.clusters[&name.parse::<Authority>().unwrap()];
    assert_eq!(*set("web").policy, policy.service);
    assert_eq!(*set("canary").policy, ServicePolicy::default());
}
