//! What the leader does with members unasked: gives a vote to a learner that was to get one and has caught up, and takes the
//! seat of a node that has been dead for long. A pure core: what the leader sees and the time go in, decisions out. Must never
//! do what an operator would have been refused, and never shrink the voters below a floor.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{NodeId, Role};

use super::seats::{Ground, Wish, WishError, check_caught_up};
use crate::settings::Autopilot as Rules;

/// How long a learner must have kept up before it gets its vote. Shorter promotes one that only touched the end of the log
/// in passing; longer keeps a replacement from counting.
const KEPT_UP_FOR: Duration = Duration::from_secs(1);

/// Why a node that came back without its log is not brought in again, as it is kept: the words change from look to look.
const RETURNED: &str = "it came back without its log";

/// One thing to do, or to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Give it a vote: it was to get one, and has caught up.
    Promote(NodeId),
    /// Take its seat: it has been silent for so long.
    Remove(NodeId, Duration),
    /// It has come back with another disk and without its log.
    Reseat(NodeId, u64),
    /// It is dead, or has lost its disk, and stays as it is, for this reason. Told once per reason.
    Hold(NodeId, String),
}

/// The autopilot of one node; it acts while that leads.
#[derive(Debug)]
pub struct Autopilot {
    rules: Rules,
    /// Learners that are to be promoted and keep up, with since when.
    keeps_up: BTreeMap<NodeId, Duration>,
    held: BTreeMap<NodeId, String>,
}

impl Autopilot {
    /// Of a node that has these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, keeps_up: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// What is to be done now. At most one change, because they go one at a time.
    pub fn decisions(
        &mut self,
        ground: Ground<'_>,
        returned: &[(NodeId, u64)],
        now: Duration,
    ) -> Vec<Decision> {
        if ground.status.role != Role::Leader {
            self.keeps_up.clear();
            self.held.clear();
            return Vec::new();
        }
        if ground.status.membership_is_changing {
            return Vec::new();
        }
        for (node, disk) in returned {
            match ground.plan(&Wish::Reseat { node: *node, disk: *disk }, false) {
                Ok(_) => return vec![Decision::Reseat(*node, *disk)],
                Err(error) => {
                    if self.held.insert(*node, RETURNED.to_owned()).is_none() {
                        return vec![Decision::Hold(*node, error.to_string())];
                    }
                }
            }
        }
        if let Some(promote) = self.promotion(ground, now) {
            return vec![promote];
        }
        self.burials(ground, returned)
    }

    /// Dead nodes whose seats stay, for the metric.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn promotion(&mut self, ground: Ground<'_>, now: Duration) -> Option<Decision> {
        let (status, members) = (ground.status, ground.members);
        let wanted = |node: NodeId| {
            status.membership.learners.contains(&node.0)
                && members.get(node.0).is_some_and(|member| member.promote)
        };
        let ready: Vec<NodeId> = status
            .peers
            .iter()
            .filter(|peer| wanted(peer.node) && check_caught_up(peer, status).is_ok())
            .map(|peer| peer.node)
            .collect();
        self.keeps_up.retain(|node, _| ready.contains(node));
        ready.iter().for_each(|node| {
            self.keeps_up.entry(*node).or_insert(now);
        });
        let long_enough = |node: &&NodeId| now.saturating_sub(self.keeps_up[*node]) >= KEPT_UP_FOR;
        let node = ready.iter().find(long_enough)?;
        let wish = Wish::Promote { node: *node, instead_of: None };
        ground.plan(&wish, false).is_ok().then_some(Decision::Promote(*node))
    }

    fn burials(&mut self, ground: Ground<'_>, returned: &[(NodeId, u64)]) -> Vec<Decision> {
        let is_dead = |silence: Duration| self.rules.dead_after.is_some_and(|after| silence >= after);
        let dead: Vec<_> = ground.status.peers.iter().filter(|peer| is_dead(peer.silence)).collect();
        let back = |node: &NodeId| returned.iter().any(|(returned, _)| returned == node);
        self.held.retain(|node, _| dead.iter().any(|peer| peer.node == *node) || back(node));
        let mut decisions = Vec::new();
        for peer in dead.into_iter().filter(|peer| !back(&peer.node)) {
            let Some(reason) = self.why_not(ground, peer.node) else {
                decisions.push(Decision::Remove(peer.node, peer.silence));
                break;
            };
            if self.held.insert(peer.node, reason.clone()).as_ref() != Some(&reason) {
                decisions.push(Decision::Hold(peer.node, reason));
            }
        }
        decisions
    }

    /// Why a dead node's seat stays.
    fn why_not(&self, ground: Ground<'_>, node: NodeId) -> Option<String> {
        let (voters, floor) = (&ground.status.membership.voters, self.rules.voters_min);
        if voters.contains(&node.0) && voters.len() <= floor {
            let count = voters.len();
            return Some(format!(
                "there are {count} voters, and fewer than {floor} are never left; add another, then it goes"
            ));
        }
        match ground.plan(&Wish::Remove { node }, false) {
            Ok(_) => None,
            // What differs from look to look must not make the reason a new one.
            Err(WishError::Refused(_)) => Some("the voters that are left would be no quorum".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::log::v1::{MemberState, MembersState};

    use super::*;
    use crate::catalog::Members;
    use crate::replica::seats::tests::{healthy, status};

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: Duration = Duration::from_secs(100);

    fn members(promote: &[u64]) -> Members {
        let member = |node: &u64| MemberState {
            node: *node,
            peer_address: format!("host-{node}:4101"),
            promote: true,
            ..MemberState::default()
        };
        let members = promote.iter().map(member).collect();
        Members::restored(Some(MembersState { version: 2, members, removed: Vec::new() }))
    }

    fn autopilot(dead_after: Option<Duration>) -> Autopilot {
        Autopilot::new(Rules { dead_after, voters_min: 3 })
    }

    #[test]
    fn a_learner_that_was_to_get_a_vote_gets_it_once_it_has_kept_up_for_a_while() {
        let members = members(&[4]);
        let behind = status(&[1, 2, 3], &[4], &[(2, Some(0)), (3, Some(0)), (4, Some(900))]);
        let close = status(&[1, 2, 3], &[4], &[(2, Some(0)), (3, Some(0)), (4, Some(2))]);
        let mut autopilot = autopilot(None);
        let mut at = |status, now| autopilot.decisions(Ground { status, members: &members }, &[], now);
        assert_eq!(at(&behind, NOW), []);
        assert_eq!(at(&close, NOW), []);
        assert_eq!(at(&behind, NOW + KEPT_UP_FOR / 2), [], "it fell behind: its time begins anew");
        assert_eq!(at(&close, NOW + KEPT_UP_FOR), []);
        assert_eq!(at(&close, NOW + KEPT_UP_FOR * 2), [Decision::Promote(NodeId(4))]);
    }

    #[test]
    fn a_learner_that_nobody_wants_to_vote_stays_one() {
        let members = members(&[]);
        let status = status(&[1, 2, 3], &[4], &[(2, Some(0)), (3, Some(0)), (4, Some(0))]);
        let ground = Ground { status: &status, members: &members };
        let mut autopilot = autopilot(None);
        assert_eq!(autopilot.decisions(ground, &[], NOW), []);
        assert_eq!(autopilot.decisions(ground, &[], NOW + HOUR), []);
    }

    #[test]
    fn a_dead_node_of_four_goes_after_its_time_and_one_of_three_stays_with_the_reason_told_once() {
        let members = members(&[]);
        let four = status(&[1, 2, 3, 4], &[], &[(2, Some(0)), (3, None), (4, Some(0))]);
        let mut patient = autopilot(Some(HOUR));
        assert_eq!(
            patient.decisions(Ground { status: &four, members: &members }, &[], NOW),
            [],
            "it is not dead yet"
        );
        let mut autopilot = autopilot(Some(Duration::from_secs(60)));
        let removed = autopilot.decisions(Ground { status: &four, members: &members }, &[], NOW);
        assert_eq!(removed, [Decision::Remove(NodeId(3), Duration::from_secs(60))]);
        let three = status(&[1, 2, 3], &[], &[(2, Some(0)), (3, None)]);
        let ground = Ground { status: &three, members: &members };
        let told = autopilot.decisions(ground, &[], NOW);
        assert!(
            matches!(&told[..], [Decision::Hold(NodeId(3), why)] if why.contains("fewer than 3")),
            "{told:?}"
        );
        assert_eq!((autopilot.decisions(ground, &[], NOW), autopilot.held()), (Vec::new(), 1));
    }

    #[test]
    fn dead_nodes_that_the_quorum_needs_stay_and_a_dead_learner_goes() {
        let members = members(&[]);
        let others = [(2, Some(0)), (3, None), (4, None), (5, Some(0)), (6, None)];
        let wounded = status(&[1, 2, 3, 4, 5], &[6], &others);
        let mut autopilot = autopilot(Some(Duration::from_secs(60)));
        let ground = Ground { status: &wounded, members: &members };
        assert_eq!(
            autopilot.decisions(ground, &[], NOW).len(),
            1,
            "3 of 4 would answer: one of the dead goes"
        );
        let others = [(2, None), (3, None), (4, Some(0)), (6, None)];
        let half = status(&[1, 2, 3, 4], &[6], &others);
        let decisions = autopilot.decisions(Ground { status: &half, members: &members }, &[], NOW);
        let removed: Vec<_> = decisions.iter().filter(|one| matches!(one, Decision::Remove(..))).collect();
        assert_eq!(removed, [&Decision::Remove(NodeId(2), Duration::from_secs(60))], "2 of 3 would answer");
    }

    #[test]
    fn who_does_not_lead_decides_nothing_and_neither_does_one_with_a_change_under_way() {
        let members = members(&[]);
        let mut status = status(&[1, 2, 3, 4], &[], &[(2, Some(0)), (3, None), (4, Some(0))]);
        let mut autopilot = autopilot(Some(Duration::from_secs(60)));
        status.membership_is_changing = true;
        assert_eq!(autopilot.decisions(Ground { status: &status, members: &members }, &[], NOW), []);
        status.membership_is_changing = false;
        status.role = Role::Follower;
        assert_eq!(autopilot.decisions(Ground { status: &status, members: &members }, &[], NOW), []);
        assert_eq!(autopilot.decisions(Ground { status: &healthy(), members: &members }, &[], NOW), []);
    }

    #[test]
    fn a_node_that_came_back_without_its_log_is_brought_in_again_before_anything_else() {
        let members = members(&[]);
        let (well, lost) = (healthy(), [(NodeId(3), 9)]);
        let mut autopilot = autopilot(Some(HOUR));
        let decided = autopilot.decisions(Ground { status: &well, members: &members }, &lost, NOW);
        assert_eq!(decided, [Decision::Reseat(NodeId(3), 9)]);
        let wounded = status(&[1, 2, 3], &[], &[(2, None), (3, None)]);
        let ground = Ground { status: &wounded, members: &members };
        assert!(matches!(&autopilot.decisions(ground, &lost, NOW)[..], [Decision::Hold(NodeId(3), _)]));
        assert_eq!((autopilot.decisions(ground, &lost, NOW), autopilot.held()), (Vec::new(), 1), "told once");
    }

    #[test]
    fn a_node_that_is_brought_in_again_is_held_no_more_also_where_nobody_is_buried() {
        let (members, lost) = (members(&[]), [(NodeId(3), 9)]);
        let (well, wounded) = (healthy(), status(&[1, 2, 3], &[], &[(2, None), (3, None)]));
        let mut autopilot = autopilot(None);
        let mut at = |status, returned| {
            let decided = autopilot.decisions(Ground { status, members: &members }, returned, NOW);
            (decided.len(), autopilot.held())
        };
        assert_eq!(at(&wounded, &lost), (1, 1), "it is told, and held");
        assert_eq!(at(&well, &[]), (0, 0), "it is back");
        assert_eq!(at(&wounded, &lost), (1, 1), "it lost its disk again, and that is told again");
    }
}
