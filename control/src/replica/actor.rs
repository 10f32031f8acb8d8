//! The replica's actor: a thin ear before [`Driver`]. Lives on the truth thread, one per node, as long as the process.
//!
//! Each message is one input; when the mailbox is empty, one round carries out what all of them together caused. So whatever
//! arrives while the disk or the network is busy goes in the next batch. What clients ask comes by the inbox, in slices between
//! two looks into the mailbox. It holds no rule.

use std::time::Duration;

use actix::fut::{self, ActorFutureExt as _};
use actix::{
    Actor, AsyncContext, Context, Handler, MessageResult, ResponseFuture, SpawnHandle, StreamHandler,
};
use consensus::{NodeId, ReceiveError};
use futures_util::StreamExt as _;
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::WatchStream;
use tracing::info;

use super::clock::Clock;
use super::driver::{Driver, Parts};
use super::inbox::{Asked, Proposal, Slice, Slices};
use super::messages::{
    ChangeError, ChangeMembership, Changed, Diverged, FoundingConfirmed, PeerLost, ProposeError, Receive,
    ReceiveSnapshot, ReportGround, ReportHashes, ReportStatus, ReturnedAnew, SnapshotKept, SnapshotMade,
    SnapshotSent, SnapshotUnreadable, ToldRemoved, TransferLeadership,
};

/// Messages that wait. Fewer make senders park more often under load; more only add to the wait of a Raft frame behind them.
const MAILBOX_MAX: usize = 4096;

/// The actor that owns this node's replica and writes its catalog.
pub struct ReplicaActor {
    driver: Driver,
    clock: Clock,
    durable: watch::Receiver<u64>,
    slices: Option<Slices>,
    round_due: bool,
    alarm: Option<(Duration, SpawnHandle)>,
}

impl ReplicaActor {
    pub(super) fn new(parts: Parts, clock: Clock, durable: watch::Receiver<u64>, slices: Slices) -> Self {
        let (driver, slices) = (Driver::new(parts), Some(slices));
        Self { driver, clock, durable, slices, round_due: false, alarm: None }
    }

    /// A round will follow once the mailbox is empty.
    fn heard(&mut self, context: &mut Context<Self>) {
        if !std::mem::replace(&mut self.round_due, true) {
            let round =
                fut::ready(()).map(|(), actor: &mut Self, context: &mut Context<Self>| actor.round(context));
            context.spawn(round);
        }
    }

    fn round(&mut self, context: &mut Context<Self>) {
        self.round_due = false;
        self.driver.carry_out(&context.address(), self.clock.now());
        let deadline = self.driver.replica.next_deadline();
        let sooner = self.alarm.is_none_or(|(set, _)| deadline < set);
        if sooner {
            if let Some((_, handle)) = self.alarm.take() {
                context.cancel_future(handle);
            }
            let wait = deadline.saturating_sub(self.clock.now());
            let handle = context.run_later(wait, |actor, context| {
                actor.alarm = None;
                actor.driver.replica.tick(actor.clock.now());
                actor.driver.yield_when_short();
                actor.driver.yield_when_diverged();
                actor.driver.retry_subscribers();
                actor.heard(context);
            });
            self.alarm = Some((deadline, handle));
        }
    }
}

impl Actor for ReplicaActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MAX);
        self.driver.follow_members();
        context.add_stream(WatchStream::from_changes(self.durable.clone()));
        context.add_stream(WatchStream::new(self.driver.links.roster().changes()).map(|_| RosterChanged));
        if let Some(slices) = self.slices.take() {
            context.add_stream(slices);
        }
        self.heard(context);
    }
}

/// The log's thread has made batches durable.
impl StreamHandler<u64> for ReplicaActor {
    fn handle(&mut self, number: u64, context: &mut Self::Context) {
        self.driver.replica.persisted(number, self.clock.now());
        self.heard(context);
    }

    fn finished(&mut self, _: &mut Self::Context) {
        info!("the log's thread has ended");
    }
}

/// The other nodes, or their addresses, may have changed.
struct RosterChanged;

impl StreamHandler<RosterChanged> for ReplicaActor {
    fn handle(&mut self, _: RosterChanged, context: &mut Self::Context) {
        self.driver.links.follow(&context.address());
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

/// What clients ask.
impl StreamHandler<Slice> for ReplicaActor {
    fn handle(&mut self, slice: Slice, context: &mut Self::Context) {
        let now = self.clock.now();
        for Proposal { command, class, answer } in slice.discovery {
            self.driver.propose(command, class, answer, now);
        }
        for Asked { question, fresh } in slice.reads {
            self.driver.consult(question, fresh, now);
        }
        for Proposal { command, class, answer } in slice.rollups {
            self.driver.propose(command, class, answer, now);
        }
        self.heard(context);
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<ReportStatus> for ReplicaActor {
    type Result = MessageResult<ReportStatus>;

    fn handle(&mut self, _: ReportStatus, context: &mut Self::Context) -> Self::Result {
        // Its silences are counted up to now, not to the last tick.
        self.driver.replica.tick(self.clock.now());
        self.heard(context);
        MessageResult::<ReportStatus>(self.driver.replica.status())
    }
}

impl Handler<ReportHashes> for ReplicaActor {
    type Result = MessageResult<ReportHashes>;

    fn handle(&mut self, _: ReportHashes, _: &mut Self::Context) -> Self::Result {
        MessageResult::<ReportHashes>(self.driver.checkpoints.hashes())
    }
}

impl Handler<Diverged> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, Diverged { index }: Diverged, context: &mut Self::Context) {
        self.driver.diverged = Some(index);
        self.heard(context);
    }
}

impl Handler<ReportGround> for ReplicaActor {
    type Result = MessageResult<ReportGround>;

    fn handle(&mut self, _: ReportGround, _: &mut Self::Context) -> Self::Result {
        MessageResult::<ReportGround>(self.driver.ground(self.clock.now()))
    }
}

impl Handler<ToldRemoved> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, ToldRemoved { index }: ToldRemoved, _: &mut Self::Context) {
        self.driver.told_removed(index);
    }
}

impl Handler<ReturnedAnew> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, ReturnedAnew { node, disk }: ReturnedAnew, _: &mut Self::Context) {
        self.driver.returned_anew(node, disk, self.clock.now());
    }
}

impl Handler<FoundingConfirmed> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, _: FoundingConfirmed, context: &mut Self::Context) {
        self.driver.end_doubt("no founder has begun");
        self.heard(context);
    }
}

impl Handler<ChangeMembership> for ReplicaActor {
    type Result = ResponseFuture<Result<Changed, ChangeError>>;

    fn handle(&mut self, message: ChangeMembership, context: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        let planned = self.driver.change_members(message, answer, self.clock.now());
        self.heard(context);
        Box::pin(async move {
            let changed = planned?;
            let stopping = || ProposeError::OutcomeUnknown { reason: "this node is stopping".to_owned() };
            answered.await.unwrap_or_else(|_| Err(stopping()))?;
            Ok(changed)
        })
    }
}

impl Handler<TransferLeadership> for ReplicaActor {
    type Result = Option<NodeId>;

    fn handle(&mut self, message: TransferLeadership, context: &mut Self::Context) -> Self::Result {
        let transferred = self.driver.replica.transfer_leadership(message.to);
        self.heard(context);
        transferred.ok()
    }
}

impl Handler<Receive> for ReplicaActor {
    type Result = Result<(), ReceiveError>;

    fn handle(&mut self, message: Receive, context: &mut Self::Context) -> Self::Result {
        self.heard(context);
        let now = self.clock.now();
        let mut first_error = Ok(());
        for frame in message.messages {
            let received = self.driver.replica.receive(message.from, frame, now);
            first_error = first_error.and(received);
        }
        first_error
    }
}

impl Handler<ReceiveSnapshot> for ReplicaActor {
    type Result = Result<(), ReceiveError>;

    fn handle(&mut self, message: ReceiveSnapshot, context: &mut Self::Context) -> Self::Result {
        self.heard(context);
        self.driver.replica.receive_snapshot(message.from, message.message, message.data, self.clock.now())
    }
}

impl Handler<PeerLost> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, PeerLost { peer, loss }: PeerLost, context: &mut Self::Context) {
        self.driver.replica.peer_lost(peer, loss, self.clock.now());
        self.heard(context);
    }
}

impl Handler<SnapshotSent> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, message: SnapshotSent, context: &mut Self::Context) {
        self.driver.replica.snapshot_sent(message.to, message.attempt, message.ok);
        self.heard(context);
    }
}

impl Handler<SnapshotUnreadable> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, message: SnapshotUnreadable, context: &mut Self::Context) {
        self.driver.snapshot_unreadable(message, self.clock.now());
        self.heard(context);
    }
}

impl Handler<SnapshotMade> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, message: SnapshotMade, context: &mut Self::Context) {
        self.driver.replica.snapshot_made(message.index, message.data);
        self.heard(context);
    }
}

impl Handler<SnapshotKept> for ReplicaActor {
    type Result = ();

    fn handle(&mut self, SnapshotKept(index): SnapshotKept, context: &mut Self::Context) {
        self.driver.replica.snapshot_kept(index);
        self.heard(context);
    }
}
