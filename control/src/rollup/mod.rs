//! Rollup: reports of proxies become one partial per edge and window, through the one door into the catalog's history.
//! Steps 10 and 11 of the way of the data. Exactly once, whoever dies: [`partials`] says how.
//!
//! - `service.rs`: the gRPC face, on every node
//! - [`partials`]: what waits, what is proposed, what is acknowledged, a pure core
//! - `actor.rs`: drives it on the truth thread; `messages.rs`: what may be said to it

mod actor;
pub mod messages;
pub mod partials;
mod service;

pub use actor::RollupActor;
pub use service::ReportsService;
