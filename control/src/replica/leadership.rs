//! Who leads, as this node knows it: told by the replica, watched by the door, the leases and the drain.

use consensus::{NodeId, Role};

/// The state of the group's leadership as one node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// This node.
    pub node: NodeId,
    /// What this node is.
    pub role: Role,
    /// In which term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// The last entry of this node's log when this was told: up to here, a new leader has entries of earlier ones.
    pub log_end: u64,
}

impl Leadership {
    /// Before anything was heard.
    #[must_use]
    pub fn unknown(node: NodeId) -> Self {
        Self { node, role: Role::Follower, term: 0, leader: None, log_end: 0 }
    }

    /// Whether this node leads.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.role == Role::Leader
    }
}
