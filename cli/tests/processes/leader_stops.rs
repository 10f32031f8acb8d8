//! SIGTERM of the leader: leadership moves by its own hand before it ends, and no follower has to find it gone.

use crate::cluster::{Cluster, leader_of};
use crate::writers::Writers;

/// Leaders that are stopped, and rounds in which that may take place: on a busy machine the one that is asked to end may have lost its
/// office a moment before.
const STOPS: usize = 4;
const ROUNDS_MAX: usize = 20;

/// Campaigns of a node for a hand-over and for a lost connection, once its metrics have caught up with what it says of itself.
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
    let mut handed_over = 0;
    for _ in 0..ROUNDS_MAX {
        let leader = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
        let before = [campaigns(&cluster, others[0]).await, campaigns(&cluster, others[1]).await];
        let said = cluster.logged(leader, "leadership handed over");
        cluster.stop(leader);
        assert_eq!(cluster.logged(leader, "leadership not handed over"), 0, "{}", cluster.logs());
        let led = cluster.logged(leader, "leadership handed over") > said;
        cluster
            .until("another node leads", |seen| leader_of(seen).is_some_and(|row| row.node != leader))
            .await;
        let mut heirs = 0;
        for (node, [handed, lost]) in others.iter().zip(before) {
            let now = campaigns(&cluster, *node).await;
            assert_eq!(now[1], lost, "node {node} campaigned for a lost connection\n{}", cluster.logs());
            heirs += u64::from(now[0] > handed);
        }
        assert!(!led || heirs > 0, "it said that it handed over, and nobody heard\n{}", cluster.logs());
        cluster.restart(leader);
        cluster.whole().await;
        handed_over += usize::from(led);
        if handed_over == STOPS {
            break;
        }
    }
    assert_eq!(handed_over, STOPS, "no leader is left to stop\n{}", cluster.logs());
    let acknowledged = writers.end().await;
    for node in 1..=3 {
        let lost = acknowledged.lost(&mut cluster.connection_to(node)).await;
        assert!(lost.is_empty(), "node {node} lost acknowledged writes: {lost:?}");
    }
}
