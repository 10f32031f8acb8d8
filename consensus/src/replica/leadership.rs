//! Gaining and giving up leadership: lost connections, hand-over, a disk that stalls, proposals.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::membership_change;
use crate::nouns::{EntryKind, Membership, NodeId};
use crate::wire;

use super::election::{self, Cause, Loss};
use super::errors::ProposeError;
use super::output::Output;
use super::replica_value::Replica;

/// Committed entries that the state machine may lag behind before proposals are refused. Larger only moves
/// the queue from the proposers, who can wait, to memory.
const APPLY_LAG_ENTRIES_MAX: u64 = 50_000;

/// A vote that took this many steps of the campaign delay was split or lost. Fewer would annul votes that
/// wait for a slow disk; more would leave a split vote to the election timeout.
const VOTE_PATIENCE_STEPS: u32 = 4;

impl Replica {
    /// The connection to `peer` was lost; tell of every loss, also of repeated ones. If `peer` leads and its address
    /// refuses connections, a campaign starts within milliseconds. Nothing less is proof that it died: for the
    /// rest there is the election timeout, which knows how late a leader may be here.
    pub fn peer_lost(&mut self, peer: NodeId, loss: Loss, now: Duration) {
        self.advance_to(now);
        self.give_up_sending(peer);
        if loss != Loss::Ended {
            self.lost.insert(peer.0);
        }
        if self.raw.raft.state == StateRole::Leader {
            self.raw.report_unreachable(peer.0);
        } else if self.raw.raft.leader_id == peer.0 && loss == Loss::Refused {
            self.forget_leader(peer);
        }
        self.settle();
    }

    /// Without forgetting, this node would refuse all pre-votes for the rest of its leader's lease.
    fn forget_leader(&mut self, leader: NodeId) {
        let raft = &mut self.raw.raft;
        raft.become_follower(raft.term, 0);
        if let Some((rank, every)) = self.campaign_rank(leader.0) {
            let first = self.settings.campaign_delay + self.settings.campaign_delay_step * rank;
            self.campaign.schedule(self.now + first, every, Cause::LostConnection);
        }
    }

    /// An election timeout has passed. The others' leases of the same leader end within ticks of each other,
    /// but each refuses before that: to ask once and wait for a whole timeout again would double the outage.
    pub(super) fn campaign_again_soon(&mut self) {
        if let Some((rank, every)) = self.campaign_rank(0) {
            let first = self.now + every + self.settings.campaign_delay_step * rank;
            self.campaign.schedule(first, every, Cause::Timeout);
        }
    }

    /// A leader looks once in an election timeout whether a majority was heard since it last looked (thesis 6.2), and steps
    /// down if not. Who is late only as usual here counts as heard.
    pub(super) fn count_late_followers(&mut self) {
        let patience = self.pace.patience(self.settings.election_timeout_min);
        let (now, heard) = (self.now, &self.heard);
        for (node, progress) in self.raw.raft.mut_prs().iter_mut() {
            let late = heard.get(node).is_some_and(|at| now.saturating_sub(*at) < patience);
            progress.recent_active |= late && patience > self.settings.election_timeout_min;
        }
    }

    /// Whether this node's log is longer than that of who asks for its vote, so that it cannot have it.
    pub(super) fn outlasts(&self, asked: &Message) -> bool {
        let log = &self.raw.raft.raft_log;
        (log.last_term(), log.last_index()) > (asked.log_term, asked.index)
    }

    /// The longest log goes first: who asked in its turn cannot win, and to wait for one's own turn would only be outage.
    pub(super) fn take_the_turn_of_a_shorter_log(&mut self) {
        if self.raw.raft.leader_id != 0 || self.raw.raft.state != StateRole::Follower {
            return;
        }
        if let Some((_, every)) = self.campaign_rank(0) {
            self.campaign.schedule(self.now, every, Cause::LongerLog);
        }
    }

    /// This node's rank among the voters but `lost`, and the time in which each of them has its turn.
    fn campaign_rank(&self, lost: u64) -> Option<(u32, Duration)> {
        let voters = &self.membership().voters;
        let rank = election::rank(voters, lost, self.settings.node.0)?;
        let others = u32::try_from(voters.len()).unwrap_or(u32::MAX).saturating_sub(1).max(1);
        Some((rank, self.settings.campaign_delay_step * others))
    }

    /// Asks for pre-votes now, unless somebody leads, or a vote is under way that this would annul.
    pub(super) fn campaign_now(&mut self) {
        let patience = self.settings.campaign_delay_step * VOTE_PATIENCE_STEPS;
        let voting = self.raw.raft.state == StateRole::Candidate && self.now - self.told_at < patience;
        if voting
            || self.raw.raft.state == StateRole::Leader
            || self.raw.raft.leader_id != 0
            || !self.raw.raft.promotable()
            || !self.bears_campaign()
        {
            return;
        }
        self.attempts += 1;
        self.campaigns.count(self.campaign.cause());
        // Refused only for local messages, which this is not.
        let _always_taken = self.raw.campaign();
        self.settle();
    }

    /// Whether raft bears a campaign now. It panics on one while a snapshot is on its way to the disk
    /// (entries that it looks for are gone), and on becoming leader, as the only voter, with a log that is
    /// not durable. A node that stands aside may not.
    pub(super) fn bears_campaign(&self) -> bool {
        let raft = &self.raw.raft;
        let alone_and_not_durable =
            raft.prs().is_singleton() && raft.raft_log.last_index() != raft.raft_log.persisted;
        raft.raft_log.applied + 1 >= raft.raft_log.first_index() && !alone_and_not_durable && !self.is_mute()
    }

    /// Hands leadership to `to`, or to the voter that is furthest. Best effort: proposals are refused as
    /// `LeadershipUnsettled` until it is done or an election timeout has passed. Watch `RoleChanged`.
    ///
    /// # Errors
    /// [`ProposeError::NotLeader`], or [`ProposeError::LeadershipUnsettled`] when no other voter is fit.
    pub fn transfer_leadership(&mut self, to: Option<NodeId>) -> Result<NodeId, ProposeError> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        let successor = self.successor(to).ok_or(ProposeError::LeadershipUnsettled)?;
        self.append_proposals();
        self.raw.transfer_leader(successor.0);
        self.settle();
        Ok(successor)
    }

    /// The voter that was heard of lately and holds most.
    fn successor(&self, wanted: Option<NodeId>) -> Option<NodeId> {
        let raft = &self.raw.raft;
        let voters = raft.prs().conf().voters();
        raft.prs()
            .iter()
            .filter(|(id, progress)| **id != raft.id && voters.contains(**id) && progress.recent_active)
            .filter(|(id, _)| wanted.is_none_or(|wanted| wanted.0 == **id))
            .max_by_key(|(id, progress)| (progress.matched, Reverse(**id)))
            .map(|(id, _)| NodeId(*id))
    }

    /// A leader whose disk stalls holds everybody up, while the others could go on (etcd-io/etcd#7617 and its
    /// like).
    pub(super) fn hand_over_if_disk_stalls(&mut self) {
        let stalled =
            self.persisting.oldest().is_some_and(|since| self.now - since > self.settings.disk_stall_max);
        if stalled && self.raw.raft.lead_transferee.is_none() && self.raw.raft.state == StateRole::Leader {
            match self.transfer_leadership(None) {
                Ok(to) => tracing::warn!(%to, "the disk stalls: leadership is handed over"),
                Err(error) => tracing::warn!(%error, "the disk stalls, and nobody can take over"),
            }
        }
    }

    /// Proposes `data`. It comes back in `Apply` under `token`, or as `ProposalLost`: exactly one of the two.
    ///
    /// # Errors
    /// [`ProposeError`]; then nothing was proposed and no output will name the token.
    ///
    /// # Panics
    /// If `data` is empty: that is how a leader's own first entry looks.
    pub fn propose(&mut self, token: u64, data: Bytes) -> Result<(), ProposeError> {
        assert!(!data.is_empty(), "an empty proposal could not be told from a leader's first entry");
        self.check_room(data.len())?;
        self.proposals.queue(token, EntryKind::Normal, data);
        Ok(())
    }

    /// Proposes a membership of the voters and learners of `wanted`; where more than one node changes its part,
    /// the group passes through a joint membership by itself. Answered like a proposal, with `context` as its
    /// data: what the state machine is to know of the nodes, in the same entry.
    ///
    /// # Errors
    /// [`ProposeError`]; then nothing was proposed. `LeadershipUnsettled` if another change is still under
    /// way, or if nothing would change.
    pub fn propose_membership(
        &mut self,
        token: u64,
        wanted: &Membership,
        context: Bytes,
    ) -> Result<(), ProposeError> {
        let change = membership_change::encode(self.membership(), wanted, context);
        let change = change.filter(|_| !wanted.voters.is_empty() && !self.membership_is_changing());
        let Some(change) = change else { return Err(ProposeError::LeadershipUnsettled) };
        self.check_room(change.len())?;
        self.membership_token = Some(token);
        self.proposals.queue(token, EntryKind::Membership, change.into());
        Ok(())
    }

    /// Whether a change of the membership is under way, or one that was begun has not ended: only one at a time.
    pub fn membership_is_changing(&self) -> bool {
        self.membership_token.is_some() || self.raw.raft.has_pending_conf() || self.membership().is_joint()
    }

    fn check_room(&self, bytes: usize) -> Result<(), ProposeError> {
        let raft = &self.raw.raft;
        let bytes_max = self.settings.proposal_bytes_max;
        if bytes > bytes_max {
            return Err(ProposeError::TooLarge { bytes, bytes_max });
        }
        if raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        if raft.lead_transferee.is_some() {
            return Err(ProposeError::LeadershipUnsettled);
        }
        let (waiting, waiting_bytes) = (self.proposals.waiting(), self.proposals.waiting_bytes());
        let lag = raft.raft_log.committed - self.applied;
        if (waiting > 0 && waiting_bytes + bytes > self.settings.uncommitted_bytes_max)
            || self.raw.store().bytes() > self.log_bytes_max()
            || lag > APPLY_LAG_ENTRIES_MAX
        {
            return Err(ProposeError::Busy { waiting: waiting + lag, waiting_bytes });
        }
        Ok(())
    }

    /// Appends everything that was proposed since the last time as one group: one message to each follower,
    /// one fsync.
    pub(super) fn append_proposals(&mut self) {
        let queued = self.proposals.take_queued();
        if queued.is_empty() {
            return;
        }
        let tokens: Vec<(u64, usize)> =
            queued.iter().map(|(token, entry)| (*token, entry.data.len())).collect();
        let entries: Vec<_> = queued
            .into_iter()
            .map(|(_, entry)| wire::entry_to_raft(entry).expect("proposals are made from what raft knows"))
            .collect();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.raw.raft.id;
        message.set_entries(entries.into());
        let first_index = self.raw.raft.raft_log.last_index() + 1;
        let leads = self.raw.raft.state == StateRole::Leader;
        // A follower would forward them, with no handle to their outcome.
        if leads && self.raw.step(message).is_ok() {
            self.proposals.appended(first_index, self.raw.raft.term, tokens.into_iter());
            self.commit_told = self.raw.raft.raft_log.committed;
            return;
        }
        let leader = self.leader();
        self.membership_token = None;
        self.proposals.refused(tokens.iter().map(|(_, bytes)| bytes).sum());
        for (token, _) in tokens {
            let reason =
                if leads { ProposeError::LeadershipUnsettled } else { ProposeError::NotLeader { leader } };
            self.outputs.push(Output::ProposalLost { token, reason });
        }
    }

    /// raft-rs leaves a joint membership by itself only if the leader that proposed it also applies it; a new
    /// leader that finds one, with no change under way, must.
    pub(super) fn leave_joint_membership(&mut self) {
        let raft = &self.raw.raft;
        let joint = self.membership().is_joint();
        if !joint || raft.state != StateRole::Leader || raft.has_pending_conf() {
            return;
        }
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = raft.id;
        message.set_entries(vec![entry].into());
        // Refused while leadership is handed over; then the next leader does it.
        let _tried_again_later = self.raw.step(message);
    }

    /// Time since the disk was asked for something that it has not answered.
    pub fn disk_owes(&self) -> Duration {
        self.persisting.oldest().map_or(Duration::ZERO, |since| self.now.saturating_sub(since))
    }
}
