//! What a replica refuses, one enum per operation, its variants named for what the caller can do.

use crate::nouns::NodeId;

/// Why a proposal was not taken, or what is known of one that was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed; ask `leader` instead, if one is known.
    #[error("this node does not lead; ask the leader {leader:?}, or any other node if none is named")]
    NotLeader {
        /// Whom this node believes to lead.
        leader: Option<NodeId>,
    },
    /// Nothing was proposed; leadership is being handed over: try again in some milliseconds.
    #[error("leadership is being handed over; try again in some milliseconds")]
    LeadershipUnsettled,
    /// Nothing was proposed; too much waits to be replicated, applied or compacted: try again later.
    #[error("too many proposals wait ({waiting} entries, {waiting_bytes} bytes); try again later")]
    Busy {
        /// Entries proposed here and not yet committed, or committed and not yet applied.
        waiting: u64,
        /// Bytes of them.
        waiting_bytes: usize,
    },
    /// Nothing was proposed; it never will fit.
    #[error("the proposal of {bytes} bytes exceeds the bound of {bytes_max}; split it")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound, [`crate::ReplicaSettings::proposal_bytes_max`].
        bytes_max: usize,
    },
    /// It may still commit: do not retry without an idempotency key.
    #[error("leadership was lost while the proposal was in flight; it may or may not commit")]
    OutcomeUnknown,
}

/// Why a linearizable read was not answered. It is always safe to ask again, here or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too many reads wait already.
    #[error("{waiting} reads wait for their turn already; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// No leader confirmed itself within [`crate::ReplicaSettings::read_timeout`], or this node did not catch
    /// up.
    #[error("no leader confirmed the read in time (leader: {leader:?}); try again or ask another node")]
    TimedOut {
        /// Whom this node believes to lead.
        leader: Option<NodeId>,
    },
}

/// Why bytes from a peer were refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// Close the connection: the peer speaks another language or a newer version.
    #[error("message from node {from} is malformed: {reason}")]
    Malformed {
        /// The sender as the connection names it.
        from: NodeId,
        /// What is wrong with it.
        reason: String,
    },
    /// Drop it: the sender will send again.
    #[error(
        "message from node {from} was dropped: the log holds {log_bytes} bytes, the bound is {log_bytes_max}; a snapshot must come first"
    )]
    LogFull {
        /// The sender.
        from: NodeId,
        /// Bytes of entries held.
        log_bytes: usize,
        /// The bound.
        log_bytes_max: usize,
    },
    /// Drop it: it speaks of a disk that this node had before, while the group is being told of the new one.
    #[error(
        "leader {from} speaks of entry {known}, which another disk of this node held; this one ends at {last}"
    )]
    Unknown {
        /// The leader.
        from: NodeId,
        /// What the other disk confirmed.
        known: u64,
        /// What this one holds.
        last: u64,
    },
    /// End the process: this node confirmed entries once that its disk no longer has.
    #[error(
        "leader {from} knows that this node held entry {known}, but its log ends at {last}: the data directory was lost or rolled back; move it away whole and start this node with an empty one, it comes back as a learner and gets its vote back"
    )]
    LogLost {
        /// The leader.
        from: NodeId,
        /// What this node confirmed.
        known: u64,
        /// What it holds.
        last: u64,
    },
}
