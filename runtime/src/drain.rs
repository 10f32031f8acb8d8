//! Stopping well: take nothing new, finish what runs, until a deadline.
//!
//! `node.rs` and `proxy.rs` make one pair per stage ([`channel`]) and drain the stages in reverse order of start. Each
//! server holds a [`Watch`]; each thing that must be finished (a connection, a stream, a lease to hand back) holds a
//! [`Blocker`] until it is done. The [`Trigger`] waits for the last blocker, for the deadline, or for whoever is impatient,
//! and leaves one log line for the outcome. Must never be taken per request: a blocker costs a lock.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Take nothing new, finish what runs.
    Draining,
    /// The deadline has passed, or a person insists: let go of what still runs.
    Over,
}

struct Shared {
    phase: watch::Sender<Phase>,
    open: Mutex<BTreeMap<&'static str, usize>>,
    closed: Notify,
}

/// What was still open, by kind, for the log and the exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open(pub BTreeMap<&'static str, usize>);

impl Open {
    /// The sum over all kinds.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (index, (what, count)) in self.0.iter().enumerate() {
            write!(f, "{}{count} {what}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was finished.
    Finished,
    /// The deadline passed while this was still open.
    DeadlinePassed(Open),
    /// It was cut short (a second signal) while this was still open.
    CutShort(Open),
}

/// A new stage: the end that starts the drain, and the end that servers clone.
pub fn channel(stage: &'static str) -> (Trigger, Watch) {
    let shared = Arc::new(Shared {
        phase: watch::Sender::new(Phase::Serving),
        open: Mutex::default(),
        closed: Notify::new(),
    });
    (Trigger { stage, shared: Arc::clone(&shared) }, Watch { shared })
}

/// Starts the drain of one stage. Dropped without [`Trigger::drain`], its watches wait for ever: nothing is drained.
pub struct Trigger {
    stage: &'static str,
    shared: Arc<Shared>,
}

impl Trigger {
    /// What is open now.
    pub fn open(&self) -> Open {
        self.shared.open()
    }

    /// Tells every [`Watch`] to drain and waits until the last [`Blocker`] is gone, but no longer than `grace` and not
    /// after `cut_short` is ready. What is still open then is told to let go ([`Blocker::over`]).
    pub async fn drain(self, grace: Duration, cut_short: impl Future<Output = ()>) -> Outcome {
        let (stage, started) = (self.stage, Instant::now());
        self.shared.phase.send_replace(Phase::Draining);
        info!(stage, open = %self.open(), grace_seconds = grace.as_secs_f64(), "draining");
        let outcome = tokio::select! {
            biased;
            () = self.shared.all_closed() => Outcome::Finished,
            () = cut_short => Outcome::CutShort(self.open()),
            () = tokio::time::sleep(grace) => Outcome::DeadlinePassed(self.open()),
        };
        self.shared.phase.send_replace(Phase::Over);
        let seconds = started.elapsed().as_secs_f64();
        match &outcome {
            Outcome::Finished => info!(stage, seconds, "drained"),
            Outcome::DeadlinePassed(open) => {
                warn!(stage, seconds, %open, "drain deadline passed; letting go");
            }
            Outcome::CutShort(open) => warn!(stage, seconds, %open, "drain cut short; letting go"),
        }
        outcome
    }
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger").field("stage", &self.stage).field("open", &self.open()).finish()
    }
}

/// Hears when to drain. Cloned to every server and accept loop of the stage.
#[derive(Clone)]
pub struct Watch {
    shared: Arc<Shared>,
}

impl Watch {
    /// Ready once the drain has begun.
    pub async fn draining(&self) {
        self.shared.reached(Phase::Draining).await;
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        *self.shared.phase.borrow() >= Phase::Draining
    }

    /// Holds the drain open until the blocker is dropped. `what` is a plural for the log: `connections`.
    pub fn block(&self, what: &'static str) -> Blocker {
        *self.shared.locked().entry(what).or_insert(0) += 1;
        Blocker { what, shared: Arc::clone(&self.shared) }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("draining", &self.is_draining()).finish()
    }
}

/// Something that must be finished before the stage is drained. Dropping it finishes it.
pub struct Blocker {
    what: &'static str,
    shared: Arc<Shared>,
}

impl Blocker {
    /// Ready once the drain has begun: finish what runs, start nothing new.
    pub async fn draining(&self) {
        self.shared.reached(Phase::Draining).await;
    }

    /// Ready once the drain is over while this was still open: let go at once.
    pub async fn over(&self) {
        self.shared.reached(Phase::Over).await;
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        let mut open = self.shared.locked();
        if let Some(count) = open.get_mut(self.what) {
            *count -= 1;
            if *count == 0 {
                open.remove(self.what);
            }
        }
        if open.is_empty() {
            self.shared.closed.notify_waiters();
        }
    }
}

impl fmt::Debug for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocker").field(&self.what).finish()
    }
}

impl Shared {
    /// The lock is held for a map update only; a panic inside is impossible, so a poisoned one is as good.
    fn locked(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Open {
        Open(self.locked().clone())
    }

    async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        phases.wait_for(|now| *now >= phase).await.expect("`self` holds the sender, so it cannot be closed");
    }

    async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if self.locked().is_empty() {
                return;
            }
            closed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_stage_with_nothing_open_is_drained_at_once() {
        let (trigger, watch) = channel("server");
        assert!(!watch.is_draining());
        assert_eq!(trigger.drain(LONG, pending()).await, Outcome::Finished);
        assert!(watch.is_draining());
    }

    #[tokio::test]
    async fn the_drain_waits_for_the_last_blocker() {
        let (trigger, watch) = channel("server");
        let (first, second) = (watch.block("connections"), watch.block("connections"));
        let drained = tokio::spawn(trigger.drain(LONG, pending()));
        first.draining().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!drained.is_finished());
        drop(second);
        assert_eq!(drained.await.ok(), Some(Outcome::Finished));
    }

    #[tokio::test]
    async fn after_the_deadline_the_outcome_says_what_was_open_and_it_is_told_to_let_go() {
        let (trigger, watch) = channel("server");
        let open = [watch.block("connections"), watch.block("connections"), watch.block("streams")];
        let Outcome::DeadlinePassed(left) = trigger.drain(Duration::ZERO, pending()).await else {
            panic!("the deadline did not pass");
        };
        assert_eq!((left.total(), left.to_string().as_str()), (3, "2 connections, 1 streams"));
        open[0].over().await;
    }

    #[tokio::test]
    async fn a_second_signal_cuts_the_drain_short() {
        let (trigger, watch) = channel("server");
        let _open = watch.block("leases");
        let outcome = trigger.drain(LONG, ready(())).await;
        assert_eq!(outcome, Outcome::CutShort(Open(BTreeMap::from([("leases", 1)]))));
    }

    #[tokio::test]
    async fn a_watch_made_before_and_a_clone_made_after_both_hear_the_drain() {
        let (trigger, watch) = channel("server");
        let waiting = tokio::spawn({
            let watch = watch.clone();
            async move { watch.draining().await }
        });
        trigger.drain(LONG, pending()).await;
        assert!(waiting.await.is_ok());
        watch.clone().draining().await;
    }
}
