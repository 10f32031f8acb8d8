//! Raft as a pure value, and a durable log; carries opaque bytes and imports nothing of ours.
//!
//! Step 2 of the way of the data: `control/src/replica` hands events to [`Replica`] and carries out its
//! [`Output`]s in the order given; [`Log`] makes [`Batch`]es durable on a thread of its own. See [`replica`]
//! for the driver's contract.

pub mod log;
mod membership_change;
mod nouns;
pub mod replica;
mod wire;

pub use log::{
    Incoming, IncomingError, Log, LogSettings, OpenError, PersistError, Recovered, SnapshotFiles,
    SnapshotLabel, SnapshotReader, StdVfs, Vfs, VfsFile,
};
pub use nouns::{Batch, EntryKind, HardState, LogEntry, Membership, NodeId, Snapshot};
pub use replica::{
    Committed, Loss, Output, PeerStatus, ProposeError, ReadError, ReceiveError, Replica, ReplicaSettings,
    Role, Status,
};
pub use wire::is_a_leaders;
