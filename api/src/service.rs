//! Services on the wire. A service that comes out of here has its ports in order and no number twice.

use std::collections::BTreeSet;

use mesh::{Protocol, Service, ServiceName, ServicePort};

use crate::field::{self, FieldError};
use crate::v1;

/// Most ports of a service: each is a resource of its own for every follower.
pub const PORTS_MAX: usize = 100;

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
        Ok(Self { name, ports })
    }
}

impl From<&Service> for v1::Service {
    fn from(service: &Service) -> Self {
        Self { name: Some((&service.name).into()), ports: service.ports.iter().map(Into::into).collect() }
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
        v1::Service { name: Some((&"web.shop".parse::<ServiceName>().unwrap()).into()), ports }
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
