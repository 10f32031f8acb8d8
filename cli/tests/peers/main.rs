//! The discovery API against real clients, each following a control plane of three real processes: two that nobody here
//! wrote, an Envoy over incremental ADS and a proxyless gRPC client over the state of the world, and Penstock's own proxy. And
//! proxies whose lives go over to new processes and end, under the load of real clients, and what a proxy shows of itself.
//!
//! Needs the packages of `.ci/requirements.txt`; `PENSTOCK_PEER_ENVOY` and `PENSTOCK_PEER_PYTHON` say where they are,
//! else `target/ci/venv` is looked into. Without them the tests fail, and say what to do. Run them by
//! `.ci/run tools peers`.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, unreachable_pub)] // tests: a panic is how one fails

#[allow(dead_code)] // modules of other targets, which use more of them
#[path = "../processes/cluster.rs"]
mod cluster;
mod envoy;
mod expressions;
mod found;
mod grpc;
mod grpc_routes;
mod http;
mod labels;
mod mesh;
mod name_server;
mod outage;
mod penstock;
mod policies;
mod scarcity;
mod seen;
mod sessions;
mod spans;
#[allow(dead_code)] // the same
#[path = "../proxies/stage.rs"]
mod stage;
mod story;
mod upgrades;

use envoy::Envoy;
use grpc::Grpc;
use penstock::Penstock;
use policies::HttpPeer;

#[tokio::test]
async fn an_envoy_follows_endpoints_and_goes_on_when_its_node_is_killed() {
    story::follows::<Envoy>().await;
}

#[tokio::test]
async fn a_proxyless_grpc_client_follows_endpoints_and_goes_on_when_its_node_is_killed() {
    story::follows::<Grpc>().await;
}

#[tokio::test]
async fn a_penstock_proxy_follows_endpoints_and_goes_on_when_its_node_is_killed() {
    story::follows::<Penstock>().await;
}

impl HttpPeer for Envoy {
    fn outbound(&self) -> std::net::SocketAddr {
        self.outbound
    }
}

impl HttpPeer for Penstock {
    fn outbound(&self) -> std::net::SocketAddr {
        self.outbound
    }
}

#[tokio::test]
async fn an_envoy_takes_every_policy_and_carries_it_out() {
    policies::are_carried_out::<Envoy>().await;
}

#[tokio::test]
async fn a_penstock_proxy_takes_every_policy_and_carries_it_out() {
    policies::are_carried_out::<Penstock>().await;
}

#[tokio::test]
async fn an_envoy_takes_a_route_of_grpc_and_carries_it_out() {
    grpc_routes::are_carried_out::<Envoy>().await;
}

#[tokio::test]
async fn a_penstock_proxy_takes_a_route_of_grpc_and_carries_it_out() {
    grpc_routes::are_carried_out::<Penstock>().await;
}

#[tokio::test]
async fn an_envoy_keeps_sessions_with_their_endpoints() {
    sessions::are_kept::<Envoy>().await;
}

#[tokio::test]
async fn a_penstock_proxy_keeps_sessions_with_their_endpoints() {
    sessions::are_kept::<Penstock>().await;
}
