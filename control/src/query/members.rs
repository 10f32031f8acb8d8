//! `members`: the Raft group as the answering node sees it, without a round to the leader, so that it works without one.
//! Pure: statuses in, rows out.

use std::collections::BTreeMap;

use api::v1::MemberRow;
use consensus::{NodeId, Role, Status};
use mesh::Timestamp;

/// What a node tells of itself beside its replica's status.
#[derive(Debug, Clone)]
pub struct OwnRow {
    /// This node.
    pub node: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// Where it serves clients.
    pub client_address: String,
    /// Where each node is reached by the others.
    pub peer_addresses: BTreeMap<NodeId, String>,
}

/// This node's row.
pub(super) fn row(own: &OwnRow, status: &Status, now: Timestamp) -> MemberRow {
    let lags = status.peers.iter().find(|peer| peer.node == own.node);
    MemberRow {
        node: own.node.0,
        client_address: own.client_address.clone(),
        peer_address: own.peer_addresses.get(&own.node).cloned().unwrap_or_default(),
        role: role(status).to_owned(),
        term: status.term,
        commit: status.commit,
        applied: status.applied,
        lag: lags.map_or(0, |peer| peer.lag),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reachable: true,
        now_ms: now.0,
    }
}

fn role(status: &Status) -> &'static str {
    match status.role {
        Role::Leader => "leader",
        Role::PreCandidate | Role::Candidate => "candidate",
        Role::Follower if status.membership.learners.contains(&status.node.0) => "learner",
        Role::Follower => "follower",
    }
}

/// All rows in order, those that did not answer as unreachable; each one's lag behind the leader's commit, if one is seen.
pub(super) fn rows<E>(
    own: &OwnRow,
    own_row: MemberRow,
    asked: Vec<(NodeId, Result<MemberRow, E>)>,
) -> Vec<MemberRow> {
    let unreachable = |node: NodeId| MemberRow {
        node: node.0,
        peer_address: own.peer_addresses.get(&node).cloned().unwrap_or_default(),
        role: "unreachable".to_owned(),
        ..MemberRow::default()
    };
    let answered = asked.into_iter().map(|(node, row)| row.unwrap_or_else(|_| unreachable(node)));
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

    fn own() -> OwnRow {
        OwnRow {
            node: NodeId(2),
            cluster: "c".to_owned(),
            client_address: "b:4100".to_owned(),
            peer_addresses: BTreeMap::from([
                (NodeId(1), "a:4101".to_owned()),
                (NodeId(2), "b:4101".to_owned()),
            ]),
        }
    }

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
        let leader = (NodeId(1), Ok::<_, ()>(answered(1, "leader", 20, 20)));
        let rows = rows(&own(), answered(2, "follower", 18, 17), vec![leader]);
        assert_eq!(rows.iter().map(|row| (row.node, row.lag)).collect::<Vec<_>>(), [(1, 0), (2, 3)]);
    }

    #[test]
    fn a_node_that_does_not_answer_is_shown_as_unreachable_with_its_address() {
        let rows = rows(&own(), answered(2, "follower", 18, 17), vec![(NodeId(1), Err(()))]);
        assert_eq!((rows[0].role.as_str(), rows[0].peer_address.as_str()), ("unreachable", "a:4101"));
        assert!(!rows[0].reachable);
    }
}
