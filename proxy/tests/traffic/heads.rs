//! Heads at the bound on their lines, through two proxies: what the caller's proxy took the callee's does not refuse for what was added
//! between them, and neither is an answer refused on its way back. curl asks, and Node tells what it heard.

use mesh::{HeaderChanges, Protocol};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::instance::web;
use crate::process::{Server, curl, node, said};
use crate::stage::{Hops, SPOKEN};
use crate::support::{endpoint, mesh, run, settings, with_inbound};

/// Most lines of a head that an application sends.
const LINES_MAX: usize = 100;

/// curl with each version, and the lines of its own: `user-agent` and `accept`, and over HTTP/1 the host.
const VERSIONS: [(&str, usize); 2] = [("--http1.1", 3), ("--http2-prior-knowledge", 2)];

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("x-{number}: {number}")).collect()
}

/// What curl is told of a request with so many more lines: the body, and behind it the status.
async fn asked(connect_to: &str, version: &str, lines: &[String], words: &[&str]) -> (String, String) {
    let mut all = vec![version, "--connect-to", connect_to, "--write-out", "\n%{http_code}"];
    all.extend(lines.iter().flat_map(|line| ["--header", line]));
    all.extend(words);
    all.push("http://web/");
    let told = said(curl(&all)).await;
    let (body, status) = told.rsplit_once('\n').unwrap();
    (body.to_owned(), status.to_owned())
}

/// How many of the lines Node heard, among which names begin so.
fn heard(body: &str, begin: &str) -> usize {
    let heard: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let names = heard["headers"].as_array().unwrap().iter().step_by(2);
    names.filter(|name| name.as_str().unwrap().starts_with(begin)).count()
}

#[test]
fn a_request_with_as_many_lines_as_may_be_passes_both_proxies_and_one_with_more_neither() {
    run(async {
        for (spoken, protocol) in SPOKEN {
            let server = Server::ours(node("server.mjs", &[spoken])).await;
            let hops = Hops::to(server.address, protocol);
            for (version, own) in VERSIONS {
                let way = format!("{version} to {spoken}");
                let most = lines(LINES_MAX - own);
                let (body, status) = asked(&hops.connect_to(), version, &most, &[]).await;
                assert_eq!((&*status, heard(&body, "x-")), ("200", most.len()), "{way}: {body}");
                let (body, status) =
                    asked(&hops.connect_to(), version, &lines(LINES_MAX - own + 1), &[]).await;
                assert_eq!(status, "431", "{way}: {body}");
                assert!(body.contains("100 headers"), "{way}: {body}");
            }
            // A body whose length nobody states costs HTTP/1 a line more, and its type is one of curl's own.
            let most = lines(LINES_MAX - 3);
            let words = ["--data", "hello", "--header", "content-length:"];
            let (body, status) = asked(&hops.connect_to(), "--http2-prior-knowledge", &most, &words).await;
            assert_eq!((&*status, heard(&body, "x-")), ("200", most.len()), "{spoken}: {body}");
        }
    });
}

#[test]
fn a_request_at_the_bound_passes_with_all_that_the_filters_of_a_rule_may_add() {
    let pairs = |begin: &str| (0..16).map(|number| (format!("{begin}{number}"), "rule".to_owned())).collect();
    run(async {
        for (spoken, protocol) in SPOKEN {
            let server = Server::ours(node("server.mjs", &[spoken])).await;
            let callee = mesh(&with_inbound(server.address, protocol), &[]);
            let mut declared = web(vec![endpoint("web", callee.workers.inbound_address.unwrap(), 100)]);
            declared.protocol = protocol;
            declared.rules[0].filters.request_headers =
                HeaderChanges { set: pairs("y-set-"), add: pairs("y-add-"), ..HeaderChanges::default() };
            let caller = mesh(&settings(), &[declared]);
            for (version, own) in VERSIONS {
                let (body, status) =
                    asked(&format!("::{}", caller.outbound), version, &lines(LINES_MAX - own), &[]).await;
                assert_eq!(status, "200", "{version} to {spoken}: {body}");
                assert_eq!((heard(&body, "x-"), heard(&body, "y-")), (LINES_MAX - own, 32), "{body}");
            }
        }
    });
}

#[test]
fn a_rule_that_makes_a_head_larger_than_the_next_proxy_takes_is_told_so_by_the_callers_own() {
    run(async {
        let server = Server::ours(node("server.mjs", &["http1"])).await;
        let callee = mesh(&with_inbound(server.address, Protocol::Http1), &[]);
        let mut declared = web(vec![endpoint("web", callee.workers.inbound_address.unwrap(), 100)]);
        let value = "v".repeat(4096);
        let set = (0..16).map(|number| (format!("y-{number}"), value.clone())).collect();
        declared.rules[0].filters.request_headers = HeaderChanges { set, ..HeaderChanges::default() };
        let caller = mesh(&settings(), &[declared]);
        let large = vec![format!("x-large: {}", "v".repeat(16_000))];
        let (body, status) = asked(&format!("::{}", caller.outbound), "--http1.1", &large, &[]).await;
        assert_eq!(status, "431", "{body}");
        assert_eq!(callee.workers.take().await.counters.accepted_total, 0, "it was not even sent");
    });
}

#[test]
fn the_pieces_of_a_cookie_that_http2_cuts_come_to_an_application_of_http1_as_one() {
    run(async {
        let server = Server::ours(node("server.mjs", &["http1"])).await;
        let hops = Hops::to(server.address, Protocol::Http1);
        let words = ["--header", "cookie: a=1", "--header", "cookie: b=2; c=3"];
        let (body, status) = asked(&hops.connect_to(), "--http2-prior-knowledge", &[], &words).await;
        assert_eq!((&*status, heard(&body, "cookie")), ("200", 1), "{body}");
        assert!(body.contains("\"a=1; b=2; c=3\""), "{body}");
    });
}

/// An application whose answers have so many lines, and end with their connection: then the callee's proxy adds how it frames them.
async fn answering(lines: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lines: String = (0..lines).map(|number| format!("x-{number}: {number}\r\n")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\nhello");
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
            let _ = stream.write_all(answer.as_bytes()).await; // one that is refused may be closed before its end
        }
    });
    address
}

#[test]
fn an_answer_with_as_many_lines_as_may_be_passes_both_proxies_and_one_with_more_neither() {
    run(async {
        for (lines, expected) in [(LINES_MAX, "200"), (LINES_MAX + 1, "502")] {
            let hops = Hops::to(answering(lines).await, Protocol::Http1);
            let (body, status) = asked(&hops.connect_to(), "--http1.1", &[], &[]).await;
            assert_eq!(status, expected, "{body}");
            assert_eq!(body == "hello", expected == "200", "{body}");
        }
    });
}
