//! Drives the pure replica: collects what happened, carries out its outputs in order, applies entries to the catalog, answers
//! proposers and readers. Called by [`super::actor`] alone, on the truth thread; it decides nothing that Raft decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::Addr;
use api::log::v1::command::Body;
use api::log::v1::{Command, Outcome};
use bytes::Bytes;
use consensus::{Committed, Membership, NodeId, Output, Replica, SnapshotFiles};
use prost::Message as _;
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use super::actor::ReplicaActor;
use super::admission::{Admission, Verdict};
use super::beginning::Beginning;
use super::clock::WallClock;
use super::disk::Disk;
use super::divergence::{self, Checkpoints};
use super::freshness::{Fresh, Freshness, Moment};
use super::leadership::Leadership;
use super::messages::{Class, ProposeError, READ, ReadError, Seen};
use super::peers::{Life, Links, OwnLife};
use super::snapshots;
use super::subscribers::Subscribers;
use super::waiting::{Proposer, Question, Waiting};
use super::yielding::{Yield, Yielding};
use crate::catalog::{Catalog, Members, Sizes};
use crate::metrics::{HeldMetrics, ReplicaMetrics};

/// The epoch of a catalog whose life has not begun.
const FIRST_EPOCH: u32 = 1;

/// Where the answer of a proposal goes.
pub(super) type Answer = oneshot::Sender<Result<Outcome, ProposeError>>;

/// The replica with everything it works on.
pub(super) struct Driver {
    pub(super) replica: Replica,
    pub(super) links: Links,
    pub(super) checkpoints: Checkpoints,
    /// The entry at which this node's catalog was found to differ from the majority's.
    pub(super) diverged: Option<u64>,
    pub(super) catalog: Rc<RefCell<Catalog>>,
    /// Changes of the members that are applied, and answered once the old members' votes are not needed any more.
    pub(super) members_changed: Vec<(Answer, Outcome)>,
    pub(super) disk: Disk,
    files: SnapshotFiles,
    admission: Admission<(Command, Answer)>,
    yielding: Yielding,
    beginning: Beginning,
    pub(super) waiting: Waiting,
    freshness: Freshness,
    subscribers: Subscribers,
    pub(super) leadership: watch::Sender<Leadership>,
    life: OwnLife,
    pub(super) wall: WallClock,
    pub(super) metrics: ReplicaMetrics,
    /// The newest version of commands that this node knows.
    pub(super) commands: u32,
    /// The members as the roster was told last.
    pub(super) followed: Option<(Membership, Members)>,
    /// The entry that removed this node.
    pub(super) removed: Option<u64>,
    /// Members that have come back with another disk, and when they last said so.
    pub(super) returned: BTreeMap<NodeId, (u64, Duration)>,
}

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) replica: Replica,
    pub(super) links: Links,
    pub(super) catalog: Rc<RefCell<Catalog>>,
    pub(super) disk: Disk,
    pub(super) files: SnapshotFiles,
    pub(super) subscribers: Subscribers,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) life: OwnLife,
    pub(super) proposals_in_flight: usize,
    pub(super) wall: WallClock,
    pub(super) metrics: ReplicaMetrics,
    pub(super) commands: u32,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            replica: parts.replica,
            links: parts.links,
            checkpoints: Checkpoints::default(),
            diverged: None,
            catalog: parts.catalog,
            members_changed: Vec::new(),
            disk: parts.disk,
            files: parts.files,
            admission: Admission::new(parts.proposals_in_flight),
            yielding: Yielding::default(),
            beginning: Beginning::default(),
            waiting: Waiting::default(),
            freshness: Freshness::default(),
            subscribers: parts.subscribers,
            leadership: parts.leadership,
            life: parts.life,
            wall: parts.wall,
            metrics: parts.metrics,
            commands: parts.commands,
            followed: None,
            removed: None,
            returned: BTreeMap::new(),
        }
    }

    /// A proposal has come from this node's clients or from a peer.
    pub(super) fn propose(&mut self, command: Command, class: Class, answer: Answer, now: Duration) {
        let leadership = *self.leadership.borrow();
        // Where this node's catalog is wrong, so are its outcomes: the next leader, to be elected soon, is asked.
        if !leadership.is_here() || self.diverged.is_some() {
            let leader = leadership.leader.filter(|leader| *leader != leadership.node);
            let _ = answer.send(Err(ProposeError::NotLeader { leader }));
            return;
        }
        if answer.is_closed() {
            return; // its client has gone while it waited
        }
        if let Err(error) = self.known_to_all(&command) {
            let _ = answer.send(Err(error));
            return;
        }
        if let Some(shortage) = self.disk.shortage() {
            self.refuse(class, answer, &shortage.to_string());
            return;
        }
        match self.admission.offered(class, (command, answer), now) {
            Verdict::Go((command, answer)) => self.propose_now(command, class, answer, now),
            Verdict::Waits => {}
            Verdict::Refused((_, answer)) => {
                self.refuse(class, answer, "too many writes wait for their commit");
            }
        }
    }

    /// A question of the catalog has come. It is answered at once if what this node holds is fresh enough; else it shares a
    /// round to the leader with all that came since the last.
    pub(super) fn consult(&mut self, question: Question, fresh: Fresh, now: Duration) {
        if let Some(index) = self.diverged {
            return question(Err(ReadError::Unconfirmed { reason: divergence::reason(index) }));
        }
        let question = match fresh {
            Fresh::Linearizable => question,
            Fresh::Within(bound) => match self.freshness.age(self.moment(now)) {
                Some(stale) if stale <= bound => {
                    return question(Ok(Seen { catalog: &self.catalog.borrow(), stale }));
                }
                age => told_of_age(question, bound, age),
            },
        };
        self.consult_leader(question);
    }

    fn consult_leader(&mut self, question: Question) {
        if let Err(question) = self.waiting.asked(question) {
            self.metrics.refused.with_label_values(&[READ]).inc();
            question(Err(ReadError::busy("too many reads wait for a word of the leader")));
        }
    }

    /// Carries out all outputs, until there are none.
    pub(super) fn carry_out(&mut self, replica: &Addr<ReplicaActor>, now: Duration) {
        self.start_read(now);
        loop {
            self.begin_life(now);
            while let Some((command, answer)) = self.admission.due(now) {
                self.propose_now(command, Class::Rollup, answer, now);
            }
            let outputs = self.replica.outputs(now);
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.carry(output, replica, now);
            }
        }
        self.subscribers.publish(&self.catalog.borrow());
        self.metrics.in_flight.set(i64::try_from(self.admission.in_flight()).unwrap_or(i64::MAX));
    }

    /// A leader that has no room for writes hands over.
    pub(super) fn yield_when_short(&mut self) {
        let leads = self.leadership.borrow().is_here();
        let asked = self.yielding.look(self.disk.shortage().is_some(), leads);
        if asked == Yield::Stay {
            return;
        }
        let handed = self.replica.transfer_leadership(None);
        if let (Ok(to), Yield::First) = (handed, asked) {
            info!(%to, "this node's disk is short of space: handing leadership over");
        }
    }

    /// A leader whose catalog differs from the majority's hands over whenever it leads: what it would answer is wrong.
    pub(super) fn yield_when_diverged(&mut self) {
        if self.diverged.is_some() && self.leadership.borrow().is_here() {
            let _nobody_else_yet = self.replica.transfer_leadership(None);
        }
    }

    /// A lagging subscriber is tried again.
    pub(super) fn retry_subscribers(&mut self) {
        self.subscribers.retry(&self.catalog.borrow());
    }

    fn refuse(&self, class: Class, answer: Answer, reason: &str) {
        self.metrics.refused.with_label_values(&[class.name()]).inc();
        let retry_after_ms = self.admission.retry_after_ms();
        let _ = answer.send(Err(ProposeError::Busy { reason: reason.to_owned(), retry_after_ms }));
    }

    /// Stamps a command and hands it to Raft. The stamp never runs behind the log's own time.
    fn propose_now(&mut self, mut command: Command, class: Class, answer: Answer, now: Duration) {
        command.at_ms = (self.wall)().0.max(self.catalog.borrow().now().0);
        let token = self.waiting.token();
        match self.replica.propose(token, Bytes::from(command.encode_to_vec())) {
            Ok(()) => self.waiting.proposed(token, Proposer { class: Some(class), since: now, answer }),
            Err(error) => {
                self.admission.settled(class, Duration::ZERO);
                self.metrics.refused.with_label_values(&[class.name()]).inc();
                let _ = answer.send(Err(self.wire_error(&error)));
            }
        }
    }

    /// The first leader of a cluster that was founded, restored or recovered begins its life, before it takes any other write.
    fn begin_life(&mut self, now: Duration) {
        let leads = self.leadership.borrow().is_here();
        let begin = self.beginning.due(leads, &self.catalog.borrow(), self.wall, now);
        let Some(begin) = begin else { return };
        info!(epoch = begin.epoch, "a life of this cluster begins");
        let command = Command { id: None, at_ms: 0, body: Some(Body::Begin(begin)) };
        let (answer, _nobody_waits) = oneshot::channel();
        self.propose(command, Class::Discovery, answer, now);
    }

    fn moment(&self, now: Duration) -> Moment {
        Moment { clock: now, wall: (self.wall)() }
    }

    fn start_read(&mut self, now: Duration) {
        if !self.waiting.is_asked() && !self.freshness.is_due(now) {
            return;
        }
        self.freshness.asked(now);
        let token = self.waiting.start_read(self.moment(now));
        if let Err(error) = self.replica.read(token, now) {
            self.fail_read(token, &error);
        }
    }

    fn fail_read(&mut self, token: u64, error: &consensus::ReadError) {
        for question in self.waiting.answered_read(token).into_iter().flat_map(|round| round.questions) {
            question(Err(ReadError::Unconfirmed { reason: error.to_string() }));
        }
    }

    fn carry(&mut self, output: Output, replica: &Addr<ReplicaActor>, now: Duration) {
        match output {
            Output::RoleChanged { role, term, leader } => self.role_changed(role, term, leader),
            Output::Send { to, bytes } => self.links.send(to, bytes),
            Output::SendSnapshot { to, index, attempt, bytes } => {
                let files = self.files.clone();
                self.links.send_snapshot(to, index, attempt, bytes, files, replica.clone());
            }
            Output::Persist(batch) => self.disk.persist(batch),
            Output::Apply(entries) => self.apply(entries, now),
            Output::InstallSnapshot { index, data, .. } => self.install(index, &data),
            Output::ReadReady { token, .. } => self.answer_reads(token),
            Output::ReadFailed { token, reason } => self.fail_read(token, &reason),
            Output::ProposalLost { token, reason } => {
                let error = self.wire_error(&reason);
                self.settle(token, Err(error), now);
            }
            Output::MakeSnapshot => {
                let started = Instant::now();
                let copy = self.catalog.borrow().clone();
                self.metrics.snapshot_pause_seconds.observe(started.elapsed().as_secs_f64());
                snapshots::make(copy, replica.clone());
            }
            Output::KeepSnapshot(snapshot) => {
                snapshots::keep(self.files.clone(), snapshot, replica.clone(), self.metrics.clone());
            }
            Output::CompactLog { below } => self.disk.compact(below),
        }
    }

    /// Answers from the catalog. One whose life has not begun would tell revisions of the life before: ask again, the
    /// begin is on its way.
    fn answer_reads(&mut self, token: u64) {
        let Some(round) = self.waiting.answered_read(token) else { return };
        if let Some(index) = self.diverged {
            let refused = || ReadError::Unconfirmed { reason: divergence::reason(index) };
            return round.questions.into_iter().for_each(|question| question(Err(refused())));
        }
        let catalog = Rc::clone(&self.catalog);
        let catalog = catalog.borrow();
        if !catalog.is_begun() {
            return round.questions.into_iter().for_each(|question| self.consult_leader(question));
        }
        self.freshness.proved(round.begun);
        let seen = Seen { catalog: &catalog, stale: Duration::ZERO };
        round.questions.into_iter().for_each(|question| question(Ok(seen)));
    }

    fn role_changed(&mut self, role: consensus::Role, term: u64, leader: Option<consensus::NodeId>) {
        let before = *self.leadership.borrow();
        let log_end = self.replica.status().last_index;
        let now = Leadership { node: before.node, role, term, leader, log_end };
        if before.leader != leader || before.is_here() != now.is_here() {
            info!(?role, term, leader = leader.map(|node| node.0), "leadership changed");
        }
        self.metrics.leads.set(i64::from(now.is_here()));
        self.metrics.term.set(i64::try_from(term).unwrap_or(i64::MAX));
        if before.leader != leader && leader.is_some() {
            self.metrics.leader_changes.inc();
        }
        self.leadership.send_replace(now);
        self.links.roster().led(leader.is_some());
        self.beginning.leadership_changed();
    }

    fn apply(&mut self, entries: Vec<Committed>, now: Duration) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        let shared = Rc::clone(&self.catalog);
        let mut catalog = shared.borrow_mut();
        for entry in entries {
            let applied = catalog.apply(entry.index, &entry.data);
            self.end_if_too_old(&catalog);
            self.checkpoints.applied(entry.index, catalog.state_hash());
            self.subscribers.changed(applied.changes);
            match entry.token.and_then(|token| self.waiting.settled(token)) {
                Some(Proposer { class: None, answer, .. }) => {
                    self.members_changed.push((answer, applied.outcome));
                }
                Some(proposer) => self.answer(proposer, Ok(applied.outcome), now),
                None => {}
            }
        }
        self.life.became(Life::of(&catalog));
        drop(catalog);
        self.metrics.applied.set(i64::try_from(last).unwrap_or(i64::MAX));
        tell_sizes(&self.metrics.held, &self.catalog.borrow().sizes());
        self.replica.applied(last);
        self.follow_members();
    }

    /// A proposal has its outcome, or will have none here.
    fn settle(&mut self, token: u64, result: Result<Outcome, ProposeError>, now: Duration) {
        if let Some(proposer) = self.waiting.settled(token) {
            self.answer(proposer, result, now);
        }
    }

    fn answer(&mut self, proposer: Proposer, result: Result<Outcome, ProposeError>, now: Duration) {
        let waited = now.saturating_sub(proposer.since);
        if result.is_ok() {
            self.metrics.commit_seconds.observe(waited.as_secs_f64());
        }
        proposer.class.into_iter().for_each(|class| self.admission.settled(class, waited));
        let _ = proposer.answer.send(result);
    }

    /// Replaces the catalog.
    ///
    /// # Panics
    /// If the bytes cannot be read: this node can neither serve nor vote on what it does not understand.
    fn install(&mut self, index: u64, data: &[u8]) {
        let restored = if data.is_empty() { Ok(Catalog::new(FIRST_EPOCH)) } else { Catalog::restore(data) };
        let catalog = restored.unwrap_or_else(|failure| {
            error!(index, %failure, "a snapshot cannot be installed");
            panic!("a snapshot cannot be installed: {failure}")
        });
        self.end_if_too_old(&catalog);
        self.life.became(Life::of(&catalog));
        self.catalog.replace(catalog);
        self.checkpoints.clear();
        self.subscribers.replaced();
        info!(index, bytes = data.len(), "snapshot installed");
        self.replica.applied(index);
        self.follow_members();
    }

    /// A refusal of Raft, in this room's words.
    pub(super) fn wire_error(&self, error: &consensus::ProposeError) -> ProposeError {
        use consensus::ProposeError as Raft;
        let retry_after_ms = self.admission.retry_after_ms();
        match error {
            Raft::NotLeader { leader } => ProposeError::NotLeader { leader: *leader },
            Raft::LeadershipUnsettled => ProposeError::NotLeader { leader: None },
            Raft::Busy { .. } => ProposeError::Busy { reason: error.to_string(), retry_after_ms },
            Raft::TooLarge { bytes, bytes_max } => {
                ProposeError::TooLarge { bytes: *bytes, bytes_max: *bytes_max }
            }
            Raft::OutcomeUnknown => ProposeError::OutcomeUnknown { reason: error.to_string() },
        }
    }
}

/// The question, which says in its refusal how old a catalog it would have seen.
fn told_of_age(question: Question, bound: Duration, age: Option<Duration>) -> Question {
    let held = age.map_or_else(
        || "this node's catalog was never confirmed".to_owned(),
        |age| format!("this node's catalog was last confirmed {:.1} s ago", age.as_secs_f64()),
    );
    let bound = bound.as_secs_f64();
    Box::new(move |seen| {
        question(seen.map_err(|error| match error {
            ReadError::Unconfirmed { reason } => ReadError::Unconfirmed {
                reason: format!("{reason}; {held}, at most {bound:.1} s were asked for"),
            },
            busy @ ReadError::Busy { .. } => busy,
        }));
    })
}

fn tell_sizes(held: &HeldMetrics, sizes: &Sizes) {
    let set = |gauge: &prometheus::IntGauge, size: u64| gauge.set(i64::try_from(size).unwrap_or(i64::MAX));
    set(&held.services, sizes.services as u64);
    set(&held.endpoints, sizes.endpoints as u64);
    set(&held.routes, sizes.routes as u64);
    set(&held.policies, sizes.policies as u64);
    set(&held.clients, sizes.clients as u64);
    set(&held.outcome_bytes, sizes.outcome_bytes as u64);
    set(&held.forgotten_clients, sizes.forgotten_clients);
    set(&held.edges, sizes.edges as u64);
    set(&held.history_bytes, sizes.history_bytes as u64);
    set(&held.folded, sizes.folded_records);
    set(&held.shortened, sizes.shortened_spans);
}

#[cfg(test)]
#[path = "driver_tests.rs"]
#[allow(clippy::unwrap_used)] // a panic is how a test fails
mod tests;
