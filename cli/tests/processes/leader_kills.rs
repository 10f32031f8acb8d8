//! kill -9 of the leader, again and again, under write load and requests.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Cluster, leader_of};
use crate::followers::{Followers, register, server};
use crate::writers::{Acknowledged, Writers};

const KILLS: usize = 20;
const CLIENTS: usize = 4;
const PROXIES: usize = 3;

/// Longest wait for the next acknowledgement; how long it really took is printed, not judged.
const ELECTION_MAX: Duration = Duration::from_secs(30);

#[tokio::test]
async fn twenty_killed_leaders_in_a_row_lose_no_acknowledged_write_and_no_request_and_every_proxy_converges()
{
    let mut cluster = Cluster::start("kills", 3);
    cluster.whole().await;
    let servers = [server("one").await, server("two").await];
    let mut mover = cluster.connection();
    register("web", servers[0], 1, &mut mover).await;
    let followers = Followers::start(&vec![cluster.control(); PROXIES]).await;
    let writers = Writers::begin((0..CLIENTS).map(|_| cluster.connection()).collect());
    let mut rounds = Vec::new();
    for kill in 1..=KILLS {
        let leader = cluster.leader().await;
        let killed = Instant::now();
        cluster.kill(leader);
        // The first change that needs a new leader.
        register("web", servers[kill % 2], kill as u64 + 1, &mut mover).await;
        let other =
            move |seen: &api::v1::MembersResponse| leader_of(seen).is_some_and(|row| row.node != leader);
        cluster.until("another node leads", other).await;
        cluster.restart(leader);
        cluster.whole().await;
        rounds.push((killed, Instant::now()));
    }
    followers.all_answer(|body| body == "one").await; // where the last of an even number of moves went
    let acknowledged = writers.end().await;
    for node in 1..=3 {
        let lost = acknowledged.lost(&mut cluster.connection_to(node)).await;
        assert!(lost.is_empty(), "node {node} lost {} acknowledged writes: {:?}", lost.len(), lost);
    }
    let mut requests = 0;
    for heard in followers.end().await {
        assert_eq!(heard.failures, Vec::<String>::new(), "requests failed while {} went well", heard.good);
        requests += heard.good;
    }
    report(&rounds, &acknowledged, requests);
}

/// Prints the figures of the run, for whoever reads its log, and bounds them loosely.
fn report(rounds: &[(Instant, Instant)], acknowledged: &Acknowledged, requests: u64) {
    let mut gaps: Vec<Duration> =
        rounds.iter().map(|(from, to)| acknowledged.longest_gap(*from, *to)).collect();
    gaps.sort_unstable();
    assert!(gaps[KILLS - 1] < ELECTION_MAX, "writes came back after {:?}", gaps[KILLS - 1]);
    let millis: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    let said = format!(
        "{KILLS} kills of the leader under {} acknowledged writes and {requests} requests, none lost; \
         no write acknowledged for, in ms: p50 {}, p90 {}, max {}; all: {millis:?}",
        acknowledged.count(),
        millis[KILLS / 2],
        millis[KILLS * 9 / 10],
        millis[KILLS - 1],
    );
    let _ = writeln!(std::io::stderr(), "{said}"); // past the harness, which hides what a good test prints
}
