//! The four kinds of resource that discovery serves, their type URLs and the order in which they go out.
//! Pure; must know nothing of sessions or of what a resource holds.

use envoy_types::pb::envoy::config::{
    cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
    route::v3::RouteConfiguration,
};
use prost::Name;

/// A kind of resource; ordered as they go out (make before break: xDS protocol, "Eventual consistency
/// considerations").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CDS: what is known of a service's port beside its endpoints.
    Cluster,
    /// EDS: the endpoints of a service's port.
    Endpoints,
    /// LDS: where a client listens (Envoy), or the entry to a service's routes (gRPC).
    Listener,
    /// RDS: which requests go to which clusters.
    Routes,
}

impl Kind {
    /// Every kind, in the order in which they go out.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];

    /// The order in which removals go out: what points at another goes before it.
    pub const REMOVALS: [Self; 4] = [Self::Listener, Self::Routes, Self::Cluster, Self::Endpoints];

    /// The name of its protobuf message on the wire.
    #[must_use]
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => Cluster::type_url(),
            Self::Endpoints => ClusterLoadAssignment::type_url(),
            Self::Listener => Listener::type_url(),
            Self::Routes => RouteConfiguration::type_url(),
        }
    }

    /// The kind that a type URL names, if discovery serves it.
    #[must_use]
    pub fn named(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// As people call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoints => "EDS",
            Self::Listener => "LDS",
            Self::Routes => "RDS",
        }
    }

    /// Whether others of its stream point at it: these must be held before what points at them may go out.
    #[must_use]
    pub fn is_pointed_at(self) -> bool {
        matches!(self, Self::Cluster | Self::Endpoints)
    }

    pub(super) fn place(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_type_url_and_no_other_is() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(&kind.type_url()), Some(kind));
        }
        for other in ["", "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "Cluster"] {
            assert_eq!(Kind::named(other), None);
        }
    }
}
