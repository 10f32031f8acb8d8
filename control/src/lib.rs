//! The control plane: a replicated database of services, endpoints, routes and traffic, and the discovery API on it.
//!
//! [`start`] starts one node and gives back what runs; [`run`] does so until a signal. Everything else is a room of it.

pub mod backup;
pub mod catalog;
pub mod config;
pub mod discovery;
pub mod intake;
pub mod members;
pub mod metrics;
pub mod node;
pub mod query;
pub mod replica;
pub mod rollup;
pub mod settings;

pub use node::{Given, Incoming, Running, StartError, run, start, start_here, start_with};
pub use replica::Surroundings;
pub use settings::Settings;
