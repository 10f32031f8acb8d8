//! Query: what people ask. Step 12 of the way of the data; every node answers.
//!
//! - `service.rs`: the gRPC face
//! - `stat.rs`: traffic, from the replicated history; `lists.rs`: services and endpoints; `near.rs`: what may have been meant
//! - `members.rs`: the Raft group, as one node sees it

mod lists;
mod members;
mod near;
mod service;
mod stat;

pub use service::{ConnectedProxies, QueryService};
