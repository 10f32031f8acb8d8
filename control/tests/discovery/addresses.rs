//! Virtual addresses: a transparent proxy asks by original destination, for the listener of that name.

use std::sync::Arc;

use control::catalog::Change;
use control::discovery::{Client, Kind, Way};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh::{Protocol, Service};
use prost::Message;

use crate::desk::{Desk, node, service};

/// `name` at these virtual addresses, as of the desk's next entry.
fn at(desk: &mut Desk, name: &str, addresses: &[&str]) -> Change {
    desk.index += 1;
    let change = service(name, Some(Protocol::Opaque), desk.index);
    let Change::Service { name, revision, service: Some(service) } = change else { unreachable!() };
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let service = Some(Arc::new(Service { addresses, ..Service::clone(&service) }));
    Change::Service { name, revision, service }
}

fn routes_of(desk: &mut Desk, name: &str) -> String {
    let client = Client::of(Some(&node("penstock"))).unwrap();
    let resource = desk.shelf.resource(Kind::Listener, &client, name).unwrap();
    let listener = Listener::decode(resource.bytes.clone()).unwrap();
    assert_eq!(listener.name, name);
    let any = listener.api_listener.unwrap().api_listener.unwrap();
    let connections = HttpConnectionManager::decode(&*any.value).unwrap();
    let Some(RouteSpecifier::Rds(rds)) = connections.route_specifier else { panic!("no RDS") };
    rds.route_config_name
}

#[test]
fn a_listener_asked_for_by_a_virtual_address_names_the_routes_of_its_service() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    let change = at(&mut desk, "web", &["10.96.0.10", "fd00::10"]);
    desk.commit(&[change]);
    assert_eq!(
        desk.ask(Kind::Listener, &["10.96.0.10:80", "10.96.0.10:81", "10.96.0.11:80"], &[]),
        ["LDS 1 10.96.0.10:80@1.1 -10.96.0.10:81 -10.96.0.11:80"]
    );
    assert_eq!(routes_of(&mut desk, "10.96.0.10:80"), "web.default.svc.cluster.local:80");
    assert_eq!(routes_of(&mut desk, "[fd00::10]:80"), "web.default.svc.cluster.local:80");
}

#[test]
fn an_address_that_comes_moves_or_goes_is_told_to_who_asked_for_it() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    assert_eq!(desk.ask(Kind::Listener, &["10.96.0.10:80"], &[]), ["LDS 1 -10.96.0.10:80"]);
    assert_eq!(desk.ack(Kind::Listener, "1"), [""; 0]);
    let change = at(&mut desk, "web", &["10.96.0.10"]);
    assert_eq!(desk.commit(&[change]), ["LDS 2 10.96.0.10:80@1.1"]);
    desk.ack(Kind::Listener, "2");
    // One command may take it from one service and give it to another.
    let (without, with) = (at(&mut desk, "web", &[]), at(&mut desk, "shop", &["10.96.0.10"]));
    assert_eq!(desk.commit(&[with, without]), ["LDS 3 10.96.0.10:80@1.3"]);
    assert_eq!(routes_of(&mut desk, "10.96.0.10:80"), "shop.default.svc.cluster.local:80");
    desk.ack(Kind::Listener, "3");
    desk.index += 1;
    let gone = service("shop", None, desk.index);
    assert_eq!(desk.commit(&[gone]), ["LDS 4 -10.96.0.10:80"]);
}
