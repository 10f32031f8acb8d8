//! What clients and forwarding nodes ask of the replica: a bounded queue for each class, filled on any thread, emptied on the
//! truth thread in slices, with a look into the actor's mailbox between two of them.
//!
//! A mailbox has one order and one bound. Here Raft's own frames, which come by the mailbox, never stand behind clients; the
//! urgent classes go before the others, which wait but do not starve; and a node that is asked more than it can do refuses at
//! once, before the truth thread has spent anything. Each call costs one wake-up of the truth thread at most, and none while it
//! has work. Decides nothing about a single proposal: [`super::admission`] does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use api::log::v1::{Command, Outcome};
use futures_util::Stream;
use futures_util::task::AtomicWaker;
use prometheus::IntGauge;
use tokio::sync::oneshot;

use super::admission::RETRY_AFTER_MS;
use super::driver::Answer;
use super::freshness::Fresh;
use super::messages::{Class, ProposeError, READ, ReadError};
use super::waiting::Question;
use crate::metrics::InboxMetrics;

/// Registrations and config that wait for the truth thread. At 20,000 a second this is a fifth of a second; more would only make
/// their clients give up while they still wait.
const DISCOVERY_MAX: usize = 4096;
/// Reads that wait for the truth thread; each is answered in microseconds.
const READS_MAX: usize = 8192;
/// Traffic partials that wait for the truth thread: each may have a megabyte.
const ROLLUPS_MAX: usize = 64;

/// What the truth thread takes at once: a few milliseconds of work, so that no frame waits longer. Smaller makes more and smaller
/// batches under load. The parts of reads and rollups are what they have also while the class before them is too much.
const SLICE: Share = Share { discovery: 192, reads: 128, rollups: 2 };

struct Share {
    discovery: usize,
    reads: usize,
    rollups: usize,
}

/// A write that was asked for.
pub(super) struct Proposal {
    pub(super) command: Command,
    pub(super) class: Class,
    pub(super) answer: Answer,
}

/// A read that was asked for.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) fresh: Fresh,
}

/// What the truth thread does next: the urgent first.
pub(super) struct Slice {
    pub(super) discovery: Vec<Proposal>,
    pub(super) reads: Vec<Asked>,
    pub(super) rollups: Vec<Proposal>,
}

#[derive(Default)]
struct Queues {
    discovery: VecDeque<Proposal>,
    reads: VecDeque<Asked>,
    rollups: VecDeque<Proposal>,
    /// Nobody will come for what waits.
    closed: bool,
}

struct Shared {
    queues: Mutex<Queues>,
    bell: AtomicWaker,
    metrics: InboxMetrics,
}

/// The near end, for the door and the peers' service; cheap to clone.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

/// The far end, read by the actor.
pub(super) struct Slices {
    shared: Arc<Shared>,
    /// A slice was taken and more waits: first the mailbox has its turn.
    yields: bool,
}

/// Both ends of an empty inbox.
pub(super) fn inbox(metrics: InboxMetrics) -> (Inbox, Slices) {
    let shared = Arc::new(Shared { queues: Mutex::default(), bell: AtomicWaker::new(), metrics });
    (Inbox(Arc::clone(&shared)), Slices { shared, yields: false })
}

impl Inbox {
    /// Proposes on this node, if it leads; answers after the command is applied here. Dropping the future takes the command back,
    /// as long as it waits here.
    pub(super) async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let (answer, answered) = oneshot::channel();
        let class = Class::of(&command);
        let proposal = Proposal { command, class, answer };
        let refused = match class {
            Class::Discovery => self.0.put(DISCOVERY_MAX, proposal, |queues| &mut queues.discovery),
            Class::Rollup => self.0.put(ROLLUPS_MAX, proposal, |queues| &mut queues.rollups),
        };
        if refused.is_some() {
            self.0.metrics.refused.with_label_values(&[class.name()]).inc();
            let reason = format!("too many writes of class {} wait for this node", class.name());
            return Err(ProposeError::Busy { reason, retry_after_ms: RETRY_AFTER_MS });
        }
        let stopping = || ProposeError::OutcomeUnknown { reason: "this node is stopping".to_owned() };
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Asks a question of the catalog. The question is dropped if this node is stopping.
    pub(super) fn ask(&self, question: Question, fresh: Fresh) {
        let refused = self.0.put(READS_MAX, Asked { question, fresh }, |queues| &mut queues.reads);
        if let Some(Asked { question, .. }) = refused {
            self.0.metrics.refused.with_label_values(&[READ]).inc();
            question(Err(ReadError::busy("too many reads wait for this node")));
        }
    }
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it into the queue of its class, or gives it back when there is no room.
    fn put<T>(
        &self,
        most: usize,
        asked: T,
        queue: impl FnOnce(&mut Queues) -> &mut VecDeque<T>,
    ) -> Option<T> {
        let mut queues = self.queues();
        if queues.closed {
            return None; // who waits for the answer is told by the drop
        }
        let queue = queue(&mut queues);
        if queue.len() >= most {
            return Some(asked);
        }
        queue.push_back(asked);
        drop(queues);
        self.bell.wake();
        None
    }

    /// The next slice, if anything waits, and whether more does.
    fn slice(&self) -> Option<(Slice, bool)> {
        let mut queues = self.queues();
        let Queues { discovery, reads, rollups, .. } = &mut *queues;
        if discovery.is_empty() && reads.is_empty() && rollups.is_empty() {
            return None;
        }
        let metrics = &self.metrics;
        let slice = Slice {
            discovery: share(discovery, SLICE.discovery, &metrics.discovery),
            reads: share(reads, SLICE.reads, &metrics.reads),
            rollups: share(rollups, SLICE.rollups, &metrics.rollups),
        };
        Some((slice, !discovery.is_empty() || !reads.is_empty() || !rollups.is_empty()))
    }
}

fn share<T>(queue: &mut VecDeque<T>, most: usize, left: &IntGauge) -> Vec<T> {
    let taken = queue.drain(..queue.len().min(most)).collect();
    left.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
    taken
}

impl Stream for Slices {
    type Item = Slice;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Slice>> {
        if std::mem::take(&mut self.yields) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.shared.bell.register(context.waker());
        let Some((slice, more)) = self.shared.slice() else { return Poll::Pending };
        self.yields = more;
        Poll::Ready(Some(slice))
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        *self.shared.queues() = Queues { closed: true, ..Queues::default() };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use api::log::v1::Tick;
    use api::log::v1::command::Body;
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::metrics::Metrics;

    fn registration() -> Command {
        Command { id: None, at_ms: 0, body: Some(Body::Register(api::log::v1::Register::default())) }
    }

    fn tick() -> Command {
        Command { id: None, at_ms: 0, body: Some(Body::Tick(Tick {})) }
    }

    fn next(slices: &mut Slices) -> Option<Slice> {
        slices.next().now_or_never().flatten()
    }

    #[test]
    fn the_urgent_go_first_and_the_others_are_not_starved() {
        let (inbox, mut slices) = inbox(Metrics::new().inbox);
        let mut waiting: Vec<_> = (0..1000).map(|_| Box::pin(inbox.propose(registration()))).collect();
        let mut rollup = Box::pin(inbox.propose(tick()));
        assert!(rollup.as_mut().now_or_never().is_none());
        (0..500).for_each(|_| inbox.ask(Box::new(|_| {}), Fresh::Linearizable));
        assert!(waiting.iter_mut().all(|write| write.as_mut().now_or_never().is_none()));
        let slice = next(&mut slices).unwrap();
        let taken = (slice.discovery.len(), slice.reads.len(), slice.rollups.len());
        assert_eq!(taken, (SLICE.discovery, SLICE.reads, 1));
    }

    #[test]
    fn what_finds_no_room_is_refused_at_once_with_a_time_to_come_back_and_counted_by_class() {
        let metrics = Metrics::new().inbox;
        let (inbox, _slices) = inbox(metrics.clone());
        let mut waiting: Vec<_> =
            (0..DISCOVERY_MAX).map(|_| Box::pin(inbox.propose(registration()))).collect();
        assert!(waiting.iter_mut().all(|write| write.as_mut().now_or_never().is_none()));
        let refused = inbox.propose(registration()).now_or_never().unwrap();
        assert!(matches!(refused, Err(ProposeError::Busy { retry_after_ms: RETRY_AFTER_MS, .. })));
        assert!(inbox.propose(tick()).now_or_never().is_none(), "another class has its own room");
        let counted = |class: &str| metrics.refused.with_label_values(&[class]).get();
        assert_eq!((counted("discovery"), counted("rollup"), counted(READ)), (1, 0, 0));
    }

    #[test]
    fn the_mailbox_has_its_turn_between_two_slices() {
        let (inbox, mut slices) = inbox(Metrics::new().inbox);
        assert!(next(&mut slices).is_none(), "nothing waits");
        (0..=SLICE.reads).for_each(|_| inbox.ask(Box::new(|_| {}), Fresh::Linearizable));
        assert_eq!(next(&mut slices).unwrap().reads.len(), SLICE.reads);
        assert!(next(&mut slices).is_none(), "the mailbox has its turn");
        assert_eq!(next(&mut slices).unwrap().reads.len(), 1);
        assert!(next(&mut slices).is_none());
    }

    #[test]
    fn who_waits_for_a_replica_that_ends_or_has_ended_is_told_so() {
        let (inbox, slices) = inbox(Metrics::new().inbox);
        let mut waits = Box::pin(inbox.propose(registration()));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(slices);
        for told in [waits.now_or_never().unwrap(), inbox.propose(registration()).now_or_never().unwrap()] {
            assert!(matches!(told, Err(ProposeError::OutcomeUnknown { .. })), "{told:?}");
        }
    }
}
