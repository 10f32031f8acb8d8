//! LDS: the one address where Envoy takes outbound requests, or the entry to one service's routes that gRPC asks for.

use std::net::SocketAddr;

use bytes::Bytes;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Filter, FilterChain, Listener};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};

use super::super::mirror::OUTBOUND;
use super::parts;

/// Envoy's listener for what the application sends.
pub(in super::super) fn outbound_listener(address: SocketAddr) -> Bytes {
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(parts::any(&connections(OUTBOUND)))),
    };
    parts::encoded(&Listener {
        name: OUTBOUND.to_owned(),
        address: Some(parts::address(address)),
        filter_chains: vec![FilterChain { filters: vec![filter], ..FilterChain::default() }],
        ..Listener::default()
    })
}

/// gRPC's listener: named as it was asked for, its routes named by the authority.
pub(in super::super) fn api_listener(name: &str, authority: &str) -> Bytes {
    parts::encoded(&Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener { api_listener: Some(parts::any(&connections(authority))) }),
        ..Listener::default()
    })
}

/// Both clients need the router filter: gRPC refuses a list without it, Envoy takes it and never answers a request.
/// Envoy refuses an empty `stat_prefix`.
fn connections(routes: &str) -> HttpConnectionManager {
    let router = HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(ConfigType::TypedConfig(parts::any(&Router::default()))),
        ..HttpFilter::default()
    };
    HttpConnectionManager {
        stat_prefix: OUTBOUND.to_owned(),
        http_filters: vec![router],
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(parts::on_this_stream()),
            route_config_name: routes.to_owned(),
        })),
        ..HttpConnectionManager::default()
    }
}
