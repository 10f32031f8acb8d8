//! The application's own requests: by the authority they ask for to a `target`, by its routes to a cluster, by the balancer
//! to one endpoint. Knows the snapshot; leaves connections and bodies to `http`.

mod affinity;
mod again;
mod cluster;
mod faults;
mod filters;
mod mirroring;
mod near;
mod patterns;
mod reach;
mod redirected;
mod routing;
mod ruled;
mod serve;
mod sessions;
mod target;
mod toward;
mod trying;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use affinity::cookies_are_read;
pub(crate) use redirected::{pass, refuse_loop};
pub use serve::Outbound;
