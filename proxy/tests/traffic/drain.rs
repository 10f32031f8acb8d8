//! What real clients are told by proxies that end: `connection: close` over HTTP/1, GOAWAY over HTTP/2, and the answer to what runs.

use std::process::Stdio;
use std::time::Duration;

use mesh::Protocol;
use proxy::worker::{DrainPlan, Idle};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::process::{PATIENCE, Server, curl, node, said};
use crate::stage::Hops;
use crate::support::run;

/// Takes new connections for as long as curl needs to start, also on a busy machine.
const PLAN: DrainPlan = DrainPlan {
    accept_for: Duration::from_secs(5),
    finish_within: Duration::from_secs(50),
    idle: Idle::CloseSoon,
};

#[test]
fn callers_are_told_to_go_and_what_runs_is_answered() {
    run(async {
        let server = Server::ours(node("server.mjs", &["http1"])).await;
        let hops = Hops::to(server.address, Protocol::Http1);
        let port = hops.outbound().port().to_string();
        // A client over each version, with one request answered and another one that waits for its body.
        let mut clients = Vec::new();
        for version in ["http1", "http2"] {
            let mut client = node("leaver.mjs", &[version, &port]);
            let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let input = client.stdin.take().unwrap();
            let mut told = BufReader::new(client.stdout.take().unwrap()).lines();
            let line = tokio::time::timeout(PATIENCE, told.next_line()).await.expect("the client begins");
            assert_eq!(line.unwrap().as_deref(), Some("under way"));
            clients.push((version, client, input, told));
        }
        while hops.caller.workers.asker().running().await < 2 {
            tokio::task::yield_now().await;
        }
        hops.caller.workers.drain(PLAN);
        hops.caller.workers.take().await; // comes after the drain
        let words = ["--include", "--connect-to", &hops.connect_to(), "http://web/"];
        let late = said(curl(&words)).await;
        assert!(
            late.starts_with("HTTP/1.1 200 OK\r\n")
                && late.to_lowercase().contains("\r\nconnection: close\r\n"),
            "{late}"
        );
        for (version, mut client, mut input, mut told) in clients {
            let mut next =
                async || tokio::time::timeout(PATIENCE, told.next_line()).await.expect("it goes on").unwrap();
            if version == "http2" {
                assert_eq!(next().await.as_deref(), Some("goaway 0"), "told while its request runs");
            }
            input.write_all(b"the body\n").await.unwrap();
            let last = if version == "http2" { "200 the body" } else { "200 the body, then close" };
            assert_eq!(next().await.as_deref(), Some(last), "{version}");
            assert!(client.wait().await.unwrap().success());
        }
        assert_eq!(hops.caller.workers.finished().await.counters.cut_off_total, 0);
    });
}
