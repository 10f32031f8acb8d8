//! Changes of the membership: one at a time, each with what the state machine is to know of the nodes.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Membership, NodeId, ProposeError};

use crate::cluster::{Cluster, MILLISECOND};

fn members(voters: &[u64], learners: &[u64]) -> Membership {
    let voters = Membership::of_voters(voters.iter().copied().map(NodeId));
    Membership { learners: learners.to_vec(), ..voters }
}

/// A settled leader of three.
fn three(seed: u64) -> (Cluster, u64) {
    let mut cluster = Cluster::new(&[1, 2, 3], seed);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    (cluster, leader)
}

fn change(cluster: &mut Cluster, leader: u64, wanted: &Membership, says: &'static str) {
    let says = Bytes::from_static(says.as_bytes());
    cluster.nodes.get_mut(&leader).unwrap().replica.propose_membership(77, wanted, says).unwrap();
    cluster.carry_out(leader);
    cluster.until(Duration::from_secs(2), "the change", |cluster| {
        let status = cluster.nodes[&leader].replica.status();
        status.membership == *wanted && !status.membership_is_changing
    });
}

#[test]
fn what_a_change_says_beside_it_reaches_every_state_machine_at_the_same_place() {
    let (mut cluster, leader) = three(1);
    cluster.propose(leader, "before").unwrap();
    cluster.members.push(9);
    cluster.start(9);
    change(&mut cluster, leader, &members(&[1, 2, 3], &[9]), "nine lives at port 9");
    cluster.propose(leader, "after").unwrap();
    cluster.until(Duration::from_secs(2), "all", |cluster| cluster.nodes[&9].machine.len() == 3);
    cluster.converge();
    assert_eq!(cluster.nodes[&9].machine, ["before", "nine lives at port 9", "after"]);
}

#[test]
fn a_second_change_is_refused_until_the_first_has_ended() {
    let (mut cluster, leader) = three(2);
    let replica = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    replica.propose_membership(1, &members(&[1, 2, 3], &[8]), Bytes::new()).unwrap();
    let second = replica.propose_membership(2, &members(&[1, 2, 3], &[9]), Bytes::new());
    assert_eq!(second, Err(ProposeError::LeadershipUnsettled));
    assert!(replica.status().membership_is_changing);
    cluster.carry_out(leader);
    cluster.until(Duration::from_secs(1), "the first", |cluster| {
        !cluster.nodes[&leader].replica.status().membership_is_changing
    });
    change(&mut cluster, leader, &members(&[1, 2, 3], &[8, 9]), "");
}

#[test]
fn one_node_takes_the_place_of_another_in_one_step() {
    let (mut cluster, leader) = three(3);
    let gone = if leader == 1 { 2 } else { 1 };
    let others: Vec<u64> = [1, 2, 3, 9].into_iter().filter(|node| *node != gone).collect();
    cluster.members.push(9);
    cluster.start(9);
    change(&mut cluster, leader, &members(&[1, 2, 3], &[9]), "");
    change(&mut cluster, leader, &members(&others, &[]), "");
    cluster.propose(leader, "after").unwrap();
    cluster.until(Duration::from_secs(1), "a commit", |cluster| cluster.acknowledged.len() == 1);
}

#[test]
fn the_leader_says_how_long_each_other_node_has_been_silent() {
    let (mut cluster, leader) = three(4);
    let away = if leader == 1 { 2 } else { 1 };
    cluster.cut.insert((away, leader));
    cluster.run(Duration::from_secs(3));
    for peer in cluster.nodes[&leader].replica.status().peers {
        let silent = peer.silence >= Duration::from_secs(2);
        assert_eq!(silent, peer.node == NodeId(away), "{peer:?}");
    }
}
