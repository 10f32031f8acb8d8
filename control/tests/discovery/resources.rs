//! What resources say, per kind of client: each line here is something that a real client insisted on.

use std::sync::Arc;
use std::time::Duration;

use control::catalog::Change;
use control::discovery::{Client, Kind, OUTBOUND, Shelf};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use mesh::{Endpoint, GrpcMatch, Health, Locality, PathMatch, Protocol, Revision, RouteMatch, RouteRule};
use prost::Message;

use crate::desk::{authority, endpoint, full, node, service, split};

fn shelf(changes: &[Change]) -> Shelf {
    let mut shelf = Shelf::default();
    let at = Revision::new(1, 9);
    shelf.changed(changes, at, at, true);
    shelf
}

fn client(user_agent: &str) -> Client {
    Client::of(Some(&node(user_agent))).unwrap()
}

fn read<M: Message + Default>(shelf: &mut Shelf, kind: Kind, user_agent: &str, name: &str) -> M {
    M::decode(shelf.resource(kind, &client(user_agent), name).unwrap().bytes.clone()).unwrap()
}

#[test]
fn grpc_gets_round_robin_and_the_others_the_least_loaded() {
    let mut shelf = shelf(&[service("web", Some(Protocol::Grpc), 1)]);
    let policy = |cluster: Cluster| LbPolicy::try_from(cluster.lb_policy).unwrap();
    let mut of = |user_agent| read::<Cluster>(&mut shelf, Kind::Cluster, user_agent, &full("web"));
    assert_eq!(policy(of("gRPC C-core")), LbPolicy::RoundRobin);
    assert_eq!(policy(of("envoy")), LbPolicy::LeastRequest);
    assert_eq!(policy(of("penstock")), LbPolicy::LeastRequest);
    assert!(of("gRPC C-core").lrs_server.is_some() && of("envoy").lrs_server.is_some());
    assert!(of("penstock").lrs_server.is_none(), "it reports in its own way");
    assert_eq!(of("envoy").typed_extension_protocol_options.len(), 1, "HTTP/2 with prior knowledge");
}

#[test]
fn every_locality_has_a_name_and_the_weight_of_its_endpoints() {
    let at = |address: &str, zone: &str, health| {
        let locality = Locality { region: "eu".to_owned(), zone: zone.to_owned() };
        Endpoint { locality, health, weight: 150, ..endpoint(address) }
    };
    let endpoints = [
        at("10.0.0.1:80", "b", Health::Ready),
        at("10.0.0.2:80", "a", Health::Ready),
        at("10.0.0.3:80", "b", Health::Draining),
    ];
    let endpoints: Arc<[Arc<Endpoint>]> = endpoints.map(Arc::new).into();
    let revision = Revision::new(1, 2);
    let known = Change::Endpoints { authority: authority("web"), revision, endpoints: Some(endpoints) };
    let mut shelf = shelf(&[service("web", Some(Protocol::Http1), 1), known]);
    let assignment: ClusterLoadAssignment = read(&mut shelf, Kind::Endpoints, "gRPC C-core", &full("web"));
    let zones: Vec<_> = assignment
        .endpoints
        .iter()
        .map(|l| {
            (l.locality.as_ref().unwrap().zone.as_str(), l.load_balancing_weight.unwrap().value, l.priority)
        })
        .collect();
    assert_eq!(zones, [("a", 150, 0), ("b", 300, 0)]);
    let draining = &assignment.endpoints[1].lb_endpoints[1];
    assert_eq!(draining.health_status, i32::from(HealthStatus::Draining));
    let ours = &draining.metadata.as_ref().unwrap().filter_metadata["penstock"];
    assert!(format!("{ours:?}").contains("web.default/10.0.0.3:80"), "{ours:?}");
}

#[test]
fn envoy_listens_where_its_node_says_and_grpc_gets_an_api_listener() {
    let mut shelf = shelf(&[service("web", Some(Protocol::Grpc), 1)]);
    let listener: Listener = read(&mut shelf, Kind::Listener, "envoy", OUTBOUND);
    assert!(format!("{:?}", listener.address).contains("4140"));
    assert!(listener.api_listener.is_none() && listener.filter_chains.len() == 1);
    let listener: Listener = read(&mut shelf, Kind::Listener, "gRPC C-core", "web.default");
    assert_eq!(listener.name, "web.default");
    let any = listener.api_listener.unwrap().api_listener.unwrap();
    let connections = HttpConnectionManager::decode(any.value.as_slice()).unwrap();
    assert_eq!(connections.http_filters.len(), 1, "the router");
    assert!(format!("{:?}", connections.route_specifier).contains(&full("web")));
}

#[test]
fn no_domain_stands_in_two_virtual_hosts_of_envoys_routes() {
    let named = ["web", "web:8080", "web.shop", "shop", "opaque"];
    let mut changes: Vec<_> = named
        .iter()
        .filter(|name| **name != "web:8080")
        .map(|name| service(name, Some(Protocol::Http1), 1))
        .collect();
    changes.push(service("opaque", Some(Protocol::Opaque), 1));
    let mut shelf = shelf(&changes);
    let routes: RouteConfiguration = read(&mut shelf, Kind::Routes, "envoy", OUTBOUND);
    let mut domains: Vec<_> = routes.virtual_hosts.iter().flat_map(|host| host.domains.clone()).collect();
    let count = domains.len();
    domains.sort();
    domains.dedup();
    assert_eq!(domains.len(), count);
    for domain in ["web", "web:80", "web.default", "web.default.svc.cluster.local:80", "web.shop"] {
        assert!(domains.iter().any(|known| known == domain), "{domain} in {domains:?}");
    }
    assert!(!domains.iter().any(|known| known.starts_with("opaque")), "cannot be told apart by a host");
}

#[test]
fn routes_end_with_the_authority_itself_and_zero_weights_answer_500() {
    let none = split("web", &[("canary", 0)], 2);
    let mut shelf = shelf(&[service("web", Some(Protocol::Http1), 1), none]);
    let routes: RouteConfiguration = read(&mut shelf, Kind::Routes, "penstock", &full("web"));
    assert_eq!(routes.virtual_hosts[0].domains, ["*"]);
    let actions: Vec<_> = routes.virtual_hosts[0].routes.iter().map(|r| r.action.clone().unwrap()).collect();
    assert!(matches!(&actions[0], Action::DirectResponse(direct) if direct.status == 500));
    let Action::Route(last) = &actions[1] else { panic!("{actions:?}") };
    assert_eq!(last.cluster_specifier, Some(ClusterSpecifier::Cluster(full("web"))));
    assert_eq!(last.timeout.unwrap().seconds, 0, "Envoy's default would be 15 s");
}

#[test]
fn a_prefix_of_whole_elements_is_said_as_each_client_understands_it() {
    let rule = RouteRule {
        matches: vec![RouteMatch {
            path: Some(PathMatch::Prefix("/pkg.Svc/".to_owned())),
            ..RouteMatch::default()
        }],
        backends: Vec::new(),
        request_timeout: Some(Duration::from_millis(1500)),
        ..RouteRule::default()
    };
    let (revision, rules) = (Revision::new(1, 2), Arc::new([rule]));
    let routes = Change::Routes { authority: authority("web"), revision, rules };
    let mut shelf = shelf(&[service("web", Some(Protocol::Grpc), 1), routes]);
    let mut paths = |user_agent| -> Vec<PathSpecifier> {
        let routes: RouteConfiguration = read(&mut shelf, Kind::Routes, user_agent, &full("web"));
        let routes = routes.virtual_hosts[0].routes.iter();
        routes.map(|r| r.r#match.clone().unwrap().path_specifier.unwrap()).collect()
    };
    assert_eq!(paths("penstock")[0], PathSpecifier::PathSeparatedPrefix("/pkg.Svc".to_owned()));
    assert_eq!(
        paths("gRPC C-core")[..2],
        [PathSpecifier::Path("/pkg.Svc".to_owned()), PathSpecifier::Prefix("/pkg.Svc/".to_owned())]
    );
}

#[test]
fn a_match_of_grpc_is_a_path_and_for_those_who_carry_other_requests_too_the_word_that_it_is_grpc() {
    let rule = |service: &str, method: Option<&str>| RouteRule {
        matches: vec![RouteMatch {
            grpc: Some(GrpcMatch {
                service: Some(service.to_owned()).filter(|service| !service.is_empty()),
                method: method.map(str::to_owned),
                is_pattern: false,
            }),
            ..RouteMatch::default()
        }],
        ..RouteRule::default()
    };
    let rules = Arc::new([rule("shop.Carts", Some("Add")), rule("shop.Orders", None), rule("", Some("Add"))]);
    let routes = Change::Routes { authority: authority("web"), revision: Revision::new(1, 2), rules };
    let mut shelf = shelf(&[service("web", Some(Protocol::Grpc), 1), routes]);
    let mut said = |user_agent| -> Vec<(PathSpecifier, bool, Option<u32>)> {
        let routes: RouteConfiguration = read(&mut shelf, Kind::Routes, user_agent, &full("web"));
        let routes = routes.virtual_hosts[0].routes.iter();
        let said = routes.map(|route| {
            let matched = route.r#match.clone().unwrap();
            let status = match &route.action {
                Some(Action::DirectResponse(direct)) => Some(direct.status),
                _ => None,
            };
            (matched.path_specifier.unwrap(), matched.grpc.is_some(), status)
        });
        said.collect()
    };
    let add = PathSpecifier::Path("/shop.Carts/Add".to_owned());
    let all = (PathSpecifier::Prefix("/".to_owned()), false, None);
    let orders = PathSpecifier::PathSeparatedPrefix("/shop.Orders".to_owned());
    let mut told = said("penstock");
    let PathSpecifier::SafeRegex(RegexMatcher { regex, .. }) = told.remove(2).0 else {
        panic!("a method without its service is an expression")
    };
    assert_eq!(regex, "/[^/]+/Add");
    assert_eq!(told, [(add.clone(), true, Some(503)), (orders, true, Some(503)), all]);
    assert_eq!(said("gRPC C-core")[0], (add, false, Some(503)));
}

#[test]
fn two_nodes_encode_the_same_bytes_whatever_way_they_learnt_it() {
    let facts = [
        service("web", Some(Protocol::Http2), 1),
        crate::desk::endpoints("web", &["10.0.0.2:80", "10.0.0.1:80"], 2),
        split("web", &[("web", 9), ("canary", 1)], 3),
    ];
    let mut whole = shelf(&facts);
    let mut step_by_step = Shelf::default();
    for (index, change) in facts.iter().enumerate() {
        let at = Revision::new(1, index as u64 + 1);
        step_by_step.changed(std::slice::from_ref(change), at, at, false);
    }
    for kind in [Kind::Cluster, Kind::Endpoints, Kind::Routes] {
        for user_agent in ["penstock", "envoy", "gRPC C-core"] {
            let one = whole.resource(kind, &client(user_agent), &full("web"));
            assert_eq!(one, step_by_step.resource(kind, &client(user_agent), &full("web")));
        }
    }
}
