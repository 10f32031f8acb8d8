//! EDS: the endpoints of a service's port, by locality. The same for every client. gRPC refuses a locality without a
//! name part, and silently ignores one without a weight, so that calls hang: both are always set.

use std::collections::BTreeMap;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality as WireLocality};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as WireEndpoint, LbEndpoint, LocalityLbEndpoints,
};
use mesh::{Endpoint, Health, Locality};

use super::super::mirror::Entry;
use super::parts;

pub(super) fn bytes(name: &str, entry: &Entry) -> Bytes {
    let mut localities: BTreeMap<&Locality, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in entry.endpoints.iter().flat_map(|(_, endpoints)| endpoints.iter()) {
        localities.entry(&endpoint.locality).or_default().push(endpoint);
    }
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: localities
            .into_iter()
            .map(|(locality, endpoints)| stood_at(locality, &endpoints))
            .collect(),
        ..ClusterLoadAssignment::default()
    };
    parts::encoded(&assignment)
}

/// A locality weighs as much as its endpoints together, so that requests spread as if there were one locality.
fn stood_at(locality: &Locality, endpoints: &[&Endpoint]) -> LocalityLbEndpoints {
    let weight = endpoints.iter().fold(0_u32, |sum, endpoint| sum.saturating_add(endpoint.weight.max(1)));
    LocalityLbEndpoints {
        locality: Some(WireLocality {
            region: locality.region.clone(),
            zone: locality.zone.clone(),
            sub_zone: String::new(),
        }),
        lb_endpoints: endpoints.iter().map(|endpoint| lb_endpoint(endpoint)).collect(),
        load_balancing_weight: Some(parts::number(weight)),
        ..LocalityLbEndpoints::default()
    }
}

fn lb_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let health = match endpoint.health {
        Health::Ready => HealthStatus::Healthy,
        Health::Draining => HealthStatus::Draining,
    };
    let identity = format!("{}/{}", endpoint.workload, endpoint.instance.0);
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(WireEndpoint {
            address: Some(parts::address(endpoint.address)),
            ..WireEndpoint::default()
        })),
        health_status: health.into(),
        metadata: Some(parts::metadata("endpoint", identity)),
        load_balancing_weight: Some(parts::number(endpoint.weight.max(1))),
    }
}
