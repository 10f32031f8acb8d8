//! Snapshots: when to ask the state machine for one, what to forget when it is durable, and which are on
//! their way.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use raft::SnapshotStatus;

use crate::nouns::{Membership, NodeId, Snapshot};

use super::memory_log::SnapshotPoint;
use super::output::Output;
use super::replica_value::Replica;

/// A snapshot whose sending was not reported for this long has failed. Shorter would send large ones twice;
/// longer leaves a node without entries for as long, because raft waits for the report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(60);

/// A snapshot that cannot be read so soon after another one that could not shows a disk that gives back nothing: then leadership
/// is handed over. Shorter leaves it where nobody can be brought in; longer takes two unlike faults for one.
const UNREADABLE_AGAIN: Duration = Duration::from_secs(60);

/// Wait before such a disk, whose node nobody relieves, is tried once more. Shorter does little but write snapshots.
const UNREADABLE_WAIT: Duration = Duration::from_secs(5);

/// How long a node must have applied next to nothing before it counts as quiet. Shorter takes a pause of one writer for it;
/// longer leaves a start that comes soon after a burst with all of that to apply.
const QUIET: Duration = Duration::from_secs(1);
/// Entries within [`QUIET`] that are next to nothing: what a group writes of itself, and a few registrations.
const QUIET_ENTRIES: u64 = 100;

/// Whether a node is quiet, looked at once in [`QUIET`].
#[derive(Debug, Default)]
struct Calm {
    looked: Duration,
    applied: u64,
}

impl Calm {
    /// Whether it is time to look, and next to nothing was applied since the last look.
    fn is_seen(&mut self, now: Duration, applied: u64) -> bool {
        if now.saturating_sub(self.looked) < QUIET {
            return false;
        }
        let before = std::mem::replace(self, Self { looked: now, applied });
        applied.saturating_sub(before.applied) <= QUIET_ENTRIES
    }
}

/// Snapshots under way.
#[derive(Debug, Default)]
pub(super) struct Snapshotting {
    calm: Calm,
    /// Bytes handed out to be applied since the last snapshot was made.
    applied_bytes: usize,
    asked: bool,
    /// A node cannot be served with the newest snapshot there is.
    newer_wanted: bool,
    /// The newest one cannot be read from the disk, and another is to take its place, though it be of the same entry.
    is_unreadable: bool,
    /// When one was last found so, and when another is to be made.
    unreadable_at: Option<Duration>,
    made_anew_at: Duration,
    keeping: Option<SnapshotPoint>,
    sending: BTreeMap<NodeId, Sending>,
    last_attempt: u64,
    /// The last attempt that was begun before the newest snapshot was durable: what it reads may be an older file.
    last_attempt_before: u64,
}

/// A snapshot on its way.
#[derive(Debug, Clone, Copy)]
struct Sending {
    index: u64,
    attempt: u64,
    since: Duration,
}

impl Snapshotting {
    /// An entry was handed out.
    pub(super) fn count(&mut self, bytes: usize) {
        self.applied_bytes += bytes;
    }

    /// A snapshot of the leader replaced the state machine: what was under way here is out of date.
    pub(super) fn replaced(&mut self) {
        self.applied_bytes = 0;
        self.asked = false;
        self.keeping = None;
        self.is_unreadable = false;
    }

    /// A snapshot goes to `to`; answers the number of this attempt.
    pub(super) fn sending(&mut self, to: NodeId, index: u64, now: Duration) -> u64 {
        self.last_attempt += 1;
        self.sending.insert(to, Sending { index, attempt: self.last_attempt, since: now });
        self.last_attempt
    }
}

impl Replica {
    pub(super) fn ask_for_snapshot(&mut self) {
        let since = self.applied - self.raw.store().snapshot_point().index.min(self.applied);
        self.snapshotting.newer_wanted |= self.raw.store().take_newer_wanted();
        let quiet = self.snapshotting.calm.is_seen(self.now, self.applied);
        let due = self.snapshotting.newer_wanted
            || (quiet && since > self.settings.snapshot_when_quiet_entries)
            || self.snapshotting.applied_bytes > self.settings.snapshot_after_bytes
            || since > self.settings.snapshot_after_entries;
        let anew = self.snapshotting.is_unreadable && self.now >= self.snapshotting.made_anew_at;
        let due = (due && since > 0) || anew;
        if due && !self.snapshotting.asked && self.snapshotting.keeping.is_none() {
            self.snapshotting.asked = true;
            self.snapshotting.newer_wanted = false;
            self.outputs.push(Output::MakeSnapshot);
        }
    }

    /// The state machine was serialised as of `index`, the answer to `MakeSnapshot` (or unasked).
    ///
    /// # Panics
    /// If the state machine was never given that entry.
    pub fn snapshot_made(&mut self, index: u64, data: Bytes) {
        assert!(
            index <= self.handed_out,
            "a snapshot of entry {index}, but only {} were given",
            self.handed_out
        );
        self.snapshotting.asked = false;
        let log = self.raw.store();
        let newest = log.snapshot_point().index;
        if index < newest || (index == newest && !self.snapshotting.is_unreadable) {
            return;
        }
        let term = log.term_of(index).expect("entries above the last snapshot are held");
        let membership = self.membership_at(index);
        self.snapshotting.applied_bytes = 0;
        self.snapshotting.keeping = Some(SnapshotPoint { index, term, membership: membership.clone() });
        self.outputs.push(Output::KeepSnapshot(Snapshot { index, term, membership, data }));
    }

    /// The snapshot as of `index` is durable.
    pub fn snapshot_kept(&mut self, index: u64) {
        let Some(point) = self.snapshotting.keeping.take_if(|keeping| keeping.index == index) else { return };
        self.snapshotting.is_unreadable = false;
        self.snapshotting.last_attempt_before = self.snapshotting.last_attempt;
        // A node that is being sent an older snapshot will want the entries after it.
        let oldest_sent = self.snapshotting.sending.values().map(|sending| sending.index + 1).min();
        let keep_from = oldest_sent.unwrap_or(u64::MAX).min(self.raw.raft.raft_log.applied + 1);
        self.memberships = self.memberships.split_off(&(index + 1));
        let settings = &self.settings;
        let log = self.raw.mut_store();
        log.snapshot_kept(point);
        let below = log.shorten(settings.catch_up_entries, settings.snapshot_after_bytes, keep_from);
        self.outputs.push(Output::CompactLog { below });
    }

    /// The membership after the entry `index`.
    pub(super) fn membership_at(&self, index: u64) -> Membership {
        let later = self.memberships.range(..=index).next_back().map(|(_, membership)| membership);
        later.unwrap_or(&self.raw.store().snapshot_point().membership).clone()
    }

    /// The membership as of everything handed out, which is what raft goes by.
    pub fn membership(&self) -> &Membership {
        self.memberships.values().next_back().unwrap_or(&self.raw.store().snapshot_point().membership)
    }

    /// The sending of a snapshot to `peer` that had the number `attempt` ended, well or not. Raft sends that node nothing else
    /// until it is told. What is said late, of an attempt that was given up, is not taken for the one that came after it.
    pub fn snapshot_sent(&mut self, peer: NodeId, attempt: u64, ok: bool) {
        if self.snapshotting.sending.get(&peer).is_some_and(|sending| sending.attempt == attempt) {
            self.sending_ended(peer, if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
        }
    }

    /// The snapshot as of `index`, which is to be sent by this attempt, cannot be read from the disk, or is not what was written:
    /// another one is asked for at once, since nobody can be brought in with this one, and Raft would send it for ever. If that is
    /// as bad, another node may have a better disk. Whether it was news: of the newest there is, and not known to be so.
    pub fn snapshot_unreadable(&mut self, index: u64, attempt: u64, now: Duration) -> bool {
        self.advance_to(now);
        let is_newest = index == self.raw.store().snapshot_point().index
            && attempt > self.snapshotting.last_attempt_before;
        if !is_newest || self.snapshotting.is_unreadable {
            return false;
        }
        self.snapshotting.is_unreadable = true;
        self.snapshotting.made_anew_at = self.now;
        let before = self.snapshotting.unreadable_at.replace(self.now);
        if before.is_some_and(|before| self.now - before < UNREADABLE_AGAIN) {
            self.snapshotting.made_anew_at += UNREADABLE_WAIT;
            if let Ok(to) = self.transfer_leadership(None) {
                tracing::error!(index, %to, "no snapshot can be read from the disk: leadership is handed over");
            }
        }
        true
    }

    /// Whatever snapshot is on its way to `peer` does not arrive.
    pub(super) fn give_up_sending(&mut self, peer: NodeId) {
        self.sending_ended(peer, SnapshotStatus::Failure);
    }

    fn sending_ended(&mut self, peer: NodeId, status: SnapshotStatus) {
        if self.snapshotting.sending.remove(&peer).is_some() {
            self.raw.report_snapshot(peer.0, status);
            self.settle();
        }
    }

    pub(super) fn give_up_stuck_snapshots(&mut self) {
        let now = self.now;
        let stuck = |(_, sending): &(&NodeId, &Sending)| now - sending.since > REPORT_TIMEOUT;
        let stuck: Vec<NodeId> =
            self.snapshotting.sending.iter().filter(stuck).map(|(peer, _)| *peer).collect();
        for peer in stuck {
            tracing::warn!(%peer, "sending a snapshot was never reported; it is sent again");
            self.give_up_sending(peer);
        }
    }
}
