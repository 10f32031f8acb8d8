//! What a replica asks of its driver, to be carried out in the order given. It never does any of it itself.

use bytes::Bytes;

use crate::nouns::{Batch, NodeId, Snapshot};

use super::errors::{ProposeError, ReadError};

/// What a node is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected, without raising its term.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads; every write passes it.
    Leader,
}

/// One committed entry, on its way into the state machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its position.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Empty for entries that only Raft needs (a new leader's first entry, the end of a joint membership): skip,
    /// but count. Of a change of the membership, what its proposer said beside it.
    pub data: Bytes,
    /// Present when it was proposed on this node by a proposer that still waits.
    pub token: Option<u64>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Role, term or leader changed. Always first among its companions.
    RoleChanged {
        /// What this node is now.
        role: Role,
        /// In which term.
        term: u64,
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Send these bytes to that node, to be given to its [`crate::Replica::receive`]. May be lost, not be
    /// changed.
    Send {
        /// The addressee.
        to: NodeId,
        /// A frame of a few hundred bytes to some more than [`crate::ReplicaSettings::message_bytes_max`].
        bytes: Bytes,
    },
    /// Send the snapshot of `index` (from [`crate::SnapshotFiles::read`]), in as many pieces as the transport
    /// likes, together with `bytes`, to be given to [`crate::Replica::receive_snapshot`] there; then tell
    /// [`crate::Replica::snapshot_sent`].
    SendSnapshot {
        /// The addressee.
        to: NodeId,
        /// Which snapshot. If a newer one has replaced it on disk, report failure: it will be asked for
        /// again. If it cannot be read, tell [`crate::Replica::snapshot_unreadable`] first.
        index: u64,
        /// Which sending this is; none before it on this replica had the same number.
        attempt: u64,
        /// What must come with it.
        bytes: Bytes,
    },
    /// Make this durable, then tell [`crate::Replica::persisted`].
    Persist(Batch),
    /// Apply these, in order, then tell [`crate::Replica::applied`].
    Apply(Vec<Committed>),
    /// Replace the whole state machine, then tell [`crate::Replica::applied`]. Empty data is the empty state
    /// machine.
    InstallSnapshot {
        /// The last entry inside.
        index: u64,
        /// Its term.
        term: u64,
        /// The state machine's own bytes.
        data: Bytes,
    },
    /// The read may be answered from the state machine as it is now: it holds everything up to `index` or
    /// later.
    ReadReady {
        /// Of [`crate::Replica::read`].
        token: u64,
        /// The commit index that the leader confirmed after the read was asked.
        index: u64,
    },
    /// The read was not confirmed.
    ReadFailed {
        /// Of [`crate::Replica::read`].
        token: u64,
        /// Why.
        reason: ReadError,
    },
    /// The proposal will not be seen in `Apply` under its token.
    ProposalLost {
        /// Of [`crate::Replica::propose`].
        token: u64,
        /// `NotLeader` and `Busy` say that it was not proposed; `OutcomeUnknown` that nobody knows.
        reason: ProposeError,
    },
    /// Serialise the state machine as it is, then tell [`crate::Replica::snapshot_made`]. Asked once until
    /// told.
    MakeSnapshot,
    /// Write this snapshot by [`crate::SnapshotFiles::keep`], on any thread, again and again while the disk
    /// is full, then tell [`crate::Replica::snapshot_kept`].
    KeepSnapshot(Snapshot),
    /// Entries below are in a durable snapshot: give them to [`crate::Log::compact`]. No answer is expected.
    CompactLog {
        /// The first index that is kept.
        below: u64,
    },
}
