//! Nodes that stand aside from elections: one whose disk is in doubt, and one that was removed.
//!
//! A node that comes back with an empty disk has forgotten whom it voted for and what it confirmed. It may follow, and what
//! it then confirms counts, but it neither votes nor campaigns until an entry of the log names its new disk: whoever led when
//! that entry was made held all that the lost disk had helped to commit, and from the entry on this node's log is as long as
//! that leader's was (docs/decisions/0006-members-in-the-log.md).

use raft::Progress;

use crate::nouns::NodeId;

use super::replica_value::{APPENDS_IN_FLIGHT_MAX, Replica};

impl Replica {
    /// Whether this node's disk is in doubt.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// The group vouches for this node's disk: an entry names it, or the group is only being founded. Make that
    /// durable by [`crate::Log::end_doubt`]; if that gets lost, it is only doubted again.
    pub fn end_doubt(&mut self) {
        self.doubtful = false;
    }

    /// This node was removed from the group, by an entry that it will never see: it leaves the others in peace.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// An entry names another disk for `peer` than before: what the old one confirmed counts no more, and is sent again.
    pub fn peer_began_anew(&mut self, peer: NodeId) {
        let next = self.raw.raft.raft_log.last_index() + 1;
        if let Some(progress) = self.raw.raft.mut_prs().get_mut(peer.0) {
            *progress = Progress::new(next, APPENDS_IN_FLIGHT_MAX);
        }
        self.silent_since.insert(peer.0, self.now);
    }

    pub(super) fn is_mute(&self) -> bool {
        self.doubtful || self.retired
    }
}
