//! The world of one run: everything that exists, and the loop that lets one event after the other happen.
//!
//! - `event.rs`     what can happen next
//! - `run.rs`       the loop; `happen.rs` what each event does, `effects.rs` what a node wants in turn
//! - `clock.rs`, `node.rs`, `running.rs`, `storing.rs`   a control node: its clock, its machine, its process, its disk's queue
//! - `reading.rs` its linearizable reads
//! - `leasing.rs`, `tally.rs`   a node's table of leases, and its share in the rollups
//! - `stopping.rs`  how a node does that is told to stop
//! - `restoring.rs` how all nodes go back to a backup, and what counts from then on
//! - `tending.rs`   how a node comes back that lost its disk; `lives.rs` of which life of the cluster each is
//! - `programs.rs`  which program a node runs, and when the log takes newer commands
//! - `clients.rs`   who writes and reads; `writes.rs` what
//! - `workloads.rs` who holds leases
//! - `proxies.rs`   who follows; `streams.rs` carries what it says and is told
//! - `traffic.rs`   what proxies count and tell
//! - `acts.rs`      how faults are done and undone; `atlas.rs` which ones would destroy too much
//! - `operating.rs`  what operators do, the starting of nodes and the healing included
//! - `end.rs`       what must be true in the end
//! - `measuring.rs` what a run was like, when people ask

mod acts;
mod atlas;
mod clients;
mod clock;
mod effects;
mod end;
mod event;
mod happen;
mod leasing;
mod lives;
mod measuring;
mod node;
mod operating;
mod programs;
mod proxies;
mod reading;
mod restoring;
mod run;
mod running;
mod stopping;
mod storing;
mod streams;
mod tally;
mod tending;
mod traffic;
mod workloads;
mod writes;

pub(crate) use leasing::BRAKE;
pub use run::{Failure, Report, run, run_measured};
pub(crate) use workloads::LEASE;
pub(crate) use writes::Key;
pub use writes::{Deed, Seen, Told};
