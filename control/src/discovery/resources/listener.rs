//! LDS: the one address where Envoy takes outbound requests, or the entry to one service's routes that gRPC asks for.

use std::net::SocketAddr;

use bytes::Bytes;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Filter, FilterChain, Listener};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3::StatefulSession;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};

use super::super::client::Shape;
use super::super::mirror::OUTBOUND;
use super::filters::{FAULT_FILTER, LIMIT_FILTER, LIMIT_STATS};
use super::parts;
use super::sessions::SESSION_FILTER;

/// Envoy's listener for what the application sends.
pub(in super::super) fn outbound_listener(address: SocketAddr) -> Bytes {
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(parts::any(&connections(OUTBOUND, Shape::Envoy)))),
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
        api_listener: Some(ApiListener {
            api_listener: Some(parts::any(&connections(authority, Shape::Grpc))),
        }),
        ..Listener::default()
    })
}

/// Both clients need the router filter: gRPC refuses a list without it, Envoy takes it and never answers a request.
/// Envoy refuses an empty `stat_prefix`.
///
/// Envoy carries out faults, rate limits and sessions of routes only where their filters are in the list; by themselves they do nothing.
fn connections(routes: &str, shape: Shape) -> HttpConnectionManager {
    let idle = |name: &str, config| HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    };
    let limit = LocalRateLimit { stat_prefix: LIMIT_STATS.to_owned(), ..LocalRateLimit::default() };
    let mut http_filters = Vec::new();
    if shape == Shape::Envoy {
        http_filters.push(idle(FAULT_FILTER, parts::any(&HttpFault::default())));
        http_filters.push(idle(LIMIT_FILTER, parts::any(&limit)));
        http_filters.push(idle(SESSION_FILTER, parts::any(&StatefulSession::default())));
    }
    let router = HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(ConfigType::TypedConfig(parts::any(&Router::default()))),
        ..HttpFilter::default()
    };
    http_filters.push(router);
    HttpConnectionManager {
        stat_prefix: OUTBOUND.to_owned(),
        http_filters,
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(parts::on_this_stream()),
            route_config_name: routes.to_owned(),
        })),
        ..HttpConnectionManager::default()
    }
}
