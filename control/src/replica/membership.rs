//! The driver's part in changes of the members: plans them, proposes them, and tells the roster who belongs once they are
//! applied. What may be done is decided by [`super::seats`]; who votes is Raft's.

use std::time::Duration;

use api::log::v1::{Command, command::Body};
use bytes::Bytes;
use consensus::NodeId;
use prost::Message as _;
use tracing::{error, info};

use super::driver::{Answer, Driver};
use super::ending;
use super::gate;
use super::messages::{ChangeError, ChangeMembership, Changed, GroundReport, ProposeError};
use super::returning::{Consequences, consequences};
use super::seats::WishError;
use super::waiting::Proposer;
use crate::catalog::{Catalog, Members, versions};

/// For how long it counts that a member said that it is back with another disk: it says so several times a second.
const RETURNED_LATELY: Duration = Duration::from_secs(3);

impl Driver {
    /// How this node sees the group.
    pub(super) fn ground(&self, now: Duration) -> GroundReport {
        let lately = |(_, (_, at)): &(&NodeId, &(u64, Duration))| now.saturating_sub(*at) < RETURNED_LATELY;
        let returned = self.returned.iter().filter(lately).map(|(node, (disk, _))| (*node, *disk));
        GroundReport {
            status: self.replica.status(),
            members: self.catalog.borrow().members().clone(),
            applied: self.catalog.borrow().applied(),
            begun: self.catalog.borrow().is_begun(),
            removed: self.removed,
            doubtful: self.replica.is_doubtful(),
            disk_free_bytes: self.disk.free_bytes(),
            returned: returned.collect(),
        }
    }

    /// A peer says that the entry of this index removed this node. True only if this node has not come further: a peer that
    /// lags may not know that it was brought in again.
    pub(super) fn told_removed(&mut self, index: u64) {
        let applied = self.catalog.borrow().applied().index;
        if applied < index {
            self.retire(index);
        }
    }

    fn retire(&mut self, index: u64) {
        if self.removed.replace(index).is_some() {
            return;
        }
        error!(
            index,
            "this node was removed from the group: it takes no part any more; stop it, and give its host a new number to join again"
        );
        self.replica.retire();
        self.links.roster().stir();
    }

    /// A member has come back with another disk.
    pub(super) fn returned_anew(&mut self, node: NodeId, disk: u64, now: Duration) {
        self.returned.insert(node, (disk, now));
    }

    /// The group vouches for this node's disk.
    pub(super) fn end_doubt(&mut self, why: &str) {
        if self.replica.is_doubtful() {
            info!(why, "this node's disk is not in doubt any more: it takes part in elections");
            self.replica.end_doubt();
            self.disk.end_doubt();
        }
    }

    /// Proposes what an operator wishes. `answer` is told when it is applied and no majority of the old members is needed any
    /// more, so that those who left may be stopped; or that it never will be.
    pub(super) fn change_members(
        &mut self,
        ChangeMembership { wish, force, silent }: ChangeMembership,
        answer: Answer,
        now: Duration,
    ) -> Result<Changed, ChangeError> {
        let leadership = *self.leadership.borrow();
        if !leadership.is_here() {
            return Err(ProposeError::NotLeader { leader: leadership.leader }.into());
        }
        let report = self.ground(now).without(&silent);
        if report.status.membership_is_changing {
            let said = "another change of the members is under way, and they go one at a time; try again in a moment";
            return Err(WishError::Refused(said.to_owned()).into());
        }
        let plan = report.ground().plan(&wish, force)?;
        let at_ms = (self.wall)().0.max(self.catalog.borrow().now().0);
        let command = Command { id: None, at_ms, body: Some(Body::ChangeMembers(plan.change)) };
        let known = report.members.version() >= 2;
        let context = if known { Bytes::from(command.encode_to_vec()) } else { Bytes::new() };
        let token = self.waiting.token();
        let proposed = if plan.wanted == report.status.membership {
            // Nothing changes for Raft, so it would make no change: the catalog alone is told.
            self.replica.propose(token, context)
        } else {
            self.replica.propose_membership(token, &plan.wanted, context)
        };
        proposed.map_err(|error| self.wire_error(&error))?;
        self.waiting.proposed(token, Proposer { class: None, since: now, answer });
        info!(?wish, force, "change of the members proposed");
        Ok(Changed { says: plan.says, membership: plan.wanted })
    }

    /// Whether every member knows this kind of command.
    pub(super) fn known_to_all(&self, command: &Command) -> Result<(), ProposeError> {
        let version = self.catalog.borrow().members().version();
        let needed = command.body.as_ref().map_or(versions::FIRST, versions::needed);
        if needed <= version {
            return Ok(());
        }
        let reason = format!(
            "it needs version {needed} of commands, and the cluster is at {version} until every member is upgraded; `penstock members -o wide` shows who is not"
        );
        Err(ProposeError::NotYet { reason })
    }

    /// Ends the node if the log takes commands that it does not know: nothing behind the entry that says so is applied.
    pub(super) fn end_if_too_old(&self, catalog: &Catalog) {
        let version = catalog.members().version();
        if gate::is_too_old(self.commands, version) {
            ending::too_old(version, self.commands);
        }
    }

    /// Tells the roster who belongs now, if that has changed.
    pub(super) fn follow_members(&mut self) {
        if !self.replica.membership().is_joint() {
            for (answer, outcome) in self.members_changed.drain(..) {
                let _ = answer.send(Ok(outcome)); // an error is an operator who has gone
            }
        }
        let catalog = self.catalog.borrow();
        let (membership, members) = (self.replica.membership(), catalog.members());
        if self.followed.as_ref().is_some_and(|(ids, known)| ids == membership && known == members) {
            return;
        }
        self.links.roster().follow(membership, members);
        let followed = (membership.clone(), members.clone());
        drop(catalog);
        let before = self.followed.replace(followed.clone());
        self.draw_consequences(before.as_ref().map(|(_, members)| members), &followed.1);
    }

    /// What a change of the members means for this node itself, and for those who came back with another disk.
    fn draw_consequences(&mut self, before: Option<&Members>, now: &Members) {
        let (own, own_disk) = {
            let own = self.links.identity().own();
            (own.node, own.disk)
        };
        let Consequences { removed, named, began_anew } = consequences(own, own_disk, before, now);
        if let Some(index) = removed {
            self.retire(index);
        }
        if named {
            self.end_doubt("the log names it");
        }
        began_anew.into_iter().for_each(|peer| self.replica.peer_began_anew(peer));
        let is_known = |node: &NodeId, disk: u64| now.get(node.0).is_some_and(|member| member.disk == disk);
        self.returned.retain(|node, (disk, _)| !is_known(node, *disk));
    }
}
