//! Snapshots, compaction, and changes of the membership.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Loss, Membership, NodeId, Role};

use crate::cluster::{Cluster, MILLISECOND};
use crate::disk::Unsynced;

fn small(settings: &mut consensus::ReplicaSettings) {
    settings.snapshot_after_entries = 50;
    settings.catch_up_entries = 10;
}

fn write(cluster: &mut Cluster, count: usize) {
    let end = cluster.acknowledged.len() + count;
    for number in 0..count {
        let leader = cluster.leader().unwrap();
        cluster.propose(leader, &format!("write {number} {}", "x".repeat(100))).unwrap();
        cluster.run(MILLISECOND);
    }
    cluster.until(Duration::from_secs(2), "all acknowledged", |cluster| cluster.acknowledged.len() == end);
}

/// A group of three whose leader has written so much since another died that only a snapshot brings that one back, which has just
/// started; the leader and the other.
fn behind(seed: u64, writes: usize) -> (Cluster, u64, u64) {
    let mut cluster = Cluster::with(&[1, 2, 3], seed, small);
    let leader = cluster.elect();
    let away = if leader == 1 { 2 } else { 1 };
    cluster.kill(away, Unsynced::Lost);
    write(&mut cluster, writes);
    cluster.start(away);
    (cluster, leader, away)
}

#[test]
fn a_node_that_was_away_for_long_is_sent_a_snapshot_and_then_the_rest() {
    let (mut cluster, _, away) = behind(1, 300);
    cluster.converge();
    assert!(cluster.nodes[&away].snapshots_installed > 0);
    assert_eq!(cluster.nodes[&away].machine.len(), 300);
}

#[test]
fn a_node_that_was_away_for_a_moment_needs_no_snapshot() {
    let mut cluster = Cluster::with(&[1, 2, 3], 2, small);
    let leader = cluster.elect();
    let away = if leader == 1 { 2 } else { 1 };
    write(&mut cluster, 45);
    for other in [1, 2, 3] {
        cluster.cut.insert((other, away));
        cluster.cut.insert((away, other));
    }
    write(&mut cluster, 8);
    cluster.cut.clear();
    cluster.converge();
    assert_eq!(cluster.nodes[&away].snapshots_installed, 0);
}

#[test]
fn memory_and_disk_stay_bounded_however_many_writes_there_are() {
    let mut cluster = Cluster::with(&[1, 2, 3], 3, small);
    cluster.segment_bytes = 1 << 12;
    let leader = cluster.elect();
    write(&mut cluster, 1500);
    cluster.converge();
    let status = cluster.nodes[&leader].replica.status();
    assert!(status.last_index - status.first_index <= 75, "{status:?}");
    let names = cluster.disks[&leader].names();
    assert_eq!(names.iter().filter(|name| name.starts_with("snapshot-")).count(), 2, "{names:?}");
    assert!(names.len() < 16, "{names:?}");
    // What stays: two snapshots of all that was written, and segments for the tail, the catch-up and the spares.
    let snapshot = cluster.disks[&leader].bytes(&cluster.disks[&leader].path_of("snapshot-")).len();
    let used = cluster.disks[&leader].used();
    assert!(used < 2 * snapshot + 12 * (1 << 12), "{used} bytes, {snapshot} of them the newest snapshot");
}

/// The disk gives up whole segments, so that a start finds entries there which the snapshot covered long ago: in a segment of 8 MiB
/// some 50,000 of them.
#[test]
fn a_node_that_starts_again_holds_no_more_of_its_log_than_one_that_runs() {
    let mut cluster = Cluster::with(&[1, 2, 3], 5, small);
    let leader = cluster.elect();
    write(&mut cluster, 300);
    cluster.converge();
    let away = if leader == 1 { 2 } else { 1 };
    let held = |cluster: &Cluster| {
        let status = cluster.nodes[&away].replica.status();
        status.last_index + 1 - status.first_index
    };
    let before = held(&cluster);
    cluster.kill(away, Unsynced::Lost);
    cluster.start(away);
    assert!(held(&cluster) <= before, "{before} became {}", held(&cluster));
    cluster.converge();
    assert_eq!(cluster.nodes[&away].machine.len(), 300);
}

#[test]
fn a_node_cuts_a_snapshot_once_it_is_quiet_so_that_its_next_start_applies_next_to_nothing() {
    let mut cluster = Cluster::with(&[1, 2, 3], 7, |settings| settings.snapshot_when_quiet_entries = 200);
    let node = cluster.elect();
    let ends_at = |cluster: &Cluster| cluster.nodes[&node].replica.status().snapshot_index;
    write(&mut cluster, 1500);
    assert_eq!(ends_at(&cluster), 1, "nobody is quiet while it writes");
    cluster.run(Duration::from_secs(3));
    let covered = ends_at(&cluster);
    assert!(covered > 1500, "{covered}");
    write(&mut cluster, 150);
    cluster.run(Duration::from_secs(3));
    assert_eq!(ends_at(&cluster), covered, "too few for another one");
}

#[test]
fn a_whole_group_restarts_from_snapshots_and_logs_with_everything_it_acknowledged() {
    let mut cluster = Cluster::with(&[1, 2, 3], 4, small);
    cluster.elect();
    write(&mut cluster, 130);
    for round in 0..3 {
        for node in [1, 2, 3] {
            cluster.kill(node, Unsynced::Torn(round));
        }
        for node in [1, 2, 3] {
            cluster.start(node);
        }
        cluster.elect();
        write(&mut cluster, 20);
        cluster.converge();
    }
    assert_eq!(cluster.nodes[&1].machine.len(), 190);
}

#[test]
fn a_snapshot_that_gets_lost_on_its_way_is_sent_again() {
    let (mut cluster, leader, away) = behind(5, 200);
    // Only the way to the node is cut, so the leader tries, and nothing is reported.
    cluster.cut.insert((leader, away));
    cluster.run(MILLISECOND * 150);
    cluster.cut.clear();
    cluster.lose_connection(leader, away);
    cluster.converge();
}

/// The end of a sending is told by a task of its own, which may be late: the next one was then taken for done, and the node was
/// sent entries that it could not have.
/// A leader whose snapshot, of the last entry that there is, cannot be read, and a node that was away and needs it.
fn rotten_leader() -> (Cluster, u64, u64) {
    let settings = |settings: &mut consensus::ReplicaSettings| {
        small(settings);
        settings.snapshot_when_quiet_entries = 0;
    };
    let mut cluster = Cluster::with(&[1, 2, 3], 31, settings);
    let leader = cluster.elect();
    let away = if leader == 1 { 2 } else { 1 };
    cluster.kill(away, Unsynced::Kept);
    cluster.nodes.get_mut(&leader).unwrap().keeps_rotten = true;
    write(&mut cluster, 300);
    cluster.run(Duration::from_secs(3));
    let status = cluster.nodes[&leader].replica.status();
    assert_eq!(status.snapshot_index, status.last_index, "nothing came after it");
    (cluster, leader, away)
}

/// It was sent again and again, until fifty thousand writes had made another one: nobody could be brought in meanwhile.
#[test]
fn a_snapshot_that_cannot_be_read_is_replaced_at_once_also_by_one_of_the_same_entry() {
    let (mut cluster, leader, away) = rotten_leader();
    cluster.nodes.get_mut(&leader).unwrap().keeps_rotten = false;
    cluster.start(away);
    cluster.converge();
    assert_eq!((cluster.leader(), cluster.nodes[&away].machine.len()), (Some(leader), 300));
}

#[test]
fn a_leader_that_can_read_none_of_its_snapshots_hands_over_and_makes_none_in_a_circle() {
    let (mut cluster, leader, away) = rotten_leader();
    cluster.start(away);
    cluster.converge();
    assert!(cluster.leader().is_some_and(|now| now != leader) && cluster.nodes[&away].machine.len() == 300);
    assert!(cluster.nodes[&leader].attempts.len() <= 3, "{:?}", cluster.nodes[&leader].attempts);
}

#[test]
fn what_is_told_late_of_one_attempt_to_send_a_snapshot_does_not_count_for_the_next() {
    let (mut cluster, leader, away) = behind(5, 200);
    let attempts = |cluster: &Cluster| cluster.nodes[&leader].attempts.len();
    for attempt in [1, 2] {
        cluster.until(Duration::from_secs(1), "an attempt", |cluster| attempts(cluster) == attempt);
        cluster.cut.insert((leader, away));
        cluster.run(MILLISECOND * 2);
        cluster.cut.clear();
        if attempt == 1 {
            cluster.tell_loss(leader, away, Loss::Ended);
        }
    }
    let [first, second] = cluster.nodes[&leader].attempts[..] else { unreachable!("just seen") };
    let told = |cluster: &mut Cluster, attempt, ok| {
        cluster.nodes.get_mut(&leader).unwrap().replica.snapshot_sent(NodeId(away), attempt, ok);
        cluster.carry_out(leader);
    };
    told(&mut cluster, first, true);
    cluster.run(MILLISECOND * 200);
    assert_eq!(attempts(&cluster), 2, "the end of the second is still waited for");
    told(&mut cluster, second, false);
    cluster.converge();
    assert_eq!(attempts(&cluster), 3);
}

#[test]
fn a_new_node_is_brought_in_by_a_snapshot_and_an_old_one_leaves() {
    let mut cluster = Cluster::with(&[1, 2, 3], 6, small);
    let leader = cluster.elect();
    write(&mut cluster, 5);
    cluster.members.push(9);
    cluster.start(9);
    let gone = if leader == 1 { 2 } else { 1 };
    let wanted = Membership::of_voters([1, 2, 3, 9].into_iter().filter(|node| *node != gone).map(NodeId));
    cluster.nodes.get_mut(&leader).unwrap().replica.propose_membership(77, &wanted, Bytes::new()).unwrap();
    cluster.carry_out(leader);
    cluster.until(Duration::from_secs(2), "the new membership", |cluster| {
        cluster.nodes[&9].replica.status().membership == wanted
            && cluster.nodes[&leader].replica.status().membership == wanted
    });
    cluster.kill(gone, Unsynced::Lost);
    write(&mut cluster, 20);
    cluster.converge();
    assert_eq!(cluster.nodes[&9].machine.len(), 25);
    let third = 6 - leader - gone;
    cluster.kill(third, Unsynced::Lost);
    write(&mut cluster, 5);
    cluster.kill(9, Unsynced::Lost);
    cluster.start(9);
    cluster.start(third);
    write(&mut cluster, 5);
    cluster.converge();
}

#[test]
fn a_joint_membership_is_left_even_if_its_leader_dies_in_between() {
    for wait_microseconds in (0..6000).step_by(250) {
        let mut cluster = Cluster::new(&[1, 2, 3], 7);
        let leader = cluster.elect();
        cluster.run(MILLISECOND * 100);
        cluster.members.push(9);
        cluster.start(9);
        let wanted = Membership::of_voters([1, 2, 3, 9].into_iter().map(NodeId));
        cluster
            .nodes
            .get_mut(&leader)
            .unwrap()
            .replica
            .propose_membership(77, &wanted, Bytes::new())
            .unwrap();
        cluster.carry_out(leader);
        cluster.run(Duration::from_micros(wait_microseconds));
        cluster.kill(leader, Unsynced::Lost);
        cluster.until(Duration::from_secs(5), "one membership", |cluster| {
            let status = |node: &u64| cluster.nodes[node].replica.status();
            let Some(leader) = cluster.leader() else { return false };
            let membership = status(&leader).membership;
            membership.voters_outgoing.is_empty() && status(&leader).commit == status(&leader).last_index
        });
        let leader = cluster.leader().unwrap();
        cluster.propose(leader, "goes on").unwrap();
        cluster.until(Duration::from_secs(1), "a commit", |cluster| {
            cluster.acknowledged.contains(&Bytes::from_static(b"goes on"))
        });
        assert_eq!(cluster.nodes[&leader].replica.status().role, Role::Leader);
    }
}
