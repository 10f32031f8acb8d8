//! The data plane: one process beside every workload.
//!
//! A request goes `outbound` (or `inbound`) -> `http` -> `balance` -> the endpoint, and is counted in `report`;
//! what it needs to know comes from `snapshot`, which `discovery` publishes as the control plane tells it.

mod application;
pub mod arrival;
pub mod balance;
mod control;
pub mod detect;
pub mod discovery;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handover;
pub mod http;
mod identity;
pub mod inbound;
pub mod init;
pub mod metrics;
#[cfg(test)]
mod mutations;
pub mod outbound;
mod pages;
mod process_families;
mod proxy;
pub mod records;
pub mod register;
pub mod report;
pub mod resources;
pub mod settings;
pub mod snapshot;
pub mod tcp;
mod transparent;
pub mod worker;

pub use control::End;
pub use proxy::{Drained, Running, StartError, start, take_over};
pub use settings::Settings;
