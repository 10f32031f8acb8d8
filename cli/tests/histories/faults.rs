//! What befalls the leader while clients write and read.

use std::io::Write;
use std::time::Duration;

use api::v1::MembersRequest;
use api::v1::TransferLeadershipRequest;
use api::v1::members_client::MembersClient;
use api::v1::query_client::QueryClient;
use rustix::process::Signal;
use tokio::time::{interval, timeout};
use tonic::transport::{Channel, Endpoint as Address};

use crate::clients::Clients;
use crate::hosts::{Cut, Hosts, NODES, address};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A node that does not answer so long is asked no further; longer than it waits itself for a node that is cut off.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Writes that must be acknowledged during a fault, and after it.
const WRITES: u64 = 60;

fn channel(node: u64) -> Channel {
    Address::from_shared(format!("http://{}", address(node, 4100)))
        .unwrap()
        .connect_timeout(ANSWER_MAX)
        .connect_lazy()
}

/// The node that leads, as a node of `seen_by` sees it.
async fn leader(hosts: &Hosts, seen_by: &[u64], fits: impl Fn(u64) -> bool) -> u64 {
    let looking = async {
        let mut looks = interval(Duration::from_millis(20));
        loop {
            for node in seen_by {
                looks.tick().await;
                let mut client = QueryClient::new(channel(*node));
                let Ok(Ok(answer)) = timeout(ANSWER_MAX, client.members(MembersRequest {})).await else {
                    continue;
                };
                let rows = answer.into_inner().members;
                let row = rows.iter().find(|row| row.reachable && row.role == "leader");
                if let Some(row) = row.filter(|row| fits(row.node)) {
                    return row.node;
                }
            }
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("no leader\n{}", hosts.logs()))
}

async fn writes(hosts: &Hosts, clients: &mut Clients, during: &str) {
    let written = timeout(PATIENCE, clients.write(WRITES)).await;
    assert!(written.is_ok(), "no {WRITES} writes, {during}\n{}", hosts.logs());
}

fn others(node: u64) -> Vec<u64> {
    (1..=NODES).filter(|other| *other != node).collect()
}

async fn befallen(hosts: &mut Hosts, clients: &mut Clients) {
    let all: Vec<u64> = (1..=NODES).collect();
    let led = leader(hosts, &all, |_| true).await;
    writes(hosts, clients, "with every node").await;
    hosts.kill(led);
    writes(hosts, clients, "with the leader killed").await;
    hosts.restart(led);

    let led = leader(hosts, &others(led), |leader| leader != led).await;
    hosts.signal(led, Signal::STOP);
    writes(hosts, clients, "with the leader frozen").await;
    hosts.signal(led, Signal::CONT);

    for cut in [Cut::Both, Cut::Hearing, Cut::Sending] {
        let led = leader(hosts, &all, |_| true).await;
        hosts.cut(led, cut);
        writes(hosts, clients, &format!("with the leader cut off: {cut:?}")).await;
        leader(hosts, &others(led), |leader| leader != led).await;
        hosts.mend(led);
        writes(hosts, clients, "with the link mended").await;
    }

    let led = leader(hosts, &all, |_| true).await;
    hosts.fill_disk(led);
    leader(hosts, &others(led), |leader| leader != led).await;
    writes(hosts, clients, "with a full disk at the former leader").await;
    hosts.free_disk(led);
    let handed = async {
        let mut again = interval(Duration::from_millis(100));
        while leader(hosts, &all, |_| true).await != led {
            again.tick().await;
            let request = TransferLeadershipRequest { node: led };
            let _not_yet = MembersClient::new(channel(others(led)[0])).transfer(request).await;
        }
    };
    let handed = timeout(PATIENCE, handed).await;
    assert!(handed.is_ok(), "the node with room again does not lead\n{}", hosts.logs());
    writes(hosts, clients, "with room again").await;
}

#[test]
fn what_clients_are_told_while_leaders_are_killed_frozen_cut_off_and_out_of_space_is_linearizable() {
    // On a thread of its own, which moves to the bridge for good.
    let story = std::thread::spawn(|| {
        let mut hosts = Hosts::start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut clients = Clients::begin();
            befallen(&mut hosts, &mut clients).await;
            clients.end().await
        })
    });
    let said = story.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let _ = writeln!(std::io::stderr(), "{said}"); // past the harness, which hides what a good test prints
}
