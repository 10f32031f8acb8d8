//! What may be said to the replica, and what it tells: step 2 of the way of the data.
//!
//! Requests live here with their receiver, [`super::ReplicaActor`]; the event [`CatalogChanged`] lives here with its sender.
//! Nothing in here decides anything, and no message carries a lock or a borrowed value: they cross threads.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use api::log::v1::{Command, command::Body};
use bytes::Bytes;
use consensus::{Loss, Membership, NodeId, ReceiveError, Status};
use mesh::Revision;

use super::admission::RETRY_AFTER_MS;
use super::divergence::Hashes;
use super::seats::{Ground, Wish, WishError};
use crate::catalog::{Catalog, Change, Members};

/// How urgent a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Registrations, config, expiries: what callers and proxies wait for.
    Discovery,
    /// Traffic partials and the log's own clock: wait while the first class is busy, but never for ever.
    Rollup,
}

/// What metrics call reads, which go between the two classes of proposals.
pub(super) const READ: &str = "read";

impl Class {
    /// What metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Rollup => "rollup",
        }
    }

    /// The class of a command.
    #[must_use]
    pub fn of(command: &Command) -> Self {
        match &command.body {
            Some(Body::Partial(_) | Body::Tick(_)) => Self::Rollup,
            _ => Self::Discovery,
        }
    }
}

/// Why a proposal has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed; ask `leader` instead, if one is known.
    #[error("this node does not lead; leader is {}", leader.map_or_else(|| "not known".to_owned(), |node| format!("node {node}")))]
    NotLeader {
        /// Whom this node believes to lead.
        leader: Option<NodeId>,
    },
    /// Nothing was proposed: a bound is reached. Try again after the wait.
    #[error("{reason}; try again in {retry_after_ms} ms")]
    Busy {
        /// Which bound, in words.
        reason: String,
        /// How long to wait.
        retry_after_ms: u64,
    },
    /// Nothing was proposed; it never will fit.
    #[error("the command has {bytes} bytes, the most is {bytes_max}; split it")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// Nothing was proposed: not every member would understand it.
    #[error("the log does not take this yet: {reason}")]
    NotYet {
        /// What stands in the way.
        reason: String,
    },
    /// It may have been committed. The same command may be sent again: a write with an id is applied once.
    #[error("the outcome is not known: {reason}; send the same again, it is applied once")]
    OutcomeUnknown {
        /// What happened.
        reason: String,
    },
    /// No leader took it within the deadline; it may have been committed.
    #[error("no leader answered within {waited_ms} ms; check `penstock members`, then send the same again")]
    NoLeader {
        /// How long it was tried.
        waited_ms: u64,
    },
}

/// The catalog as a question sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// This node's catalog.
    pub catalog: &'a Catalog,
    /// It misses nothing that was acknowledged longer ago than this; zero for a linearizable read.
    pub stale: Duration,
}

/// Why a read was not answered. It is always safe to ask again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody vouched for what this node holds.
    #[error("the read was not confirmed: {reason}; ask again, or ask another node")]
    Unconfirmed {
        /// What stood in the way.
        reason: String,
    },
    /// A bound is reached. Try again after the wait.
    #[error("{reason}; try again in {retry_after_ms} ms")]
    Busy {
        /// Which bound, in words.
        reason: String,
        /// How long to wait.
        retry_after_ms: u64,
    },
}

impl ReadError {
    /// Nothing was tried, for want of room.
    pub(super) fn busy(reason: &str) -> Self {
        Self::Busy { reason: reason.to_owned(), retry_after_ms: RETRY_AFTER_MS }
    }
}

/// A batch of commands was applied on this node (or a snapshot was installed). Sent by the replica, once per batch, to every
/// recipient that `node.rs` wires. A recipient whose mailbox is full gets a whole view later instead (`replaced`).
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct CatalogChanged {
    /// What became different, in order. May be empty: then only `applied` has moved.
    pub changes: Arc<[Change]>,
    /// The last command that was applied.
    pub applied: Revision,
    /// The last change of any service, endpoint set or route.
    pub routing: Revision,
    /// `changes` is the whole catalog: drop the mirror first.
    pub replaced: bool,
}

/// Asks how the replica stands, without a round to the leader. Sent by query, metrics and drain.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Status")]
pub struct ReportStatus;

/// Asks for the hashes of the catalog at recent entries. Sent by the peers' service and by the watch over divergence, once a
/// second each.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Hashes")]
pub struct ReportHashes;

/// This node's catalog differs from the majority's: it answers no question any more, and hands leadership over. Sent by
/// `node.rs`, once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Diverged {
    /// As of which entry, if not before.
    pub index: u64,
}

/// Hands leadership to a voter, if this node leads. Sent by [`super::Door`], some times for each wish that leadership moves; the
/// answer names who was asked, or is `None` when there was nothing to hand over, or nobody fit for it. Watch
/// [`super::Leadership`] for the end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<NodeId>")]
pub struct TransferLeadership {
    /// To whom; `None`: to the one that is furthest.
    pub to: Option<NodeId>,
}

/// Why leadership did not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// There was nothing to hand over.
    #[error("this node does not lead")]
    NotLeader,
    /// None of the voters that may take over has answered in time.
    #[error("no other voter is fit to lead")]
    NobodyFit,
    /// It was asked, and may still take over.
    #[error("node {0} did not take over in time")]
    NotTaken(NodeId),
    /// Ask another node.
    #[error("this node is stopping")]
    Stopping,
}

/// Changes the members, if this node leads; it answers after the change is applied here. Sent by the members' room, once per
/// operator's wish.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Changed, ChangeError>")]
pub struct ChangeMembership {
    /// What is wished.
    pub wish: Wish,
    /// Also when that may leave the cluster without a quorum.
    pub force: bool,
    /// Voters that were listened for just now and not heard.
    pub silent: Vec<NodeId>,
}

/// The members were changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// What is so now, for the operator.
    pub says: String,
    /// Who belongs to the group now.
    pub membership: Membership,
}

/// Why the members were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The wish is refused, or fulfilled already.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// It could not be proposed, or its outcome is not known.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// Asks how the replica stands and what the log knows of the nodes, without a round to the leader. Sent by the steward.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "GroundReport")]
pub struct ReportGround;

/// A peer refuses this node, because the entry of this index removed it. Sent by the link to that peer.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ToldRemoved {
    /// Which entry.
    pub index: u64,
}

/// A member says that it has come back with another disk than the log knows, and without its log. Sent by the peers' service,
/// several times a second while it is so.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ReturnedAnew {
    /// Which member.
    pub node: NodeId,
    /// Its new disk.
    pub disk: u64,
}

/// Nobody has begun yet, as a majority of the founders says: this node's new disk is its first. Sent by the steward, once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FoundingConfirmed;

/// The group as this node sees it.
#[derive(Debug, Clone)]
pub struct GroundReport {
    /// Of this node's replica.
    pub status: Status,
    /// What the log knows of the nodes.
    pub members: Members,
    /// The newest entry in the catalog.
    pub applied: Revision,
    /// Whether this life of the cluster has begun: before, what is applied has the revision of the life before.
    pub begun: bool,
    /// The entry that removed this node.
    pub removed: Option<u64>,
    /// Whether this node's disk is in doubt.
    pub doubtful: bool,
    /// Bytes free on the disk of the log, once it was looked at.
    pub disk_free_bytes: Option<u64>,
    /// Members that lately said that they have come back with another disk.
    pub returned: Vec<(NodeId, u64)>,
}

impl GroundReport {
    /// As plans are made on.
    #[must_use]
    pub fn ground(&self) -> Ground<'_> {
        Ground { status: &self.status, members: &self.members }
    }

    /// The same, with these nodes not to be reached, however lately Raft heard them.
    #[must_use]
    pub fn without(mut self, silent: &[NodeId]) -> Self {
        let silent = self.status.peers.iter_mut().filter(|peer| silent.contains(&peer.node));
        silent.for_each(|peer| peer.lost = true);
        self
    }
}

/// Raft messages of one peer have arrived, in order. Sent by the peers' service.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), ReceiveError>")]
pub struct Receive {
    /// Whom the connection belongs to.
    pub from: NodeId,
    /// One frame each.
    pub messages: Vec<Bytes>,
}

/// A snapshot has arrived from a peer, complete. Sent by the peers' service.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), ReceiveError>")]
pub struct ReceiveSnapshot {
    /// Whom the connection belongs to.
    pub from: NodeId,
    /// The Raft message that came with it.
    pub message: Bytes,
    /// The snapshot's own bytes.
    pub data: Bytes,
}

/// The connection to a peer was lost. Sent by the link to that peer, each time that a stream or a dial ends, and by the peers'
/// service when the stream from it does.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PeerLost {
    /// Which peer.
    pub peer: NodeId,
    /// How.
    pub loss: Loss,
}

/// A snapshot that was to be sent has arrived there, or has not. Sent by the link of that peer.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SnapshotSent {
    /// To whom.
    pub to: NodeId,
    /// Which attempt, as the replica numbered it.
    pub attempt: u64,
    /// Whether it arrived.
    pub ok: bool,
}

/// The snapshot as of this index, which was to be sent, cannot be read from this node's disk, or is not what was written. Sent by
/// the link of the peer that needs it, before it tells how the sending ended.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SnapshotUnreadable {
    /// The last entry inside.
    pub index: u64,
    /// Which attempt to send it found that.
    pub attempt: u64,
}

/// The catalog as of this index, as bytes. Sent by the task that makes a snapshot, once for each that the replica asked for.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SnapshotMade {
    /// The last entry inside.
    pub index: u64,
    /// The catalog's bytes.
    pub data: Bytes,
}

/// The snapshot as of this index is durable. Sent by the thread that keeps snapshots.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SnapshotKept(pub u64);
