//! Who leads, and how soon.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Loss, NodeId, Role};

use crate::cluster::{Cluster, MILLISECOND};
use crate::disk::Unsynced;

#[test]
fn three_nodes_elect_one_leader_that_everybody_knows() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(&[1, 2, 3], seed);
        cluster.elect();
        assert!(cluster.now < Duration::from_secs(1), "seed {seed} took {:?}", cluster.now);
    }
}

#[test]
fn one_node_alone_leads_at_once() {
    let mut cluster = Cluster::new(&[1], 1);
    cluster.until(MILLISECOND * 5, "a leader", |cluster| cluster.leader() == Some(1));
    cluster.propose(1, "alone").unwrap();
    cluster.until(MILLISECOND * 5, "a commit", |cluster| cluster.acknowledged.len() == 1);
}

#[test]
fn a_killed_leader_is_replaced_within_milliseconds_of_its_connections_ending() {
    let mut worst = Duration::ZERO;
    for seed in 0..50 {
        let mut cluster = Cluster::new(&[1, 2, 3], seed);
        let leader = cluster.elect();
        cluster.propose(leader, "before").unwrap();
        cluster.run(MILLISECOND * (20 + u32::try_from(seed).unwrap()));
        cluster.kill(leader, Unsynced::Lost);
        let killed = cluster.now;
        cluster.until(Duration::from_secs(1), "a new leader", |cluster| cluster.leader().is_some());
        let new = cluster.leader().unwrap();
        cluster.propose(new, "after").unwrap();
        cluster.until(Duration::from_secs(1), "a commit", |cluster| cluster.acknowledged.len() == 2);
        worst = worst.max(cluster.now - killed);
    }
    assert!(worst < MILLISECOND * 50, "{worst:?} from the kill to the next commit");
}

#[test]
fn a_frozen_leader_is_replaced_within_half_a_second() {
    for seed in 0..60 {
        let mut cluster = Cluster::new(&[1, 2, 3], seed);
        let leader = cluster.elect();
        cluster.freeze(leader);
        cluster.until(MILLISECOND * 500, "a new leader", |cluster| {
            cluster.nodes.iter().any(|(id, node)| *id != leader && node.replica.status().role == Role::Leader)
        });
    }
}

#[test]
fn a_lost_connection_to_a_leader_that_lives_changes_nothing() {
    let mut cluster = Cluster::new(&[1, 2, 3], 3);
    let leader = cluster.elect();
    let term = cluster.nodes[&leader].replica.status().term;
    for round in 0..20 {
        let follower = if leader == 1 { 2 } else { 1 };
        cluster.lose_connection(follower, leader);
        cluster.run(MILLISECOND * (7 + round));
    }
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.elect(), leader);
    assert_eq!(cluster.nodes[&leader].replica.status().term, term);
}

/// A box between them that forgets its connections ends all of them at one moment. Each follower alone would have been refused
/// by the other; together they unseated a leader that lived.
#[test]
fn connections_to_a_leader_that_lives_may_all_end_at_once_and_nobody_campaigns() {
    let mut cluster = Cluster::new(&[1, 2, 3], 3);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 300);
    let (term, before) = (cluster.nodes[&leader].replica.status().term, campaigns(&cluster));
    for round in 0..20 {
        for follower in [1, 2, 3].into_iter().filter(|node| *node != leader) {
            cluster.tell_loss(follower, leader, Loss::Ended);
            assert_eq!(cluster.nodes[&follower].replica.status().leader, Some(NodeId(leader)));
        }
        cluster.run(MILLISECOND * (7 + round));
    }
    assert_eq!(cluster.elect(), leader);
    assert_eq!((cluster.nodes[&leader].replica.status().term, campaigns(&cluster)), (term, before));
}

#[test]
fn a_refused_dial_is_proof_of_death_with_or_without_an_end_that_was_seen() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(&[1, 2, 3], seed);
        let leader = cluster.elect();
        cluster.run(MILLISECOND * 300);
        cluster.freeze(leader);
        for follower in [1, 2, 3].into_iter().filter(|node| *node != leader) {
            cluster.tell_loss(follower, leader, Loss::Refused);
        }
        cluster.until(MILLISECOND * 50, "a new leader", |cluster| {
            let leads = |node: &u64| cluster.nodes[node].replica.status().role == Role::Leader;
            [1, 2, 3].iter().any(|node| *node != leader && leads(node))
        });
    }
}

#[test]
fn a_leader_that_cannot_be_reached_is_left_to_the_election_timeout() {
    let mut cluster = Cluster::new(&[1, 2, 3], 12);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 300);
    let (timeouts, lost, _) = campaigns(&cluster);
    cluster.freeze(leader);
    for follower in [1, 2, 3].into_iter().filter(|node| *node != leader) {
        cluster.tell_loss(follower, leader, Loss::Unreachable);
        assert_eq!(cluster.nodes[&follower].replica.status().leader, Some(NodeId(leader)));
    }
    cluster.until(MILLISECOND * 500, "a new leader", |cluster| {
        cluster.nodes.iter().any(|(id, node)| *id != leader && node.replica.status().role == Role::Leader)
    });
    let now = campaigns(&cluster);
    assert!(now.0 > timeouts && now.1 == lost, "{now:?}: nothing but time told of its death");
}

#[test]
fn a_node_that_hears_nothing_does_not_raise_its_term() {
    let mut cluster = Cluster::new(&[1, 2, 3], 4);
    let leader = cluster.elect();
    let deaf = if leader == 1 { 2 } else { 1 };
    let term = cluster.nodes[&leader].replica.status().term;
    for other in [1, 2, 3] {
        cluster.cut.insert((other, deaf));
    }
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.nodes[&deaf].replica.status().term, term);
    cluster.cut.clear();
    assert_eq!(cluster.elect(), leader, "nobody was disturbed when it came back");
    assert_eq!(cluster.nodes[&leader].replica.status().term, term);
}

#[test]
fn no_cut_of_any_link_in_one_direction_raises_the_term_more_than_one_election_does() {
    for (from, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        let mut cluster = Cluster::new(&[1, 2, 3], 10);
        let leader = cluster.elect();
        cluster.run(MILLISECOND * 300);
        let term = cluster.nodes[&leader].replica.status().term;
        cluster.cut.insert((from, to));
        cluster.run(Duration::from_secs(10));
        let terms: Vec<u64> = cluster.nodes.values().map(|node| node.replica.status().term).collect();
        assert!(terms.iter().all(|now| *now <= term + 1), "cut {from} to {to}: {term} became {terms:?}");
        let now = cluster.leader().unwrap();
        cluster.propose(now, "goes on").unwrap();
        cluster.until(Duration::from_secs(1), "a commit", |cluster| !cluster.acknowledged.is_empty());
    }
}

#[test]
fn the_survivor_with_the_longest_log_takes_the_turn_of_one_that_cannot_win() {
    let mut worst = Duration::ZERO;
    for seed in 0..30 {
        let mut cluster = Cluster::with(&[1, 2, 3], seed, |settings| {
            // Long enough that a turn that had to be waited for would show.
            settings.campaign_delay_step = MILLISECOND * 100;
        });
        let leader = cluster.elect();
        cluster.run(MILLISECOND * 300);
        let first = if leader == 1 { 2 } else { 1 };
        cluster.cut.extend([(leader, first), (first, leader)]);
        cluster.propose(leader, "only the last in rank has it").unwrap();
        cluster.until(MILLISECOND * 100, "a commit", |cluster| cluster.acknowledged.len() == 1);
        cluster.cut.clear();
        cluster.kill(leader, Unsynced::Lost);
        let killed = cluster.now;
        cluster.until(Duration::from_secs(2), "a new leader", |cluster| cluster.leader().is_some());
        assert_eq!(cluster.leader(), Some(6 - leader - first), "seed {seed}");
        worst = worst.max(cluster.now - killed);
    }
    assert!(worst < MILLISECOND * 50, "{worst:?}: it waited for its own turn");
}

#[test]
fn a_group_whose_heartbeats_come_late_in_bursts_keeps_its_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3], 11);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 500);
    let term = cluster.nodes[&leader].replica.status().term;
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != leader).collect();
    // Each silence is a little longer than the one before, as on a host whose load rises.
    for silence in (60..=280).step_by(10) {
        cluster.cut.extend(others.iter().map(|other| (leader, *other)));
        cluster.run(MILLISECOND * silence);
        cluster.cut.clear();
        cluster.run(MILLISECOND * 60);
    }
    assert_eq!(cluster.nodes[&leader].replica.status().term, term);
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn a_leader_without_a_quorum_steps_down_and_says_that_it_does_not_know_the_outcome() {
    let mut cluster = Cluster::new(&[1, 2, 3], 5);
    let leader = cluster.elect();
    cluster.freeze(leader);
    let token = cluster.propose(leader, "nobody hears this").unwrap();
    cluster.run(Duration::from_secs(1));
    let value = &cluster.nodes[&leader];
    assert_ne!(value.replica.status().role, Role::Leader);
    assert_eq!(value.lost.get(&token), Some(&consensus::ProposeError::OutcomeUnknown));
}

#[test]
fn leadership_is_handed_over_without_an_election_timeout() {
    let mut cluster = Cluster::new(&[1, 2, 3], 6);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 200);
    let successor = cluster.nodes.get_mut(&leader).unwrap().replica.transfer_leadership(None).unwrap();
    cluster.carry_out(leader);
    cluster.until(MILLISECOND * 10, "the successor leads", |cluster| cluster.leader() == Some(successor.0));
    cluster.propose(successor.0, "after").unwrap();
    cluster.until(MILLISECOND * 10, "a commit", |cluster| cluster.acknowledged.len() == 1);
}

#[test]
fn a_leader_whose_disk_stalls_hands_leadership_over() {
    let mut cluster = Cluster::new(&[1, 2, 3], 7);
    let leader = cluster.elect();
    cluster.run(MILLISECOND * 200);
    cluster.fsync = Duration::from_secs(20);
    cluster.propose(leader, "stuck in its own disk, not in the others'").unwrap();
    cluster.fsync = MILLISECOND / 2;
    cluster.until(Duration::from_secs(1), "another leader", |cluster| {
        cluster.leader().is_some_and(|other| other != leader)
    });
    let other = cluster.leader().unwrap();
    cluster.propose(other, "after").unwrap();
    cluster.until(MILLISECOND * 20, "a commit", |cluster| {
        cluster.acknowledged.iter().any(|data| data == "after")
    });
}

#[test]
fn a_process_that_stood_still_does_not_unseat_its_leader() {
    let mut cluster = Cluster::new(&[1, 2, 3], 8);
    let leader = cluster.elect();
    let follower = if leader == 1 { 2 } else { 1 };
    let later = cluster.now + Duration::from_secs(3);
    let replica = &mut cluster.nodes.get_mut(&follower).unwrap().replica;
    replica.tick(later);
    assert_eq!(replica.status().leader, Some(NodeId(leader)));
    assert_eq!(replica.status().role, Role::Follower);
}

#[test]
fn the_same_seed_gives_the_same_messages_at_the_same_times() {
    let run = |seed: u64| {
        let mut cluster = Cluster::new(&[1, 2, 3], seed);
        for round in 0..30_u32 {
            if let Some(leader) = cluster.leader() {
                let _may_be_refused = cluster.propose(leader, &format!("{round}"));
                cluster.read(leader);
                if round % 10 == 9 {
                    cluster.kill(leader, Unsynced::Torn(seed));
                    cluster.run(MILLISECOND * 40);
                    cluster.start(leader);
                }
            }
            cluster.run(MILLISECOND * 37);
        }
        (cluster.trace, cluster.delivered)
    };
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed));
        assert_ne!(run(seed).0, run(seed + 1).0);
    }
}

#[test]
fn messages_that_no_peer_can_mean_are_refused_and_change_nothing() {
    let mut cluster = Cluster::new(&[1, 2, 3], 9);
    let leader = cluster.elect();
    let now = cluster.now;
    assert_eq!(cluster.nodes.get_mut(&leader).unwrap().replica.outputs(now), []);
    let before = cluster.nodes[&leader].replica.status();
    // Kind, to, from, term as prost fields 1 to 4; then extra bytes.
    let message = |kind: u8, from: u8, term: u8, more: &[u8]| {
        let to = u8::try_from(leader).unwrap();
        Bytes::from([&[8, kind, 16, to, 24, from, 32, term], more].concat())
    };
    let from = if leader == 1 { 2 } else { 1 };
    let name = u8::try_from(from).unwrap();
    let replica = &mut cluster.nodes.get_mut(&leader).unwrap().replica;
    for (bytes, what) in [
        (Bytes::from_static(b"\xff\xff\xff"), "does not decode"),
        (message(0, name, 1, &[]), "nothing that a peer may send"),
        (message(2, name, 1, &[]), "nothing that a peer may send"),
        (message(99, name, 1, &[]), "unknown"),
        (message(8, 7, 1, &[]), "it says to go from 7"),
        (message(8, name, 0, &[]), "with term 0"),
        (message(15, name, 0, &[]), "names 0 reads"),
        (message(7, name, 9, &[]), "without its data"),
        (message(3, name, 9, &[58, 2, 24, 9]), "follows entry 0"),
        (message(4, name, u8::try_from(before.term).unwrap(), &[48, 99]), "answers for entry 99"),
        (message(4, name, u8::try_from(before.term).unwrap(), &[80, 1, 88, 99]), "answers for entry 99"),
        (message(3, name, 9, &[48, 99]), "continues entry 99 of term 0"),
    ] {
        let error = replica.receive(NodeId(from), bytes, now).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    assert_eq!(replica.status(), before);
    assert_eq!(replica.outputs(now), []);
}

/// Campaigns of the nodes that live, by what made them: (timeouts, lost connections, hand-overs).
fn campaigns(cluster: &Cluster) -> (u64, u64, u64) {
    let counts = cluster.nodes.values().map(|node| node.replica.status().campaigns);
    counts.fold((0, 0, 0), |(timeout, lost, handed), now| {
        (timeout + now.timeout, lost + now.lost_connection, handed + now.hand_over)
    })
}

#[test]
fn a_campaign_is_counted_by_what_made_it() {
    let mut cluster = Cluster::new(&[1, 2, 3], 11);
    let first = cluster.elect();
    let (timeouts, lost, handed) = campaigns(&cluster);
    assert!(timeouts > 0, "nobody was connected to a leader before the first one");
    assert_eq!((lost, handed), (0, 0));

    let heir = if first == 1 { 2 } else { 1 };
    cluster.run(MILLISECOND * 300);
    cluster.nodes.get_mut(&first).unwrap().replica.transfer_leadership(Some(NodeId(heir))).unwrap();
    cluster.carry_out(first);
    cluster.until(Duration::from_secs(1), "the heir", |cluster| cluster.leader() == Some(heir));
    assert_eq!(cluster.elect(), heir, "everybody knows");
    assert_eq!(campaigns(&cluster), (timeouts, 0, 1));

    cluster.kill(heir, Unsynced::Lost);
    cluster.until(Duration::from_secs(1), "a new leader", |cluster| cluster.leader().is_some());
    let alive = campaigns(&cluster);
    assert!(alive.1 > 0 && alive.0 <= timeouts, "{alive:?} of those that live");
}
