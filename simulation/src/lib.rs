//! The whole mesh under one seed: the pure cores of every crate on one event heap, with a simulated network, disk and
//! clocks. No executor, no actor, no thread, no clock. Imports all crates; nobody imports it. See design.md, section 8.

pub mod chance;
pub mod disk;
mod heap;
mod invariants;
pub mod network;
pub mod trace;
mod world;

pub use chance::Chance;
pub use invariants::Violation;
pub use world::{Failure, Report, RunSettings, run};
