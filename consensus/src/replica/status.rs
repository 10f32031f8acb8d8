//! What `penstock members` shows of one replica. A copy, taken at one moment; changes nothing.

use crate::nouns::{Membership, NodeId};

use super::output::Role;

/// How one node stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Who this is.
    pub node: NodeId,
    /// What it is.
    pub role: Role,
    /// In which term.
    pub term: u64,
    /// Whom it believes to lead.
    pub leader: Option<NodeId>,
    /// Last entry known to be committed.
    pub commit: u64,
    /// Last entry that the state machine holds.
    pub applied: u64,
    /// Last entry in the log.
    pub last_index: u64,
    /// First entry still in the log.
    pub first_index: u64,
    /// Bytes of entries held in memory.
    pub log_bytes: usize,
    /// Last entry inside the newest snapshot.
    pub snapshot_index: u64,
    /// Who belongs to the group.
    pub membership: Membership,
    /// The others as the leader sees them; empty elsewhere.
    pub peers: Vec<PeerStatus>,
}

/// How a leader sees one other node.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStatus {
    /// Who.
    pub node: NodeId,
    /// Last entry that it confirmed.
    pub matched: u64,
    /// Entries it lacks.
    pub lag: u64,
    /// Whether it was heard within the last election timeout.
    pub active: bool,
    /// Whether it is being sent a snapshot.
    pub in_snapshot: bool,
}
