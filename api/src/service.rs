//! Services on the wire. A service that comes out of here has its ports in order and no number twice.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh::{Protocol, Service, ServiceName, ServicePort};

use crate::field::{self, FieldError};
use crate::v1;

/// Most ports of a service: each is a resource of its own for every follower.
pub const PORTS_MAX: usize = 100;

/// Most virtual addresses of a service: one of each family, as Kubernetes gives them.
pub const ADDRESSES_MAX: usize = 2;

pub(crate) fn protocol(number: i32) -> Result<Protocol, FieldError> {
    match v1::Protocol::try_from(number) {
        Ok(v1::Protocol::Unspecified | v1::Protocol::Http1) => Ok(Protocol::Http1),
        Ok(v1::Protocol::Http2) => Ok(Protocol::Http2),
        Ok(v1::Protocol::Grpc) => Ok(Protocol::Grpc),
        Ok(v1::Protocol::Opaque) => Ok(Protocol::Opaque),
        Err(_) => {
            Err(FieldError::wrong("protocol", number, "must be 1 (http), 2 (http2), 3 (grpc) or 4 (tcp)"))
        }
    }
}

impl From<Protocol> for v1::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http1 => Self::Http1,
            Protocol::Http2 => Self::Http2,
            Protocol::Grpc => Self::Grpc,
            Protocol::Opaque => Self::Opaque,
        }
    }
}

impl TryFrom<&v1::ServicePort> for ServicePort {
    type Error = FieldError;

    fn try_from(message: &v1::ServicePort) -> Result<Self, FieldError> {
        if !message.name.is_empty() && ServiceName::new(&message.name, "default").is_err() {
            let rule = "must be empty, or 1 to 63 of a-z, 0-9 and '-', and not begin or end with '-'";
            return Err(FieldError::wrong("name", format_args!("{:?}", message.name), rule));
        }
        Ok(Self {
            name: message.name.clone(),
            port: field::port(message.port, "port")?,
            protocol: protocol(message.protocol)?,
        })
    }
}

impl From<&ServicePort> for v1::ServicePort {
    fn from(port: &ServicePort) -> Self {
        Self {
            name: port.name.clone(),
            port: port.port.into(),
            protocol: v1::Protocol::from(port.protocol).into(),
        }
    }
}

impl TryFrom<&v1::Service> for Service {
    type Error = FieldError;

    fn try_from(message: &v1::Service) -> Result<Self, FieldError> {
        let name = field::required(message.name.as_ref(), "name")?;
        let mut ports: Vec<ServicePort> = field::each(&message.ports, "ports", PORTS_MAX)?;
        if ports.is_empty() {
            return Err(FieldError::missing("ports"));
        }
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (at, port) in ports.iter().enumerate() {
            let field = format!("ports[{at}]");
            if !numbers.insert(port.port) {
                return Err(FieldError::wrong("port", port.port, "is there twice").within(&field));
            }
            if ports.len() > 1 && (port.name.is_empty() || !names.insert(&port.name)) {
                let rule = "must be there and be unique where a service has several ports";
                return Err(FieldError::wrong("name", format_args!("{:?}", port.name), rule).within(&field));
            }
        }
        ports.sort_by_key(|port| port.port);
        Ok(Self { name, ports, addresses: addresses(&message.addresses)? })
    }
}

fn addresses(texts: &[String]) -> Result<Vec<IpAddr>, FieldError> {
    if texts.len() > ADDRESSES_MAX {
        let rule = format!("must be at most {ADDRESSES_MAX}: one of each family");
        return Err(FieldError::wrong("addresses", format_args!("{} items", texts.len()), rule));
    }
    let mut addresses = BTreeSet::new();
    for (at, text) in texts.iter().enumerate() {
        let field = format!("addresses[{at}]");
        let address = text.parse().ok().filter(is_virtual);
        let wrong = |rule: &str| FieldError::wrong(&field, format_args!("{text:?}"), rule);
        let address = address.ok_or_else(|| wrong("must be the IP address of one host"))?;
        if !addresses.insert(address) {
            return Err(wrong("is there twice"));
        }
    }
    Ok(addresses.into_iter().collect())
}

/// Whether callers on different hosts can mean one service by it.
#[must_use]
pub fn is_virtual(address: &IpAddr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

impl From<&Service> for v1::Service {
    fn from(service: &Service) -> Self {
        Self {
            name: Some((&service.name).into()),
            ports: service.ports.iter().map(Into::into).collect(),
            addresses: service.addresses.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn port(name: &str, port: u32) -> v1::ServicePort {
        v1::ServicePort { name: name.to_owned(), port, protocol: v1::Protocol::Grpc.into() }
    }

    fn service(ports: Vec<v1::ServicePort>) -> v1::Service {
        let name = Some((&"web.shop".parse::<ServiceName>().unwrap()).into());
        v1::Service { name, ports, addresses: Vec::new() }
    }

    #[test]
    fn addresses_survive_the_wire_in_order_and_wrong_ones_are_refused() {
        let with = |addresses: &[&str]| {
            let addresses = addresses.iter().map(ToString::to_string).collect();
            Service::try_from(&v1::Service { addresses, ..service(vec![port("a", 80)]) })
        };
        let read = with(&["fd00::10", "10.96.0.10"]).unwrap();
        assert_eq!(read.addresses, ["10.96.0.10", "fd00::10"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert_eq!(Service::try_from(&v1::Service::from(&read)).unwrap(), read);
        for (addresses, told) in [
            (&["10.96.0.10:80"][..], "addresses[0] = \"10.96.0.10:80\": must be the IP address of one host"),
            (&["127.0.0.1"], "addresses[0] = \"127.0.0.1\": must be"),
            (&["10.96.0.10", "10.96.0.10"], "addresses[1] = \"10.96.0.10\": is there twice"),
            (&["10.0.0.1", "10.0.0.2", "10.0.0.3"], "addresses = 3 items: must be at most 2"),
        ] {
            let error = with(addresses).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn a_service_survives_the_wire_with_its_ports_in_order() {
        let read = Service::try_from(&service(vec![port("b", 90), port("a", 80)])).unwrap();
        assert_eq!(read.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80, 90]);
        assert_eq!(Service::try_from(&v1::Service::from(&read)).unwrap(), read);
    }

    #[test]
    fn ports_that_cannot_be_told_apart_are_refused() {
        for (ports, told) in [
            (vec![], "ports: is missing"),
            (vec![port("a", 80), port("b", 80)], "ports[1].port = 80: is there twice"),
            (vec![port("a", 80), port("", 81)], "ports[1].name = \"\": must be there"),
            (vec![port("a", 80), port("a", 81)], "ports[1].name = \"a\": must be there and be unique"),
            (vec![port("A", 80)], "ports[0].name = \"A\": must be empty"),
            (vec![port("", 0)], "ports[0].port = 0: must be 1 to 65535"),
        ] {
            let error = Service::try_from(&service(ports)).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
        let unknown = v1::ServicePort { protocol: 77, ..port("", 80) };
        assert!(
            Service::try_from(&service(vec![unknown])).unwrap_err().to_string().contains("protocol = 77")
        );
    }
}
