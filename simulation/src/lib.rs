//! The whole mesh under one seed: the pure cores of every crate on one event heap, with a simulated network, disk and
//! clocks. No executor, no actor, no thread, no clock. Imports all crates; nobody imports it. See docs/simulation.md.
//!
//! A [`Scenario`] (seed, [`Shape`], [`Plan`]) goes in, a [`Report`] or a [`Failure`] with its [`Story`] comes out of [`run`].

pub mod chance;
pub mod disk;
#[cfg(test)]
mod disk_tests;
mod faults;
mod heap;
mod invariants;
mod marks;
mod measured;
pub mod network;
mod picture;
mod plan;
mod sabotage;
mod shape;
mod shrink;
mod story;
pub mod trace;
mod world;

pub use chance::Chance;
pub use invariants::{Operation, Verdict, Violation, linearizable};
pub use marks::{Mark, Reached};
pub use measured::{Measured, OUTAGE, Requests, Stretch, percentile};
pub use picture::picture;
pub use plan::{Act, Class, Plan, PlanError, Scenario, Step, Value};
pub use sabotage::Sabotage;
pub use shape::Shape;
pub use shrink::{Shrunk, shrunk};
pub use story::Story;
pub use world::{Deed, Failure, Report, Seen, Told, run, run_measured};
