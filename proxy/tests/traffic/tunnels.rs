//! Connections that begin with a request and go on with something else: WebSocket, another protocol by `Upgrade`, and CONNECT.

use mesh::Protocol;
use serde_json::json;

use crate::process::{Server, curl, node, python, said, told};
use crate::stage::Hops;
use crate::support::run;

#[test]
fn websockets_pass_with_their_subprotocol_compression_and_close_code() {
    run(async {
        let server = Server::ours(python("streams.py", &["websocket-server"])).await;
        let hops = Hops::to(server.address, Protocol::Http1);
        let port = hops.outbound().port().to_string();
        let said = said(python("streams.py", &["websocket-client", &port])).await;
        assert_eq!(said, "None chat.v2 4001\ndeflate chat.v2 4001\n");
    });
}

#[test]
fn another_protocol_is_upgraded_to_and_may_end_in_halves() {
    run(async {
        let server = Server::ours(node("server.mjs", &["http1"])).await;
        let hops = Hops::to(server.address, Protocol::Http1);
        let asked = json!({"headers": {"Host": "web", "Connection": "Upgrade", "Upgrade": "upper/1"}});
        let port = hops.outbound().port().to_string();
        let seen = told(node("client.mjs", &["http1", &port, &asked.to_string()])).await;
        assert_eq!(
            (&seen["status"], &seen["headers"]["upgrade"]),
            (&json!(101), &json!("upper/1")),
            "{seen}"
        );
        // The caller ended its half with what it said, and still read all that came after.
        assert_eq!(seen["body"], "HELLO\nBYE\n", "{seen}");
    });
}

#[test]
fn connect_opens_a_tunnel_through_which_curl_speaks_with_the_endpoint_itself() {
    run(async {
        let server = Server::ours(node("server.mjs", &["http1"])).await;
        let hops = Hops::to(server.address, Protocol::Http1);
        let proxy = format!("http://{}", hops.outbound());
        let words = ["--proxytunnel", "--proxy", &proxy, "--include", "http://web/through"];
        let answer = said(curl(&words)).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nX-Answered-By: node\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\"url\":\"/through\""), "{answer}");
        let nowhere = [
            "--proxytunnel",
            "--proxy",
            &proxy,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_connect}",
            "http://absent/",
        ];
        let output = curl(&nowhere).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "404", "{output:?}");
    });
}
