//! The data plane: one process beside every workload.
//!
//! A request goes `outbound` (or `inbound`) -> `http` -> `balance` -> the endpoint, and is counted in `report`;
//! what it needs to know comes from `snapshot`, which the discovery side publishes.

pub mod report;
pub mod snapshot;
pub mod worker;
