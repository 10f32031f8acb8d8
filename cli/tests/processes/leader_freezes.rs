//! SIGSTOP of the leader, again and again, under write load: its connections stay open and say nothing.

use api::v1::MembersResponse;
use rustix::process::Signal;

use crate::cluster::{Cluster, leader_of};
use crate::writers::Writers;

const FREEZES: usize = 3;

#[tokio::test]
async fn a_frozen_leader_is_replaced_and_follows_once_it_thaws_and_no_acknowledged_write_is_lost() {
    let cluster = Cluster::start("freezes", 3);
    cluster.whole().await;
    for node in 1..=3 {
        cluster.until_log(node, "this node's disk is not in doubt any more").await; // until then it has no say in elections
    }
    let writers = Writers::begin(vec![cluster.connection(), cluster.connection()]);
    for _ in 0..FREEZES {
        let leader = cluster.leader().await;
        cluster.signal(leader, Signal::STOP);
        let other = (1..=3).find(|node| *node != leader).unwrap();
        let replaced = cluster.until_seen(cluster.connection_to(other), "another node leads", |seen| {
            leader_of(seen).is_some_and(|row| row.node != leader)
        });
        let term = leader_of(&replaced.await).unwrap().term;
        cluster.signal(leader, Signal::CONT);
        let follows = |seen: &MembersResponse| leader_of(seen).is_some_and(|row| row.term >= term);
        cluster
            .until_seen(cluster.connection_to(leader), "the thawed node knows the new term", follows)
            .await;
        cluster.whole().await;
    }
    let acknowledged = writers.end().await;
    for node in 1..=3 {
        let lost = acknowledged.lost(&mut cluster.connection_to(node)).await;
        assert!(lost.is_empty(), "node {node} lost acknowledged writes: {lost:?}");
    }
}
