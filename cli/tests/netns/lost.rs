//! Hosts that do not answer at all: what is sent to them is dropped, as by a host that lost its power or a firewall, so that nothing but
//! time ends the wait: for a new connection, and in the midst of one.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use crate::programs::{postgresql, redis};
use crate::services::CALLER_ADMIN;
use crate::stage::{Host, PROXY_USER, Stage};

/// One endpoint of two of `web` is lost, and the only one of `lost`; both services give a connection this long.
const POLICIES: &str = "\
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  balancer: {type: RoundRobin}
  timeouts: {connect: 400ms}
---
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: lost}
spec:
  targetRefs: [{group: '', kind: Service, name: lost}]
  timeouts: {connect: 400ms}
";

/// The same in seconds.
const CONNECT_SECONDS: f64 = 0.4;

/// What curl is told by `url`: status, seconds, and the proxy's reason.
fn told(stage: &Stage, url: &str) -> (String, f64, String) {
    let told = "%{http_code} %{time_total} %header{penstock-error}";
    let curl = ["curl", "--silent", "--max-time", "30", "--output", "/dev/null", "--write-out", told, url];
    let said = stage.said(Host::Caller, &curl);
    let mut words = said.splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default().to_owned();
    (next(), next().parse().unwrap(), next())
}

#[test]
fn a_call_passes_over_an_endpoint_that_does_not_answer_and_is_told_so_when_there_is_no_other() {
    let mut stage = Stage::new().with_control();
    stage.applied(POLICIES);
    stage.web();
    stage.beside(1, "spare", "http", 8080, "web:80");
    stage.beside(2, "lost", "http", 8080, "lost:80");
    // Before the caller's proxy has a connection to any of them.
    let drop = "add table inet lost; add chain inet lost in { type filter hook input priority 0; }; \
                add rule inet lost in iifname v0 tcp dport { 4243, 4343 } drop";
    stage.said(Host::Callee, &["nft", drop]);
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let (web, lost) = ("http://10.96.0.10/hello", "http://10.96.0.17/hello");
    let count = |family: &str, labels: &str| stage.metric(Host::Caller, CALLER_ADMIN, family, labels);

    let of_web = "authority=\"web.default.svc.cluster.local:80\"";
    stage.until("a call met the lost endpoint first", || {
        let before = count("penstock_proxy_retries_total", of_web);
        let (status, seconds, reason) = told(&stage, web);
        assert_eq!(status, "200", "{reason}");
        let has_met = count("penstock_proxy_retries_total", of_web) > before;
        assert!(!has_met || seconds >= CONNECT_SECONDS, "{seconds}");
        has_met
    });
    assert_eq!(count("penstock_proxy_failures_total", of_web), 0.0);

    let (status, seconds, reason) = told(&stage, lost);
    assert_eq!(status, "503");
    assert!(
        seconds >= CONNECT_SECONDS && reason.contains("no connection to any endpoint"),
        "{seconds} {reason}"
    );
    assert!(count("penstock_proxy_failures_total", "reason=\"connect\"") >= 1.0);

    stage.said(Host::Callee, &["nft", "delete", "table", "inet", "lost"]);
    stage.until("the host that is back serves again", || told(&stage, lost).0 == "200");
}

const UNHURRIED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/unhurried.py");

/// Admin ports of the callee's proxies with the numbers 1 and 2.
const FIRST_ADMIN: u16 = 4291;
const SECOND_ADMIN: u16 = 4391;

/// From here on nothing passes between the hosts on connections to this port of the callee's: for each, the other is lost.
fn lose(stage: &Stage, port: u16) {
    let of_port = |chain: &str, end: &str| {
        format!(
            "add chain inet lost {chain} {{ type filter hook {chain} priority 0; }}; add rule inet lost {chain} tcp {end} {port} drop"
        )
    };
    let rules = format!("add table inet lost; {}; {}", of_port("input", "dport"), of_port("output", "sport"));
    stage.said(Host::Callee, &["nft", &rules]);
}

/// A program on the caller's host that is written to and read from while it runs.
fn talking(stage: &Stage, words: &[&str]) -> Child {
    let mut command = stage.command(Host::Caller, 0, words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a program said to its end.
fn ended(program: Child) -> String {
    let output = program.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Connections that this proxy gave up because the host at `end` was lost.
fn lost(stage: &Stage, host: Host, admin: u16, end: &str) -> f64 {
    stage.metric(host, admin, "penstock_proxy_hosts_lost_total", &format!("end=\"{end}\""))
}

/// Once it was a quarter of an hour while anything was on its way, as that keeps keep-alive from looking.
#[test]
fn opaque_connections_of_lost_hosts_end_on_both_sides_and_a_client_that_only_does_not_read_keeps_its_own() {
    let mut stage = Stage::new().with_control();
    redis(&mut stage);
    postgresql(&mut stage);
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let open = || stage.metric(Host::Callee, FIRST_ADMIN, "penstock_proxy_tunnels_open", "");

    let rows = "COPY (SELECT repeat('x', 999) FROM generate_series(1, 80000)) TO STDOUT";
    let reader = talking(&stage, &["psql", "postgresql://nobody@10.96.0.12/postgres", "-c", rows]);
    let listening = talking(&stage, &["redis-cli", "-h", "10.96.0.11", "SUBSCRIBE", "news"]);
    let mut asking = talking(&stage, &["redis-cli", "-h", "10.96.0.11"]);
    writeln!(asking.stdin.as_mut().unwrap(), "PING").unwrap();
    let mut pong = [0; 5];
    asking.stdout.as_mut().unwrap().read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"PONG\n");
    stage.until("both are carried", || open() == 2.0);

    lose(&stage, 4243);
    // Of each pair one waits with nothing on its way, and one with a word that never comes there.
    writeln!(asking.stdin.as_mut().unwrap(), "PING").unwrap();
    drop(asking.stdin.take());
    assert_eq!(stage.said(Host::Callee, &["redis-cli", "PUBLISH", "news", "none"]).trim(), "1");
    stage.until("the caller's proxy gave both up", || {
        lost(&stage, Host::Caller, CALLER_ADMIN, "endpoint") == 2.0
    });
    stage.until("so did the endpoint's", || lost(&stage, Host::Callee, FIRST_ADMIN, "caller") == 2.0);
    for program in [asking, listening] {
        let said = ended(program);
        assert!(said.contains("reset by peer") || said.contains("closed the connection"), "{said}");
    }
    assert_eq!(open(), 0.0);
    assert_eq!(stage.said(Host::Callee, &["redis-cli", "CLIENT", "LIST", "TYPE", "pubsub"]).trim(), "");

    assert_eq!(ended(reader).len(), 80_000 * 1000);
    for (host, admin) in [(Host::Caller, CALLER_ADMIN), (Host::Callee, SECOND_ADMIN)] {
        assert_eq!(lost(&stage, host, admin, "caller"), 0.0, "{host:?}");
    }
}

/// Once an upgraded connection of a lost caller was kept for ever, and so was a request that waits for its answer; and an endpoint that
/// did not read for twenty seconds lost its upgraded connection.
#[test]
fn requests_and_upgraded_connections_of_lost_hosts_end_and_an_endpoint_that_only_does_not_read_keeps_its_own()
{
    let mut stage = Stage::new().with_control();
    stage.start(Host::Callee, 0, &["python3", UNHURRIED, "server", "8080"]);
    stage.beside(0, "web", "http", 8080, "web:80");
    stage.beside(1, "lost", "http", 8080, "lost:80");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let held = || {
        ["penstock_proxy_tunnels_open", "penstock_proxy_requests_running"]
            .map(|family| stage.metric(Host::Callee, FIRST_ADMIN, family, ""))
    };
    let upgrade = ["--header", "connection: upgrade", "--header", "upgrade: words", "--no-buffer"];
    let curl = ["curl", "--silent", "--show-error", "--max-time", "55", "--write-out", "%{http_code}\n"];

    let writer = talking(&stage, &["python3", UNHURRIED, "writer", "10.96.0.10", "40000000"]);
    let upgraded = talking(&stage, &[&curl[..], &upgrade, &["http://10.96.0.17/upgrade"]].concat());
    let waiting = talking(&stage, &[&curl[..], &["http://10.96.0.17/never"]].concat());
    stage.until("both are carried", || held() == [1.0, 1.0]);

    lose(&stage, 4243);
    stage.until("the endpoint's proxy let go of both", || held() == [0.0, 0.0]);
    assert_eq!(lost(&stage, Host::Callee, FIRST_ADMIN, "caller"), 1.0);
    stage.until("the caller's proxy let go of one", || {
        lost(&stage, Host::Caller, CALLER_ADMIN, "endpoint") == 1.0
    });
    assert!(ended(waiting).ends_with("502\n"));
    let said = ended(upgraded);
    assert!(said.contains("reset by peer"), "{said}");

    stage.said(Host::Caller, &["curl", "--silent", "--fail", "http://10.96.0.10/go"]);
    assert_eq!(ended(writer), "40000000\n");
}
