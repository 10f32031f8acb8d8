//! Linearizable reads, on leader and followers.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Loss, NodeId, Output};

use crate::cluster::{Cluster, MILLISECOND};
use crate::disk::Unsynced;

#[test]
fn a_read_on_any_node_sees_every_write_acknowledged_before_it() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(&[1, 2, 3], seed);
        let leader = cluster.elect();
        let mut expected = Vec::new();
        for write in 0..50 {
            cluster.propose(leader, &format!("write {write}")).unwrap();
            cluster.run(MILLISECOND / 3);
            let node = 1 + write % 3;
            expected.push((node, cluster.read(node), cluster.acknowledged.len()));
        }
        cluster.run(MILLISECOND * 100);
        for (node, token, acknowledged) in expected {
            let seen = cluster.nodes[&node].reads[&token].as_ref().unwrap();
            assert!(
                *seen >= acknowledged,
                "read {token} on {node} saw {seen}, {acknowledged} were acknowledged"
            );
        }
    }
}

#[test]
fn many_reads_share_one_round() {
    let mut cluster = Cluster::new(&[1, 2, 3], 3);
    let leader = cluster.elect();
    cluster.propose(leader, "something").unwrap();
    cluster.run(MILLISECOND * 100);
    let now = cluster.now;
    let replica = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    for token in 0..1000 {
        replica.read(10_000 + token, now).unwrap();
    }
    let sent = replica.outputs(now);
    assert_eq!(sent.len(), 2, "one heartbeat to each follower");
    for output in sent {
        let Output::Send { to, bytes } = output else { panic!("{output:?}") };
        let receiver = &mut cluster.nodes.get_mut(&to.0).unwrap().replica;
        receiver.receive(NodeId(leader), bytes, now).unwrap();
        cluster.carry_out(to.0);
    }
    cluster.run(MILLISECOND * 2);
    assert_eq!(cluster.nodes[&leader].reads.len(), 1000);
}

#[test]
fn a_read_asked_before_there_is_a_leader_is_answered_when_there_is_one() {
    let mut cluster = Cluster::new(&[1, 2, 3], 4);
    let tokens = [1, 2, 3].map(|node| (node, cluster.read(node)));
    cluster.elect();
    cluster.run(MILLISECOND * 200);
    for (node, token) in tokens {
        assert_eq!(cluster.nodes[&node].reads.get(&token), Some(&Ok(0)));
    }
}

#[test]
fn a_read_on_a_node_that_is_cut_off_fails_in_time_and_is_never_answered() {
    let mut cluster = Cluster::new(&[1, 2, 3], 5);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    cluster.freeze(leader);
    let token = cluster.read(leader);
    cluster.run(MILLISECOND * 1900);
    assert_eq!(cluster.nodes[&leader].reads.get(&token), None);
    cluster.run(MILLISECOND * 200);
    let failed = cluster.nodes[&leader].reads[&token].as_ref().unwrap_err();
    assert!(failed.contains("try again"), "{failed}");
    cluster.cut.clear();
    cluster.run(Duration::from_secs(1));
}

#[test]
fn reads_go_on_across_the_death_of_the_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3], 6);
    let leader = cluster.elect();
    let survivor = if leader == 1 { 2 } else { 1 };
    cluster.propose(leader, "before").unwrap();
    cluster.run(MILLISECOND * 50);
    cluster.kill(leader, Unsynced::Lost);
    let token = cluster.read(survivor);
    cluster.run(MILLISECOND * 300);
    assert_eq!(cluster.nodes[&survivor].reads.get(&token), Some(&Ok(1)));
}

/// It was passed on to the new leader in the name of who had asked, which ended the stream between the two leaders: just when one
/// had handed over to the other under a load of reads.
#[test]
fn a_read_that_reaches_a_leader_which_is_none_any_more_is_asked_of_the_next_by_who_asked_it() {
    let mut cluster = Cluster::new(&[1, 2, 3], 8);
    let old = cluster.elect();
    let [asking, heir] = if old == 1 { [2, 3] } else { [1, 5 - old] };
    cluster.propose(old, "before").unwrap();
    cluster.run(MILLISECOND * 50);
    let now = cluster.now;
    let replica = &mut cluster.nodes.get_mut(&asking).unwrap().replica;
    replica.read(7, now).unwrap();
    let asked = replica.outputs(now).into_iter().find_map(|output| match output {
        Output::Send { to, bytes } if to.0 == old => Some(bytes),
        _ => None,
    });
    cluster.nodes.get_mut(&old).unwrap().replica.transfer_leadership(Some(NodeId(heir))).unwrap();
    cluster.carry_out(old);
    cluster.until(MILLISECOND * 100, "the old leader follows", |cluster| {
        cluster.nodes[&old].replica.status().leader == Some(NodeId(heir))
    });
    let now = cluster.now;
    let replica = &mut cluster.nodes.get_mut(&old).unwrap().replica;
    replica.receive(NodeId(asking), asked.unwrap(), now).unwrap();
    let said = replica.outputs(now);
    assert!(!said.iter().any(|output| matches!(output, Output::Send { .. })), "{said:?}");
    cluster.run(MILLISECOND * 50);
    assert_eq!(cluster.nodes[&asking].reads.get(&7), Some(&Ok(1)));
}

#[test]
fn a_deposed_leader_that_does_not_know_it_answers_no_read() {
    let mut cluster = Cluster::new(&[1, 2, 3], 7);
    let old = cluster.elect();
    cluster.freeze(old);
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != old).collect();
    for node in &others {
        cluster.tell_loss(*node, old, Loss::Refused);
    }
    cluster.until(MILLISECOND * 100, "a second leader", |cluster| cluster.leader() != Some(old));
    let new = cluster.leader().unwrap();
    cluster.propose(new, "newer than the old leader knows").unwrap();
    cluster.until(MILLISECOND * 100, "a commit", |cluster| cluster.acknowledged.len() == 1);
    let token = cluster.read(old);
    cluster.run(MILLISECOND * 100);
    assert_eq!(cluster.nodes[&old].reads.get(&token), None);
    cluster.cut.clear();
    cluster.run(MILLISECOND * 500);
    assert_eq!(cluster.nodes[&old].reads.get(&token), Some(&Ok(1)), "it is answered once the truth is known");
    assert_eq!(cluster.nodes[&old].machine, [Bytes::from_static(b"newer than the old leader knows")]);
}

#[test]
fn reads_are_answered_on_every_node_of_a_group_too_slow_to_end_a_round_before_it_is_begun_again() {
    let mut cluster = Cluster::new(&[1, 2, 3], 8);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 100);
    // A follower's round takes four ways: twice as long as two heartbeats, after which it is begun again.
    cluster.latency = MILLISECOND * 50;
    let mut asked = Vec::new();
    for write in 0..200 {
        cluster.propose(leader, &format!("write {write}")).unwrap();
        for node in 1..=3 {
            asked.push((node, cluster.read(node), cluster.acknowledged.len()));
        }
        cluster.run(MILLISECOND * 10);
    }
    cluster.run(MILLISECOND * 400);
    assert_eq!(cluster.leader(), Some(leader));
    for (node, token, acknowledged) in asked {
        let seen = cluster.nodes[&node].reads.get(&token);
        let fresh = matches!(seen, Some(Ok(seen)) if *seen >= acknowledged);
        assert!(fresh, "read {token} on {node}: {seen:?}, {acknowledged} were acknowledged");
    }
}
