//! What every node sees to by itself for as long as it runs: one list, for a node with threads of its own as for one under a
//! simulated network. Who starts a node runs them; they hold no rule.

use std::time::Duration;

use futures_util::future::BoxFuture;
use prometheus::IntGauge;
use runtime::admin::{Condition, Readiness};
use tracing::{error, warn};

use crate::catalog::Catalog;
use crate::discovery::Discovery;
use crate::metrics::{AutopilotMetrics, Metrics, StandingMetrics};
use crate::replica::Door;
use crate::replica::{divergence, standing, steward};
use crate::settings::{Autopilot, Settings};

/// How long a fresh node waits for a leader before it serves discovery from what it knows, which is better than nothing.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// Pause after a read that failed: most do after a while, but those of a node that is stopping or differs from the others at once.
/// Shorter keeps a core busy for nothing; longer delays the start of a node by as much.
const READ_AGAIN: Duration = Duration::from_millis(10);
/// Between two tries to find out whether waiting clients wait for something that will come. Shorter floods a group without
/// a leader with reads; longer keeps clients of lost data waiting.
const CONFIRM_PAUSE: Duration = Duration::from_millis(500);
/// How long that may take before names that are not known here count as not existing. Shorter tells that of a fresh service
/// during an election; longer than a proxy's own patience keeps it from following anything else in a group without a quorum.
const PROOF_WAIT: Duration = Duration::from_secs(1);

/// The tasks of one node before they begin, with what each of them tells.
pub(super) struct Tasks {
    sound: Condition,
    caught_up: Condition,
    member: Condition,
    diverged: IntGauge,
    standing: StandingMetrics,
    autopilot: Autopilot,
    autopilot_metrics: AutopilotMetrics,
}

impl Tasks {
    /// Of a node with these settings, which tells these metrics and conditions.
    pub(super) fn of(settings: &Settings, metrics: &Metrics, readiness: &Readiness) -> Self {
        Self {
            sound: readiness.condition("state", "not compared yet"),
            caught_up: readiness.condition("catalog", "has not caught up with the leader"),
            member: readiness.condition("member", "starting"),
            diverged: metrics.replica.diverged.clone(),
            standing: metrics.standing.clone(),
            autopilot: settings.autopilot,
            autopilot_metrics: metrics.autopilot.clone(),
        }
    }

    /// To be run, each by itself, until it ends.
    pub(super) fn begun(self, door: &Door, discovery: &Discovery) -> [BoxFuture<'static, ()>; 5] {
        let (door, discovery) = (|| door.clone(), || discovery.clone());
        [
            Box::pin(catch_up(door(), discovery(), self.caught_up)),
            Box::pin(leave_when_diverged(door(), discovery(), self.sound, self.diverged)),
            Box::pin(leave_when_removed(door(), discovery(), self.member)),
            Box::pin(standing::watch(door(), self.standing)),
            Box::pin(steward::tend(door(), self.autopilot, self.autopilot_metrics)),
        ]
    }
}

/// Discovery begins once this node knows what the others know.
async fn catch_up(door: Door, discovery: Discovery, caught_up: Condition) {
    brought_in(&door).await;
    let read = async {
        while door.consult(|_| ()).await.is_err() {
            tokio::time::sleep(READ_AGAIN).await;
        }
    };
    tokio::pin!(read);
    let in_time = tokio::time::timeout(CATCH_UP_WAIT, read.as_mut()).await.is_ok();
    if !in_time {
        warn!("no leader yet; serving discovery from what this node knows");
    }
    if discovery.begin().await.is_ok() && !in_time {
        read.await;
    }
    caught_up.met();
    confirm_to(&door, &discovery).await;
}

/// Ready once this node belongs to a group: one that waits for that knows nothing to serve.
async fn brought_in(door: &Door) {
    let mut changes = door.peers().identity().roster().changes();
    while door.status().await.is_some_and(|status| status.membership.is_empty()) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// A node that was removed is not ready, and sends its clients to others.
async fn leave_when_removed(door: Door, discovery: Discovery, member: Condition) {
    let mut changes = door.peers().identity().roster().changes();
    member.met();
    while let Some(ground) = door.ground().await {
        if let Some(index) = ground.removed {
            member.lacking(&format!("was removed from the group by entry {index}"));
            let reason = "this node was removed from the group: connect to another node";
            if discovery.end_streams(reason).await.is_err() {
                warn!("discovery had ended before this node was removed");
            }
            return;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// A node whose catalog differs from the others' serves nothing any more, and sends its clients to others.
async fn leave_when_diverged(door: Door, discovery: Discovery, sound: Condition, diverged: IntGauge) {
    let Some(index) = divergence::found(&door, &sound, &diverged).await else { return };
    let reason = divergence::reason(index);
    error!(
        index,
        "{reason}; stop it, move its data directory away as evidence, and start it with an empty one"
    );
    sound.lacking(&reason);
    door.diverged(index).await;
    if discovery.end_streams(&format!("{reason}; connect to another node")).await.is_err() {
        warn!("discovery had ended before this node's catalog was found to differ");
    }
}

/// Tells discovery what a linearizable read finds, each time that a client waits for what this node has not applied.
async fn confirm_to(door: &Door, discovery: &Discovery) {
    let mut tickets = discovery.tickets();
    while tickets.changed().await.is_ok() {
        let ticket = *tickets.borrow_and_update();
        let told = match tokio::time::timeout(PROOF_WAIT, door.consult(Catalog::applied)).await {
            Ok(Ok(applied)) => discovery.confirm(ticket, applied).await,
            Ok(Err(_)) | Err(_) => {
                // Without a leader nobody can tell. Clients that have seen more go on waiting, and may go to another
                // node; those that ask for what is not known here are told so.
                let told = discovery.give_up_proof(ticket).await;
                tickets.mark_changed();
                tokio::time::sleep(CONFIRM_PAUSE).await;
                told
            }
        };
        if told.is_err() {
            return;
        }
    }
}
