//! One file for each command: arguments in, calls to a control node, an answer out.
//! No command prints by itself, but the demo, which lives on the screen; none holds state.

mod apply;
mod check;
mod completions;
mod debug;
mod delete;
mod edges;
mod endpoints;
mod files;
mod get;
mod health;
mod init;
mod interrupted;
mod members;
mod partial;
mod preflight;
mod program;
mod proxies;
mod recover;
mod run;
mod services;
mod simulate;
mod snapshot;
mod stat;
mod telling;
mod write_id;

pub use health::{Facts, Sighting, judge};
pub use program::proxy;
pub use run::run;

pub(crate) use endpoints::ask as ask_endpoints;
pub(crate) use members::ask as ask_members;
pub(crate) use stat::ask as ask_stat;
pub(crate) use telling::now_ms;
pub(crate) use write_id::Writes;
