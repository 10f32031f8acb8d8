//! The demo's application: a shop of five services over HTTP/1.1 and gRPC, which knows nothing of the mesh but the
//! address that its calls go to. It counts by itself who called whom, so that the mesh's figures can be held against it.
//!
//! ```text
//! traffic -> web (http) -> catalog (grpc) -> pricing (grpc; one instance is slow)
//!                       -> cart    (http) -> pricing
//!                       -> reviews (http; a quarter of its answers are 500)
//! ```

mod caller;
mod grpc;
mod load;
mod serve;
mod services;
mod tally;

pub(crate) use caller::Ways;
pub(crate) use load::Load;
pub(crate) use serve::{Instance, serve};
pub(crate) use services::{ENTRY, LOAD_WORKLOAD, PORT, SERVICES, Service, edges};
#[cfg(test)]
pub(crate) use tally::Heard;
pub(crate) use tally::{Books, Tally};

/// Messages and stubs of `shop.proto`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)] // generated
mod proto {
    tonic::include_proto!("shop.v1");
}

/// The header by which the application says who calls, for its own counts. The mesh has its own way.
const CALLER_HEADER: &str = "shop-caller";
