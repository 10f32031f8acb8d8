//! What an application speaks that says no more of itself than HTTP: real programs, before a proxy that looks.

use mesh::Protocol;

use crate::process::{Server, curl, node, python, said, told};
use crate::support::{Mesh, mesh, run, with_inbound};
use proxy::worker::WorkerSettings;
use std::net::SocketAddr;

/// The proxy of an application at `address`, which looks at what its callers say.
fn looking(address: SocketAddr, protocol: Protocol) -> (Mesh, SocketAddr) {
    let callee = mesh(&WorkerSettings { intercept: true, ..with_inbound(address, protocol) }, &[]);
    let inbound = callee.workers.inbound_address.unwrap();
    (callee, inbound)
}

/// What was seen, and by what, as often as it was.
async fn seen(callee: &Mesh) -> Vec<(&'static str, &'static str, u64)> {
    let counters = callee.workers.take().await.counters;
    counters.detected.totals().filter(|(_, _, count)| *count > 0).collect()
}

#[test]
fn a_mail_server_is_found_out_by_its_first_word_and_remembered_and_a_web_server_by_its_callers() {
    run(async {
        let server = Server::ours(node("halves.mjs", &["mail"])).await;
        let (callee, inbound) = looking(server.address, Protocol::Http1);
        let url = format!("smtp://{inbound}");
        for seen_so_far in [
            vec![("other", "server_first", 1)],
            vec![("other", "server_first", 1), ("other", "remembered", 1)],
        ] {
            assert_eq!(said(curl(&["--request", "HELP", &url])).await, "214 there is none\r\n");
            assert_eq!(seen(&callee).await, seen_so_far);
        }

        let server = Server::ours(node("server.mjs", &["http1"])).await;
        let (callee, inbound) = looking(server.address, Protocol::Http1);
        let url = format!("http://{inbound}/");
        for count in 1..=3 {
            assert!(said(curl(&[&url])).await.contains("\"version\":\"1.1\""));
            assert_eq!(seen(&callee).await, [("http1", "bytes", count)]);
        }
    });
}

#[test]
fn http2_to_an_application_that_says_only_http_is_carried_as_it_comes() {
    run(async {
        let server = Server::ours(node("server.mjs", &["http2"])).await;
        let (callee, inbound) = looking(server.address, Protocol::Http1);
        let asked = r#"{"method": "POST", "body": "hello", "trailers": {"x-check": "yes"}}"#;
        let seen_by_caller = told(node("client.mjs", &["http2", &inbound.port().to_string(), asked])).await;
        assert_eq!(
            (&seen_by_caller["status"], &seen_by_caller["trailers"]["x-sum"]),
            (&200.into(), &"7".into())
        );
        // A server of HTTP/2 may speak first, and mostly does so before its caller's preface has come.
        let seen = seen(&callee).await;
        assert!(
            [[("http2", "bytes", 1)], [("other", "server_first", 1)]].iter().any(|way| seen == way),
            "{seen:?}"
        );
    });
}

#[test]
fn what_is_declared_is_not_looked_at() {
    run(async {
        let mail = Server::ours(node("halves.mjs", &["mail"])).await;
        let (callee, inbound) = looking(mail.address, Protocol::Opaque);
        assert_eq!(
            said(curl(&["--request", "HELP", &format!("smtp://{inbound}")])).await,
            "214 there is none\r\n"
        );
        assert_eq!(seen(&callee).await, []);
        let greeter = Server::ours(python("streams.py", &["grpc-server"])).await;
        let (callee, inbound) = looking(greeter.address, Protocol::Grpc);
        let asked = [
            "--http2-prior-knowledge",
            "--include",
            "--request",
            "POST",
            "--header",
            "content-type: application/grpc",
            "--header",
            "te: trailers",
            &format!("http://{inbound}/test.Kinds/Nothing"),
        ];
        let answer = said(curl(&asked)).await;
        assert!(answer.contains("grpc-status: 12"), "{answer}");
        assert_eq!(seen(&callee).await, []);
    });
}
