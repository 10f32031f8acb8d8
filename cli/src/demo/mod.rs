//! `penstock demo`: a whole mesh on this machine, with an application, load, and a service that misbehaves.
//!
//! | file | what |
//! |---|---|
//! | `run` | one run from start to end |
//! | `mesh`, `child`, `scratch` | the processes, and what they take from this machine |
//! | `shop` | the application and its load, which count by themselves |
//! | `writer`, `leader_kill` | writes while the leader is killed |
//! | `screen`, `report` | what is shown meanwhile, and at the end |

mod child;
mod leader_kill;
mod mesh;
mod report;
mod run;
mod scratch;
mod screen;
mod shop;
mod writer;

pub use leader_kill::LeaderKill;
pub use report::{Counts, EdgeReport, Report, ServiceReport};
pub use run::run;
