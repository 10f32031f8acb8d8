//! Who this proxy is, in each of the tongues it has to say it: xDS node, write ids, traffic reports, registrations.
//!
//! Made once at start from the settings. Pure but for [`own_address`], which asks the kernel for a route.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use api::v1;
use api::xds::pb::envoy::config::core::v3::node::UserAgentVersionType;
use api::xds::pb::envoy::config::core::v3::{Locality as WireLocality, Node};
use mesh::{Endpoint, Health, InstanceName, ProxyId};

use crate::settings::{Application, Settings};

/// What control nodes know a Penstock proxy by; they choose the shape of resources by it.
const USER_AGENT: &str = "penstock";

/// The xDS node.
pub(crate) fn node(settings: &Settings) -> Node {
    Node {
        id: settings.name.clone(),
        cluster: settings.workload.to_string(),
        locality: Some(WireLocality {
            region: settings.locality.region.clone(),
            zone: settings.locality.zone.clone(),
            ..WireLocality::default()
        }),
        user_agent_name: USER_AGENT.to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        ..Node::default()
    }
}

/// Client id of this process' writes: the name where it fits, and always this start's incarnation.
pub(crate) fn client(proxy: &ProxyId) -> String {
    let whole = format!("{}#{}", proxy.name, proxy.incarnation);
    if whole.len() <= api::CLIENT_BYTES_MAX {
        return whole;
    }
    let mut hasher = DefaultHasher::new();
    proxy.name.hash(&mut hasher);
    let start: String = proxy.name.chars().take(24).collect();
    format!("{start}~{:016x}#{}", hasher.finish(), proxy.incarnation)
}

/// One registration for each service of the application, without write ids.
pub(crate) fn registrations(
    settings: &Settings,
    application: &Application,
    address: SocketAddr,
) -> Vec<v1::RegisterRequest> {
    let endpoint = Endpoint {
        instance: InstanceName(settings.name.clone()),
        address,
        workload: settings.workload.clone(),
        locality: settings.locality.clone(),
        weight: application.weight,
        health: Health::Ready,
    };
    let request = |authority| v1::RegisterRequest {
        id: None,
        authority: Some(v1::Authority::from(authority)),
        protocol: v1::Protocol::from(application.protocol).into(),
        endpoint: Some(v1::Endpoint::from(&endpoint)),
        lease_seconds: u32::try_from(application.lease.as_secs()).unwrap_or(u32::MAX),
    };
    application.serves.iter().map(request).collect()
}

/// Where callers' proxies connect: what was told, or what is bound, or this host's address on the way to `control`.
pub(crate) fn advertised(
    application: &Application,
    bound: SocketAddr,
    control: &[String],
) -> Option<SocketAddr> {
    let told = application.advertise;
    let ip = told.map(|told| told.ip()).or_else(|| (!bound.ip().is_unspecified()).then_some(bound.ip()));
    let ip = ip.or_else(|| control.iter().find_map(|address| own_address(address, bound.is_ipv6())))?;
    let port = told.map(|told| told.port()).filter(|port| *port != 0).unwrap_or(bound.port());
    Some(SocketAddr::new(ip, port))
}

/// The source address of packets to `target`, of IPv6 too where we listen there. Nothing is sent: connecting a datagram socket
/// only looks up the route.
fn own_address(target: &str, takes_ipv6: bool) -> Option<IpAddr> {
    let from = |unspecified: IpAddr| {
        let socket = UdpSocket::bind((unspecified, 0)).ok()?;
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
    };
    let ipv4 = from(Ipv4Addr::UNSPECIFIED.into());
    ipv4.or_else(|| takes_ipv6.then(|| from(Ipv6Addr::UNSPECIFIED.into())).flatten())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use mesh::Protocol;

    use super::*;

    fn application() -> Application {
        Application {
            address: "10.0.0.9:8080".parse().unwrap(),
            protocol: Protocol::Grpc,
            serves: vec!["web.shop:80".parse().unwrap(), "admin.shop:81".parse().unwrap()],
            inbound_address: "0.0.0.0:4143".parse().unwrap(),
            requests_max: None,
            advertise: None,
            weight: 100,
            lease: Duration::from_secs(15),
        }
    }

    #[test]
    fn every_service_is_registered_at_the_same_endpoint() {
        let settings = Settings::alone("web-1", "web.shop".parse().unwrap());
        let address = "10.0.0.7:4143".parse().unwrap();
        let requests = registrations(&settings, &application(), address);
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].endpoint, requests[1].endpoint);
        assert_eq!(requests[1].authority.as_ref().unwrap().port, 81);
        assert_eq!(requests[0].endpoint.as_ref().unwrap().address, "10.0.0.7:4143");
        assert_eq!(requests[0].lease_seconds, 15);
    }

    #[test]
    fn a_client_id_always_fits_and_tells_two_lives_apart() {
        let id = |name: &str, incarnation| client(&ProxyId { name: name.to_owned(), incarnation });
        assert_eq!(id("web-1", 7), "web-1#7");
        let long = "w".repeat(253);
        assert!(id(&long, u64::MAX).len() <= api::CLIENT_BYTES_MAX);
        assert_ne!(id(&long, 7), id(&long, 8));
        assert_ne!(id(&long, 7), id(&format!("{}x", &long[1..]), 7));
    }

    #[test]
    fn the_advertised_address_is_what_was_told_then_what_is_bound_then_the_way_to_control() {
        let bound = "0.0.0.0:5000".parse().unwrap();
        let mut application = application();
        // A route to the loopback is there on every machine.
        let control = [format!("{}:4100", std::net::Ipv4Addr::LOCALHOST)];
        assert!(advertised(&application, bound, &control).unwrap().ip().is_loopback());
        assert_eq!(advertised(&application, bound, &[]), None);
        // A mesh of IPv6 alone, as far as this host has it.
        let control = [format!("[{}]:4100", Ipv6Addr::LOCALHOST)];
        let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        let found = advertised(&application, "[::]:5000".parse().unwrap(), &control);
        assert_eq!(found.is_some_and(|address| address.is_ipv6()), has_ipv6);
        assert_eq!(advertised(&application, bound, &control), None, "nobody listens there");
        let one = "10.0.0.2:5000".parse().unwrap();
        assert_eq!(advertised(&application, one, &[]).unwrap(), one);
        application.advertise = Some("10.0.0.7:0".parse().unwrap());
        assert_eq!(advertised(&application, bound, &[]).unwrap().to_string(), "10.0.0.7:5000");
        application.advertise = Some("10.0.0.7:80".parse().unwrap());
        assert_eq!(advertised(&application, bound, &[]).unwrap().to_string(), "10.0.0.7:80");
    }
}
