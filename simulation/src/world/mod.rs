//! The world of one run: everything that exists, and the loop that lets one event after the other happen.
//!
//! - `event.rs`    what can happen next
//! - `node.rs`     a control node around the real cores
//! - `clients.rs`  who writes
//! - `proxies.rs`  who follows; `streams.rs` carries what it says and is told
//! - `traffic.rs`  what proxies count and tell
//! - `tally.rs`    a node's share in the rollups
//! - `faults.rs`   what goes wrong
//! - `havoc.rs`    how a fault is done, healed, and what must be true in the end
//! - `run.rs`      the loop

mod clients;
mod event;
mod faults;
mod havoc;
mod node;
mod proxies;
mod run;
mod streams;
mod tally;
mod traffic;

pub use run::{Failure, Report, RunSettings, run};
