//! Config: what operators ask of the mesh, as YAML documents (`Service` of Kubernetes, `HTTPRoute` and `GRPCRoute` of Gateway API,
//! our own `TrafficPolicy`). All but `grpc` is pure and never touches the catalog: texts in, one command or all complaints out; stored nouns in, YAML out.
//!
//! - [`check`] reads every document of every file, and complains of everything at once
//! - `fields` reads a mapping's fields and knows which were asked for; `complaints` gathers what is wrong
//! - `metadata`, `service`, `route`, `route_match`, `grpc_match`, `retry`, `session`, `policy`, `balancing`, `filters`, `fault`, `limits` know the documents; `duration` Gateway API's durations
//! - `grpc` is the gRPC face: it carries the command through the door, and shows what the catalog holds
//! - [`service_yaml`], [`route_yaml`] and [`policy_yaml`] render what is stored, so that applying it again changes nothing

mod balancing;
mod check;
mod complaints;
mod duration;
mod fault;
mod fields;
mod filters;
mod grpc;
mod grpc_match;
mod limits;
mod lines;
mod metadata;
mod policy;
mod render;
mod render_filters;
mod render_policy;
mod retry;
mod route;
mod route_match;
mod service;
mod session;

pub use check::{BYTES_MAX, Checked, CheckedDocument, Kind, check};
pub use grpc::ConfigService;
pub use render::{route_yaml, service_yaml};
pub use render_policy::policy_yaml;
