//! Registrations, leases and the identity of a write, on the wire and in the log.

use std::ops::RangeInclusive;

use mesh::{Authority, Endpoint, InstanceName, Protocol, Revision};

use crate::field::{self, FieldError};
use crate::{endpoint, log, service, v1};

/// Shortest and longest lease. A shorter one would end in a failover of the control plane, a longer one would keep
/// callers trying a dead instance for too long.
pub const LEASE_SECONDS: RangeInclusive<u32> = 5..=3600;
/// Lease of a registration that states none.
pub const DEFAULT_LEASE_SECONDS: u32 = 15;
/// Longest client id of a write: one is kept for each of thousands of clients.
pub const CLIENT_BYTES_MAX: usize = 64;

/// The lease that `seconds` asks for; 0 asks for the usual one.
///
/// # Errors
/// If it is out of [`LEASE_SECONDS`].
pub fn lease_seconds(seconds: u32) -> Result<u32, FieldError> {
    match seconds {
        0 => Ok(DEFAULT_LEASE_SECONDS),
        _ if LEASE_SECONDS.contains(&seconds) => Ok(seconds),
        _ => {
            let rule = format!("must be {} to {}", LEASE_SECONDS.start(), LEASE_SECONDS.end());
            Err(FieldError::wrong("lease_seconds", seconds, rule))
        }
    }
}

/// An endpoint that asks to be part of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The service and its port.
    pub authority: Authority,
    /// What the endpoint speaks.
    pub protocol: Protocol,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// How long it lives without a renewal.
    pub lease_seconds: u32,
}

impl TryFrom<&log::v1::Register> for Registration {
    type Error = FieldError;

    fn try_from(message: &log::v1::Register) -> Result<Self, FieldError> {
        Ok(Self {
            authority: field::required(message.authority.as_ref(), "authority")?,
            protocol: service::protocol(message.protocol)?,
            endpoint: field::required(message.endpoint.as_ref(), "endpoint")?,
            lease_seconds: lease_seconds(message.lease_seconds)?,
        })
    }
}

impl TryFrom<&v1::RegisterRequest> for Registration {
    type Error = FieldError;

    fn try_from(message: &v1::RegisterRequest) -> Result<Self, FieldError> {
        Ok(Self {
            authority: field::required(message.authority.as_ref(), "authority")?,
            protocol: service::protocol(message.protocol)?,
            endpoint: field::required(message.endpoint.as_ref(), "endpoint")?,
            lease_seconds: lease_seconds(message.lease_seconds)?,
        })
    }
}

impl From<&Registration> for log::v1::Register {
    fn from(registration: &Registration) -> Self {
        Self {
            authority: Some((&registration.authority).into()),
            protocol: v1::Protocol::from(registration.protocol).into(),
            endpoint: Some((&registration.endpoint).into()),
            lease_seconds: registration.lease_seconds,
        }
    }
}

/// What a lease is for: one instance of a service's port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseKey {
    /// The service and its port.
    pub authority: Authority,
    /// The instance.
    pub instance: InstanceName,
}

impl TryFrom<&v1::LeaseKey> for LeaseKey {
    type Error = FieldError;

    fn try_from(message: &v1::LeaseKey) -> Result<Self, FieldError> {
        Ok(Self {
            authority: field::required(message.authority.as_ref(), "authority")?,
            instance: endpoint::instance(&message.instance)?,
        })
    }
}

impl From<&LeaseKey> for v1::LeaseKey {
    fn from(key: &LeaseKey) -> Self {
        Self { authority: Some((&key.authority).into()), instance: key.instance.0.clone() }
    }
}

/// The identity of a write: a retry with the same one is applied once and gets the first outcome.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    /// Unique per client process.
    pub client: String,
    /// Counted up by the client, from 1.
    pub sequence: u64,
    /// What some node had applied before the write was first sent; zero when the client did not say.
    pub since: Revision,
}

impl TryFrom<&v1::WriteId> for WriteId {
    type Error = FieldError;

    fn try_from(message: &v1::WriteId) -> Result<Self, FieldError> {
        if message.sequence == 0 {
            return Err(FieldError::wrong("sequence", 0, "must be 1 or more"));
        }
        Ok(Self {
            client: field::text(&message.client, "client", 1, CLIENT_BYTES_MAX)?,
            sequence: message.sequence,
            since: message.since.as_ref().map(Revision::from).unwrap_or_default(),
        })
    }
}

impl From<&WriteId> for v1::WriteId {
    fn from(id: &WriteId) -> Self {
        let since = (id.since != Revision::default()).then(|| id.since.into());
        Self { client: id.client.clone(), sequence: id.sequence, since }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_lease_is_the_usual_one_when_none_is_asked_for_and_bounded_otherwise() {
        assert_eq!(lease_seconds(0).unwrap(), 15);
        for (seconds, fits) in [(4, false), (5, true), (3600, true), (3601, false)] {
            assert_eq!(lease_seconds(seconds).is_ok(), fits, "{seconds}");
        }
        assert_eq!(lease_seconds(4).unwrap_err().to_string(), "lease_seconds = 4: must be 5 to 3600");
    }

    #[test]
    fn a_write_without_a_client_or_a_sequence_has_no_identity() {
        let id = |client: &str, sequence| v1::WriteId { client: client.to_owned(), sequence, since: None };
        assert!(WriteId::try_from(&id("a", 1)).is_ok());
        assert!(WriteId::try_from(&id(&"a".repeat(64), u64::MAX)).is_ok());
        for bad in [id("", 1), id(&"a".repeat(65), 1), id("a", 0)] {
            assert!(WriteId::try_from(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_registration_survives_the_log_and_names_the_field_that_is_wrong() {
        let registration = Registration {
            authority: "web:80".parse().unwrap(),
            protocol: Protocol::Grpc,
            endpoint: Endpoint {
                instance: InstanceName("web-1".to_owned()),
                address: "10.0.0.1:4143".parse().unwrap(),
                workload: "web".parse().unwrap(),
                locality: mesh::Locality::default(),
                weight: 100,
                health: mesh::Health::Ready,
            },
            lease_seconds: 20,
        };
        let mut message = log::v1::Register::from(&registration);
        assert_eq!(Registration::try_from(&message).unwrap(), registration);
        message.endpoint.as_mut().unwrap().weight = 5000;
        let error = Registration::try_from(&message).unwrap_err().to_string();
        assert_eq!(error, "endpoint.weight = 5000: must be 1 to 1000");
    }
}
