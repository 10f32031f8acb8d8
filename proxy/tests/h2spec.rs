//! h2spec, the conformance tests of HTTP/2, against both listeners. Needs the program in `PENSTOCK_PEER_H2SPEC`; the feature
//! `gates` and `.ci/run gates` see to that. What differs from the specification on purpose is listed with its reason.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::process::Command;

use http_body_util::{BodyExt, Full};
use mesh::Protocol;
use support::{endpoint, mesh, run, service, settings, snapshot, with_inbound};

/// Runs these sections of h2spec, or all, against a port of `host`, for the authority of both, and returns its report.
async fn report(host: &'static str, port: u16, sections: &'static [&str]) -> String {
    let program = std::env::var("PENSTOCK_PEER_H2SPEC").expect("PENSTOCK_PEER_H2SPEC names h2spec");
    let port = port.to_string();
    let run = move || {
        let arguments = ["--host", host, "--port", &port, "--timeout", "2"];
        Command::new(program).args(arguments).args(sections).output()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().expect("h2spec starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What differs on purpose. The ports take HTTP/1 and HTTP/2 alike, told apart by the preface: what is not the preface is
/// read as HTTP/1 and gets its 400, where h2spec waits for the end of the connection or for GOAWAY. And a window that grows
/// beyond its bound may come too late to be blamed: on a stream that has ended it is ignored (RFC 9113, section 5.1).
const DIFFERENCES: [&str; 2] = [
    "Sends invalid connection preface",
    "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
];

/// No test but those of `DIFFERENCES` failed, none was left out, and there were at least `least`.
fn assert_conforms(report: &str, least: usize) {
    let (whole, failures) = report.split_once("Failures:").unwrap_or((report, ""));
    let failed = failures.lines().filter_map(|line| line.split_once('\u{d7}')).map(|(_, test)| test);
    for test in failed {
        assert!(DIFFERENCES.iter().any(|difference| test.ends_with(difference)), "{test}: {report}");
    }
    let last =
        report.lines().rev().find(|line| line.contains(" tests, ")).expect("h2spec ends with its figures");
    let figure = |at: usize| last.split(' ').nth(at).and_then(|word| word.parse::<usize>().ok()).unwrap();
    let (all, passed, skipped) = (figure(0), figure(2), figure(4));
    assert!(all >= least && skipped == 0 && all - passed <= DIFFERENCES.len(), "{last}\n{whole}");
}

/// All tests of h2spec 2.2.1.
const ALL: usize = 145;

/// Those of its section `generic`: what everybody does, and no wrong frame behind the head of a request.
const GENERIC: usize = 44;

/// The application answers when it has read a request to its end: what h2spec sends behind a head, and wants blamed, comes
/// before any answer.
#[test]
fn both_listeners_conform_to_http2() {
    run(async {
        let app = support::serving(Protocol::Http2, |parts, _| {
            let body = if parts.method == http::Method::HEAD { "" } else { "hello" };
            http::Response::new(Full::from(body).boxed())
        })
        .await;
        let callee = mesh(&with_inbound(app.address, Protocol::Http2), &[]);
        let inbound = callee.workers.inbound_address.unwrap().port();
        assert_conforms(&report("localhost", inbound, &[]).await, ALL);
        let before = app.requests.borrow().len();
        let caller = mesh(&settings(), &[]);
        let outbound = caller.outbound.port();
        let name = format!("localhost:{outbound}").leak();
        let known = service(name, Protocol::Http2, vec![endpoint("web", app.address, 100)]);
        caller.published.publish(snapshot(&[known]));
        assert_conforms(&report("localhost", outbound, &[]).await, ALL);
        assert!(
            app.requests.borrow().len() > before,
            "requests reached the application through outbound too"
        );
    });
}

/// No service has the name that h2spec asks for: such a request is answered at its head, so that what is wrong behind that
/// may come too late to be blamed, and only the generic section is asked.
#[test]
fn the_own_answers_of_the_proxy_conform_to_http2() {
    run(async {
        let caller = mesh(&settings(), &[]);
        assert_conforms(&report("127.0.0.1", caller.outbound.port(), &["generic"]).await, GENERIC);
    });
}
