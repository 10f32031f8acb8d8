//! The members as the log knows them: where each is reached, on which disk its log lies, who was removed, and which version of
//! commands all of them know. Who votes is Raft's own; what is here comes in the same entries, so that a node that joins
//! learns both. Pure, like the rest of the catalog.

use std::collections::BTreeMap;

use api::FieldError;
use api::log::v1::{
    Announce, ChangeMembers, MemberState, MembersState, RaiseVersion, RemovedMember, refused,
};

use super::limits::{MEMBERS_MAX, REMOVED_MEMBERS_MAX};
use super::refusal::Refusal;
use super::versions;

/// Longest address: a host of 253 bytes, and its port.
const ADDRESS_BYTES_MAX: usize = 260;

/// What the log knows of one member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Where the others reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it; empty until it said so itself.
    pub client_address: String,
    /// Identity of its data directory; 0 until it is known.
    pub disk: u64,
    /// A learner that is to get a vote once it has caught up.
    pub promote: bool,
}

/// Every member, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    version: u32,
    members: BTreeMap<u64, Member>,
    /// With the entry that removed it. A number is never used again, so these only grow; the oldest go.
    removed: BTreeMap<u64, u64>,
}

impl Default for Members {
    fn default() -> Self {
        Self { version: versions::FIRST, members: BTreeMap::new(), removed: BTreeMap::new() }
    }
}

impl Members {
    /// None of them, under the same version of commands.
    pub(super) fn forgotten(&self) -> Self {
        Self { version: self.version, ..Self::default() }
    }

    /// The newest version of commands that may enter the log.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// One member, if it ever said where it is or was brought in.
    #[must_use]
    pub fn get(&self, node: u64) -> Option<&Member> {
        self.members.get(&node)
    }

    /// All that are known, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// The entry that removed a node.
    #[must_use]
    pub fn removed_at(&self, node: u64) -> Option<u64> {
        self.removed.get(&node).copied()
    }

    /// Everyone who was removed, with the entry that did it.
    pub fn removed(&self) -> impl Iterator<Item = (u64, u64)> {
        self.removed.iter().map(|(node, index)| (*node, *index))
    }

    pub(super) fn announce(&mut self, said: &Announce) -> Result<(), Refusal> {
        let node = numbered(said.node)?;
        checked_address("announce.peer_address", &said.peer_address)?;
        checked_address("announce.client_address", &said.client_address)?;
        if self.removed.contains_key(&node) {
            return Err(Refusal {
                reason: refused::Reason::Stale,
                message: format!("node {node} was removed"),
            });
        }
        self.check_room(node)?;
        let member = self.members.entry(node).or_default();
        if member.disk != 0 && member.disk != said.disk {
            return Err(Refusal::in_use(format_args!("node {node} is known with another disk")));
        }
        member.disk = said.disk;
        member.peer_address.clone_from(&said.peer_address);
        member.client_address.clone_from(&said.client_address);
        Ok(())
    }

    /// All of it or nothing.
    pub(super) fn change(&mut self, index: u64, change: &ChangeMembers) -> Result<(), Refusal> {
        for seat in &change.seats {
            self.check_room(numbered(seat.node)?)?;
            if !seat.peer_address.is_empty() || !self.members.contains_key(&seat.node) {
                checked_address("seat.peer_address", &seat.peer_address)?;
            }
        }
        for seat in &change.seats {
            let member = self.members.entry(seat.node).or_default();
            if !seat.peer_address.is_empty() {
                member.peer_address.clone_from(&seat.peer_address);
            }
            if seat.disk != 0 {
                member.disk = seat.disk;
            }
            member.promote = seat.promote;
        }
        for node in &change.removed {
            self.members.remove(node);
            self.removed.insert(*node, index);
        }
        while self.removed.len() > REMOVED_MEMBERS_MAX {
            let oldest = self.removed.iter().min_by_key(|(_, index)| **index).map(|(node, _)| *node);
            oldest.map(|node| self.removed.remove(&node));
        }
        Ok(())
    }

    pub(super) fn raise(&mut self, raise: &RaiseVersion) -> Result<(), Refusal> {
        if raise.version < self.version {
            let message = format!("the version of commands is {} already", self.version);
            return Err(Refusal { reason: refused::Reason::Stale, message });
        }
        self.version = raise.version;
        Ok(())
    }

    fn check_room(&self, node: u64) -> Result<(), Refusal> {
        if self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&node) {
            return Err(Refusal::limit("members", MEMBERS_MAX, "remove one first"));
        }
        Ok(())
    }

    /// For a snapshot; `None` as long as nothing is there that a program of the first version would not know.
    pub(super) fn state(&self) -> Option<MembersState> {
        let member = |(node, member): (&u64, &Member)| MemberState {
            node: *node,
            peer_address: member.peer_address.clone(),
            client_address: member.client_address.clone(),
            disk: member.disk,
            promote: member.promote,
        };
        (*self != Self::default()).then(|| MembersState {
            version: self.version,
            members: self.members.iter().map(member).collect(),
            removed: self.removed().map(|(node, index)| RemovedMember { node, index }).collect(),
        })
    }

    pub(crate) fn restored(state: Option<MembersState>) -> Self {
        let Some(state) = state else { return Self::default() };
        let member = |state: MemberState| {
            let member = Member {
                peer_address: state.peer_address,
                client_address: state.client_address,
                disk: state.disk,
                promote: state.promote,
            };
            (state.node, member)
        };
        Self {
            version: state.version,
            members: state.members.into_iter().map(member).collect(),
            removed: state.removed.into_iter().map(|removed| (removed.node, removed.index)).collect(),
        }
    }
}

fn numbered(node: u64) -> Result<u64, Refusal> {
    if node == 0 { Err(Refusal::invalid("node: must not be 0")) } else { Ok(node) }
}

/// `host:port`, as the transport can dial it.
fn checked_address(field: &str, address: &str) -> Result<(), Refusal> {
    if is_address(address) {
        return Ok(());
    }
    let rule = "must be a host and a port, such as control-2.example:4101".to_owned();
    Err(FieldError { field: field.to_owned(), value: Some(address.to_owned()), rule }.into())
}

/// Whether the transport can dial `address`.
#[must_use]
pub fn is_address(address: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    address.len() <= ADDRESS_BYTES_MAX
        && address.bytes().all(plain)
        && address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Members as tests begin with them: those of these numbers, peer addresses and disks, and those that entry 40 removed.
#[cfg(test)]
pub(crate) fn fixture(known: &[(u64, &str, u64)], removed: &[u64]) -> Members {
    let member = |(node, address, disk): &(u64, &str, u64)| MemberState {
        node: *node,
        peer_address: (*address).to_owned(),
        disk: *disk,
        ..MemberState::default()
    };
    Members::restored(Some(MembersState {
        version: 2,
        members: known.iter().map(member).collect(),
        removed: removed.iter().map(|node| RemovedMember { node: *node, index: 40 }).collect(),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use api::log::v1::Seat;

    use super::*;

    fn announce(node: u64, disk: u64) -> Announce {
        let (peer_address, client_address) = (format!("host-{node}:4101"), format!("host-{node}:4100"));
        Announce { node, peer_address, client_address, disk }
    }

    fn seat(node: u64, peer_address: &str, disk: u64) -> ChangeMembers {
        let seat = Seat { node, peer_address: peer_address.to_owned(), promote: true, disk };
        ChangeMembers { seats: vec![seat], removed: Vec::new() }
    }

    #[test]
    fn a_node_says_where_it_is_and_another_disk_under_its_number_is_refused() {
        let mut members = Members::default();
        members.announce(&announce(3, 7)).unwrap();
        members.announce(&Announce { peer_address: "moved:4101".to_owned(), ..announce(3, 7) }).unwrap();
        assert_eq!(members.get(3).unwrap().peer_address, "moved:4101");
        assert!(members.announce(&announce(3, 8)).unwrap_err().message.contains("another disk"));
        members.change(20, &seat(3, "", 8)).unwrap();
        assert_eq!((members.get(3).unwrap().disk, members.get(3).unwrap().promote), (8, true));
    }

    #[test]
    fn a_removed_node_is_remembered_and_may_not_announce_itself() {
        let mut members = Members::default();
        members.announce(&announce(3, 7)).unwrap();
        members.change(20, &ChangeMembers { seats: Vec::new(), removed: vec![3] }).unwrap();
        assert_eq!((members.get(3), members.removed_at(3)), (None, Some(20)));
        assert!(members.announce(&announce(3, 7)).unwrap_err().message.contains("was removed"));
    }

    #[test]
    fn the_removed_that_are_remembered_are_bounded_and_the_oldest_go() {
        let mut members = Members::default();
        for node in 1..=REMOVED_MEMBERS_MAX as u64 + 1 {
            members.change(100 + node, &ChangeMembers { seats: Vec::new(), removed: vec![node] }).unwrap();
        }
        assert_eq!((members.removed_at(1), members.removed_at(2)), (None, Some(102)));
    }

    #[test]
    fn addresses_that_nobody_can_dial_and_too_many_members_are_refused() {
        let mut members = Members::default();
        for wrong in ["", "host", "host:0", ":4101", "ho st:4101", "host:70000"] {
            let said = Announce { peer_address: wrong.to_owned(), ..announce(1, 1) };
            assert!(members.announce(&said).unwrap_err().message.contains("peer_address"), "{wrong}");
            assert!(members.change(2, &seat(1, wrong, 1)).is_err(), "{wrong}");
        }
        (1..=MEMBERS_MAX as u64).for_each(|node| members.announce(&announce(node, 1)).unwrap());
        assert!(members.announce(&announce(99, 1)).unwrap_err().message.contains("at most"));
    }

    #[test]
    fn the_version_only_rises_and_everything_survives_a_snapshot() {
        let mut members = Members::default();
        assert_eq!(members.state(), None, "nothing that an older program would not know");
        members.raise(&RaiseVersion { version: 2 }).unwrap();
        assert!(members.raise(&RaiseVersion { version: 1 }).is_err());
        members.announce(&announce(3, 7)).unwrap();
        members.change(20, &ChangeMembers { seats: Vec::new(), removed: vec![4] }).unwrap();
        assert_eq!(Members::restored(members.state()), members);
    }
}
