//! The nouns of the mesh, shared by every crate: what a service, an endpoint, a route, a revision and a window of
//! traffic are. Ground floor: imports nothing of ours, and must never touch IO, a clock, the wire or an executor.

mod balancing;
mod digest;
mod endpoint;
mod fault;
mod filters;
mod limits;
mod locality;
mod name;
mod policy;
mod retry;
mod revision;
mod route;
mod service;
mod session;
mod sketch;
mod timestamp;
mod traffic;

pub use balancing::{Balancer, Ejection, HashKey, SlowStart, SuccessRate, ZonePreference};
pub use digest::HeldDigest;
pub use endpoint::{Endpoint, Health, InstanceName};
pub use fault::{Abort, Fault};
pub use filters::{Filters, HeaderChanges, Mirror, PathChange, Redirect};
pub use limits::{CircuitBreaker, RateLimit};
pub use locality::Locality;
pub use name::{Authority, CLUSTER_DOMAIN, DEFAULT_NAMESPACE, NameError, ServiceName, WorkloadName};
pub use policy::{PolicyName, PolicyTarget, RequestPolicy, ServicePolicy, TrafficPolicy};
pub use retry::{GrpcCode, Retry, RetryBudget};
pub use revision::{Revision, RevisionError};
pub use route::{
    Backend, GrpcMatch, HeaderMatch, MatchKind, PathMatch, QueryMatch, Route, RouteKind, RouteMatch,
    RouteName, RouteRule, is_below,
};
pub use service::{Protocol, Service, ServicePort};
pub use session::{Session, SessionToken};
pub use sketch::{LatencyRecorder, LatencySketch, SketchError};
pub use timestamp::Timestamp;
pub use traffic::{
    Direction, Edge, EdgeTraffic, Failure, ProxyId, TrafficReport, WINDOW_SECONDS, Window, WindowTraffic,
};
