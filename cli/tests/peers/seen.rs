//! What a proxy shows of itself, as programs read it that others wrote: its admin pages by curl, its metrics by Prometheus' own
//! parser, its access log by GoAccess, a log analyser.

use serde_json::Value;

use crate::cluster::{Cluster, Scratch};
use crate::stage::{App, Proxy};
use crate::upgrades::{command, python, said};

const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/metrics_peer.py");

/// What curl is told on every way.
const CURL: [&str; 5] = ["--silent", "--show-error", "--max-time", "60", "--write-out"];

/// A page of the admin port as curl gets it: its body, and behind a blank the status.
async fn page(proxy: &Proxy, path: &str, words: &[&str]) -> String {
    let url = format!("http://{}{path}", proxy.admin);
    said(command("curl", &[&CURL[..], &[" %{response_code}"], words, &[&url]].concat())).await.unwrap()
}

#[tokio::test]
async fn admin_pages_are_there_for_curl_and_metrics_for_prometheus() {
    let (scratch, cluster) = (Scratch::new("seen"), Cluster::start("seen", 1));
    let web = App::start("web").await;
    let serves = [format!("--application={}", web.address), "--serves=web:80".to_owned()];
    let mut proxy = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &serves);
    proxy.start();
    proxy.until_answer("web", |status, _| status == 200).await;

    assert_eq!(page(&proxy, "/live", &[]).await, "live\n 200");
    assert_eq!(page(&proxy, "/ready", &[]).await, "ready\n 200");
    let config = page(&proxy, "/config", &[]).await;
    let shown: Value = serde_json::from_str(config.strip_suffix(" 200").unwrap()).unwrap();
    assert_eq!((&shown["proxy"]["name"], &shown["control_connected"]), (&"web-1".into(), &true.into()));
    assert!(shown["services"]["web.default.svc.cluster.local:80"].is_object(), "{shown}");
    let connections = page(&proxy, "/connections?limit=1", &[]).await;
    let shown: Value = serde_json::from_str(connections.strip_suffix(" 200").unwrap()).unwrap();
    assert!(shown["open"].is_u64() && shown["connections"].is_array(), "{shown}");
    assert_eq!(page(&proxy, "/log-level", &[]).await, "info\n 200");
    let louder = page(&proxy, "/log-level", &["--request", "PUT", "--data", "info,proxy=debug"]).await;
    assert_eq!(louder, "info,proxy=debug\n 200");
    assert_eq!(page(&proxy, "/log-level", &[]).await, "info,proxy=debug\n 200");
    let missing = page(&proxy, "/conf", &[]).await;
    assert!(missing.contains("/connections") && missing.ends_with(" 404"), "{missing}");

    let families = said(python(METRICS, &[&format!("http://{}/metrics", proxy.admin)])).await.unwrap();
    let families: Value = serde_json::from_str(&families).unwrap();
    for (family, kind) in [
        ("request", "counter"),
        ("response_latency_ms", "histogram"),
        ("tcp_open_connections", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
    ] {
        assert_eq!(families[family]["type"], kind, "{family}: {families}");
        assert!(families[family]["samples"].as_u64().unwrap() > 0, "{family}: {families}");
    }
    let undescribed: Vec<&String> = families
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, family)| family["help"] == "")
        .map(|(name, _)| name)
        .collect();
    assert!(undescribed.is_empty(), "{undescribed:?} have no help");
}

#[tokio::test]
async fn an_access_log_is_read_to_its_last_line_by_a_log_analyser_whatever_callers_put_into_it() {
    let (scratch, cluster) = (Scratch::new("logged"), Cluster::start("logged", 1));
    let web = App::start("web").await;
    let log = scratch.0.join("access.log").display().to_string();
    let flags = [
        format!("--application={}", web.address),
        "--serves=web:80".to_owned(),
        "--access-log=combined".to_owned(),
        format!("--access-log-file={log}"),
    ];
    let mut proxy = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &flags);
    proxy.start();
    proxy.until_answer("web", |status, _| status == 200).await;
    let url = format!("http://{}", proxy.outbound);
    let hostile = ["/a%20b?c=%22d%22", "/~x'y", "/cart?id=7&n=[1]"];
    for path in hostile {
        let words = ["--header", "Host: web", "--user-agent", "a \"b\" \\c\t", "--referer", "http://r/\"]"];
        let asked = [
            &CURL[..],
            &["%{response_code}", "--globoff", "--output", "/dev/null"],
            &words,
            &[&format!("{url}{path}")],
        ];
        assert_eq!(said(command("curl", &asked.concat())).await.unwrap(), "200", "{path}");
    }
    // Both sides of each request are written, in their order and by a thread of their own.
    let written = || std::fs::read_to_string(&log).unwrap_or_default();
    proxy.until("the last request is logged", async || written().matches("/cart?").count() == 2).await;
    let lines = written().lines().count();
    let report = scratch.0.join("report.json").display().to_string();
    let words = ["--no-global-config", "--log-format=COMBINED", "--output", &report, &log];
    said(command("goaccess", &words)).await.unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let read = &report["general"];
    assert_eq!((&read["failed_requests"], &read["valid_requests"]), (&0.into(), &lines.into()), "{read}");
    let statuses = report["status_codes"]["data"].to_string();
    assert!(statuses.contains("200"), "{statuses}");
}
