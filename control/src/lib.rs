//! The control plane: a replicated database of services, endpoints, routes and traffic, and the discovery API on it.

pub mod catalog;
pub mod config;
pub mod discovery;
pub mod intake;
pub mod metrics;
pub mod query;
pub mod replica;
pub mod rollup;
pub mod settings;
