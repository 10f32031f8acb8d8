//! h2spec, the conformance tests of HTTP/2, against both listeners. Needs the program in `PENSTOCK_PEER_H2SPEC`; the feature
//! `gates` and `.ci/run gates` see to that. What differs from the specification on purpose is listed with its reason.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::net::SocketAddr;
use std::process::Command;

use http_body_util::{BodyExt, Full};
use mesh::Protocol;
use support::{mesh, run, settings, with_inbound};

/// Runs all of h2spec against `address` and returns its report.
async fn report(address: SocketAddr) -> String {
    let program = std::env::var("PENSTOCK_PEER_H2SPEC").expect("PENSTOCK_PEER_H2SPEC names h2spec");
    let port = address.port().to_string();
    let run = move || {
        Command::new(program).args(["--host", "127.0.0.1", "--port", &port, "--timeout", "2"]).output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().expect("h2spec starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What differs on purpose. The ports take HTTP/1 and HTTP/2 alike, told apart by the preface: what is not the preface is
/// read as HTTP/1 and gets its 400, where h2spec waits for the end of the connection or for GOAWAY. And a request that the
/// proxy refuses is answered at its head: a body that contradicts the content-length may come too late to be blamed, and so
/// may a window that grows beyond its bound: on a stream that has ended it is ignored (RFC 9113, section 5.1).
const DIFFERENCES: [&str; 3] = [
    "Sends invalid connection preface",
    "Sends a HEADERS frame with the \"content-length\" header field which does not equal the DATA frame payload length",
    "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
];

fn assert_conforms(report: &str) {
    let (whole, failures) = report.split_once("Failures:").unwrap_or((report, ""));
    let failed = failures.lines().filter_map(|line| line.split_once('\u{d7}')).map(|(_, test)| test);
    for test in failed {
        assert!(DIFFERENCES.iter().any(|difference| test.ends_with(difference)), "{test}: {report}");
    }
    let last =
        report.lines().rev().find(|line| line.contains(" tests, ")).expect("h2spec ends with its figures");
    let figure = |at: usize| last.split(' ').nth(at).and_then(|word| word.parse::<usize>().ok()).unwrap();
    let (all, passed, skipped) = (figure(0), figure(2), figure(4));
    assert!(all > 140 && skipped == 0 && all - passed <= DIFFERENCES.len(), "{last}\n{whole}");
}

#[test]
fn both_listeners_conform_to_http2() {
    run(async {
        let app = support::serving(Protocol::Http2, |parts, _| {
            let body = if parts.method == http::Method::HEAD { "" } else { "hello" };
            http::Response::new(Full::from(body).boxed())
        })
        .await;
        let callee = mesh(&with_inbound(app.address, Protocol::Http2), &[]);
        assert_conforms(&report(callee.workers.inbound_address.unwrap()).await);
        // Here nobody knows the authority that h2spec asks for: the proxy's own answers conform as well.
        let caller = mesh(&settings(), &[]);
        assert_conforms(&report(caller.outbound).await);
    });
}
