//! The admin server of a process: `/live`, `/ready`, `/metrics`, `/log-level`, and routes that a program adds.
//!
//! On a thread of its own with a current-thread runtime of its own, so that a busy data plane or truth thread cannot starve
//! a probe. `readiness.rs` says what must hold before a process is ready, `server.rs` answers, `log_level.rs` is the one page
//! that can be changed on each of them.

mod log_level;
mod readiness;
mod server;

pub use readiness::{Condition, Readiness};
pub use server::{Admin, Answer, Running, StartError};
