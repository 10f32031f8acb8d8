//! Writes: where they may be proposed, what becomes of them, how they are batched.

use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Membership, NodeId, Output, ProposeError, ReceiveError, Recovered, Replica, ReplicaSettings,
};

use crate::cluster::{Cluster, MILLISECOND};

#[test]
fn a_write_is_applied_on_all_nodes_in_one_order() {
    let mut cluster = Cluster::new(&[1, 2, 3], 1);
    let leader = cluster.elect();
    for write in 0..100 {
        cluster.propose(leader, &format!("write {write}")).unwrap();
        if write % 7 == 0 {
            cluster.run(MILLISECOND);
        }
    }
    cluster.until(Duration::from_secs(1), "all acknowledged", |cluster| cluster.acknowledged.len() == 100);
    cluster.converge();
    assert_eq!(cluster.nodes[&leader].machine, cluster.acknowledged);
}

#[test]
fn a_follower_refuses_a_write_and_names_the_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3], 2);
    let leader = cluster.elect();
    let follower = if leader == 1 { 2 } else { 1 };
    let refused = cluster.propose(follower, "here").unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: Some(NodeId(leader)) });
}

#[test]
fn proposals_of_one_round_are_one_batch_and_one_message_per_follower() {
    let mut cluster = Cluster::new(&[1, 2, 3], 3);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    let now = cluster.now;
    let replica = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    for token in 0..64 {
        replica.propose(1000 + token, Bytes::from_static(b"together")).unwrap();
    }
    let outputs = replica.outputs(now);
    let sent = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    let batches: Vec<usize> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Persist(batch) => Some(batch.entries.len()),
            _ => None,
        })
        .collect();
    assert_eq!((sent, batches), (2, vec![64]));
    let first_persist = outputs.iter().position(|output| matches!(output, Output::Persist(_))).unwrap();
    assert_eq!(first_persist, 2, "a leader's messages go out before its own fsync");
}

#[test]
fn a_follower_answers_only_after_its_disk() {
    let mut cluster = Cluster::new(&[1, 2, 3], 4);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    let now = cluster.now;
    let follower = if leader == 1 { 2 } else { 1 };
    let sender = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    sender.propose(1000, Bytes::from_static(b"durable first")).unwrap();
    let append = sender
        .outputs(now)
        .into_iter()
        .find_map(|output| match output {
            Output::Send { to, bytes } if to.0 == follower => Some(bytes),
            _ => None,
        })
        .unwrap();
    let receiver = &mut cluster.nodes.get_mut(&follower).unwrap().replica;
    receiver.receive(NodeId(leader), append, now).unwrap();
    let outputs = receiver.outputs(now);
    let [Output::Persist(batch)] = outputs.as_slice() else { panic!("{outputs:?}") };
    receiver.persisted(batch.number, now);
    assert!(matches!(receiver.outputs(now).as_slice(), [Output::Send { .. }]));
}

#[test]
fn a_leader_refuses_what_is_too_large_and_what_is_too_much() {
    let mut cluster = Cluster::with(&[1, 2, 3], 5, |settings| {
        settings.proposal_bytes_max = 100;
        settings.uncommitted_bytes_max = 250;
    });
    let leader = cluster.elect();
    cluster.freeze(leader);
    let large = "x".repeat(101);
    let refused = cluster.propose(leader, &large).unwrap_err();
    assert_eq!(refused, ProposeError::TooLarge { bytes: 101, bytes_max: 100 });
    for _ in 0..2 {
        cluster.propose(leader, &large[..100]).unwrap();
    }
    let refused = cluster.propose(leader, &large[..100]).unwrap_err();
    assert_eq!(refused, ProposeError::Busy { waiting: 2, waiting_bytes: 200 });
    cluster.propose(leader, &large[..50]).unwrap();
}

#[test]
fn each_proposal_is_answered_once_also_when_leadership_changes_hands() {
    let mut cluster = Cluster::new(&[1, 2, 3], 6);
    let mut leader = cluster.elect();
    let (mut proposed, mut lost) = (0, 0);
    for round in 0..200 {
        proposed += usize::from(cluster.propose(leader, &format!("write {round}")).is_ok());
        cluster.run(MILLISECOND);
        if round % 20 == 19 {
            let _nobody_may_be_fit =
                cluster.nodes.get_mut(&leader).unwrap().replica.transfer_leadership(None);
            cluster.carry_out(leader);
        }
        leader = cluster.leader().unwrap_or(leader);
    }
    cluster.run(Duration::from_secs(1));
    cluster.converge();
    for node in cluster.nodes.values() {
        lost += node.lost.len();
    }
    assert_eq!(cluster.acknowledged.len() + lost, proposed);
    assert!(proposed > 150, "{proposed}");
}

/// Two replicas that talk at once, on disks that take no time; the follower's snapshots never come.
#[test]
fn a_log_whose_snapshots_never_come_stops_growing_on_leader_and_follower() {
    let founding = || Recovered::founding(Membership::of_voters([1, 2].map(NodeId)));
    let replica = |node: u64, snapshot_after_bytes: usize| {
        let settings = ReplicaSettings { snapshot_after_bytes, ..ReplicaSettings::new(NodeId(node), node) };
        Replica::new(settings, founding(), Duration::ZERO)
    };
    let mut nodes = [replica(1, 40_000), replica(2, 10_000)];
    let mut now = Duration::ZERO;
    let (mut full, mut busy) = (0, 0);
    for round in 0..4000 {
        now += MILLISECOND;
        nodes[0].tick(now);
        if let Err(error) = nodes[0].propose(round, Bytes::from(vec![b'x'; 500])) {
            busy += u32::from(matches!(error, ProposeError::Busy { .. }));
        }
        for sender in [0, 1, 0, 1, 0] {
            for output in nodes[sender].outputs(now) {
                match output {
                    Output::Send { bytes, .. } => {
                        let from = NodeId(sender as u64 + 1);
                        if let Err(error) = nodes[1 - sender].receive(from, bytes, now) {
                            assert!(matches!(error, ReceiveError::LogFull { .. }), "{error}");
                            full += 1;
                        }
                    }
                    Output::Persist(batch) => nodes[sender].persisted(batch.number, now),
                    Output::Apply(entries) => nodes[sender].applied(entries.last().unwrap().index),
                    _ => {}
                }
            }
        }
    }
    let held = nodes.each_ref().map(|node| node.status().log_bytes);
    assert!(full > 0 && busy > 0, "{full} appends and {busy} proposals were refused");
    assert!(held[0] < 4 * 40_000 + 2000 && held[1] < 4 * 10_000 + 100_000, "{held:?}");
    let applied = nodes[1].status().applied;
    nodes[1].snapshot_made(applied, Bytes::from_static(b"state"));
    nodes[1].snapshot_kept(applied);
    assert!(nodes[1].status().log_bytes < held[1] / 2, "a snapshot makes room");
}

#[test]
fn a_leader_whose_disk_stands_still_keeps_its_followers_by_heartbeats() {
    let mut cluster = Cluster::with(&[1, 2, 3], 9, |settings| settings.disk_stall_max = Duration::MAX);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    let term = cluster.nodes[&leader].replica.status().term;
    cluster.slow.insert(leader, Duration::from_secs(30));
    cluster.propose(leader, "not durable on its leader").unwrap();
    cluster.run(Duration::from_secs(5));
    let status = cluster.nodes[&leader].replica.status();
    assert_eq!((status.term, status.leader), (term, Some(NodeId(leader))));
    assert!(cluster.acknowledged.is_empty(), "a leader answers only for what it holds itself");
    let follower = if leader == 1 { 2 } else { 1 };
    assert_eq!(cluster.nodes[&follower].machine.len(), 1, "the others made it durable and may apply it");
    let read = cluster.read(follower);
    cluster.run(MILLISECOND * 200);
    assert_eq!(cluster.nodes[&follower].reads.get(&read), Some(&Ok(1)));
}

#[test]
fn a_follower_whose_disk_stands_still_holds_nobody_up_and_does_not_campaign() {
    let mut cluster = Cluster::new(&[1, 2, 3], 10);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    let term = cluster.nodes[&leader].replica.status().term;
    let follower = if leader == 1 { 2 } else { 1 };
    cluster.slow.insert(follower, Duration::from_secs(4));
    for write in 0..50 {
        cluster.propose(leader, &format!("write {write}")).unwrap();
        cluster.run(MILLISECOND * 20);
    }
    assert!(cluster.acknowledged.len() >= 49, "{}", cluster.acknowledged.len());
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.nodes[&follower].replica.status().term, term);
    cluster.converge();
}

#[test]
fn proposals_that_come_while_the_leaders_disk_writes_go_to_followers_as_one_group() {
    let mut cluster = Cluster::new(&[1, 2, 3], 21);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    cluster.propose(leader, "the disk has something to do").unwrap();
    let now = cluster.now;
    let replica = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    for number in 0..100_u64 {
        replica.propose(10_000 + number, Bytes::from(format!("write {number}"))).unwrap();
        assert_eq!(replica.outputs(now), [], "it gathers");
    }
    let delivered = cluster.delivered;
    cluster.until(MILLISECOND * 20, "all are committed", |cluster| cluster.acknowledged.len() == 101);
    let messages = cluster.delivered - delivered;
    assert!(messages <= 12, "two groups to two followers, their answers, and news of the commit: {messages}");
}

#[test]
fn a_group_does_not_gather_for_as_long_as_a_slow_disk_takes() {
    let mut cluster = Cluster::new(&[1, 2, 3], 22);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    cluster.slow.insert(leader, MILLISECOND * 100);
    for number in 0..10 {
        cluster.propose(leader, &format!("write {number}")).unwrap();
        cluster.run(MILLISECOND);
    }
    cluster.run(MILLISECOND * 10);
    for follower in cluster.nodes.keys().copied().filter(|node| *node != leader).collect::<Vec<_>>() {
        let held = cluster.nodes[&follower].machine.len();
        assert!(held >= 4, "{follower} applied {held} while the leader's disk writes the first");
    }
}
