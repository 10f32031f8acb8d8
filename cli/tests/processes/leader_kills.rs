//! kill -9 of the leader, again and again, under write load.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Cluster, leader_of};
use crate::writers::Writers;

const KILLS: usize = 20;
const CLIENTS: usize = 4;

/// Longest wait for the next acknowledgement; how long it really took is printed, not judged.
const ELECTION_MAX: Duration = Duration::from_secs(30);

#[tokio::test]
async fn no_acknowledged_write_is_lost_though_the_leader_is_killed_twenty_times_in_a_row() {
    let mut cluster = Cluster::start("kills", 3);
    cluster.whole().await;
    let writers = Writers::begin((0..CLIENTS).map(|_| cluster.connection()).collect());
    let mut rounds = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.leader().await;
        let killed = Instant::now();
        cluster.kill(leader);
        let other =
            move |seen: &api::v1::MembersResponse| leader_of(seen).is_some_and(|row| row.node != leader);
        cluster.until("another node leads", other).await;
        cluster.restart(leader);
        cluster.whole().await;
        rounds.push((killed, Instant::now()));
    }
    let acknowledged = writers.end().await;
    let mut gaps: Vec<Duration> =
        rounds.iter().map(|(from, to)| acknowledged.longest_gap(*from, *to)).collect();
    gaps.sort_unstable();
    assert!(gaps[KILLS - 1] < ELECTION_MAX, "writes came back after {:?}", gaps[KILLS - 1]);
    for node in 1..=3 {
        let lost = acknowledged.lost(&mut cluster.connection_to(node)).await;
        assert!(lost.is_empty(), "node {node} lost {} acknowledged writes: {:?}", lost.len(), lost);
    }
    let millis: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    let _ = writeln!(
        std::io::stderr(), // the figures of the run, for whoever reads its log
        "{KILLS} kills of the leader under {} acknowledged writes, none lost; no write acknowledged for, in ms: p50 {}, p90 {}, max {}; all: {millis:?}",
        acknowledged.count(),
        millis[KILLS / 2],
        millis[KILLS * 9 / 10],
        millis[KILLS - 1],
    );
}
