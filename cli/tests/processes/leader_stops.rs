//! SIGTERM of the leader: leadership moves by its own hand before it ends, and no follower has to find it gone.

use crate::cluster::{Cluster, leader_of};
use crate::writers::Writers;

const STOPS: usize = 4;

/// Campaigns of a node by cause, once its metrics have caught up with what it says of itself.
async fn campaigns(cluster: &Cluster, node: u64) -> [u64; 2] {
    let series = |cause: &str| format!("penstock_raft_campaigns_total{{cause=\"{cause}\"}}");
    cluster
        .until_true("the metrics show every campaign", async || {
            let seen = cluster.until("members are told", |seen| !seen.members.is_empty()).await;
            let told = seen.members.iter().find(|row| row.node == node).map_or(0, |row| row.campaigns);
            let mut shown = 0;
            for cause in ["timeout", "lost_connection", "longer_log", "hand_over", "alone"] {
                shown += cluster.metric(node, &series(cause)).await;
            }
            shown == told
        })
        .await;
    [cluster.metric(node, &series("hand_over")).await, cluster.metric(node, &series("lost_connection")).await]
}

#[tokio::test]
async fn a_leader_that_is_asked_to_end_hands_over_under_load_and_nobody_campaigns_for_its_lost_connection() {
    let mut cluster = Cluster::start("stops", 3);
    cluster.whole().await;
    let writers = Writers::begin(vec![cluster.connection(), cluster.connection()]);
    for _ in 0..STOPS {
        let leader = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
        let before = [campaigns(&cluster, others[0]).await, campaigns(&cluster, others[1]).await];
        cluster.stop(leader);
        assert_eq!(cluster.logged(leader, "leadership not handed over"), 0, "{}", cluster.logs());
        let seen = cluster
            .until("another node leads", |seen| leader_of(seen).is_some_and(|row| row.node != leader))
            .await;
        let heir = leader_of(&seen).unwrap().node;
        for (node, [handed, lost]) in others.iter().zip(before) {
            let now = campaigns(&cluster, *node).await;
            assert_eq!(now[1], lost, "node {node} campaigned for a lost connection\n{}", cluster.logs());
            assert!(*node != heir || now[0] > handed, "node {heir} was handed nothing\n{}", cluster.logs());
        }
        cluster.restart(leader);
        cluster.whole().await;
    }
    let acknowledged = writers.end().await;
    for node in 1..=3 {
        let lost = acknowledged.lost(&mut cluster.connection_to(node)).await;
        assert!(lost.is_empty(), "node {node} lost acknowledged writes: {lost:?}");
    }
}
