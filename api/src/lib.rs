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

/// OpenTelemetry's trace service, as much of it as the proxy speaks.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)] // generated
pub mod otlp {
    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
}

mod balancing;
mod endpoint;
mod field;
mod filters;
mod limits;
mod name;
mod pattern;
mod policy;
mod policy_rules;
mod registration;
mod route;
mod route_match;
mod route_rules;
mod service;
mod session;
mod traffic;

pub use endpoint::{INSTANCE_BYTES_MAX, LOCALITY_BYTES_MAX};
pub use envoy_types as xds;
pub use field::FieldError;
pub use pattern::Pattern;
pub use policy::POLICY_TYPE_URL;
pub use policy_rules::{
    BACKOFF_MS, BUDGET_WINDOW_MS, CONNECT_MS, COOKIE_MS, COUNT, EJECTION_MS, MIN_RETRIES_MAX,
    POLICY_TARGETS_MAX, RATE_MS, RETRY_CODES, RETRY_CODES_MAX, SLOW_START_MS, SOME_PERCENT, STDEV_FACTOR,
    session_name_fault,
};
pub use registration::{
    CLIENT_BYTES_MAX, DEFAULT_LEASE_SECONDS, LEASE_SECONDS, LeaseKey, Registration, WriteId, lease_seconds,
};
pub use route_rules::{
    BACKEND_WEIGHT_MAX, BACKENDS_MAX, FAULT_DELAY_MS, HEADERS_MAX, MATCHES_MAX, METHODS, MIRRORS_MAX,
    PARENTS_MAX, ROUTE_MATCHES_MAX, RULES_MAX, TIMEOUT_MS_MAX, changed_header_fault, grpc_method_fault,
    grpc_service_fault, header_name_fault, header_value_fault, host_fault, path_fault,
};
pub use service::{ADDRESSES_MAX, PORTS_MAX, is_virtual};
pub use traffic::PROXY_NAME_BYTES_MAX;
