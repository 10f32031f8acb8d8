//! The replica: its state, its birth, time, and what peers say. Outputs are made in `rounds.rs`.
//!
//! Wraps raft-rs's `RawNode` so that nothing outside can reach its traps: thread-local randomness, panics on
//! hostile or impossible messages, campaigns at moments it cannot bear. It never sends, writes or waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{Config, ProgressState, RawNode, ReadOnlyOption, StateRole};

use crate::log::Recovered;
use crate::nouns::{Membership, NodeId};
use crate::wire;

use super::election::{self, Campaign, Campaigns, Cause};
use super::errors::{ReadError, ReceiveError};
use super::memory_log::MemoryLog;
use super::output::{Output, Role};
use super::pace::Pace;
use super::persisting::Persisting;
use super::proposals::Proposals;
use super::raft_logger;
use super::reads::{READS_MAX, Reads};
use super::settings::ReplicaSettings;
use super::snapshots::Snapshotting;

/// Ticks made up for at once. A process that stood still has messages waiting that it has not read: to count
/// all of the time against the leader would unseat it for our own pause.
const TICKS_AT_ONCE_MAX: u32 = 2;
/// Appends under way to one follower; more only fills its socket.
pub(super) const APPENDS_IN_FLIGHT_MAX: usize = 256;
/// Committed entries handed out at once; more would keep the state machine from everything else for too long.
const APPLY_BYTES_MAX: u64 = 16 << 20;
/// Entries are taken until the log holds this many times the bound at which a snapshot is asked for.
pub(super) const LOG_BYTES_MAX_FACTOR: usize = 4;

/// One member of the Raft group. See the module for the driver's contract.
pub struct Replica {
    pub(super) settings: ReplicaSettings,
    pub(super) raw: RawNode<MemoryLog>,
    pub(super) now: Duration,
    next_tick: Duration,
    pub(super) outputs: Vec<Output>,
    /// Whether this node holds its tongue in elections.
    pub(super) doubtful: bool,
    pub(super) retired: bool,
    pub(super) proposals: Proposals,
    /// Of the change of the membership that this leader has under way.
    pub(super) membership_token: Option<u64>,
    /// When each other node was last heard.
    pub(super) heard: BTreeMap<u64, Duration>,
    /// Since when each other node's silence counts at the earliest: before it was no member, or on another disk.
    pub(super) silent_since: BTreeMap<u64, Duration>,
    /// Nodes to which a connection could not be made since they were last heard.
    pub(super) lost: BTreeSet<u64>,
    pub(super) reads: Reads,
    pub(super) persisting: Persisting,
    pub(super) campaign: Campaign,
    /// How regularly the leader is heard.
    pub(super) pace: Pace,
    pub(super) campaigns: Campaigns,
    pub(super) snapshotting: Snapshotting,
    /// Campaigns of this node in `attempts_term`, for the election timeout.
    pub(super) attempts: u64,
    attempts_term: u64,
    /// Role, term and leader as last told.
    pub(super) told: Option<(Role, u64, Option<NodeId>)>,
    pub(super) told_at: Duration,
    /// Last batch that is durable.
    pub(super) durable: u64,
    /// Last entry given to the driver to apply, and the last one that it has applied.
    pub(super) handed_out: u64,
    pub(super) applied: u64,
    /// The commit index that was last sent to all followers.
    pub(super) commit_told: u64,
    /// Memberships that came after the last snapshot, by the entry that brought them.
    pub(super) memberships: BTreeMap<u64, Membership>,
}

impl Replica {
    /// Takes up where the log left off. The first outputs may be an `InstallSnapshot` and an `Apply`.
    ///
    /// # Panics
    /// If the settings contradict themselves, or `recovered` does not come from [`crate::Log::open`].
    pub fn new(settings: ReplicaSettings, recovered: Recovered, now: Duration) -> Self {
        let mut outputs = Vec::new();
        let start = recovered.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
        if let Some(snapshot) = recovered.snapshot.as_ref().filter(|snapshot| !snapshot.data.is_empty()) {
            let (index, term, data) = (snapshot.index, snapshot.term, snapshot.data.clone());
            outputs.push(Output::InstallSnapshot { index, term, data });
        }
        let doubtful = recovered.doubtful;
        let config = raft_config(&settings, start);
        let mut log = MemoryLog::new(recovered);
        // Nobody is being sent anything yet.
        log.shorten(settings.catch_up_entries, settings.snapshot_after_bytes, u64::MAX);
        let raw = RawNode::new(&config, log, &raft_logger::logger())
            .expect("raft takes these settings and this log, unless they contradict themselves");
        let mut replica = Self {
            raw,
            now,
            next_tick: now + settings.tick,
            outputs,
            doubtful,
            retired: false,
            proposals: Proposals::default(),
            membership_token: None,
            heard: BTreeMap::new(),
            silent_since: BTreeMap::new(),
            lost: BTreeSet::new(),
            reads: Reads::new(settings.node.0, settings.seed),
            persisting: Persisting::default(),
            campaign: Campaign::default(),
            pace: Pace::default(),
            campaigns: Campaigns::default(),
            snapshotting: Snapshotting::default(),
            attempts: 0,
            attempts_term: 0,
            told: None,
            told_at: now,
            durable: 0,
            handed_out: start,
            applied: start,
            commit_told: start,
            memberships: BTreeMap::new(),
            settings,
        };
        replica.raw.raft.skip_bcast_commit(true); // grouping.rs does that
        replica.settle();
        if replica.raw.raft.prs().is_singleton() && replica.raw.raft.promotable() {
            // Nobody else could answer: waiting for an election timeout would only be an outage.
            replica.campaign.schedule(now, replica.settings.tick, Cause::Alone);
        }
        replica
    }

    /// When to call [`Self::tick`] next, at the latest.
    pub fn next_deadline(&self) -> Duration {
        let others = self.campaign.deadline().into_iter().chain(self.group_deadline());
        others.fold(self.next_tick, Duration::min)
    }

    /// Time has passed. May be called at any time; ticks that were missed because the process stood still are
    /// not made up for.
    pub fn tick(&mut self, now: Duration) {
        self.advance_to(now);
        if self.campaign.is_due(self.now) {
            self.campaign_now();
        }
        let mut ticks = 0;
        while self.next_tick <= self.now && ticks < TICKS_AT_ONCE_MAX {
            self.next_tick += self.settings.tick;
            ticks += 1;
            self.tick_raft();
        }
        if ticks == 0 {
            return;
        }
        if self.next_tick <= self.now {
            self.next_tick = self.now + self.settings.tick;
        }
        self.reads.begin_again(self.now.saturating_sub(self.settings.heartbeat * 2));
        let leader = self.leader();
        for token in self.reads.take_expired(self.now) {
            self.outputs.push(Output::ReadFailed { token, reason: ReadError::TimedOut { leader } });
        }
        self.give_up_stuck_snapshots();
        self.hand_over_if_disk_stalls();
    }

    fn tick_raft(&mut self) {
        let leads = self.raw.raft.state == StateRole::Leader;
        if leads {
            self.count_late_followers();
        }
        // A node that cannot bear a campaign now must not be ticked into one.
        let bears_tick = leads || self.bears_campaign() || !self.raw.raft.promotable();
        let acted = bears_tick && self.raw.tick();
        if acted && !leads {
            self.attempts += 1;
            self.campaigns.count(Cause::Timeout);
            self.campaign_again_soon();
        }
        self.settle();
    }

    /// Bytes of a `Send` have arrived from `from`, as the connection names it.
    ///
    /// # Errors
    /// [`ReceiveError`]; nothing was changed.
    pub fn receive(&mut self, from: NodeId, bytes: Bytes, now: Duration) -> Result<(), ReceiveError> {
        self.step(from, bytes, None, now)
    }

    /// A `SendSnapshot` has arrived from `from`: its bytes and the snapshot's data, complete.
    ///
    /// # Errors
    /// [`ReceiveError`]; nothing was changed.
    pub fn receive_snapshot(
        &mut self,
        from: NodeId,
        bytes: Bytes,
        data: Bytes,
        now: Duration,
    ) -> Result<(), ReceiveError> {
        self.step(from, bytes, Some(data), now)
    }

    fn step(
        &mut self,
        from: NodeId,
        bytes: Bytes,
        data: Option<Bytes>,
        now: Duration,
    ) -> Result<(), ReceiveError> {
        self.advance_to(now);
        let message = wire::decode(bytes, from.0, self.settings.node.0, data)
            .map_err(|reason| ReceiveError::Malformed { from, reason })?;
        if self.is_mute() && is_asked_for_a_vote(&message) {
            return Ok(());
        }
        self.check_against_log(from, &message)?;
        if message.msg_type == MessageType::MsgTimeoutNow && !self.bears_campaign() {
            return Ok(());
        }
        // Raft would pass it on to whoever leads now, in the name of the one that asked: who takes that for a forgery. That one hears
        // of the new leader by itself, and asks it.
        if message.msg_type == MessageType::MsgReadIndex && self.raw.raft.state != StateRole::Leader {
            return Ok(());
        }
        self.heard.insert(from.0, self.now);
        self.lost.remove(&from.0);
        if self.raw.raft.leader_id == from.0 || self.raw.raft.state == StateRole::Leader {
            self.pace.heard(self.now, self.settings.heartbeat);
        }
        let longer = message.msg_type == MessageType::MsgRequestPreVote && self.outlasts(&message);
        if message.msg_type == MessageType::MsgTimeoutNow {
            self.campaigns.count(Cause::HandOver);
        }
        let answers_append = message.msg_type == MessageType::MsgAppendResponse;
        // What raft refuses here is an answer from a node that is no member any more.
        let _not_a_member = self.raw.step(message);
        if answers_append {
            self.keep_next_above_matched(from);
        }
        self.settle();
        if longer {
            self.take_the_turn_of_a_shorter_log();
        }
        Ok(())
    }

    /// Raft panics on what an intact peer cannot say, and on what a node with an intact disk cannot hear.
    fn check_against_log(&self, from: NodeId, message: &Message) -> Result<(), ReceiveError> {
        let raft = &self.raw.raft;
        let last = raft.raft_log.last_index();
        match message.msg_type {
            // The leader still speaks of what a lost disk held; it learns of the new one by other ways.
            MessageType::MsgHeartbeat
                if self.doubtful && message.term >= raft.term && message.commit > last =>
            {
                Err(ReceiveError::Unknown { from, known: message.commit, last })
            }
            MessageType::MsgHeartbeat if message.term >= raft.term && message.commit > last => {
                Err(ReceiveError::LogLost { from, known: message.commit, last })
            }
            MessageType::MsgAppendResponse
                if raft.state == StateRole::Leader
                    && message.term == raft.term
                    && message.index.max(message.reject_hint) > last =>
            {
                let answered = message.index.max(message.reject_hint);
                let reason = format!("it answers for entry {answered}, the log ends at {last}");
                Err(ReceiveError::Malformed { from, reason })
            }
            MessageType::MsgAppend if !message.entries.is_empty() => {
                let (log_bytes, log_bytes_max) = (self.raw.store().bytes(), self.log_bytes_max());
                if log_bytes <= log_bytes_max {
                    return Ok(());
                }
                Err(ReceiveError::LogFull { from, log_bytes, log_bytes_max })
            }
            _ => Ok(()),
        }
    }

    /// raft 0.7.0 may let `next_idx` of a probed follower fall to what it confirmed already
    /// (tikv/raft-rs#557).
    fn keep_next_above_matched(&mut self, peer: NodeId) {
        if let Some(progress) = self.raw.raft.mut_prs().get_mut(peer.0)
            && progress.state == ProgressState::Probe
        {
            progress.next_idx = progress.next_idx.max(progress.matched + 1);
        }
    }

    /// Asks for a linearizable read, on any node. Answered by `ReadReady` or `ReadFailed`: exactly one of the
    /// two.
    ///
    /// # Errors
    /// [`ReadError::Busy`]; then no output will name the token.
    pub fn read(&mut self, token: u64, now: Duration) -> Result<(), ReadError> {
        self.advance_to(now);
        let waiting = self.reads.count();
        if waiting >= READS_MAX {
            return Err(ReadError::Busy { waiting });
        }
        self.reads.ask(token, self.now + self.settings.read_timeout);
        Ok(())
    }

    /// All batches up to `number` are durable.
    pub fn persisted(&mut self, number: u64, now: Duration) {
        self.advance_to(now);
        self.durable = self.durable.max(number);
        self.settle_durable();
        self.settle();
    }

    /// The state machine holds everything up to `index`.
    ///
    /// # Panics
    /// If that was never given to it: then it holds something else.
    pub fn applied(&mut self, index: u64) {
        assert!(
            index <= self.handed_out,
            "entry {index} was applied, but only {} were given",
            self.handed_out
        );
        self.applied = self.applied.max(index);
    }

    /// After each touch of raft: it has drawn an election timeout from the thread's generator, which no seed
    /// controls.
    pub(super) fn settle(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.term != self.attempts_term {
            self.attempts_term = raft.term;
            self.attempts = 0;
        }
        let ticks = election::election_ticks(
            self.settings.seed,
            raft.id,
            raft.term,
            self.attempts,
            self.settings.election_ticks_from(self.pace.patience(self.settings.election_timeout_min)),
        );
        raft.set_randomized_election_timeout(ticks);
    }

    pub(super) fn advance_to(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    pub(super) fn log_bytes_max(&self) -> usize {
        self.settings.snapshot_after_bytes.saturating_mul(LOG_BYTES_MAX_FACTOR)
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn is_asked_for_a_vote(message: &Message) -> bool {
    matches!(message.msg_type, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
}

fn raft_config(settings: &ReplicaSettings, applied: u64) -> Config {
    settings.check();
    Config {
        id: settings.node.0,
        election_tick: settings.election_ticks().start,
        max_election_tick: settings.election_ticks_max(),
        heartbeat_tick: settings.heartbeat_ticks(),
        applied,
        max_size_per_msg: settings.message_bytes_max,
        max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        batch_append: true,
        max_committed_size_per_ready: APPLY_BYTES_MAX,
        ..Config::default()
    }
}
