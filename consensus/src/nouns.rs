//! The nouns that the replica and the log exchange: node, entry, hard state, membership, snapshot, batch.
//!
//! Entry, hard state and membership are prost messages, because they are also what stands on disk and on the
//! wire. They never pass through protobuf 2 (docs/decisions/0001-raft-codec.md). Nothing here decides
//! anything.

use std::fmt;

use bytes::Bytes;

/// Name of one member of the Raft group; never zero, never used again for another disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum EntryKind {
    /// Bytes of the state machine; empty is the first entry of a new leader.
    Normal = 0,
    /// A change of the membership in the old one-by-one form; understood, never written.
    MembershipSingle = 1,
    /// A change of the membership; empty leaves a joint membership.
    Membership = 2,
}

/// One entry of the replicated log. Field numbers are those of `eraftpb.Entry`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogEntry {
    /// What `data` holds.
    #[prost(enumeration = "EntryKind", tag = "1")]
    pub kind: i32,
    /// Term of the leader that made it.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Position, without gaps.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// Opaque to this crate.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

/// What a node must not forget before it answers.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct HardState {
    /// Latest term seen.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// Whom this node voted for in that term; zero is nobody.
    #[prost(uint64, tag = "2")]
    pub vote: u64,
    /// Known to be committed; may lag behind the truth after a crash.
    #[prost(uint64, tag = "3")]
    pub commit: u64,
}

/// Who belongs to the group. Field numbers are those of `eraftpb.ConfState`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Membership {
    /// Who votes (in a joint membership: in the incoming one).
    #[prost(uint64, repeated, tag = "1")]
    pub voters: Vec<u64>,
    /// Who follows without a vote.
    #[prost(uint64, repeated, tag = "2")]
    pub learners: Vec<u64>,
    /// Who votes in the outgoing membership; empty when it is not joint.
    #[prost(uint64, repeated, tag = "3")]
    pub voters_outgoing: Vec<u64>,
    /// Who becomes a learner once the joint membership is left.
    #[prost(uint64, repeated, tag = "4")]
    pub learners_next: Vec<u64>,
    /// Whether the leader leaves the joint membership by itself.
    #[prost(bool, tag = "5")]
    pub auto_leave: bool,
}

impl Membership {
    /// A membership of voters alone, as a new cluster starts with.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        let mut voters: Vec<u64> = voters.into_iter().map(|node| node.0).collect();
        voters.sort_unstable();
        voters.dedup();
        Self { voters, ..Self::default() }
    }

    /// Whether `node` belongs, in whichever part.
    pub fn contains(&self, node: u64) -> bool {
        let parts = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        parts.into_iter().any(|part| part.contains(&node))
    }

    /// Whether a majority of the outgoing voters is needed too.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether nobody belongs: the state of a node that waits to be told by a leader.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }
}

/// The state machine's bytes as of one entry, with the membership as of that entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The last entry inside.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The membership after that entry.
    pub membership: Membership,
    /// Opaque; empty is the empty state machine with which each cluster starts.
    pub data: Bytes,
}

/// What must be durable before [`crate::Replica::persisted`] may be told `number`. Never applied by half.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Rises; the answer names the last one that is durable, which includes all before it.
    pub number: u64,
    /// The hard state as of this batch.
    pub hard_state: HardState,
    /// Replaces the whole log when present (then `entries` follow it).
    pub snapshot: Option<Snapshot>,
    /// To be appended; the first one's index first cuts off what stands from there on.
    pub entries: Vec<LogEntry>,
}
