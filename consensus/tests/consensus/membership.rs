//! Changes of the membership: one at a time, each with what the state machine is to know of the nodes.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Membership, NodeId, ProposeError, Role};

use crate::cluster::{Cluster, MILLISECOND};
use crate::disk::{Disk, Unsynced};

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

/// Of nodes that nobody had heard yet the silence was as old as the leader's office. So a learner that came into a group an hour old, or
/// came back to it on a new disk, could be taken for dead before its first word, and its number was gone for ever.
#[test]
fn the_silence_of_a_node_counts_from_its_coming_in_and_from_its_coming_back_on_another_disk() {
    let (mut cluster, leader) = three(6);
    let away = if leader == 1 { 2 } else { 1 };
    let silent = |cluster: &Cluster, node: u64| {
        let peers = cluster.nodes[&leader].replica.status().peers;
        peers.into_iter().find(|peer| peer.node == NodeId(node)).map(|peer| peer.silence)
    };
    let long = Duration::from_secs(5);
    cluster.cut.insert((away, leader));
    cluster.run(long * 2);
    assert!(silent(&cluster, away).is_some_and(|silence| silence > long));
    let replica = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    replica.peer_began_anew(NodeId(away));
    replica.propose_membership(77, &members(&[1, 2, 3], &[8]), Bytes::new()).unwrap();
    cluster.carry_out(leader);
    cluster.until(Duration::from_secs(1), "a new member", |cluster| silent(cluster, 8).is_some());
    for node in [away, 8] {
        assert!(silent(&cluster, node).is_some_and(|silence| silence < long), "node {node}");
    }
}

#[test]
fn a_node_whose_address_refuses_is_lost_to_the_leader_at_once_and_until_it_is_heard_again() {
    let (mut cluster, leader) = three(5);
    let away = if leader == 1 { 2 } else { 1 };
    let lost = |cluster: &Cluster| {
        let peers = cluster.nodes[&leader].replica.status().peers;
        peers.into_iter().filter(|peer| peer.lost).map(|peer| peer.node.0).collect::<Vec<_>>()
    };
    cluster.run(MILLISECOND * 100);
    assert_eq!(lost(&cluster), []);
    cluster.kill(away, Unsynced::Lost);
    cluster.until(MILLISECOND * 100, "the refused dial", |cluster| lost(cluster) == [away]);
    cluster.start(away);
    cluster.until(Duration::from_secs(1), "it is heard", |cluster| lost(cluster).is_empty());
}

/// Node `node` comes back with nothing of what it had, and in doubt.
fn lose_disk(cluster: &mut Cluster, node: u64) {
    cluster.kill(node, Unsynced::Lost);
    cluster.disks.insert(node, Disk::new());
    cluster.doubtful.insert(node);
    cluster.start(node);
}

#[test]
fn a_node_with_an_empty_disk_elects_nobody_until_the_group_vouches_for_it() {
    for seed in 0..20 {
        let (mut cluster, leader) = three(seed);
        let lost = if leader == 1 { 2 } else { 1 };
        let behind = 6 - leader - lost;
        // Only the leader and the node whose disk will be lost hold this entry.
        cluster.cut.extend([(leader, behind), (behind, leader)]);
        cluster.propose(leader, "acknowledged").unwrap();
        cluster.until(MILLISECOND * 100, "a commit", |cluster| cluster.acknowledged.len() == 1);
        cluster.cut.insert((leader, lost));
        lose_disk(&mut cluster, lost);
        cluster.kill(leader, Unsynced::Lost);
        cluster.cut.clear();
        cluster.run(Duration::from_secs(3));
        assert_eq!(cluster.leader(), None, "seed {seed}: the one that lacks the entry must not lead");
        cluster.start(leader);
        cluster.elect();
        cluster.converge();
        assert_eq!(cluster.nodes[&behind].machine, ["acknowledged"]);
        assert!(cluster.nodes[&lost].replica.is_doubtful());
    }
}

#[test]
fn a_node_with_an_empty_disk_is_sent_everything_again_and_votes_once_it_is_vouched_for() {
    let (mut cluster, leader) = three(5);
    let lost = if leader == 1 { 2 } else { 1 };
    for number in 0..20 {
        cluster.propose(leader, &format!("{number}")).unwrap();
    }
    cluster.converge();
    cluster.run(MILLISECOND * 50);
    // So soon that nobody sees a connection end.
    cluster.nodes.remove(&lost);
    cluster.disks.insert(lost, Disk::new());
    cluster.doubtful.insert(lost);
    cluster.start(lost);
    cluster.propose(leader, "passes it by").unwrap();
    cluster.run(MILLISECOND * 300);
    cluster.nodes.get_mut(&leader).unwrap().replica.peer_began_anew(NodeId(lost));
    cluster.propose(leader, "names the new disk").unwrap();
    cluster.until(Duration::from_secs(1), "all", |cluster| cluster.nodes[&lost].machine.len() == 22);
    cluster.nodes.get_mut(&lost).unwrap().replica.end_doubt();
    cluster.kill(leader, Unsynced::Lost);
    cluster.until(Duration::from_secs(1), "a new leader", |cluster| cluster.leader().is_some());
}

#[test]
fn a_removed_node_that_never_heard_of_it_stands_aside_once_it_is_told() {
    let (mut cluster, leader) = three(6);
    let gone = if leader == 1 { 2 } else { 1 };
    cluster.nodes.get_mut(&gone).unwrap().replica.retire();
    cluster.freeze(leader);
    let other = 6 - leader - gone;
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.nodes[&gone].replica.status().role, Role::Follower);
    assert_ne!(
        cluster.nodes[&other].replica.status().role,
        Role::Leader,
        "it has no vote of the retired one"
    );
}

#[test]
fn a_leader_that_was_removed_steps_down_and_the_others_go_on() {
    let (mut cluster, leader) = three(5);
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != leader).collect();
    let replica = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    replica.propose_membership(77, &members(&others, &[]), Bytes::new()).unwrap();
    cluster.carry_out(leader);
    let leads = |cluster: &Cluster, node: u64| cluster.nodes[&node].replica.status().role == Role::Leader;
    cluster.until(Duration::from_secs(2), "another leader", |cluster| {
        others.iter().any(|other| leads(cluster, *other))
    });
    assert!(!leads(&cluster, leader));
    let next = others.iter().copied().find(|other| leads(&cluster, *other)).unwrap();
    cluster.propose(next, "after").unwrap();
    cluster.until(Duration::from_secs(1), "a commit", |cluster| cluster.acknowledged.len() == 1);
}
