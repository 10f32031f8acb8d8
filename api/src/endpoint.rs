//! Endpoints on the wire. An address that no caller could connect to is refused here.

use std::net::SocketAddr;

use mesh::{Endpoint, Health, InstanceName, Locality};

use crate::field::{self, FieldError};
use crate::v1;

/// Longest instance name: a pod's name is a DNS subdomain, at most 253 bytes.
pub const INSTANCE_BYTES_MAX: usize = 253;
/// Longest region or zone.
pub const LOCALITY_BYTES_MAX: usize = 128;

impl TryFrom<&v1::Locality> for Locality {
    type Error = FieldError;

    fn try_from(message: &v1::Locality) -> Result<Self, FieldError> {
        Ok(Self {
            region: field::text(&message.region, "region", 0, LOCALITY_BYTES_MAX)?,
            zone: field::text(&message.zone, "zone", 0, LOCALITY_BYTES_MAX)?,
        })
    }
}

impl From<&Locality> for v1::Locality {
    fn from(locality: &Locality) -> Self {
        Self { region: locality.region.clone(), zone: locality.zone.clone() }
    }
}

fn address(text: &str) -> Result<SocketAddr, FieldError> {
    let wrong = |rule: &str| FieldError::wrong("address", format_args!("{text:?}"), rule);
    let address: SocketAddr = text
        .parse()
        .map_err(|_| wrong("must be ip:port, for instance 10.1.2.3:4143 or [fd00::1]:4143 (no host name)"))?;
    if address.port() == 0 {
        return Err(wrong("must have a port of 1 to 65535"));
    }
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(wrong("must be an address that callers can connect to"));
    }
    Ok(address)
}

fn health(number: i32) -> Result<Health, FieldError> {
    match v1::Health::try_from(number) {
        Ok(v1::Health::Unspecified | v1::Health::Ready) => Ok(Health::Ready),
        Ok(v1::Health::Draining) => Ok(Health::Draining),
        Err(_) => Err(FieldError::wrong("health", number, "must be 1 (ready) or 2 (draining)")),
    }
}

fn weight(number: u32) -> Result<u32, FieldError> {
    match number {
        0 => Ok(Endpoint::DEFAULT_WEIGHT),
        1..=Endpoint::MAX_WEIGHT => Ok(number),
        _ => Err(FieldError::wrong("weight", number, format!("must be 1 to {}", Endpoint::MAX_WEIGHT))),
    }
}

pub(crate) fn instance(text: &str) -> Result<InstanceName, FieldError> {
    field::text(text, "instance", 1, INSTANCE_BYTES_MAX).map(InstanceName)
}

impl TryFrom<&v1::Endpoint> for Endpoint {
    type Error = FieldError;

    fn try_from(message: &v1::Endpoint) -> Result<Self, FieldError> {
        Ok(Self {
            instance: instance(&message.instance)?,
            address: address(&message.address)?,
            workload: field::required(message.workload.as_ref(), "workload")?,
            locality: field::optional(message.locality.as_ref(), "locality")?.unwrap_or_default(),
            weight: weight(message.weight)?,
            health: health(message.health)?,
        })
    }
}

impl From<&Endpoint> for v1::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        let health = match endpoint.health {
            Health::Ready => v1::Health::Ready,
            Health::Draining => v1::Health::Draining,
        };
        Self {
            instance: endpoint.instance.0.clone(),
            address: endpoint.address.to_string(),
            workload: Some((&endpoint.workload).into()),
            locality: Some((&endpoint.locality).into()),
            weight: endpoint.weight,
            health: health.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            instance: InstanceName("web-1".to_owned()),
            address: "[fd00::1]:4143".parse().unwrap(),
            workload: "web.shop".parse().unwrap(),
            locality: Locality { region: "eu".to_owned(), zone: "eu-1".to_owned() },
            weight: 7,
            health: Health::Draining,
        }
    }

    #[test]
    fn an_endpoint_survives_the_wire() {
        assert_eq!(Endpoint::try_from(&v1::Endpoint::from(&endpoint())).unwrap(), endpoint());
    }

    #[test]
    fn what_is_left_out_is_read_as_usual() {
        let message = v1::Endpoint { weight: 0, health: 0, locality: None, ..(&endpoint()).into() };
        let read = Endpoint::try_from(&message).unwrap();
        assert_eq!((read.weight, read.health, read.locality), (100, Health::Ready, Locality::default()));
    }

    #[test]
    fn an_endpoint_that_cannot_serve_is_refused_with_the_field_and_the_rule() {
        let good = v1::Endpoint::from(&endpoint());
        for (message, told) in [
            (v1::Endpoint { weight: 5000, ..good.clone() }, "weight = 5000: must be 1 to 1000"),
            (
                v1::Endpoint { address: "web:80".to_owned(), ..good.clone() },
                r#"address = "web:80": must be ip:port"#,
            ),
            (
                v1::Endpoint { address: "1.2.3.4:0".to_owned(), ..good.clone() },
                "address = \"1.2.3.4:0\": must have",
            ),
            (
                v1::Endpoint { address: "0.0.0.0:80".to_owned(), ..good.clone() },
                "address = \"0.0.0.0:80\": must be an",
            ),
            (
                v1::Endpoint { instance: String::new(), ..good.clone() },
                "instance = \"\": must be 1 to 253 bytes",
            ),
            (
                v1::Endpoint { instance: "a\nb".to_owned(), ..good.clone() },
                "instance = \"a\\nb\": must not hold",
            ),
            (v1::Endpoint { workload: None, ..good.clone() }, "workload: is missing"),
            (v1::Endpoint { health: 9, ..good.clone() }, "health = 9: must be"),
        ] {
            let error = Endpoint::try_from(&message).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
        let long = v1::Endpoint { instance: "x".repeat(254), ..good };
        assert!(Endpoint::try_from(&long).is_err());
    }
}
