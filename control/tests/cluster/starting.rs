//! Starting: what a node refuses before it serves anybody, and what its HTTP port says.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use consensus::NodeId;
use control::Settings;

use crate::group::{Group, registration};

pub(crate) fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: penstock\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn refusal(settings: Settings) -> String {
    match control::start(settings) {
        Ok(_) => panic!("the node started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_data_directory_of_another_cluster_or_node_or_in_use_is_refused_with_what_to_do() {
    let mut group = Group::of(1);
    let own = group.settings(1).clone();
    let again = Settings { peer_address: "127.0.0.1:0".parse().unwrap(), ..own.clone() };
    assert!(refusal(again.clone()).contains("in use by another process"));
    group.end_abruptly(1);
    let other_cluster = Settings { cluster: "other".to_owned(), ..again.clone() };
    let said = refusal(other_cluster);
    assert!(said.contains("other") && said.contains("correct its cluster and node settings"), "{said}");
    let other_node = Settings { node: NodeId(7), peers: [(NodeId(7), String::new())].into(), ..again };
    assert!(refusal(other_node).contains("belongs to"));
}

#[test]
fn a_taken_port_is_refused_and_nothing_is_left_running() {
    let group = Group::of(1);
    let address = group.running_node(1).client_address;
    let directory = group.settings(1).data_directory.join("beside");
    let settings = Settings { client_address: address, ..Settings::alone(directory.clone()) };
    assert!(refusal(settings).contains(&format!("cannot listen on {address}: the port is taken")));
    assert!(!directory.exists());
}

#[test]
fn the_http_port_says_live_ready_and_what_was_measured() {
    let group = Group::of(1);
    let address = group.running_node(1).http_address;
    assert!(http(address, "/live").starts_with("HTTP/1.1 200"));
    group.leader();
    group.until("readiness", async || http(address, "/ready").starts_with("HTTP/1.1 200").then_some(()));
    let metrics = http(address, "/metrics");
    for family in ["penstock_raft_leads 1", "penstock_log_batches_total", "penstock_discovery_sessions"] {
        assert!(metrics.contains(family), "{family} is missing in {metrics}");
    }
}

/// What an operator looks at first, each with its labels: a dashboard that has to wait for a first refusal shows nothing.
#[test]
fn a_leader_tells_its_term_role_lag_latencies_queues_refusals_and_elections() {
    let group = Group::of(3);
    let leader = group.leader();
    group.register(leader, registration("web", "web-1")).unwrap();
    let address = group.running_node(leader).http_address;
    let peers = [1, 2, 3].into_iter().filter(|node| *node != leader);
    let mut series: Vec<String> =
        peers.map(|peer| format!("penstock_raft_peer_lag_entries{{peer=\"{peer}\"}} ")).collect();
    series.extend(["discovery", "read", "rollup"].into_iter().flat_map(|class| {
        ["penstock_inbox_waiting", "penstock_raft_refused_total"]
            .map(|family| format!("{family}{{class=\"{class}\"}} "))
    }));
    series.extend(
        ["timeout", "lost_connection", "longer_log", "hand_over", "alone"]
            .map(|cause| format!("penstock_raft_campaigns_total{{cause=\"{cause}\"}} ")),
    );
    series.push("penstock_raft_role{role=\"leader\"} 1\n".to_owned());
    group.until("every series", async || {
        let told = http(address, "/metrics");
        series.iter().all(|series| told.contains(series)).then_some(())
    });
    let told = http(address, "/metrics");
    let value = |series: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is missing in {told}")).parse::<f64>().unwrap()
    };
    assert!(value("penstock_raft_term") >= 1.0 && value("penstock_raft_applied_index") >= 1.0);
    assert!(value("penstock_log_sync_duration_seconds_count") >= 1.0);
    assert!(value("penstock_raft_commit_duration_seconds_count") >= 1.0);
    assert!(value("penstock_raft_commit_duration_seconds_sum") > 0.0);
}

#[test]
fn a_node_of_another_cluster_is_refused_by_its_peers_and_takes_no_part() {
    let group = Group::with(3, |settings| {
        if settings.node == NodeId(3) {
            settings.cluster = "other".to_owned();
        }
    });
    assert_ne!(group.leader(), 3);
}
