//! One member of the Raft group as a pure value: events and time in, ordered outputs out. No file, clock,
//! chance or `await`.
//!
//! # The driver's contract
//!
//! 1. `Log::open` gives [`crate::Recovered`]; `Replica::new` takes it. Then, for ever: hand in what happened
//!    (any number of inputs), call [`Replica::outputs`] once, carry the outputs out in the order given.
//! 2. Call [`Replica::tick`] at [`Replica::next_deadline`], or earlier; `now` is monotonic, since any fixed
//!    point.
//! 3. `Persist` goes to the log's thread, which may take many batches into one `Log::persist` (one fsync),
//!    and then [`Replica::persisted`] with the last number. An error of `Log::persist` other than a full disk
//!    ends the process.
//! 4. `Apply` goes to the state machine in order, then [`Replica::applied`] with the last index. An entry
//!    with a token was proposed here: answer that proposer with what applying gave.
//! 5. `Send` may lose, repeat and reorder; a lost connection is told by [`Replica::peer_lost`] at once, then
//!    dialled anew at once, and what becomes of that is told too: that is failover.
//!
//! A panic in here is a broken invariant of the log and must end the process.

mod election;
mod errors;
mod grouping;
mod leadership;
mod memory_log;
mod output;
mod pace;
mod persisting;
mod proposals;
mod raft_logger;
mod reads;
mod replica_value;
mod rounds;
mod settings;
mod snapshots;
mod standing_aside;
mod status;

pub use election::{Campaigns, Loss};
pub use errors::{ProposeError, ReadError, ReceiveError};
pub use output::{Committed, Output, Role};
pub use replica_value::Replica;
pub use settings::ReplicaSettings;
pub use status::{PeerStatus, Status};
