//! One address that can serve, and what a caller should know about it.

use std::net::SocketAddr;

use crate::locality::Locality;
use crate::name::WorkloadName;

/// Names one instance of a workload (a pod, a process) for as long as it lives; unique within a service's port.
///
/// An instance that registers again with another address has moved: the old address is gone in the same change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(pub String);

/// Whether callers should pick an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Health {
    /// Takes requests.
    #[default]
    Ready,
    /// Finishes what runs, takes nothing new.
    Draining,
}

/// One address that can serve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Which instance this is.
    pub instance: InstanceName,
    /// Where callers connect: the inbound side of the proxy that stands beside the instance.
    pub address: SocketAddr,
    /// What runs there.
    pub workload: WorkloadName,
    /// Where it stands.
    pub locality: Locality,
    /// Share of requests relative to its siblings, 1 to 1000; 100 is usual.
    pub weight: u32,
    /// Whether to pick it.
    pub health: Health,
}

impl Endpoint {
    /// Weight of an endpoint that states none.
    pub const DEFAULT_WEIGHT: u32 = 100;
    /// Largest weight; the sum over a locality must fit 32 bits on the wire (xDS `LocalityLbEndpoints`).
    pub const MAX_WEIGHT: u32 = 1000;
}
