//! Whom this node takes for a peer, and where each is reached: from its settings at first, from the log as soon as that says
//! so, and from whoever calls while it waits to be brought in. Shared by both ends of the peer port; it decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use consensus::{Membership, NodeId};
use tokio::sync::{Notify, watch};

use crate::catalog::Members;

/// Strangers that are heard while this node knows no leader, at most: far more than ever join while a node is away.
pub(super) const GUESTS_MAX: usize = 16;

/// One other node.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Where it is reached; empty while nobody has said so.
    pub address: String,
    /// Where the settings say that it is reached, if that is elsewhere: tried where nobody answers at `address`, for nodes that
    /// have all moved at once know of each other by nothing else.
    pub listed: Option<String>,
    /// Identity of its data directory; 0 while nobody has said so.
    pub disk: u64,
    /// Rings when it opens a stream to this node, and when that ends.
    pub(super) bell: Arc<Notify>,
}

/// How a caller stands towards this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One of the group.
    Peer,
    /// Nobody that this node knows.
    Stranger,
    /// The same, while this node knows no leader and would hear it, if it did not hear as many strangers as it may already.
    OneTooMany,
    /// It was one of the group, until the entry of this index.
    Removed(u64),
    /// The group knows its number with another disk.
    OtherDisk,
}

#[derive(Debug, Default)]
struct Known {
    peers: BTreeMap<NodeId, Peer>,
    /// Strangers that called while this node knew no leader, and may be members by now.
    guests: BTreeMap<NodeId, Peer>,
    removed: BTreeMap<NodeId, u64>,
    /// Whether this node knows who leads.
    led: bool,
    /// This node belongs to no group yet: whoever calls may bring it in.
    waiting: bool,
}

impl Known {
    fn one(&self, node: NodeId) -> Option<&Peer> {
        self.peers.get(&node).or_else(|| self.guests.get(&node))
    }
}

/// The roster of one node.
#[derive(Debug)]
pub struct Roster {
    node: NodeId,
    founders: BTreeMap<NodeId, String>,
    known: RwLock<Known>,
    changes: watch::Sender<u64>,
}

impl Roster {
    /// Of the node with this number, which was told of these founders (itself may be among them).
    pub fn new(node: NodeId, founders: &BTreeMap<NodeId, String>) -> Self {
        let founders: BTreeMap<NodeId, String> =
            founders.iter().filter(|(id, _)| **id != node).map(|(id, at)| (*id, at.clone())).collect();
        let peer =
            |(id, address): (&NodeId, &String)| (*id, Peer { address: address.clone(), ..Peer::default() });
        let known = Known { peers: founders.iter().map(peer).collect(), ..Known::default() };
        Self { node, founders, known: RwLock::new(known), changes: watch::channel(0).0 }
    }

    /// The group is this one, as far as this node has applied the log. Called by the driver after each change of it.
    pub fn follow(&self, membership: &Membership, members: &Members) {
        let mut known = self.write();
        known.waiting = membership.is_empty();
        known.removed = members.removed().map(|(node, index)| (NodeId(node), index)).collect();
        let parts = [&membership.voters, &membership.learners, &membership.voters_outgoing];
        let mut peers = BTreeMap::new();
        for node in parts.into_iter().flatten().copied().map(NodeId).filter(|node| *node != self.node) {
            let mut peer = known.one(node).cloned().unwrap_or_default();
            if let Some(member) = members.get(node.0) {
                peer.address.clone_from(&member.peer_address);
                peer.disk = member.disk;
            } else if peer.address.is_empty() {
                peer.address = self.founders.get(&node).cloned().unwrap_or_default();
            }
            let listed = self.founders.get(&node).filter(|listed| **listed != peer.address);
            peer.listed = listed.cloned();
            peers.insert(node, peer);
        }
        if !known.waiting {
            known.peers = peers;
        }
        let Known { peers, guests, removed, .. } = &mut *known;
        guests.retain(|node, _| !peers.contains_key(node) && !removed.contains_key(node));
        drop(known);
        self.changes.send_modify(|times| *times += 1);
    }

    /// Whether this node knows who leads. Who does not may have been away for so long that it does not know whoever leads by now,
    /// and would refuse it for ever: until it does, strangers are heard, and stay guests from then on. Called by the driver.
    pub fn led(&self, led: bool) {
        if self.read().led != led {
            self.write().led = led;
        }
    }

    /// Whether this node knows who leads.
    pub(super) fn is_led(&self) -> bool {
        self.read().led
    }

    /// A node called, and said where it is reached. Taken while nothing better is known.
    pub fn met(&self, node: NodeId, address: &str) {
        let mut known = self.write();
        if !known.waiting && !known.peers.contains_key(&node) {
            let guest = known.guests.entry(node).or_default();
            if guest.address != address {
                address.clone_into(&mut guest.address);
                drop(known);
                self.stir();
            }
            return;
        }
        let unknown = known.peers.get(&node).map_or(known.waiting, |peer| peer.address.is_empty());
        let waiting_for_another =
            known.waiting && known.peers.get(&node).is_some_and(|p| p.address != address);
        if !(unknown || waiting_for_another) || address.is_empty() {
            return;
        }
        address.clone_into(&mut known.peers.entry(node).or_default().address);
        drop(known);
        self.changes.send_modify(|times| *times += 1);
    }

    /// How a caller stands that says that it is `node` with `disk` (0: it did not say).
    #[must_use]
    pub fn standing(&self, node: NodeId, disk: u64) -> Standing {
        let known = self.read();
        match known.one(node) {
            Some(peer) if peer.disk != 0 && disk != 0 && peer.disk != disk => Standing::OtherDisk,
            Some(_) => Standing::Peer,
            None if known.waiting => Standing::Peer,
            None => match known.removed.get(&node) {
                Some(index) => Standing::Removed(*index),
                None if known.led => Standing::Stranger,
                None if known.guests.len() < GUESTS_MAX => Standing::Peer,
                None => Standing::OneTooMany,
            },
        }
    }

    /// Whether the group knows a member with another disk than this.
    #[must_use]
    pub fn is_on_another_disk(&self, node: NodeId, disk: u64) -> bool {
        self.standing(node, disk) == Standing::OtherDisk
    }

    /// Something beside the others has changed that whoever watches the roster should look at.
    pub(in crate::replica) fn stir(&self) {
        self.changes.send_modify(|times| *times += 1);
    }

    /// Whom this node dials: the other nodes, and strangers who may be some.
    pub(super) fn dialled(&self) -> BTreeMap<NodeId, Peer> {
        let known = self.read();
        known.peers.iter().chain(&known.guests).map(|(node, peer)| (*node, peer.clone())).collect()
    }

    /// The other nodes.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<NodeId, Peer> {
        self.read().peers.clone()
    }

    pub(super) fn peer(&self, node: NodeId) -> Option<Peer> {
        self.read().one(node).cloned()
    }

    /// Told each time that the others, or their addresses, may have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    // A thread that panicked while it held the lock has ended the process: what it left is never read.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::members::fixture as members;

    fn founded() -> Roster {
        let founders = [1, 2, 3].map(|node| (NodeId(node), format!("founder-{node}:4101")));
        Roster::new(NodeId(1), &founders.into())
    }

    fn addresses(roster: &Roster) -> Vec<(u64, String)> {
        roster.peers().into_iter().map(|(node, peer)| (node.0, peer.address)).collect()
    }

    #[test]
    fn the_log_knows_better_than_the_settings_and_the_settings_better_than_nothing() {
        let roster = founded();
        let membership = Membership::of_voters([1, 2, 3, 4].map(NodeId));
        roster.follow(&membership, &members(&[(2, "moved:4101", 7), (4, "new:4101", 0)], &[]));
        let expected = [(2, "moved:4101"), (3, "founder-3:4101"), (4, "new:4101")];
        assert_eq!(addresses(&roster), expected.map(|(node, at)| (node, at.to_owned())));
        let listed: Vec<_> = roster.peers().into_values().map(|peer| peer.listed).collect();
        assert_eq!(listed, [Some("founder-2:4101".to_owned()), None, None], "what differs is remembered");
    }

    #[test]
    fn a_removed_node_a_stranger_and_another_disk_are_told_apart() {
        let roster = founded();
        roster.follow(&Membership::of_voters([1, 2].map(NodeId)), &members(&[(2, "b:4101", 7)], &[3]));
        assert_eq!(roster.standing(NodeId(2), 7), Standing::Peer);
        assert_eq!(roster.standing(NodeId(2), 8), Standing::OtherDisk);
        assert_eq!(roster.standing(NodeId(3), 7), Standing::Removed(40));
        roster.led(true);
        assert_eq!(roster.standing(NodeId(4), 7), Standing::Stranger);
    }

    /// Found by reading, when the simulation learnt that nodes refuse each other: a node came back that was away while another one
    /// joined, which led by then. It refused its leader as a stranger, and so never learned that it was none.
    #[test]
    fn a_stranger_is_heard_while_nobody_leads_and_stays_a_guest_until_the_log_knows_better() {
        let roster = founded();
        assert_eq!(
            roster.standing(NodeId(4), 7),
            Standing::Peer,
            "it may have come while this node was away"
        );
        roster.met(NodeId(4), "d:4101");
        roster.led(true);
        assert_eq!(
            (roster.standing(NodeId(4), 7), roster.standing(NodeId(5), 7)),
            (Standing::Peer, Standing::Stranger)
        );
        let dialled = || roster.dialled().into_keys().map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(
            (dialled(), addresses(&roster).len()),
            (vec![2, 3, 4], 2),
            "it is answered, and no member"
        );
        let founders = Membership::of_voters([1, 2, 3].map(NodeId));
        roster.follow(&founders, &members(&[(2, "b:4101", 7)], &[]));
        assert_eq!(dialled(), [2, 3, 4], "what is applied does not reach as far yet");
        roster.follow(&Membership::of_voters([1, 2, 4].map(NodeId)), &members(&[(4, "d:4101", 8)], &[3]));
        assert_eq!((roster.standing(NodeId(4), 7), dialled()), (Standing::OtherDisk, vec![2, 4]));
        roster.led(false);
        roster.met(NodeId(5), "e:4101");
        roster.follow(&founders, &members(&[], &[4, 5]));
        assert_eq!((roster.standing(NodeId(5), 1), dialled()), (Standing::Removed(40), vec![2, 3]));
        for node in 10..10 + GUESTS_MAX as u64 {
            assert_eq!(roster.standing(NodeId(node), 1), Standing::Peer);
            roster.met(NodeId(node), "x:4101");
        }
        assert_eq!(roster.standing(NodeId(99), 1), Standing::OneTooMany, "guests are bounded");
        roster.led(true);
        assert_eq!(roster.standing(NodeId(99), 1), Standing::Stranger);
    }

    #[test]
    fn who_waits_to_be_brought_in_takes_whoever_calls_and_where_it_says_it_is() {
        let roster = Roster::new(NodeId(4), &BTreeMap::new());
        roster.follow(&Membership::default(), &Members::default());
        assert_eq!(roster.standing(NodeId(1), 7), Standing::Peer);
        roster.met(NodeId(1), "a:4101");
        assert_eq!(addresses(&roster), [(1, "a:4101".to_owned())]);
        roster.follow(&Membership::of_voters([1, 4].map(NodeId)), &members(&[(4, "d:4101", 1)], &[]));
        roster.met(NodeId(1), "elsewhere:4101");
        assert_eq!(addresses(&roster), [(1, "a:4101".to_owned())], "what is known is kept");
        roster.led(true);
        assert_eq!(roster.standing(NodeId(9), 0), Standing::Stranger);
    }
}
