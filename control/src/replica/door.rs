//! The one door for writes and linearizable reads, for every room above the replica, on any thread of any node.
//!
//! A write goes to this node's replica if it leads, else to the leader's, and again after a change of leader, until its
//! deadline. That is safe because each command is either counted by its write id or idempotent by what it says.

use std::time::Duration;

use actix::{Addr, MailboxError};
use api::log::v1::{Command, Outcome};
use bytes::Bytes;
use consensus::{NodeId, Status};
use prost::Message as _;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::actor::ReplicaActor;
use super::divergence::Hashes;
use super::freshness::Fresh;
use super::inbox::Inbox;
use super::leadership::Leadership;
use super::messages::{
    ChangeError, ChangeMembership, Changed, Diverged, FoundingConfirmed, GroundReport, ProposeError,
    ReadError, ReportGround, ReportHashes, ReportStatus, Seen, TransferError, TransferLeadership,
};
use super::peers::PeerCalls;
use super::refusal;
use super::seats::Wish;
use crate::catalog::Catalog;
use crate::metrics::DoorMetrics;

/// Wait before a write is tried again while nothing has changed. An election takes some 20 ms; shorter only spins.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// How long leadership may take to move, with every try, where nobody waits longer. One takes some milliseconds; longer keeps a stop
/// waiting for nobody.
const TRANSFER_WAIT: Duration = Duration::from_secs(1);

/// Wait before a transfer is tried again that found nobody fit: about a heartbeat, since a voter counts as fit once it was heard
/// after the leader last looked.
const FIND_HEIR_AGAIN: Duration = Duration::from_millis(20);

/// Wait for a voter that was asked to take over, before that is tried again. The word to it may be lost with a connection, and
/// Raft then gives up after an election timeout, before which asking again does nothing.
const ASK_HEIR_AGAIN: Duration = Duration::from_millis(250);

/// How long a voter is listened for before another one's vote goes. Shorter takes a busy one for dead; longer keeps an operator
/// waiting who removes one of two dead nodes.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked who was heard meanwhile: about a heartbeat.
const LISTEN_AGAIN: Duration = Duration::from_millis(20);

/// The door; cheap to clone.
#[derive(Clone)]
pub struct Door {
    replica: Addr<ReplicaActor>,
    inbox: Inbox,
    calls: PeerCalls,
    leadership: watch::Receiver<Leadership>,
    timeout: Duration,
    metrics: DoorMetrics,
}

/// How one try ended.
enum Try {
    Done(Result<Outcome, ProposeError>),
    /// Nothing was done.
    Again,
    /// Nobody knows whether it was done.
    Unsettled,
}

impl Door {
    /// A door to this replica; a write is given up after `timeout`.
    pub fn new(
        (replica, inbox): (Addr<ReplicaActor>, Inbox),
        calls: PeerCalls,
        leadership: watch::Receiver<Leadership>,
        timeout: Duration,
        metrics: DoorMetrics,
    ) -> Self {
        Self { replica, inbox, calls, leadership, timeout, metrics }
    }

    /// Writes; answers after the commit, with what applying it gave.
    ///
    /// # Errors
    /// [`ProposeError`]; after `OutcomeUnknown` and `NoLeader` the same command may be sent again.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let started = Instant::now();
        let mut leadership = self.leadership.clone();
        let tries = async {
            let mut unsettled = false;
            loop {
                let seen = *leadership.borrow_and_update();
                match self.try_once(seen, &command).await {
                    Try::Done(Err(refused)) if unsettled => return Err(after_unsettled(refused)),
                    Try::Done(result) => return result,
                    Try::Again => {}
                    Try::Unsettled => unsettled = true,
                }
                self.metrics.retries.inc();
                let _ = tokio::time::timeout(TRY_AGAIN_AFTER, leadership.changed()).await;
            }
        };
        match tokio::time::timeout(self.timeout, tries).await {
            Ok(result) => result,
            Err(_) => {
                self.metrics.given_up.inc();
                let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                Err(ProposeError::NoLeader { waited_ms })
            }
        }
    }

    /// Asks a question of the catalog that sees every write acknowledged before now. The question runs on the truth thread:
    /// it should copy what it needs and compute elsewhere.
    ///
    /// # Errors
    /// If no leader confirmed the read.
    pub async fn consult<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Catalog) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.consult_as(Fresh::Linearizable, |seen| question(seen.catalog)).await
    }

    /// Asks a question of the catalog that need only see what is so fresh.
    ///
    /// # Errors
    /// If nobody vouched for that, or too many ask.
    pub async fn consult_as<T: Send + 'static>(
        &self,
        fresh: Fresh,
        question: impl FnOnce(Seen<'_>) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let (answer, answered) = oneshot::channel();
        let question = move |seen: Result<Seen<'_>, ReadError>| {
            let _ = answer.send(seen.map(question)); // who asked may have gone
        };
        self.inbox.ask(Box::new(question), fresh);
        let stopping = || ReadError::Unconfirmed { reason: "this node is stopping".to_owned() };
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// How this node's replica stands; `None` when it has stopped.
    pub async fn status(&self) -> Option<Status> {
        self.replica.send(ReportStatus).await.ok()
    }

    /// How this node sees the group and what the log knows of the nodes; `None` when the replica has stopped.
    pub(crate) async fn ground(&self) -> Option<GroundReport> {
        self.replica.send(ReportGround).await.ok()
    }

    /// Tells the replica that the group is only being founded.
    pub(crate) async fn confirm_founding(&self) {
        let _ = self.replica.send(FoundingConfirmed).await; // an error is a replica that has stopped: nothing to found
    }

    /// Changes the members, if this node leads. Where a vote goes, the other voters are listened for first: one that was cut off a
    /// moment ago would count as answering.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change_members(&self, wish: Wish, force: bool) -> Result<Changed, ChangeError> {
        let silent = match wish.leaves() {
            Some(leaves) if !force && self.leadership.borrow().is_here() => self.silent_voters(leaves).await,
            _ => Vec::new(),
        };
        let asked = self.replica.send(ChangeMembership { wish, force, silent }).await;
        let stopping = || ProposeError::OutcomeUnknown { reason: "this node is stopping".to_owned() };
        asked.unwrap_or_else(|_| Err(stopping().into()))
    }

    /// Voters beside `leaves` that Raft does not hear from now on; it hears those that are there within a heartbeat or two.
    async fn silent_voters(&self, leaves: NodeId) -> Vec<NodeId> {
        let asked = Instant::now();
        loop {
            // Taken before the question, so that what was heard before it does not count.
            let elapsed = asked.elapsed();
            let Some(status) = self.status().await else { return Vec::new() };
            let silent = unheard(&status, leaves, elapsed);
            if silent.is_empty() || elapsed >= HEARD_WITHIN {
                return silent;
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    /// Hands leadership to `to`, or to the voter that is furthest, and answers which other node leads once one is known to.
    ///
    /// # Errors
    /// [`TransferError`], after some tries.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let ask = || self.replica.send(TransferLeadership { to });
        transferred(self.leadership.clone(), ask, TRANSFER_WAIT).await
    }

    /// Hands leadership over before this node ends. A voter that was asked may take `within` for it: on a host that is out of
    /// breath it answers late, and a leader that does not wait leaves the others an election.
    ///
    /// # Errors
    /// [`TransferError`], after some tries.
    pub async fn hand_over(&self, within: Duration) -> Result<NodeId, TransferError> {
        let ask = || self.replica.send(TransferLeadership { to: None });
        transferred(self.leadership.clone(), ask, within).await
    }

    /// Hashes of this node's catalog at recent entries; `None` when the replica has stopped.
    pub async fn hashes(&self) -> Option<Hashes> {
        self.replica.send(ReportHashes).await.ok()
    }

    /// Answers no question any more, for this node's catalog differs from the majority's as of this entry.
    pub(crate) async fn diverged(&self, index: u64) {
        let _ = self.replica.send(Diverged { index }).await; // an error is a replica that has stopped: it answers nobody
    }

    /// Who leads, to be watched.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The other nodes, to be asked.
    #[must_use]
    pub fn peers(&self) -> &PeerCalls {
        &self.calls
    }

    async fn try_once(&self, seen: Leadership, command: &Command) -> Try {
        match seen.leader {
            _ if seen.is_here() => self.try_here(command.clone()).await,
            Some(leader) if leader != seen.node => {
                self.metrics.forwarded.inc();
                let moved = self.moved_from(leader);
                tokio::select! {
                    biased;
                    tried = self.try_there(leader, command) => tried,
                    () = moved => Try::Unsettled,
                }
            }
            _ => Try::Again,
        }
    }

    async fn try_here(&self, command: Command) -> Try {
        match self.inbox.propose(command).await {
            Err(ProposeError::NotLeader { .. }) => Try::Again,
            Err(ProposeError::OutcomeUnknown { .. }) => Try::Unsettled,
            result => Try::Done(result),
        }
    }

    async fn try_there(&self, leader: NodeId, command: &Command) -> Try {
        match self.calls.propose(leader, Bytes::from(command.encode_to_vec())).await {
            Ok(outcome) => {
                Try::Done(Outcome::decode(outcome).map_err(|error| ProposeError::OutcomeUnknown {
                    reason: format!("the leader's answer cannot be read: {error}"),
                }))
            }
            Err(status) if refusal::is_not_leader(&status) => Try::Again,
            Err(status) => refusal::from_peer(&status).map_or(Try::Unsettled, |error| Try::Done(Err(error))),
        }
    }

    /// Ready once another than `leader` is known to lead: a frozen leader must not hold a write that the next one could take.
    async fn moved_from(&self, leader: NodeId) {
        let mut leadership = self.leadership.clone();
        let moved = |now: &Leadership| now.leader.is_some_and(|now| now != leader);
        if leadership.wait_for(moved).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Asks a leader to hand over until another node is seen to lead; answers which. `ask` tells whom the leader asked, if anybody: only
/// then, and while it still leads, may it take longer than [`TRANSFER_WAIT`].
async fn transferred<F>(
    mut leadership: watch::Receiver<Leadership>,
    ask: impl Fn() -> F,
    within: Duration,
) -> Result<NodeId, TransferError>
where
    F: Future<Output = Result<Option<NodeId>, MailboxError>>,
{
    if !leadership.borrow().is_here() {
        return Err(TransferError::NotLeader);
    }
    let begun = Instant::now();
    let (mut failed, mut last_led) = (TransferError::NobodyFit, begun);
    loop {
        let now = Instant::now();
        let leads = leadership.borrow().is_here();
        last_led = if leads { now } else { last_led };
        let until = match failed {
            TransferError::NotTaken(_) if leads => begun + within.max(TRANSFER_WAIT),
            TransferError::NotTaken(_) => last_led + TRANSFER_WAIT,
            _ => begun + TRANSFER_WAIT,
        };
        if now >= until {
            return Err(failed);
        }
        let asked = ask().await.map_err(|_| TransferError::Stopping)?;
        failed = asked.map_or(failed, TransferError::NotTaken);
        let wait = if asked.is_some() { ASK_HEIR_AGAIN } else { FIND_HEIR_AGAIN };
        let elsewhere = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != now.node));
        if let Ok(seen) = tokio::time::timeout(wait, elsewhere).await {
            let leader = seen.map_err(|_| TransferError::Stopping)?.leader;
            return leader.ok_or(TransferError::NotLeader);
        }
    }
}

/// Voters beside `leaves` that were not heard in this time, and of which it is not known already that they are lost.
fn unheard(status: &Status, leaves: NodeId, time: Duration) -> Vec<NodeId> {
    let counts = |node: NodeId| node != leaves && status.membership.voters.contains(&node.0);
    let silent = status.peers.iter().filter(|peer| counts(peer.node) && !peer.lost && peer.silence >= time);
    silent.map(|peer| peer.node).collect()
}

/// A refusal says that nothing was done. That is not so if an earlier try may have been taken by a leader that is gone.
fn after_unsettled(refused: ProposeError) -> ProposeError {
    match refused {
        ProposeError::Busy { .. } | ProposeError::NotYet { .. } | ProposeError::TooLarge { .. } => {
            ProposeError::OutcomeUnknown {
                reason: format!("a leader that is gone may have taken it; now: {refused}"),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::cell::Cell;

    use consensus::Role;

    use super::*;
    use crate::replica::seats::tests::status as status_of;

    const HEIR: NodeId = NodeId(2);

    /// What comes of a transfer whose tries the leader answers so, one after the other and the last for ever, when the heir
    /// takes over in the try of that number; and how many tries there were.
    async fn tried(answers: &[Option<NodeId>], taken_in: usize) -> (Result<NodeId, TransferError>, usize) {
        tried_within(answers, taken_in, TRANSFER_WAIT, usize::MAX).await
    }

    /// The same within this time, by a leader that loses its office without an heir in the try of the last number.
    async fn tried_within(
        answers: &[Option<NodeId>],
        taken_in: usize,
        within: Duration,
        lost_in: usize,
    ) -> (Result<NodeId, TransferError>, usize) {
        let here = Leadership { role: Role::Leader, ..Leadership::unknown(NodeId(1)) };
        let (told, leadership) = watch::channel(here);
        let tries = Cell::new(0);
        let ask = || {
            let answer = answers[tries.get().min(answers.len() - 1)];
            tries.set(tries.get() + 1);
            if tries.get() == taken_in {
                told.send_replace(Leadership { leader: Some(HEIR), ..Leadership::unknown(NodeId(1)) });
            } else if tries.get() == lost_in {
                told.send_replace(Leadership::unknown(NodeId(1)));
            }
            std::future::ready(Ok(answer))
        };
        (transferred(leadership, ask, within).await, tries.get())
    }

    /// Found by real processes on a starved machine: the leader gave up after a second, ended, and left an election to the others, although
    /// the one that it had asked was about to take over.
    #[tokio::test(start_paused = true)]
    async fn a_leader_that_ends_waits_for_the_heir_that_it_asked_and_not_for_one_that_there_is_not() {
        const LONG: Duration = Duration::from_secs(10);
        assert_eq!(
            tried_within(&[Some(HEIR)], 20, LONG, usize::MAX).await,
            (Ok(HEIR), 20),
            "after five seconds"
        );
        assert_eq!(tried_within(&[Some(HEIR)], 99, LONG, usize::MAX).await.1, 40, "as long as it may");
        let nobody = tried(&[None], usize::MAX).await;
        assert_eq!(tried_within(&[None], usize::MAX, LONG, usize::MAX).await, nobody);
        let without_office = tried_within(&[Some(HEIR)], usize::MAX, LONG, 8).await;
        assert_eq!(
            without_office,
            (Err(TransferError::NotTaken(HEIR)), 11),
            "another second, once it leads no more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_is_tried_again_while_nobody_is_fit_and_when_the_word_to_the_heir_was_lost() {
        assert_eq!(tried(&[None, None, Some(HEIR)], 3).await, (Ok(HEIR), 3), "one is fit after a while");
        assert_eq!(tried(&[Some(HEIR)], 3).await, (Ok(HEIR), 3), "the first two words were lost");
        let looks = usize::try_from(TRANSFER_WAIT.as_millis() / FIND_HEIR_AGAIN.as_millis()).unwrap();
        assert_eq!(tried(&[None], usize::MAX).await, (Err(TransferError::NobodyFit), looks));
        assert_eq!(tried(&[Some(HEIR)], usize::MAX).await, (Err(TransferError::NotTaken(HEIR)), 4));
        let lost_sight = tried(&[Some(HEIR), None], usize::MAX).await.0;
        assert_eq!(lost_sight, Err(TransferError::NotTaken(HEIR)), "the last who was asked is named");
    }

    #[test]
    fn voters_that_stay_count_as_there_once_they_are_heard_and_who_leaves_or_is_lost_is_not_waited_for() {
        let mut status = status_of(&[1, 2, 3, 4], &[5], &[(2, Some(0)), (3, None), (4, None), (5, None)]);
        let silent = |status: &Status, time| unheard(status, NodeId(4), Duration::from_secs(time));
        assert_eq!(silent(&status, 1), [NodeId(3)], "node 2 was heard, node 4 leaves, node 5 has no vote");
        assert_eq!(silent(&status, 0), [2, 3].map(NodeId), "nobody was heard yet");
        status.peers[1].lost = true;
        assert_eq!(silent(&status, 1), []);
    }

    /// Found by real processes: a write was under way at a leader that gave up its office for want of space; the next one had no
    /// room either and refused it, its client was told that nothing was done, and the write stood there.
    #[test]
    fn a_refusal_after_a_try_that_may_have_been_taken_does_not_say_that_nothing_was_done() {
        let busy = ProposeError::Busy { reason: "no room".to_owned(), retry_after_ms: 100 };
        let told = after_unsettled(busy);
        assert!(
            matches!(&told, ProposeError::OutcomeUnknown { reason } if reason.contains("no room")),
            "{told:?}"
        );
    }
}
