//! The real proxy as a real process beside a real application: what it does when the control plane is gone, and how its life
//! begins, goes over to a new process and ends. Needs only the Rust toolchain; every process is ended by its id.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // a panic is how a test fails; figures are told

#[allow(dead_code)] // a module of another target, which uses more of it
#[path = "../processes/cluster.rs"]
mod cluster;
mod kept;
mod life;
mod load;
mod memory;
mod stage;
