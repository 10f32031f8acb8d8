//! The replica: the one door through which every write goes. Steps 2 and 3 of the way of the data: a command is proposed,
//! replicated, made durable, and applied to the catalog of this node.
//!
//! - [`Door`] is what the rooms above use: writes that find their leader, linearizable reads
//! - [`ReplicaActor`] hears (`messages.rs`), `driver.rs` carries out what the pure replica of `consensus` asks
//! - `inbox.rs`, `admission.rs`, `waiting.rs`: what comes, who may go, who waits; `freshness.rs`: how old the catalog may be for a reader;
//!   `subscribers.rs`: who is told what changed
//! - `disk.rs`, `space.rs`, `snapshots.rs`: what must be durable, on threads of their own; `yielding.rs`: a leader without space
//! - `peers/`: the other nodes
//! - `seats.rs` plans changes of the members, which `membership.rs` proposes; `gate.rs` plans the version of commands,
//!   `autopilot.rs` what is done with members unasked; `returning.rs` what it means that one is back on another disk;
//!   `steward.rs` tends these three; `beginning.rs` begins a life of the cluster
//! - `divergence.rs` compares this node's catalog with the others'
//! - `standing.rs` tells how the replica stands
//! - `start.rs` puts it together in its `surroundings.rs`, `ending.rs` says how a node ends itself

mod actor;
mod admission;
pub mod autopilot;
pub mod beginning;
mod clock;
mod disk;
pub(crate) mod divergence;
mod door;
mod driver;
mod ending;
pub mod freshness;
pub mod gate;
mod inbox;
mod leadership;
mod membership;
pub mod messages;
pub mod peers;
pub mod refusal;
pub mod returning;
pub mod seats;
mod snapshots;
pub mod space;
pub(crate) mod standing;
mod start;
pub(crate) mod steward;
mod subscribers;
mod surroundings;
mod waiting;
pub mod yielding;

pub use actor::ReplicaActor;
pub use clock::WallClock;
pub use divergence::Hashes;
pub use door::Door;
pub use freshness::Fresh;
pub use leadership::Leadership;
pub use start::{Replication, StartError, Unstarted};
pub use surroundings::Surroundings;
