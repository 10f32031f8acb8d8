//! Node leaves requests of curl's without an answer: what it was sent again, it said that it had not begun, or it does no harm to do twice.

use std::time::Duration;

use mesh::{Backend, Protocol, RequestPolicy, Retry, RouteRule};
use serde_json::{Value, json};

use crate::process::{Server, curl, node, said, told};
use crate::support::{Declared, Mesh, endpoint, mesh, run, service, settings};

/// The proxy of a caller before Node, which speaks `spoken`; with a route that names 502, if it is to.
async fn stage(spoken: &str, protocol: Protocol, is_retried: bool) -> (Server, Mesh) {
    let server = Server::ours(node("leaving.mjs", &[spoken])).await;
    let retry =
        Retry { codes: vec![502], grpc_codes: Vec::new(), attempts: 1, backoff: Duration::from_millis(1) };
    let rule = RouteRule {
        backends: vec![Backend { authority: "web".parse().unwrap(), weight: 1 }],
        policy: RequestPolicy { retry: Some(retry), ..RequestPolicy::default() },
        ..RouteRule::default()
    };
    let web = service("web", protocol, vec![endpoint("web", server.address, 100)]);
    let web = Declared { rules: if is_retried { vec![rule] } else { Vec::new() }, ..web };
    (server, mesh(&settings(), &[web]))
}

/// The statuses of a request that is answered, and of the one after it on the same connection.
async fn asked(mesh: &Mesh, words: &[&str], path: &str) -> String {
    let to = format!("::{}", mesh.outbound);
    let (first, second) = (format!("http://web/first{path}"), format!("http://web{path}"));
    let mut all = vec!["--connect-to", &to, "--write-out", "%{http_code} "];
    all.extend(words);
    all.extend(["--output", "/dev/null", &first, "--output", "/dev/null", &second]);
    said(curl(&all)).await
}

/// How often Node was sent a request that is not a first one.
async fn sent(mesh: &Mesh, line: &str) -> usize {
    let to = format!("::{}", mesh.outbound);
    let seen = told(curl(&["--connect-to", &to, "http://web/seen"])).await;
    seen.as_array().unwrap().iter().filter(|seen| **seen == json!(line)).count()
}

#[test]
fn a_kept_connection_that_dies_under_a_request_costs_one_that_may_be_sent_twice_nothing() {
    run(async {
        let (_server, mesh) = stage("http1", Protocol::Http1, false).await;
        assert_eq!(asked(&mesh, &[], "/dies").await, "200 200 ");
        assert_eq!(sent(&mesh, "GET /dies").await, 2);
        assert_eq!(asked(&mesh, &["--request", "POST"], "/dies").await, "200 502 ");
        assert_eq!(sent(&mesh, "POST /dies").await, 1, "it may have been carried out");
    });
}

#[test]
fn what_an_endpoint_of_http2_left_unbegun_is_sent_again_whatever_its_method() {
    run(async {
        let (_server, mesh) = stage("http2", Protocol::Http2, false).await;
        for path in ["/refused", "/goodbye"] {
            assert_eq!(asked(&mesh, &["--request", "POST"], path).await, "200 200 ", "{path}");
            assert_eq!(sent(&mesh, &format!("POST {path}")).await, 2, "{path}");
        }
    });
}

#[test]
fn a_body_that_was_sent_in_part_is_sent_again_only_where_a_route_keeps_it() {
    run(async {
        for (is_retried, statuses, times) in [(false, "200 502 ", 1), (true, "200 200 ", 2)] {
            let (_server, mesh) = stage("http2", Protocol::Http2, is_retried).await;
            assert_eq!(asked(&mesh, &["--data", "hello"], "/half").await, statuses);
            assert_eq!(sent(&mesh, "POST /half").await, times);
        }
        let (_server, mesh) = stage("http2", Protocol::Http2, true).await;
        let to = format!("::{}", mesh.outbound);
        let heard = said(curl(&["--connect-to", &to, "--data", "hello", "http://web/half"])).await;
        assert_eq!(Value::from(heard), json!("POSThello"), "the whole of it");
    });
}
