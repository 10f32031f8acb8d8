//! The wire: Penstock's own protobuf, Envoy's xDS types, and their conversions to the nouns of `mesh`.
//! What comes off the wire is checked here, once; behind it the types cannot be wrong.

/// Messages and services of `penstock.v1`, the port for clients.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)] // generated; the documentation is in the .proto files
pub mod v1 {
    tonic::include_proto!("penstock.v1");
}

/// Messages and service of `penstock.peer.v1`, between control nodes.
pub mod peer {
    /// The first version.
    #[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)] // generated
    pub mod v1 {
        tonic::include_proto!("penstock.peer.v1");
    }
}

/// Messages of `penstock.log.v1`: what is in the replicated log.
pub mod log {
    /// The first version.
    #[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)] // generated
    pub mod v1 {
        tonic::include_proto!("penstock.log.v1");
    }
}

pub use envoy_types as xds;
