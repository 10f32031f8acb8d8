//! A service as an operator or a first registration declared it.

use std::net::IpAddr;

use crate::name::ServiceName;

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1 (HTTP/1.0 included).
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC: HTTP/2 with statuses in trailers.
    Grpc,
    /// Bytes, not looked into.
    Opaque,
}

impl Protocol {
    /// As `appProtocol` of a Kubernetes `Service` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Opaque => "tcp",
        }
    }

    /// The protocol that `text` names: `http`, `http2` (also `kubernetes.io/h2c`), `grpc` or `tcp`.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http1),
            "http2" | "kubernetes.io/h2c" => Some(Self::Http2),
            "grpc" => Some(Self::Grpc),
            "tcp" => Some(Self::Opaque),
            _ => None,
        }
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// Empty when the service has only one port.
    pub name: String,
    /// The number callers use, 1 to 65535.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// A named set of endpoints. Its ports are ordered by number, and numbers are unique; so are its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What it listens on.
    pub ports: Vec<ServicePort>,
    /// Virtual addresses by which callers that are intercepted mean it: nobody need listen there.
    pub addresses: Vec<IpAddr>,
}

impl Service {
    /// The port with this number, if the service has it.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }
}
