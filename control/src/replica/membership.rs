//! The driver's part in changes of the members: plans them, proposes them, and tells the roster who belongs once they are
//! applied. What may be done is decided by [`super::seats`]; who votes is Raft's.

use api::log::v1::{Command, command::Body};
use bytes::Bytes;
use prost::Message as _;
use tracing::info;

use super::driver::{Answer, Driver, wire_error};
use super::ending;
use super::messages::{ChangeError, Changed, GroundReport, ProposeError};
use super::seats::{Wish, WishError};
use super::waiting::Proposer;
use crate::catalog::versions;

impl Driver {
    /// How this node sees the group.
    pub(super) fn ground(&self) -> GroundReport {
        GroundReport { status: self.replica.status(), members: self.catalog.borrow().members().clone() }
    }

    /// Proposes what an operator wishes. `answer` is told when it is applied, or that it never will be.
    pub(super) fn change_members(
        &mut self,
        wish: &Wish,
        force: bool,
        answer: Answer,
    ) -> Result<Changed, ChangeError> {
        let leadership = *self.leadership.borrow();
        if !leadership.is_here() {
            return Err(ProposeError::NotLeader { leader: leadership.leader }.into());
        }
        let report = self.ground();
        if report.status.membership_is_changing {
            let said = "another change of the members is under way, and they go one at a time; try again in a moment";
            return Err(WishError::Refused(said.to_owned()).into());
        }
        let plan = report.ground().plan(wish, force)?;
        let at_ms = (self.wall)().0.max(self.catalog.borrow().now().0);
        let command = Command { id: None, at_ms, body: Some(Body::ChangeMembers(plan.change)) };
        let known = report.members.version() >= 2;
        let context = if known { Bytes::from(command.encode_to_vec()) } else { Bytes::new() };
        let token = self.waiting.token();
        let proposed = self.replica.propose_membership(token, &plan.wanted, context);
        proposed.map_err(|error| wire_error(&error))?;
        self.waiting.proposed(token, Proposer { class: None, answer });
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

    /// Tells the roster who belongs now, if that has changed. Ends the node if the log has left it behind.
    pub(super) fn follow_members(&mut self) {
        let catalog = self.catalog.borrow();
        let (membership, members) = (self.replica.membership(), catalog.members());
        if self.followed.as_ref().is_some_and(|(ids, known)| ids == membership && known == members) {
            return;
        }
        if members.version() > self.commands {
            ending::too_old(members.version(), self.commands);
        }
        self.links.roster().follow(membership, members);
        self.followed = Some((membership.clone(), members.clone()));
    }
}
