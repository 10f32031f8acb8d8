//! What `penstock members` shows of one replica. A copy, taken at one moment; changes nothing.

use std::time::Duration;

use raft::{ProgressState, StateRole};

use crate::nouns::{Membership, NodeId};

use super::election::Campaigns;
use super::output::Role;
use super::replica_value::Replica;

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
    /// Proposals of this node that are not committed.
    pub proposals_waiting: u64,
    /// Reads of this node that are not answered.
    pub reads_waiting: usize,
    /// Batches that the disk has not answered.
    pub batches_waiting: usize,
    /// Campaigns of this node since its start.
    pub campaigns: Campaigns,
    /// Who belongs to the group.
    pub membership: Membership,
    /// Whether a change of it is under way.
    pub membership_is_changing: bool,
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
    /// Whether a connection to it could not be made since it was last heard.
    pub lost: bool,
    /// How long nothing was heard of it by this leader.
    pub silence: Duration,
}

impl Replica {
    /// How this node stands.
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        let log = self.raw.store();
        Status {
            node: self.settings.node,
            role: self.role(),
            term: raft.term,
            leader: self.leader(),
            commit: raft.raft_log.committed,
            applied: self.applied,
            last_index: raft.raft_log.last_index(),
            first_index: raft.raft_log.first_index(),
            log_bytes: log.bytes(),
            snapshot_index: log.snapshot_point().index,
            proposals_waiting: self.proposals.waiting(),
            reads_waiting: self.reads.count(),
            batches_waiting: self.persisting.len(),
            campaigns: self.campaigns,
            membership: self.membership().clone(),
            membership_is_changing: self.membership_is_changing(),
            peers: if raft.state == StateRole::Leader { self.peers() } else { Vec::new() },
        }
    }

    /// What this node is. As all of the following in [`Self::status`] too, which is for people and copies much.
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// In which term.
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// Whom it believes to lead.
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|leader| leader.0 != 0)
    }

    /// Last entry that the state machine holds.
    pub fn applied_index(&self) -> u64 {
        self.applied
    }

    /// When a node was last heard; of one that has hardly had the time yet, since when it has had it.
    fn last_sign_of(&self, node: u64) -> Duration {
        let signs = [self.heard.get(&node), self.silent_since.get(&node)];
        signs.into_iter().flatten().copied().fold(self.told_at, Duration::max)
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let raft = &self.raw.raft;
        let last = raft.raft_log.last_index();
        let mut peers: Vec<PeerStatus> = raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != raft.id)
            .map(|(id, progress)| PeerStatus {
                node: NodeId(*id),
                matched: progress.matched,
                lag: last.saturating_sub(progress.matched),
                active: progress.recent_active,
                in_snapshot: progress.state == ProgressState::Snapshot,
                lost: self.lost.contains(id),
                silence: self.now.saturating_sub(self.last_sign_of(*id)),
            })
            .collect();
        peers.sort_by_key(|peer| peer.node);
        peers
    }
}
