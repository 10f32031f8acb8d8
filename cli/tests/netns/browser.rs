//! A browser: Chromium, which knows nothing of a mesh, opens a page whose script asks for many things at once, sends a large body,
//! follows events and speaks over a WebSocket; all by virtual addresses.

use crate::services::CALLER_ADMIN;
use crate::stage::{Host, PROXY_USER, Stage};
use crate::streams;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/page.mjs");

/// What the page says when everything came as it should.
const TOLD: &str = "24 numbers, 300000 echoed, a b c, hello and 60000 bytes, closed with 1000";

#[test]
fn chromium_opens_a_page_with_parallel_requests_events_and_a_websocket() {
    let mut stage = Stage::new().with_control();
    stage.start(Host::Callee, 0, &["node", PAGE, "8080", "ws://10.96.0.15/chat"]);
    stage.beside(0, "web", "http", 8080, "web:80");
    stage.start(Host::Callee, 0, &[&streams::python(), streams::SCRIPT, "websocket-server", "9091"]);
    stage.beside(1, "chat", "http", 9091, "chat:80");
    stage.calling(PROXY_USER);
    stage.init_caller(&[]);

    let profile = format!("--user-data-dir={}", stage.scratch.join("profile").display());
    // It writes the document down once all of it is loaded; the page's last picture comes when its script has come to its end.
    let browser =
        ["timeout", "--kill-after=5", "50", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu"];
    let quiet = ["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", &profile];
    let shown =
        stage.said(Host::Caller, &[&browser[..], &quiet, &["--dump-dom", "http://10.96.0.10/"]].concat());
    let told = shown.split_once("<pre id=\"told\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    assert_eq!(told.map(|(told, _)| told), Some(TOLD), "{shown}");

    let outbound = |family: &str, service: &str| {
        let labels = format!("authority=\"{service}.default.svc.cluster.local:80\"");
        stage.metric(Host::Caller, CALLER_ADMIN, family, &labels)
    };
    // The page, the numbers, the echo, the events, its last word and the picture.
    assert!(outbound("request_total", "web") >= 29.0, "{}", outbound("request_total", "web"));
    let looked =
        stage.metric(Host::Caller, CALLER_ADMIN, "penstock_proxy_detected_total", "spoken=\"http1\"");
    assert!(looked >= 3.0, "{looked} connections: it asks over several at once");
    stage.until("the end of the chat is counted", || outbound("tcp_close_total", "chat") == 1.0);
    assert!(outbound("tcp_write_bytes_total", "chat") > 60_000.0);
}
