//! gRPC in all four kinds of calls and WebSocket, by Python's clients, through interception.

use std::path::PathBuf;

use crate::services::CALLER_ADMIN;
use crate::stage::{Host, PROXY_USER, Stage};

pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/streams.py");

/// The Python that has grpcio and websockets.
pub fn python() -> String {
    let told = std::env::var_os("PENSTOCK_PEER_PYTHON").map(PathBuf::from);
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ci/venv/bin/python");
    let python = told.unwrap_or_else(built);
    assert!(python.exists(), "{} is missing: run `bash .ci/run tools netns`", python.display());
    python.display().to_string()
}

fn outbound(stage: &Stage, family: &str, labels: &str) -> f64 {
    stage.metric(Host::Caller, CALLER_ADMIN, family, labels)
}

#[test]
fn grpc_calls_of_all_four_kinds_pass_with_their_trailers_and_statuses() {
    let (mut stage, python) = (Stage::new().with_control(), python());
    stage.start(Host::Callee, 0, &[&python, SCRIPT, "grpc-server", "9090"]);
    stage.beside(1, "greeter", "grpc", 9090, "greeter:9000");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let expected = "hello mesh carried\na+b+c\nn0 n1 n2\nONE TWO THREE and 0 more\nNOT_FOUND no such thing\n";
    assert_eq!(stage.said(Host::Caller, &[&python, SCRIPT, "grpc-client", "10.96.0.14:9000"]), expected);
    let greeter = "authority=\"greeter.default.svc.cluster.local:9000\"";
    assert_eq!(outbound(&stage, "request_total", greeter), 5.0, "each call is counted by itself");
}

#[test]
fn grpc_to_a_service_that_says_only_http_is_carried_as_it_comes() {
    let (mut stage, python) = (Stage::new().with_control(), python());
    stage.start(Host::Callee, 0, &[&python, SCRIPT, "grpc-server", "9090"]);
    stage.beside(0, "web", "http", 9090, "web:80");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let said = stage.said(Host::Caller, &[&python, SCRIPT, "grpc-client", "10.96.0.10:80"]);
    assert!(said.starts_with("hello mesh carried\na+b+c\n"), "{said}");
    assert!(outbound(&stage, "penstock_proxy_detected_total", "spoken=\"http2\"") >= 1.0);
}

#[test]
fn a_websocket_stays_open_through_both_proxies_and_its_bytes_are_counted() {
    let (mut stage, python) = (Stage::new().with_control(), python());
    stage.start(Host::Callee, 0, &[&python, SCRIPT, "websocket-server", "9091"]);
    stage.beside(0, "web", "http", 9091, "web:80");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);
    let said = stage.said(Host::Caller, &[&python, SCRIPT, "websocket-client", "ws://10.96.0.10/chat"]);
    assert_eq!(said, "three messages, closed with 1000\n");
    let web = "authority=\"web.default.svc.cluster.local:80\"";
    stage.until("its end is counted", || outbound(&stage, "tcp_close_total", web) == 1.0);
    assert!(outbound(&stage, "tcp_write_bytes_total", web) > 1_200_000.0);
    assert!(outbound(&stage, "penstock_proxy_detected_total", "spoken=\"http1\"") >= 1.0);
}
