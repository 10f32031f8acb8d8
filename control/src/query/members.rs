//! `members`: the Raft group as the answering node sees it, without a round to the leader, so that it works without one.
//! Pure: statuses in, rows out.

use api::v1::MemberRow;
use consensus::{Membership, NodeId};
use mesh::Timestamp;

use crate::replica::messages::GroundReport;
use crate::replica::peers::Own;
use crate::replica::standing;

/// This node's row.
pub(super) fn row(own: &Own, ground: &GroundReport, now: Timestamp) -> MemberRow {
    let status = &ground.status;
    MemberRow {
        node: own.node.0,
        client_address: own.client_address.clone(),
        peer_address: own.peer_address.clone().unwrap_or_default(),
        role: if ground.removed.is_some() { "removed" } else { standing::role(status) }.to_owned(),
        term: status.term,
        commit: status.commit,
        applied: status.applied,
        lag: 0, // told by whoever sees the leader's commit
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reachable: true,
        now_ms: now.0,
        seat: seat(&status.membership, own.node).to_owned(),
        commands: own.commands,
        last_index: status.last_index,
        snapshot_index: status.snapshot_index,
        campaigns: standing::campaigns(status),
        disk_free_bytes: ground.disk_free_bytes.unwrap_or_default(),
    }
}

/// Whether a node has a vote.
fn seat(membership: &Membership, node: NodeId) -> &'static str {
    if membership.voters.contains(&node.0) {
        "voter"
    } else if membership.learners.contains(&node.0) {
        "learner"
    } else {
        ""
    }
}

/// All rows in order, those that did not answer as unreachable; each one's lag behind the leader's commit, if one is seen.
pub(super) fn rows<E>(
    membership: &Membership,
    own_row: MemberRow,
    asked: Vec<(NodeId, String, Result<MemberRow, E>)>,
) -> Vec<MemberRow> {
    let unreachable = |node: NodeId, peer_address: String| MemberRow {
        node: node.0,
        peer_address,
        role: "unreachable".to_owned(),
        seat: seat(membership, node).to_owned(),
        ..MemberRow::default()
    };
    let answered = asked.into_iter().map(|(node, at, row)| row.unwrap_or_else(|_| unreachable(node, at)));
    let mut rows: Vec<MemberRow> = std::iter::once(own_row).chain(answered).collect();
    let leader = rows.iter().filter(|row| row.role == "leader").max_by_key(|row| row.term);
    if let Some(commit) = leader.map(|leader| leader.commit) {
        rows.iter_mut()
            .filter(|row| row.reachable)
            .for_each(|row| row.lag = commit.saturating_sub(row.applied));
    }
    rows.sort_by_key(|row| row.node);
    rows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn answered(node: u64, role: &str, commit: u64, applied: u64) -> MemberRow {
        MemberRow {
            node,
            role: role.to_owned(),
            term: 3,
            commit,
            applied,
            reachable: true,
            ..MemberRow::default()
        }
    }

    #[test]
    fn a_follower_lags_by_what_it_has_not_applied_of_the_leaders_commit() {
        let leader = (NodeId(1), String::new(), Ok::<_, ()>(answered(1, "leader", 20, 20)));
        let rows = rows(&Membership::default(), answered(2, "follower", 18, 17), vec![leader]);
        assert_eq!(rows.iter().map(|row| (row.node, row.lag)).collect::<Vec<_>>(), [(1, 0), (2, 3)]);
    }

    #[test]
    fn a_node_that_does_not_answer_is_shown_as_unreachable_with_its_address() {
        let membership = Membership::of_voters([1, 2].map(NodeId));
        let asked = vec![(NodeId(1), "a:4101".to_owned(), Err(()))];
        let rows = rows(&membership, answered(2, "follower", 18, 17), asked);
        assert_eq!((rows[0].role.as_str(), rows[0].peer_address.as_str()), ("unreachable", "a:4101"));
        assert_eq!((rows[0].reachable, rows[0].seat.as_str()), (false, "voter"));
    }
}
