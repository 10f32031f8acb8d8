//! EDS to endpoints: a `ClusterLoadAssignment` in the shape that Penstock's control plane sends to its own proxies.
//!
//! Each endpoint says in its metadata which instance of which workload it is, so that traffic is counted per callee.
//! One bad endpoint refuses the whole assignment: half a set would shift load in silence.

use std::net::{IpAddr, SocketAddr};

use api::xds::pb::envoy::config::core::v3::{HealthStatus, address, socket_address};
use api::xds::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint};
use mesh::{Endpoint, Health, InstanceName, Locality};

use super::decode::penstock_text;

/// Endpoints in one assignment. The catalog holds no more per authority; a longer list is not from it.
const ENDPOINTS_MAX: usize = 10_000;

/// Every endpoint of an assignment, in the order sent.
pub(super) fn endpoints(assignment: ClusterLoadAssignment) -> Result<Vec<Endpoint>, String> {
    let count: usize = assignment.endpoints.iter().map(|locality| locality.lb_endpoints.len()).sum();
    if count > ENDPOINTS_MAX {
        return Err(format!("{count} endpoints are more than the {ENDPOINTS_MAX} that one set may hold"));
    }
    let mut endpoints = Vec::with_capacity(count);
    for group in assignment.endpoints {
        let locality = group.locality.unwrap_or_default();
        let locality = Locality { region: locality.region, zone: locality.zone };
        for sent in group.lb_endpoints {
            endpoints.push(endpoint(&sent, &locality)?);
        }
    }
    Ok(endpoints)
}

fn endpoint(sent: &LbEndpoint, locality: &Locality) -> Result<Endpoint, String> {
    let address = address_of(sent)?;
    let text = penstock_text(sent.metadata.as_ref(), "endpoint")
        .ok_or_else(|| format!("endpoint {address} does not say in its metadata which instance it is"))?;
    let (workload, instance) = text
        .split_once('/')
        .filter(|(_, instance)| !instance.is_empty())
        .ok_or_else(|| format!("endpoint {address}: {text:?} is not <workload>.<namespace>/<instance>"))?;
    let workload = workload.parse().map_err(|error| format!("endpoint {address}: {error}"))?;
    let weight = sent.load_balancing_weight.map_or(Endpoint::DEFAULT_WEIGHT, |weight| weight.value);
    if !(1..=Endpoint::MAX_WEIGHT).contains(&weight) {
        return Err(format!("endpoint {address}: weight {weight} is not from 1 to {}", Endpoint::MAX_WEIGHT));
    }
    let health = match HealthStatus::try_from(sent.health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded) => Health::Ready,
        // Whatever else it is, it should get nothing new.
        _ => Health::Draining,
    };
    Ok(Endpoint {
        instance: InstanceName(instance.to_owned()),
        address,
        workload,
        locality: locality.clone(),
        weight,
        health,
    })
}

fn address_of(sent: &LbEndpoint) -> Result<SocketAddr, String> {
    let Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &sent.host_identifier else {
        return Err("an endpoint has no address".to_owned());
    };
    let Some(address::Address::SocketAddress(socket)) =
        endpoint.address.as_ref().and_then(|address| address.address.as_ref())
    else {
        return Err("an endpoint has no socket address".to_owned());
    };
    let ip: IpAddr = socket
        .address
        .parse()
        .map_err(|_| format!("endpoint address {:?} is not an IP address", socket.address))?;
    match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port @ 1..=0xffff)) => {
            Ok(SocketAddr::new(ip, u16::try_from(port).expect("the pattern holds it below 2^16")))
        }
        _ => Err(format!("endpoint {ip} has no port from 1 to 65535")),
    }
}
