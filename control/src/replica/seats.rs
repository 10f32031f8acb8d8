//! What an operator's wish means for the membership, or why it is refused: a pure core, called by the leader's driver. It sees
//! the group as it is now; whether a node answers at an address has been asked before. Must never lose a quorum unasked.

use std::time::Duration;

use api::log::v1::{ChangeMembers, Seat};
use consensus::{Membership, NodeId, PeerStatus, Status};

use crate::catalog::Members;

/// A node that was heard within this answers, unless it was listened for since in vain. Shorter takes one pause of a busy host
/// for its death; longer takes a dead one for alive, and with it a quorum that is gone.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Entries that a learner may lack when it gets a vote. None would refuse it for as long as anybody writes; many would make
/// the next commit wait for it.
pub(crate) const CAUGHT_UP_LAG_MAX: u64 = 256;
/// Most voters: each one more makes every write wait for more disks, and nine survive four losses already.
const VOTERS_MAX: usize = 9;

/// What is wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A new node, without a vote.
    Add {
        /// Its number.
        node: NodeId,
        /// Where it is reached.
        peer_address: String,
        /// Identity of its data directory, if it was asked; else 0.
        disk: u64,
        /// Whether it gets a vote as soon as it has caught up.
        promote: bool,
    },
    /// A vote for a node that has none.
    Promote {
        /// Which.
        node: NodeId,
        /// A voter that leaves in the same step.
        instead_of: Option<NodeId>,
    },
    /// A member has come back with another disk and without its log: it begins again as a learner, and gets its vote back, if
    /// it had one, once it has caught up.
    Reseat {
        /// Which.
        node: NodeId,
        /// Its new disk.
        disk: u64,
    },
    /// A node goes, for ever.
    Remove {
        /// Which.
        node: NodeId,
    },
}

impl Wish {
    /// Who has no vote any more once it is done.
    #[must_use]
    pub fn leaves(&self) -> Option<NodeId> {
        match self {
            Self::Add { .. } => None,
            Self::Promote { instead_of, .. } => *instead_of,
            Self::Reseat { node, .. } | Self::Remove { node } => Some(*node),
        }
    }
}

/// What is to be proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The membership; the same as before where only the catalog is to know more.
    pub wanted: Membership,
    /// What the catalog is to know of it.
    pub change: ChangeMembers,
    /// What is so once it is applied, for the operator.
    pub says: String,
}

/// Why nothing is proposed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// It is so already.
    #[error("{0}")]
    Already(String),
    /// No such member.
    #[error(
        "node {0} is no member; `penstock members` lists them, `penstock members add {0} HOST:PORT` brings one in"
    )]
    NotFound(NodeId),
    /// It will not do as things are; the message says what to do.
    #[error("{0}")]
    Refused(String),
    /// The node leads: leadership has to move first.
    #[error("node {0} leads")]
    Leads(NodeId),
}

/// The group as the leader sees it.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Of the leader.
    pub status: &'a Status,
    /// What the log knows of the nodes.
    pub members: &'a Members,
}

impl<'a> Ground<'a> {
    /// What `wish` means now. `force` is for what may leave the cluster without a quorum.
    ///
    /// # Errors
    /// [`WishError`].
    pub fn plan(self, wish: &Wish, force: bool) -> Result<Plan, WishError> {
        match wish {
            Wish::Add { node, peer_address, disk, promote } => self.add(*node, peer_address, *disk, *promote),
            Wish::Promote { node, instead_of } => self.promote(*node, *instead_of, force),
            Wish::Remove { node } => self.remove(*node, force),
            Wish::Reseat { node, disk } => self.reseat(*node, *disk),
        }
    }

    fn add(self, node: NodeId, peer_address: &str, disk: u64, promote: bool) -> Result<Plan, WishError> {
        self.check_number(node)?;
        if self.membership().contains(node.0) {
            let at = self.members.get(node.0).map(|member| member.peer_address.as_str()).unwrap_or_default();
            if at == peer_address || at.is_empty() {
                return Err(WishError::Already(format!("node {node} is a member already")));
            }
            return Err(WishError::Refused(format!(
                "node {node} is a member already, at {at}; to move it, restart it with its new address, and it tells the others"
            )));
        }
        if let Some((other, _)) = self.members.iter().find(|(_, member)| member.peer_address == peer_address)
        {
            return Err(WishError::Refused(format!(
                "node {other} is at {peer_address} already; each node needs its own"
            )));
        }
        if self.members.version() < 2 {
            return Err(WishError::Refused(
                "the log does not take the addresses of new members before every member knows version 2 of commands; `penstock members -o wide` shows who does not"
                    .to_owned(),
            ));
        }
        let mut wanted = self.membership().clone();
        wanted.learners.push(node.0);
        let seat = Seat { node: node.0, peer_address: peer_address.to_owned(), promote, disk };
        let then = if promote {
            "it gets a vote as soon as it has caught up".to_owned()
        } else {
            format!("`penstock members promote {node}` gives it a vote once it has caught up")
        };
        let says = format!("node {node} is a member without a vote; {then}");
        Ok(Plan { wanted, change: ChangeMembers { seats: vec![seat], removed: Vec::new() }, says })
    }

    /// Whether a new node may have this number. To be asked before the node itself: what is left of the former one may answer.
    ///
    /// # Errors
    /// [`WishError::Refused`] if it was used.
    pub fn check_number(self, node: NodeId) -> Result<(), WishError> {
        let Some(index) = self.members.removed_at(node.0) else { return Ok(()) };
        let membership = self.membership();
        let members = membership.voters.iter().chain(&membership.learners).copied();
        let used = members.chain(self.members.removed().map(|(removed, _)| removed));
        let free = used.max().unwrap_or(node.0).saturating_add(1);
        Err(WishError::Refused(format!(
            "node {node} cannot be added: a node of this number was removed by entry {index}, and a number is never used again; start it with `penstock control --node {free} --join` and an empty data directory, then add node {free}"
        )))
    }

    fn promote(self, node: NodeId, instead_of: Option<NodeId>, force: bool) -> Result<Plan, WishError> {
        let now = self.membership();
        if now.voters.contains(&node.0) {
            return Err(match instead_of {
                Some(stays) if now.contains(stays.0) => WishError::Refused(format!(
                    "node {node} has a vote already, and node {stays} is still a member; `penstock members remove {stays}` takes it out"
                )),
                _ => WishError::Already(format!("node {node} has a vote already")),
            });
        }
        let peer =
            self.peer(node).filter(|_| now.learners.contains(&node.0)).ok_or(WishError::NotFound(node))?;
        check_caught_up(peer, self.status)?;
        let mut wanted = now.clone();
        wanted.learners.retain(|learner| *learner != node.0);
        wanted.voters.push(node.0);
        let mut says = format!("node {node} has a vote");
        if let Some(gone) = instead_of {
            self.check_leaves(gone)?;
            wanted.voters.retain(|voter| *voter != gone.0);
            says = format!("node {node} has a vote in the place of node {gone}, which is no member any more");
        }
        if wanted.voters.len() > VOTERS_MAX {
            return Err(WishError::Refused(format!(
                "{VOTERS_MAX} nodes have a vote, which is the most; remove one first"
            )));
        }
        self.check_quorum(&wanted, &format!("promoting node {node}"), force)?;
        if wanted.voters.len().is_multiple_of(2) {
            let count = wanted.voters.len();
            let fewer = count - 1;
            says = format!(
                "{says}; {count} voters survive no more losses than {fewer}: consider one more or one less"
            );
        }
        let seat = Seat { node: node.0, ..Seat::default() };
        let change =
            ChangeMembers { seats: vec![seat], removed: instead_of.map(|gone| gone.0).into_iter().collect() };
        Ok(Plan { wanted, change: self.known_to_all(change), says })
    }

    fn reseat(self, node: NodeId, disk: u64) -> Result<Plan, WishError> {
        let now = self.membership();
        let votes = now.voters.contains(&node.0);
        if self.members.version() < 2 {
            return Err(WishError::Refused("the log does not take disks yet".to_owned()));
        }
        let promote = votes || self.members.get(node.0).is_some_and(|member| member.promote);
        let mut wanted = now.clone();
        if votes {
            self.check_leaves(node)?;
            wanted.voters.retain(|voter| *voter != node.0);
            wanted.learners.push(node.0);
            self.check_quorum(&wanted, &format!("bringing node {node} in again"), false)?;
        } else if !now.learners.contains(&node.0) {
            return Err(WishError::NotFound(node));
        }
        let seat = Seat { node: node.0, disk, promote, ..Seat::default() };
        let says = format!("node {node} begins again as a learner, on a new disk");
        Ok(Plan { wanted, change: ChangeMembers { seats: vec![seat], removed: Vec::new() }, says })
    }

    fn remove(self, node: NodeId, force: bool) -> Result<Plan, WishError> {
        let now = self.membership();
        if !now.contains(node.0) {
            return Err(match self.members.removed_at(node.0) {
                Some(index) => {
                    WishError::Already(format!("node {node} was removed by entry {index} already"))
                }
                None => WishError::NotFound(node),
            });
        }
        let mut wanted = now.clone();
        wanted.learners.retain(|learner| *learner != node.0);
        if now.voters.contains(&node.0) {
            self.check_leaves(node)?;
            wanted.voters.retain(|voter| *voter != node.0);
            self.check_quorum(&wanted, &format!("removing node {node}"), force)?;
        }
        let change = ChangeMembers { seats: Vec::new(), removed: vec![node.0] };
        let says = format!("node {node} is no member any more; its number is not used again");
        Ok(Plan { wanted, change: self.known_to_all(change), says })
    }

    /// Before every member knows version 2, Raft's own part is all that may be said.
    fn known_to_all(self, change: ChangeMembers) -> ChangeMembers {
        if self.members.version() < 2 { ChangeMembers::default() } else { change }
    }

    /// A voter that is to go must be one, and must not lead.
    fn check_leaves(self, node: NodeId) -> Result<(), WishError> {
        if !self.status.membership.voters.contains(&node.0) {
            return Err(WishError::NotFound(node));
        }
        if self.status.membership.voters.len() == 1 {
            return Err(WishError::Refused(format!(
                "node {node} is the only one with a vote: without it there is no cluster"
            )));
        }
        if node == self.status.node {
            return Err(WishError::Leads(node));
        }
        Ok(())
    }

    /// Of the new voters, a majority must answer; else nothing could be written afterwards.
    fn check_quorum(self, wanted: &Membership, what: &str, force: bool) -> Result<(), WishError> {
        let silent: Vec<u64> =
            wanted.voters.iter().copied().filter(|voter| !self.answers(NodeId(*voter))).collect();
        let (count, answering) = (wanted.voters.len(), wanted.voters.len() - silent.len());
        if force || answering > count / 2 {
            return Ok(());
        }
        Err(WishError::Refused(format!(
            "{what} leaves the voters {}, of which only {answering} of {count} answer (not: {}): nothing could be written any more; bring these back first, or say --force if you know better",
            listed(&wanted.voters),
            listed(&silent),
        )))
    }

    fn answers(self, node: NodeId) -> bool {
        let answers = |peer: &PeerStatus| peer.silence < ANSWERS_WITHIN && !peer.lost;
        node == self.status.node || self.peer(node).is_some_and(answers)
    }

    fn peer(self, node: NodeId) -> Option<&'a PeerStatus> {
        self.status.peers.iter().find(|peer| peer.node == node)
    }

    fn membership(self) -> &'a Membership {
        &self.status.membership
    }
}

/// Whether a learner holds enough to vote.
///
/// # Errors
/// How much it lacks.
pub(crate) fn check_caught_up(peer: &PeerStatus, status: &Status) -> Result<(), WishError> {
    let (node, last) = (peer.node, status.last_index);
    let lacks = if peer.in_snapshot {
        format!("it is being sent a snapshot, and holds entry {} of {last}", peer.matched)
    } else if peer.silence >= ANSWERS_WITHIN {
        format!("it has been silent for {} s", peer.silence.as_secs())
    } else if peer.lag > CAUGHT_UP_LAG_MAX || peer.matched == 0 {
        format!("it lacks {} of {last} entries, and may lack {CAUGHT_UP_LAG_MAX} at most", peer.lag)
    } else {
        return Ok(());
    };
    Err(WishError::Refused(format!(
        "node {node} has not caught up: {lacks}; try again when `penstock members` shows it closer"
    )))
}

/// `1, 2, 3`.
fn listed(nodes: &[u64]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "seats_tests.rs"]
pub(super) mod tests;
