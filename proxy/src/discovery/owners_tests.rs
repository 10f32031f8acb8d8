//! Original destinations as scripts: what is asked, what is answered, what workers are told.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::net::SocketAddr;
use std::time::Duration;

use api::xds::pb::envoy::config::listener::v3::{ApiListener, Listener};
use api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds,
};
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use api::xds::pb::google::protobuf::Any;
use mesh::Timestamp;
use prost::Message;

use super::fixtures::{authority, node};
use super::owners::LISTENER;
use super::{Bounds, Outputs, Subscriber};
use crate::snapshot::Owner;

const NOW: Timestamp = Timestamp(1_000);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn listener(name: &str, version: &str, routes: &str) -> Resource {
    let rds = Rds { route_config_name: routes.to_owned(), ..Rds::default() };
    let connections = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        ..HttpConnectionManager::default()
    };
    let any = |type_url: &str, value: Vec<u8>| Some(Any { type_url: type_url.to_owned(), value });
    let body = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: any("", connections.encode_to_vec()) }),
        ..Listener::default()
    };
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: any(LISTENER, body.encode_to_vec()),
        ..Resource::default()
    }
}

fn told(resources: Vec<Resource>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: LISTENER.to_owned(),
        system_version_info: "1.9".to_owned(),
        resources,
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn following(bounds: Bounds, addresses: &[&str]) -> Subscriber {
    let mut subscriber = Subscriber::new(node(), bounds);
    subscriber.connected();
    for text in addresses {
        subscriber.want_address(address(text), NOW);
    }
    subscriber
}

fn of_listeners(requests: &[DeltaDiscoveryRequest]) -> Vec<&DeltaDiscoveryRequest> {
    requests.iter().filter(|request| request.type_url == LISTENER).collect()
}

fn owner(outputs: &Outputs, text: &str) -> Option<Option<Owner>> {
    outputs.owners.get(&address(text)).cloned()
}

#[test]
fn an_address_is_asked_for_once_and_its_service_is_followed_at_once() {
    let mut subscriber = following(Bounds::default(), &[]);
    let first = subscriber.want_address(address("10.96.0.10:80"), NOW);
    assert_eq!(of_listeners(&first.requests)[0].resource_names_subscribe, ["10.96.0.10:80"]);
    assert!(subscriber.want_address(address("10.96.0.10:80"), NOW).requests.is_empty());
    let web = authority("web").to_string();
    let outputs = subscriber.response(told(vec![listener("10.96.0.10:80", "1.5", &web)], &[]), NOW);
    assert_eq!(owner(&outputs, "10.96.0.10:80"), Some(Some(Owner::Service(authority("web")))));
    let asked = outputs.requests.iter().filter(|request| request.resource_names_subscribe == [web.clone()]);
    assert_eq!(asked.count(), 3, "clusters, endpoints, routes: {:?}", outputs.requests);
    let again = subscriber.want_address(address("10.96.0.10:80"), NOW);
    assert_eq!(owner(&again, "10.96.0.10:80"), Some(Some(Owner::Service(authority("web")))));
}

#[test]
fn what_is_nobodys_is_told_and_forgotten_soon_and_gives_way_when_places_are_taken() {
    let bounds = Bounds { addresses_max: 2, ..Bounds::default() };
    let mut subscriber = following(bounds, &["1.1.1.1:443", "10.96.0.10:80"]);
    let web = authority("web").to_string();
    let answer = told(vec![listener("10.96.0.10:80", "1.5", &web)], &["1.1.1.1:443"]);
    assert_eq!(owner(&subscriber.response(answer, NOW), "1.1.1.1:443"), Some(Some(Owner::Nobody)));
    let outputs = subscriber.want_address(address("8.8.8.8:53"), NOW);
    assert_eq!(owner(&outputs, "1.1.1.1:443"), Some(None));
    assert_eq!(of_listeners(&outputs.requests)[0].resource_names_unsubscribe, ["1.1.1.1:443"]);
    // Neither one that is not answered yet nor a service's is pushed out.
    assert!(of_listeners(&subscriber.want_address(address("9.9.9.9:53"), NOW).requests).is_empty());
    assert_eq!(subscriber.tally().turned_away, 1);
    subscriber.response(told(Vec::new(), &["8.8.8.8:53"]), NOW);
    let later = subscriber.evict(NOW.plus(Duration::from_secs(11)));
    assert_eq!(later.owners.len(), 1, "{:?}", later.owners);
}

#[test]
fn a_service_that_is_used_keeps_its_address_and_an_idle_one_loses_it() {
    let mut subscriber = following(Bounds::default(), &["10.96.0.10:80"]);
    let web = authority("web").to_string();
    subscriber.response(told(vec![listener("10.96.0.10:80", "1.5", &web)], &[]), NOW);
    let after = |seconds| NOW.plus(Duration::from_secs(seconds));
    subscriber.used(&authority("web"), after(500));
    assert!(subscriber.evict(after(700)).owners.is_empty());
    subscriber.disconnected();
    assert!(subscriber.evict(after(5000)).owners.is_empty(), "it could not be asked for again");
    subscriber.connected();
    assert_eq!(owner(&subscriber.evict(after(5000)), "10.96.0.10:80"), Some(None));
}

#[test]
fn a_new_stream_is_shown_what_is_held_and_asked_for_no_listener_without_a_name() {
    let mut subscriber = following(Bounds::default(), &[]);
    assert!(of_listeners(&subscriber.connected()).is_empty());
    subscriber.want_address(address("10.96.0.10:80"), NOW);
    subscriber.want_address(address("1.1.1.1:443"), NOW);
    let web = authority("web").to_string();
    subscriber.response(told(vec![listener("10.96.0.10:80", "1.5", &web)], &["1.1.1.1:443"]), NOW);
    let requests = subscriber.connected();
    let shown = of_listeners(&requests)[0];
    assert_eq!(shown.resource_names_subscribe, ["1.1.1.1:443", "10.96.0.10:80"]);
    assert_eq!(shown.initial_resource_versions.get("10.96.0.10:80").map(String::as_str), Some("1.5"));
    assert_eq!(shown.initial_resource_versions.len(), 1);
}

#[test]
fn a_listener_that_names_no_service_or_goes_back_is_refused_and_the_last_good_one_stays() {
    let mut subscriber = following(Bounds::default(), &["10.96.0.10:80"]);
    let web = authority("web").to_string();
    subscriber.response(told(vec![listener("10.96.0.10:80", "1.5", &web)], &[]), NOW);
    let misnamed = Resource { name: "10.96.0.11:80".to_owned(), ..listener("10.96.0.10:80", "1.6", &web) };
    for bad in [
        listener("10.96.0.10:80", "1.6", "www.example.com"),
        listener("10.96.0.10:80", "1.4", &web),
        misnamed,
    ] {
        let outputs = subscriber.response(told(vec![bad.clone()], &[]), NOW);
        assert!(outputs.requests[0].error_detail.as_ref().unwrap().message.starts_with(&bad.name));
        assert!(outputs.owners.is_empty());
    }
    let again = subscriber.want_address(address("10.96.0.10:80"), NOW);
    assert_eq!(owner(&again, "10.96.0.10:80"), Some(Some(Owner::Service(authority("web")))));
}
