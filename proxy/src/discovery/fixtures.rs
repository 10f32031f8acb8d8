//! Resources as the control plane sends them, for tests of the subscriber and of the stream.
#![allow(clippy::unwrap_used)] // only tests use it: a panic is how they fail

use std::collections::HashMap;

use api::xds::pb::envoy::config::cluster::v3::Cluster;
use api::xds::pb::envoy::config::core::v3::{
    Address, Locality, Metadata, Node, SocketAddress, address::Address as AddressKind,
    socket_address::PortSpecifier,
};
use api::xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use api::xds::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
    route_action::ClusterSpecifier, route_match::PathSpecifier,
};
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use api::xds::pb::google::protobuf::{Any, Struct, Value, value::Kind as ValueKind};
use mesh::Authority;
use prost::Message;

use super::Kind;

pub(crate) fn authority(text: &str) -> Authority {
    text.parse().unwrap()
}

pub(crate) fn node() -> Node {
    Node { id: "caller-1".to_owned(), user_agent_name: "penstock".to_owned(), ..Node::default() }
}

fn metadata(key: &str, text: &str) -> Option<Metadata> {
    let value = Value { kind: Some(ValueKind::StringValue(text.to_owned())) };
    let fields = HashMap::from([(key.to_owned(), value)]);
    let filter_metadata = HashMap::from([("penstock".to_owned(), Struct { fields })]);
    Some(Metadata { filter_metadata, ..Metadata::default() })
}

pub(crate) fn resource(kind: Kind, name: &str, version: &str, body: &impl Message) -> Resource {
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(Any { type_url: kind.type_url().to_owned(), value: body.encode_to_vec() }),
        ..Resource::default()
    }
}

pub(crate) fn cluster(text: &str, version: &str, protocol: &str) -> Resource {
    let name = authority(text).to_string();
    let body = Cluster { name: name.clone(), metadata: metadata("protocol", protocol), ..Cluster::default() };
    resource(Kind::Clusters, &name, version, &body)
}

/// Endpoints of workload `text` at these loopback ports.
pub(crate) fn endpoints(text: &str, version: &str, ports: &[u16]) -> Resource {
    let name = authority(text).to_string();
    let endpoint = |port: &u16| {
        let socket = SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(*port))),
            ..SocketAddress::default()
        };
        let address = Some(Address { address: Some(AddressKind::SocketAddress(socket)) });
        let endpoint = Endpoint { address, ..Endpoint::default() };
        LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
            metadata: metadata("endpoint", &format!("{text}.default/{text}-{port}")),
            ..LbEndpoint::default()
        }
    };
    let group = LocalityLbEndpoints {
        locality: Some(Locality::default()),
        lb_endpoints: ports.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    };
    let body = ClusterLoadAssignment {
        cluster_name: name.clone(),
        endpoints: vec![group],
        ..ClusterLoadAssignment::default()
    };
    resource(Kind::Endpoints, &name, version, &body)
}

pub(crate) fn route(prefix: &str, backend: &str) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(authority(backend).to_string())),
        ..RouteAction::default()
    };
    let path_specifier = Some(PathSpecifier::Prefix(prefix.to_owned()));
    Route {
        r#match: Some(RouteMatch { path_specifier, ..RouteMatch::default() }),
        action: Some(Action::Route(action)),
        ..Route::default()
    }
}

/// Routes of `text`: to each backend under its prefix, and everything else to `text` itself.
pub(crate) fn routes(text: &str, version: &str, backends: &[(&str, &str)]) -> Resource {
    let own = route("/", text);
    let routes = backends.iter().map(|(prefix, backend)| route(prefix, backend)).chain([own]).collect();
    configuration(text, version, routes)
}

pub(crate) fn configuration(text: &str, version: &str, routes: Vec<Route>) -> Resource {
    let name = authority(text).to_string();
    let host = VirtualHost { domains: vec!["*".to_owned()], routes, ..VirtualHost::default() };
    let body =
        RouteConfiguration { name: name.clone(), virtual_hosts: vec![host], ..RouteConfiguration::default() };
    resource(Kind::Routes, &name, version, &body)
}

pub(crate) fn response(kind: Kind, nonce: &str, resources: Vec<Resource>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        resources,
        ..DeltaDiscoveryResponse::default()
    }
}

pub(crate) fn removal(kind: Kind, nonce: &str, at: &str, names: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: at.to_owned(),
        removed_resources: names.iter().map(|name| authority(name).to_string()).collect(),
        ..response(kind, nonce, Vec::new())
    }
}
