//! Two workers between a caller and an application.

use std::net::SocketAddr;

use mesh::Protocol;
use proxy::worker::WorkerSettings;

use crate::support::{Mesh, endpoint, mesh, service, settings, with_inbound};

/// The proxy of a caller and the one of an application, which serves `web`.
pub struct Hops {
    pub caller: Mesh,
    pub callee: Mesh,
}

impl Hops {
    /// For the application at `address`.
    pub fn to(address: SocketAddr, protocol: Protocol) -> Self {
        Self::between(&settings(), address, protocol)
    }

    /// With a listener of the caller's that stands for the service.
    pub fn by_listener(address: SocketAddr, protocol: Protocol) -> Self {
        let upstreams = vec![("127.0.0.1:0".parse().unwrap(), "web".parse().unwrap())];
        Self::between(&WorkerSettings { upstreams, ..settings() }, address, protocol)
    }

    fn between(caller: &WorkerSettings, address: SocketAddr, protocol: Protocol) -> Self {
        let callee = mesh(&with_inbound(address, protocol), &[]);
        let endpoints = vec![endpoint("web", callee.workers.inbound_address.unwrap(), 100)];
        Self { caller: mesh(caller, &[service("web", protocol, endpoints)]), callee }
    }

    /// Where callers reach every service.
    pub fn outbound(&self) -> SocketAddr {
        self.caller.outbound
    }

    /// Where callers reach this one.
    pub fn listener(&self) -> SocketAddr {
        self.caller.workers.upstream_addresses[0]
    }

    /// What makes curl take its connections to anything here.
    pub fn connect_to(&self) -> String {
        format!("::{}", self.outbound())
    }
}

/// What both sides of an exchange may speak.
pub const SPOKEN: [(&str, Protocol); 2] = [("http1", Protocol::Http1), ("http2", Protocol::Http2)];
