//! How one replica is set up: who it is, its timings, its bounds. Checked once, before anything starts.

use std::ops::Range;
use std::time::Duration;

use super::pace::STRETCH_MAX;
use crate::nouns::NodeId;

/// Settings of one replica. All nodes of a group should have the same timings.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaSettings {
    /// Who this is; not zero.
    pub node: NodeId,
    /// Feeds election timeouts and the names of reads. Must differ from one process start to the next (in a
    /// simulation: come from its generator), because a read named like one of an earlier life could be
    /// answered too early.
    pub seed: u64,
    /// Resolution of all timings. Smaller costs wake-ups; larger blunts the timeouts.
    pub tick: Duration,
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// A follower that hears nothing for this long to half as long again campaigns; longer where the leader's
    /// messages are seen to come late (`pace.rs`). Smaller elects for a late heartbeat; larger prolongs the outage
    /// when a host freezes.
    pub election_timeout_min: Duration,
    /// How long after the leader's address refused a connection the first in rank asks for votes.
    pub campaign_delay: Duration,
    /// How much later each further rank does. Smaller than an election takes splits votes; larger is outage.
    pub campaign_delay_step: Duration,
    /// How long a read may wait for a leader's word.
    pub read_timeout: Duration,
    /// How long the disk of a leader may take over one batch before it hands leadership over.
    pub disk_stall_max: Duration,
    /// Largest proposal.
    pub proposal_bytes_max: usize,
    /// Entries go to a follower in messages of about this size.
    pub message_bytes_max: u64,
    /// Proposals that are not committed yet; more are refused as busy.
    pub uncommitted_bytes_max: usize,
    /// A snapshot is asked for when the entries since the last one exceed this; memory and restart time
    /// follow it.
    pub snapshot_after_bytes: usize,
    /// The same, in entries.
    pub snapshot_after_entries: u64,
    /// A node that applies next to nothing cuts a snapshot of so many entries already, so that its next start applies none.
    /// Fewer cuts snapshots of large states for starts that are hardly shorter; more leaves that much to each start.
    pub snapshot_when_quiet_entries: u64,
    /// Entries kept below a snapshot, so that a node which was away for a moment needs no snapshot.
    pub catch_up_entries: u64,
}

impl ReplicaSettings {
    /// The defaults for `node`.
    pub fn new(node: NodeId, seed: u64) -> Self {
        Self {
            node,
            seed,
            tick: Duration::from_millis(20),
            heartbeat: Duration::from_millis(40),
            election_timeout_min: Duration::from_millis(200),
            campaign_delay: Duration::from_millis(1),
            campaign_delay_step: Duration::from_millis(15),
            read_timeout: Duration::from_secs(2),
            disk_stall_max: Duration::from_millis(200),
            proposal_bytes_max: 4 << 20,
            message_bytes_max: 1 << 20,
            uncommitted_bytes_max: 32 << 20,
            snapshot_after_bytes: 32 << 20,
            snapshot_after_entries: 50_000,
            snapshot_when_quiet_entries: 5_000,
            catch_up_entries: 5_000,
        }
    }

    /// # Panics
    /// If the timings or bounds contradict each other. Whoever reads settings from people checks them first.
    pub(super) fn check(&self) {
        assert!(self.node.0 != 0, "node 0 means nobody in Raft");
        assert!(!self.tick.is_zero(), "time must be counted in something");
        assert!(
            self.election_timeout_min >= self.heartbeat * 3 && self.heartbeat >= self.tick,
            "an election timeout of {:?} against heartbeats of {:?} and ticks of {:?} lets one late heartbeat unseat the leader",
            self.election_timeout_min,
            self.heartbeat,
            self.tick
        );
        assert!(self.message_bytes_max > 0, "raft would send one entry at a time");
    }

    /// Election timeouts, in ticks: from the shortest to half as much again. A wider spread makes ties rarer,
    /// but they cost some 60 ms (the campaign is repeated by rank), and the spread is outage each time.
    pub(super) fn election_ticks(&self) -> Range<usize> {
        self.election_ticks_from(self.election_timeout_min)
    }

    /// The same, where a silence counts only after `patience`.
    pub(super) fn election_ticks_from(&self, patience: Duration) -> Range<usize> {
        let min = ticks(patience, self.tick).max(self.heartbeat_ticks() + 1);
        min..min + (min / 2).max(1)
    }

    /// No election timeout is longer, in ticks.
    pub(super) fn election_ticks_max(&self) -> usize {
        self.election_ticks_from(self.election_timeout_min * STRETCH_MAX).end
    }

    pub(super) fn heartbeat_ticks(&self) -> usize {
        ticks(self.heartbeat, self.tick).max(1)
    }
}

fn ticks(time: Duration, tick: Duration) -> usize {
    usize::try_from(time.as_nanos() / tick.as_nanos()).unwrap_or(usize::MAX)
}
