//! The control plane: a replicated database of services, endpoints, routes and traffic, and the discovery API on it.

pub mod catalog;
pub mod config;
pub mod discovery;
pub mod metrics;
pub mod replica;
pub mod settings;
