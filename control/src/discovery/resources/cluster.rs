//! CDS: a service's port, without its endpoints. gRPC and Envoy are asked to report load, Penstock's proxy has its own reports.
//!
//! The policy on a service is said twice: in xDS's words as far as they go, and whole in typed metadata, which Penstock's
//! own proxy reads (decision 0016).

use std::time::Duration;

use api::POLICY_TYPE_URL;
use api::v1;
use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::{
    Thresholds, thresholds::RetryBudget as WireBudget,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::Http2ProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use mesh::{Protocol, ServicePolicy};

use super::super::client::Shape;
use super::super::mirror::Entry;
use super::{balancing, parts};

/// Where Envoy looks for the options of its HTTP connection pools.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Longest wait for a connection to an endpoint. Shorter ones give up on a busy host, longer ones keep callers waiting
/// for a dead one; all endpoints are within one network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What Envoy is told where there is no bound: more than it can ever have.
const UNBOUNDED: u32 = 1_000_000_000;

pub(super) fn bytes(shape: Shape, name: &str, entry: &Entry) -> Bytes {
    let protocol = entry.port.map(|(_, protocol)| protocol).unwrap_or_default();
    let ruled = entry.service_policy().map(|policy| &policy.service);
    let ruled = ruled.filter(|policy| **policy != ServicePolicy::default());
    let mut cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(parts::on_this_stream()),
            service_name: String::new(),
        }),
        connect_timeout: Some(parts::duration(
            ruled.and_then(|policy| policy.connect_timeout).unwrap_or(CONNECT_TIMEOUT),
        )),
        circuit_breakers: ruled.and_then(circuit_breakers),
        metadata: Some(parts::metadata("protocol", protocol.as_str().to_owned())),
        ..Cluster::default()
    };
    balancing::spread(shape, ruled, &mut cluster);
    if let (Shape::Penstock, Some(policy), Some(metadata)) = (shape, ruled, &mut cluster.metadata) {
        let policy = v1::ServicePolicy::from(policy);
        metadata.typed_filter_metadata =
            [(parts::METADATA.to_owned(), parts::named_any(POLICY_TYPE_URL, &policy))].into();
    }
    if shape != Shape::Penstock {
        cluster.lrs_server = Some(parts::of_this_server());
    }
    if matches!(protocol, Protocol::Http2 | Protocol::Grpc) {
        cluster.typed_extension_protocol_options =
            [(HTTP_OPTIONS.to_owned(), parts::any(&prior_knowledge()))].into();
    }
    parts::encoded(&cluster)
}

/// Envoy counts retries that are under way where we count those of a time; both hold them to a share of the requests.
/// What is not bounded is raised above Envoy's defaults (1024), which would otherwise come with the first bound.
fn circuit_breakers(policy: &ServicePolicy) -> Option<CircuitBreakers> {
    if policy.retry_budget.is_none() && policy.breaker.is_none() {
        return None;
    }
    let budget = policy.retry_budget.map(|budget| WireBudget {
        budget_percent: Some(Percent { value: budget.percent.into() }),
        budget_interval: Some(parts::duration(budget.window)),
        min_retry_concurrency: Some(parts::number(budget.min_retries)),
    });
    let breaker = policy.breaker.unwrap_or_default();
    let bound = |bound: Option<u32>| Some(parts::number(bound.unwrap_or(UNBOUNDED)));
    let thresholds = Thresholds {
        max_connections: bound(breaker.max_connections),
        max_pending_requests: bound(breaker.max_pending),
        max_requests: bound(breaker.max_requests),
        retry_budget: budget,
        ..Thresholds::default()
    };
    Some(CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() })
}

/// HTTP/2 without asking first.
fn prior_knowledge() -> HttpProtocolOptions {
    let http2 = ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default());
    let explicit = ExplicitHttpConfig { protocol_config: Some(http2) };
    HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
        ..HttpProtocolOptions::default()
    }
}
