//! What a leader says to its followers goes in groups: while its disk writes one, the next gathers.
//!
//! Without it, each handful of proposals is a message to each follower, a batch and a fsync there, and an answer; and each commit
//! another message to all. On a busy node that work is what bounds it. The next group could not be durable here before the disk
//! has answered, so to gather until then costs a write next to nothing; a disk that takes long is not waited for.

use std::time::Duration;

use raft::StateRole;

use super::replica_value::Replica;

/// How long a group gathers at most. Shorter than a usual fsync makes groups small on a busy disk; longer lets a leader with a
/// slow disk hold up followers that could commit without it.
const GATHERING_MAX: Duration = Duration::from_millis(5);

impl Replica {
    /// Whether proposals and news of commits wait for the next group.
    pub(super) fn is_gathering(&self) -> bool {
        self.gathered_at().is_some_and(|at| self.now < at)
    }

    fn gathered_at(&self) -> Option<Duration> {
        let leads = self.raw.raft.state == StateRole::Leader;
        self.persisting.oldest().filter(|_| leads).map(|since| since + GATHERING_MAX)
    }

    /// When a group that gathers must go, if something waits for it.
    pub(super) fn group_deadline(&self) -> Option<Duration> {
        let waits = self.proposals.is_queued() || self.raw.raft.raft_log.committed > self.commit_told;
        self.gathered_at().filter(|_| waits)
    }

    /// Tells followers what is committed, if no group told them: they apply it then.
    pub(super) fn tell_commit(&mut self) {
        let committed = self.raw.raft.raft_log.committed;
        if self.raw.raft.state == StateRole::Leader && committed > self.commit_told && !self.is_gathering() {
            self.commit_told = committed;
            self.raw.raft.bcast_append();
        }
    }
}
