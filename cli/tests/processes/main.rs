//! The real program as real processes: leaders that are killed under write load, frozen, or asked to end, members that come and go
//! by command and by themselves, disks that are lost, and starts that must be refused.
//! Needs only the Rust toolchain. Every process is ended by its id, and dies with the test that started it.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod backups;
mod cluster;
mod config;
mod first_calls;
mod followers;
mod leader_freezes;
mod leader_kills;
mod leader_stops;
mod members;
mod refused_starts;
mod writers;
