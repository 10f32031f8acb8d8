//! kill -9 at every operation on the disk: no acknowledged write is lost, and every directory opens again.

use std::time::Duration;

use crate::cluster::{Cluster, MILLISECOND};
use crate::disk::Unsynced;

/// Writes with small segments and snapshots, so that each kind of operation on the disk occurs; the disk of
/// `victim` stops at its `crash_at`th operation. Returns how many operations it had.
fn write_with_a_crash(seed: u64, victim: u64, crash_at: Option<u64>, unsynced: Unsynced) -> u64 {
    let mut cluster = Cluster::with(&[1, 2, 3], seed, |settings| {
        settings.snapshot_after_entries = 12;
        settings.catch_up_entries = 4;
    });
    cluster.segment_bytes = 1024;
    cluster.elect();
    let begin = cluster.disks[&victim].operations();
    if let Some(crash_at) = crash_at {
        cluster.disks[&victim].crash_at(begin + crash_at);
    }
    let mut restart = None;
    for write in 0..40 {
        if let Some(leader) = cluster.leader() {
            let _may_be_refused = cluster.propose(leader, &format!("write {write} {}", "x".repeat(60)));
        }
        cluster.run(MILLISECOND * 2);
        if restart.is_none() && cluster.disks[&victim].crashed() {
            cluster.kill(victim, unsynced);
            restart = Some(write + 5);
        }
        if restart == Some(write) && !cluster.nodes.contains_key(&victim) {
            cluster.start(victim);
        }
    }
    let operations = cluster.disks[&victim].operations() - begin;
    if !cluster.nodes.contains_key(&victim) {
        cluster.start(victim);
    }
    // The whole group loses power at last: what was acknowledged must be on the disks.
    for node in [1, 2, 3] {
        cluster.kill(node, Unsynced::Lost);
    }
    for node in [1, 2, 3] {
        cluster.start(node);
    }
    cluster.elect();
    cluster.converge();
    cluster.check_agreement();
    assert!(cluster.acknowledged.len() >= 25, "only {} writes got through", cluster.acknowledged.len());
    operations
}

#[test]
fn no_acknowledged_write_is_lost_whichever_disk_operation_is_the_last() {
    for victim in [1, 2] {
        let operations = write_with_a_crash(11, victim, None, Unsynced::Lost);
        assert!(operations > 100, "{operations}");
        for crash_at in 1..=operations {
            for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(crash_at)] {
                write_with_a_crash(11, victim, Some(crash_at), unsynced);
            }
        }
    }
}

#[test]
fn random_kills_of_any_node_lose_no_acknowledged_write() {
    for seed in 0..15_u64 {
        let mut cluster = Cluster::with(&[1, 2, 3], seed, |settings| {
            settings.snapshot_after_entries = 40;
            settings.catch_up_entries = 5;
        });
        cluster.elect();
        let mut down = None;
        for round in 0..300_u64 {
            if let Some(leader) = cluster.leader() {
                let _may_be_refused = cluster.propose(leader, &format!("{seed} {round}"));
            }
            cluster.run(Duration::from_micros(700 + (seed * 7919 + round * 104_729) % 3000));
            let dice = (seed.wrapping_mul(31) ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            match down {
                None if dice % 15 == 0 => {
                    let victim = 1 + dice % 3;
                    cluster.kill(victim, Unsynced::Torn(dice));
                    down = Some(victim);
                }
                Some(node) if dice % 8 == 0 => {
                    cluster.start(node);
                    down = None;
                }
                _ => {}
            }
        }
        if let Some(node) = down {
            cluster.start(node);
        }
        cluster.converge();
        cluster.check_agreement();
        assert!(cluster.acknowledged.len() > 100, "seed {seed}: {}", cluster.acknowledged.len());
    }
}
