//! Slow callers as slowhttptest makes them, which is what people try servers with: heads and bodies that do not end, ranges without
//! number, answers that nobody reads. Each is ended by a bound and counted, by either listener, and curl is served meanwhile.

use std::process::Stdio;

use tokio::process::Command;

use crate::process::{Server, node, program, said};
use crate::sides::{STRICT, Side, on_either_side};
use crate::stage::SPOKEN;
use crate::support::{endpoint, mesh_with, run, service, settings, with_inbound};

/// Connections of one run.
const CONNECTIONS: u64 = 60;

/// slowhttptest with `CONNECTIONS` connections to `path`, which says nothing more for far longer than anybody is allowed to, and gives up
/// when no connection is left.
fn slow(side: &Side, path: &str, mode: &[&str]) -> Command {
    let (at, count) = (side.address.to_string(), CONNECTIONS.to_string());
    let mut command = program("slowhttptest");
    command.args(mode).args(["-c", &count, "-r", &count, "-i", "300", "-l", "30"]);
    if side.is_outbound {
        command.args(["-d", &at, "-u", &format!("http://web{path}")]);
    } else {
        command.args(["-u", &format!("http://{at}{path}")]);
    }
    command
}

/// slowhttptest found the service there whenever it looked, and none of its connections was left to it.
async fn is_cut_off(side: &Side, path: &str, mode: &[&str]) {
    let told = side.serves_beside(said(slow(side, path, mode))).await;
    assert!(told.contains("No open connections left"), "{}: {told}", side.name());
    let looks: Vec<&str> = told.lines().filter(|line| line.contains("service available:")).collect();
    let served = looks.iter().filter(|line| line.contains("YES")).count();
    assert!(served > 0 && served == looks.len(), "{}: {told}", side.name());
}

#[test]
fn heads_that_do_not_end_are_cut_off() {
    on_either_side("well", async |_, side| {
        is_cut_off(&side, "/", &["-H"]).await;
        assert_eq!(side.counters().await.head_timeout_total, CONNECTIONS, "{}", side.name());
    });
}

#[test]
fn bodies_that_do_not_end_are_cut_off_and_free_the_application() {
    on_either_side("reads", async |_, side| {
        is_cut_off(&side, "/", &["-B"]).await;
        let counters = side.counters().await;
        let freed = (counters.stalled_total, counters.requests_running);
        assert_eq!(freed, (CONNECTIONS, 0), "{}", side.name());
    });
}

#[test]
fn ranges_without_number_never_come_to_the_application() {
    on_either_side("well", async |_, side| {
        is_cut_off(&side, "/ranges", &["-R", "-a", "1", "-b", "20000"]).await;
        assert_eq!(side.counters().await.head_too_large_total, CONNECTIONS, "{}", side.name());
    });
}

/// Once such streams held their endpoints for as long as their caller lived.
#[test]
fn streams_on_which_no_body_comes_are_answered_and_a_grpc_call_may_begin_as_late_as_it_likes() {
    for (spoken, protocol) in SPOKEN {
        run(async {
            let server = Server::ours(node("server.mjs", &[spoken])).await;
            let outbound = mesh_with(
                &settings(),
                STRICT,
                &[service("web", protocol, vec![endpoint("web", server.address, 100)])],
            );
            let inbound = mesh_with(&with_inbound(server.address, protocol), STRICT, &[]);
            for (mesh, at) in
                [(&outbound, outbound.outbound), (&inbound, inbound.workers.inbound_address.unwrap())]
            {
                let told = said(node("silent.mjs", &[&at.port().to_string()])).await;
                let refused = "408 the caller neither sent nor read for 300 s\n";
                assert_eq!(told, format!("{refused}{refused}200 late\n"), "{spoken}");
                let counters = mesh.workers.take().await.counters;
                assert_eq!((counters.stalled_total, counters.requests_running), (2, 0), "{spoken}");
            }
        });
    }
}

/// slowhttptest does not look whether the connections are there that it does not read: the proxy's word is taken for it.
#[test]
fn answers_that_nobody_reads_are_cut_off_and_free_the_application() {
    on_either_side("well", async |_, side| {
        let mode = ["-X", "-n", "300", "-w", "1", "-y", "2", "-z", "1"];
        let mut reader = slow(&side, "/large", &mode).stdout(Stdio::null()).spawn().unwrap();
        let given_up = async {
            while side.counters().await.stalled_total < CONNECTIONS {
                assert!(reader.try_wait().unwrap().is_none(), "{}: it waits no longer", side.name());
                tokio::task::yield_now().await;
            }
        };
        side.serves_beside(given_up).await;
        assert_eq!(side.counters().await.requests_running, 0, "{}", side.name());
    });
}
