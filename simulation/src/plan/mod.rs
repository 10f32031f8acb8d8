//! What is done to a world, and when: a value that comes from a seed or from a file, and that a shrinker may thin out.
//!
//! - `act.rs`       one fault or action of an operator, with its words
//! - `value.rs`     how numbers and times are written in a line
//! - `scenario.rs`  seed, shape and steps together, and the file that holds them
//! - `swarm.rs`     the plan that a seed draws

mod act;
mod scenario;
mod swarm;
mod value;

pub use act::Act;
pub use scenario::{Plan, Scenario, Step};
pub use swarm::Class;
pub use value::{PlanError, Value};
