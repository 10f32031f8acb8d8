//! Tends what every node has to see to by itself: that the log knows where it is reached, and, on the leader, that the log
//! takes newer commands once every member knows them, and that members come and go. A task that `node.rs` starts; `gate.rs`
//! and `autopilot.rs` decide.

use std::time::Duration;

use api::log::v1::{Announce, Command, RaiseVersion, command::Body};
use consensus::{NodeId, Role};
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::autopilot::{Autopilot, Decision};
use super::door::Door;
use super::gate::{Gate, gate};
use super::messages::GroundReport;
use super::peers::Own;
use super::returning::{doubt_is_unfounded, has_begun};
use super::seats::Wish;
use crate::metrics::AutopilotMetrics;
use crate::settings::Autopilot as Rules;

/// How often it looks. Shorter asks every member for its version that often while one is not upgraded; longer keeps a fresh
/// cluster without its members' addresses.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often a node whose disk is in doubt asks the others about it. Shorter floods them; longer delays the first election of
/// a cluster.
const DOUBT_EVERY: Duration = Duration::from_millis(25);

/// For how long it asks that often: the nodes of a new cluster are started within seconds of each other.
const DOUBT_HASTE: Duration = Duration::from_secs(5);

/// Wait after the log was told of this node, before it is told again: what it said is applied long before, unless this node lags
/// or the log refused it. Shorter fills the log of a busy group with the same again.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);

/// Tends for ever. Ends with the replica, or when this node is removed.
pub(crate) async fn tend(door: Door, rules: Rules, metrics: AutopilotMetrics) {
    let (started, mut autopilot) = (Instant::now(), Autopilot::new(rules));
    let mut said = Said::default();
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        let Some(ground) = door.ground().await else { return };
        if ground.removed.is_some() {
            return;
        }
        pause = if ground.doubtful && started.elapsed() < DOUBT_HASTE { DOUBT_EVERY } else { LOOK_EVERY };
        if ground.doubtful {
            ask_founders(&door, &ground).await;
        }
        let own = door.peers().identity().own().clone();
        if ground.status.role == Role::Leader {
            open_gate(&door, &ground, &own, &mut said).await;
        }
        for decision in autopilot.decisions(ground.ground(), &ground.returned, started.elapsed()) {
            carry_out(&door, decision, &metrics).await;
        }
        metrics.held.set(i64::try_from(autopilot.held()).unwrap_or(i64::MAX));
        announce(&door, &ground, &own, &mut said).await;
    }
}

/// What was logged already, so that it is not logged at each look.
#[derive(Debug, Default)]
struct Said {
    held: Vec<(NodeId, Option<u32>)>,
    waits: bool,
    unreachable: bool,
    /// When the log took or refused what this node last said of itself.
    announced: Option<Instant>,
    /// Why the log refused it.
    refused: String,
}

/// Whether the group is only being founded: then this node's empty disk is its first. If anybody has begun, this tells the
/// leader that the node is back, and the log has to say the rest.
async fn ask_founders(door: &Door, ground: &GroundReport) {
    let peers = door.peers();
    let known = peers.identity().roster().peers().into_values().filter(|peer| !peer.address.is_empty());
    let asked = known.map(|peer| async move { peers.greet(&peer.address, true).await });
    let answers: Vec<_> = join_all(asked).await.into_iter().filter_map(Result::ok).collect();
    let founders = ground.status.membership.voters.len();
    let others_have_begun: Vec<bool> = answers.iter().map(|answer| answer.begun).collect();
    if doubt_is_unfounded(founders, has_begun(&ground.status), &others_have_begun) {
        door.confirm_founding().await;
    }
}

async fn carry_out(door: &Door, decision: Decision, metrics: &AutopilotMetrics) {
    let (wish, done) = match decision {
        Decision::Promote(node) => {
            info!(node = node.0, "it was to get a vote, and has caught up: promoting it");
            (Wish::Promote { node, instead_of: None }, &metrics.promoted)
        }
        Decision::Reseat(node, disk) => {
            warn!(
                node = node.0,
                "it has come back on a new disk, without its log: it begins again as a learner"
            );
            (Wish::Reseat { node, disk }, &metrics.reseated)
        }
        Decision::Remove(node, silence) => {
            warn!(node = node.0, silent_seconds = silence.as_secs(), "a dead node's seat goes");
            (Wish::Remove { node }, &metrics.removed)
        }
        Decision::Hold(node, reason) => {
            warn!(node = node.0, reason, "a node that is dead or has lost its disk stays as it is");
            return;
        }
    };
    match door.change_members(wish, false).await {
        Ok(changed) => {
            done.inc();
            info!(says = changed.says, "members changed");
        }
        Err(error) => info!(%error, "members not changed; it is tried again"),
    }
}

async fn open_gate(door: &Door, ground: &GroundReport, own: &Own, said: &mut Said) {
    let version = ground.members.version();
    if version >= own.commands {
        return;
    }
    let membership = &ground.status.membership;
    let others = membership.voters.iter().chain(&membership.learners).copied().map(NodeId);
    let asked = others.filter(|node| *node != own.node).map(|node| async move {
        let row = door.peers().status(node).await;
        (node, row.ok().map(|row| row.commands))
    });
    match gate(version, own.commands, &join_all(asked).await) {
        Gate::Open => {}
        Gate::Raise(raised) => {
            info!(
                from = version,
                to = raised,
                "every member knows newer commands: the log takes them from now on"
            );
            propose(door, Body::RaiseVersion(RaiseVersion { version: raised }), &mut said.refused).await;
        }
        Gate::Held(held) if said.held != held => {
            for (node, knows) in &held {
                info!(node = node.0, knows, wanted = own.commands, "newer commands wait for this member");
            }
            said.held = held;
        }
        Gate::Held(_) => {}
    }
}

/// Tells the log where this node is reached, whenever it does not know it so.
async fn announce(door: &Door, ground: &GroundReport, own: &Own, said: &mut Said) {
    if ground.status.membership.is_empty() {
        if !std::mem::replace(&mut said.waits, true) {
            let address = own.peer_address.as_deref().unwrap_or("HOST:PORT");
            info!("waiting to be brought in: run `penstock members add {} {address}`", own.node);
        }
        return;
    }
    if !ground.status.membership.contains(own.node.0) {
        return;
    }
    let known = ground.members.get(own.node.0).cloned().unwrap_or_default();
    let peer_address = own.peer_address.clone().unwrap_or_else(|| known.peer_address.clone());
    if peer_address.is_empty() {
        if !std::mem::replace(&mut said.unreachable, true) {
            info!(
                "this node listens everywhere and does not know where others reach it; no node can join before `advertise_host` says so"
            );
        }
        return;
    }
    let client_address = own.client_address.clone();
    if (&known.peer_address, &known.client_address, known.disk) == (&peer_address, &client_address, own.disk)
    {
        return;
    }
    if said.announced.is_some_and(|at| at.elapsed() < ANNOUNCE_AGAIN) {
        return;
    }
    let announce = Announce { node: own.node.0, peer_address, client_address, disk: own.disk };
    if propose(door, Body::Announce(announce), &mut said.refused).await {
        said.announced = Some(Instant::now());
    }
}

/// Whether the log has answered; a refusal is told once for each reason.
async fn propose(door: &Door, body: Body, refusal: &mut String) -> bool {
    let outcome = door.propose(Command { id: None, at_ms: 0, body: Some(body) }).await;
    match outcome.map(|outcome| outcome.result) {
        Ok(Some(api::log::v1::outcome::Result::Refused(refused))) => {
            if *refusal != refused.message {
                warn!(reason = refused.message, "the log refused what this node says of the members");
                *refusal = refused.message;
            }
            true
        }
        Ok(_) => true,
        Err(error) => {
            debug!(%error, "not told yet; it is said again");
            false
        }
    }
}
