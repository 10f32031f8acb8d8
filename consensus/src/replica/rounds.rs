//! Rounds: what raft has ready becomes outputs, in an order that is safe to carry out one by one.
//!
//! A leader's messages go out before its own fsync (thesis 10.2.1), a follower's answers after it. Entries
//! are readable in memory at once, durable when the driver says so, and handed out to be applied when both
//! committed and durable here.

use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{Ready, StateRole};

use crate::membership_change;
use crate::nouns::{Batch, HardState, Membership, NodeId, Snapshot};
use crate::wire;

use super::errors::ProposeError;
use super::memory_log::SnapshotPoint;
use super::output::{Committed, Output, Role};
use super::replica_value::Replica;

impl Replica {
    /// What is to be done now, in order. Call it once after each group of inputs: everything handed in since
    /// is batched.
    pub fn outputs(&mut self, now: Duration) -> Vec<Output> {
        self.advance_to(now);
        if !self.is_gathering() {
            self.append_proposals();
        }
        self.leave_joint_membership();
        self.tell_role();
        loop {
            self.begin_reads();
            self.tell_commit();
            if !self.raw.has_ready() {
                break;
            }
            self.round();
            self.tell_role();
        }
        for (token, index) in self.reads.take_ready(self.applied) {
            self.outputs.push(Output::ReadReady { token, index });
        }
        self.ask_for_snapshot();
        std::mem::take(&mut self.outputs)
    }

    fn round(&mut self) {
        let mut ready = self.raw.ready();
        for state in ready.take_read_states() {
            self.reads.confirmed(&state.request_ctx, state.index);
        }
        for message in ready.take_messages() {
            let output = self.send(message);
            self.outputs.push(output);
        }
        let after = ready.take_persisted_messages();
        let mut then: Vec<Output> = after.into_iter().map(|message| self.send(message)).collect();
        let (number, committed) = (ready.number(), ready.take_committed_entries());
        let batch = self.batch(&mut ready);
        self.raw.advance_append_async(ready);
        if let Some(snapshot) = batch.as_ref().and_then(|batch| batch.snapshot.as_ref()) {
            let (index, term, data) = (snapshot.index, snapshot.term, snapshot.data.clone());
            then.insert(0, Output::InstallSnapshot { index, term, data });
        }
        self.persisting.hand_out(number, batch.is_some(), self.now, then);
        self.outputs.extend(batch.map(Output::Persist));
        self.settle_durable();
        self.hand_out_committed(committed);
        self.settle();
    }

    /// What the round wants on disk, made readable in memory at once; `None` if that is nothing but a commit
    /// index, which is worth no fsync of its own and goes with the next batch.
    fn batch(&mut self, ready: &mut Ready) -> Option<Batch> {
        let log = self.raw.mut_store();
        if let Some(state) = ready.hs() {
            log.set_hard_state(HardState { term: state.term, vote: state.vote, commit: state.commit });
        }
        let snapshot = ready.snapshot();
        let snapshot = (!snapshot.is_empty()).then(|| {
            let metadata = snapshot.get_metadata();
            let membership = wire::membership_from_raft(metadata.get_conf_state());
            let (index, term) = (metadata.index, metadata.term);
            log.reset(SnapshotPoint { index, term, membership: membership.clone() });
            Snapshot { index, term, membership, data: snapshot.data.clone() }
        });
        let must_sync = ready.must_sync();
        let entries = ready.take_entries();
        log.append(&entries);
        let hard_state = log.hard_state();
        if snapshot.is_some() {
            self.memberships.clear();
            self.snapshotting.replaced();
        }
        must_sync.then(|| Batch {
            number: ready.number(),
            hard_state,
            snapshot,
            entries: entries.into_iter().map(wire::entry_from_raft).collect(),
        })
    }

    /// Everything up to the last durable batch may have its consequences.
    pub(super) fn settle_durable(&mut self) {
        let Some((number, then)) = self.persisting.settle(self.durable) else { return };
        self.raw.on_persist_ready(number);
        for output in then {
            if let Output::InstallSnapshot { index, .. } = output {
                self.handed_out = index;
                self.raw.advance_apply_to(index);
            }
            self.outputs.push(output);
        }
    }

    fn hand_out_committed(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let mut committed = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut token = self.proposals.committed(entry.index, entry.term);
            self.handed_out = entry.index;
            self.snapshotting.count(entry.data.len());
            let (index, term) = (entry.index, entry.term);
            let proposed_as = token.and_then(|token| self.membership_token.take_if(|own| *own == token));
            let data = if entry.entry_type == EntryType::EntryNormal {
                Some(entry.data).filter(|_| proposed_as.is_none())
            } else {
                self.change_membership(entry)
            };
            // Raft puts an empty entry in the place of a change that it will not have.
            if data.is_none()
                && let Some(token) = token.take()
            {
                self.outputs.push(Output::ProposalLost { token, reason: ProposeError::LeadershipUnsettled });
            }
            committed.push(Committed { index, term, data: data.unwrap_or_default(), token });
        }
        self.raw.advance_apply_to(self.handed_out);
        self.outputs.push(Output::Apply(committed));
    }

    /// Changes the membership; answers what the change says to the state machine, or `None` when it is refused.
    fn change_membership(&mut self, entry: Entry) -> Option<Bytes> {
        let index = entry.index;
        let mut change = membership_change::decode(&wire::entry_from_raft(entry))
            .expect("entries are checked when they are received, recovered or proposed");
        let context = std::mem::take(&mut change.context);
        match self.raw.apply_conf_change(&change) {
            Ok(state) => {
                let membership = wire::membership_from_raft(&state);
                self.step_down_if_removed(&membership);
                self.silent_since.retain(|node, _| membership.contains(*node));
                for node in membership.voters.iter().chain(&membership.learners) {
                    self.silent_since.entry(*node).or_insert(self.now);
                }
                self.memberships.insert(index, membership);
                Some(context)
            }
            // The same on every node: the change contradicts the membership it meets.
            Err(error) => {
                tracing::warn!(index, %error, "a change of the membership was refused");
                None
            }
        }
    }

    /// A leader that has no vote any more: raft 0.7 lets it lead on, and panics when it next counts what is committed, because
    /// it looks for its own progress. The others elect one of themselves.
    fn step_down_if_removed(&mut self, membership: &Membership) {
        let raft = &mut self.raw.raft;
        let votes = [&membership.voters, &membership.voters_outgoing];
        if raft.state == StateRole::Leader && !votes.iter().any(|voters| voters.contains(&raft.id)) {
            raft.become_follower(raft.term, 0);
        }
    }

    fn send(&mut self, message: Message) -> Output {
        let to = NodeId(message.to);
        if message.msg_type != MessageType::MsgSnapshot {
            return Output::Send { to, bytes: wire::encode(message) };
        }
        let index = message.get_snapshot().get_metadata().index;
        let attempt = self.snapshotting.sending(to, index, self.now);
        Output::SendSnapshot { to, index, attempt, bytes: wire::encode(message) }
    }

    /// Tells role, term and leader if they changed, and draws the consequences.
    fn tell_role(&mut self) {
        let current = (self.role(), self.raw.raft.term, self.leader());
        if self.told == Some(current) {
            return;
        }
        let before = self.told.replace(current);
        self.told_at = self.now;
        let (role, term, leader) = current;
        self.outputs.push(Output::RoleChanged { role, term, leader });
        if before.map(|(_, _, leader)| leader) != Some(leader) {
            self.pace.lost();
            self.reads.begin_again(Duration::MAX);
        }
        if leader.is_some() {
            self.campaign.call_off();
        }
        let led = before.filter(|(role, ..)| *role == Role::Leader).map(|(_, term, _)| term);
        if led.is_some_and(|led| role != Role::Leader || led != term) {
            self.abandon_proposals(leader);
        }
    }

    fn abandon_proposals(&mut self, leader: Option<NodeId>) {
        self.membership_token = None;
        let (never_appended, appended) = self.proposals.abandon();
        for token in never_appended {
            self.outputs.push(Output::ProposalLost { token, reason: ProposeError::NotLeader { leader } });
        }
        for token in appended {
            self.outputs.push(Output::ProposalLost { token, reason: ProposeError::OutcomeUnknown });
        }
    }

    /// Begins a round of reads if raft would not drop it: a leader needs a commit in its own term, a follower
    /// a leader.
    fn begin_reads(&mut self) {
        let raft = &self.raw.raft;
        let confirmable = match raft.state {
            StateRole::Leader => raft.commit_to_current_term(),
            StateRole::Follower => raft.leader_id != 0,
            StateRole::PreCandidate | StateRole::Candidate => false,
        };
        if confirmable && let Some(name) = self.reads.begin_round(self.now) {
            self.raw.read_index(name.to_vec());
        }
    }
}
