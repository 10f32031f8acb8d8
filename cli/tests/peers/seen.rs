//! What a proxy shows of itself, as programs read it that others wrote: its admin pages by curl, its metrics by Prometheus' own
//! parser, its access log by GoAccess, a log analyser, and by Node.

use serde_json::Value;

use crate::cluster::{Cluster, Scratch};
use crate::stage::{App, Proxy};
use crate::upgrades::{command, python, said};

const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/metrics_peer.py");

/// What a caller says of itself to be taken for more than one field, or line.
const AGENT: &str = "a \"b\"\t\\c";
const REFERER: &str = "http://r/\"]";

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

/// Paths of callers that would write lines of their own.
const HOSTILE: [&str; 3] = ["/a%20b?c=%22d%22", "/~x'y", "/cart?id=7&n=[1]"];

/// A proxy that wrote an access log of requests by curl; all runs until this is dropped.
struct Logged {
    _running: (Cluster, App, Proxy),
    scratch: Scratch,
    log: String,
    lines: usize,
}

impl Logged {
    async fn as_format(format: &str) -> Self {
        let name = format!("logged-{format}");
        let (scratch, cluster) = (Scratch::new(&name), Cluster::start(&name, 1));
        let web = App::start("web").await;
        let log = scratch.0.join("access.log").display().to_string();
        let flags = [
            format!("--application={}", web.address),
            "--serves=web:80".to_owned(),
            format!("--access-log={format}"),
            format!("--access-log-file={log}"),
        ];
        let mut proxy = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &flags);
        proxy.start();
        proxy.until_answer("web", |status, _| status == 200).await;
        for path in HOSTILE {
            let words = ["--header", "Host: web", "--user-agent", AGENT, "--referer", REFERER];
            let told = ["%{response_code}", "--globoff", "--output", "/dev/null"];
            let url = format!("http://{}{path}", proxy.outbound);
            let asked = [&CURL[..], &told, &words, &[&url]].concat();
            assert_eq!(said(command("curl", &asked)).await.unwrap(), "200", "{path}");
        }
        // Both sides of each request are written, in their order and by a thread of their own.
        let written = || std::fs::read_to_string(&log).unwrap_or_default();
        proxy.until("the last request is logged", async || written().matches("/cart?").count() == 2).await;
        let lines = written().lines().count();
        Self { _running: (cluster, web, proxy), scratch, log, lines }
    }
}

#[tokio::test]
async fn an_access_log_is_read_to_its_last_line_by_a_log_analyser_whatever_callers_put_into_it() {
    for format in ["combined", "common"] {
        let logged = Logged::as_format(format).await;
        let report = logged.scratch.0.join("report.json").display().to_string();
        let name = format!("--log-format={}", format.to_uppercase());
        let words = ["--no-global-config", &name, "--output", &report, &logged.log];
        said(command("goaccess", &words)).await.unwrap();
        let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        let read = &report["general"];
        let expected = (&0.into(), &logged.lines.into());
        assert_eq!((&read["failed_requests"], &read["valid_requests"]), expected, "{format}: {read}");
        let statuses = report["status_codes"]["data"].to_string();
        assert!(statuses.contains("200"), "{format}: {statuses}");
    }
}

#[tokio::test]
async fn an_access_log_in_json_is_read_line_by_line_by_node_whatever_callers_put_into_it() {
    let logged = Logged::as_format("json").await;
    let script = "const lines = require('fs').readFileSync(process.argv[1], 'utf8').trimEnd().split('\\n'); \
                  console.log(JSON.stringify(lines.map((line) => JSON.parse(line))))";
    let read = said(command("node", &["--eval", script, &logged.log])).await.unwrap();
    let read: Vec<Value> = serde_json::from_str(&read).unwrap();
    assert_eq!(read.len(), logged.lines);
    for path in HOSTILE {
        for direction in ["outbound", "inbound"] {
            let line = read.iter().find(|line| line["path"] == path && line["direction"] == direction);
            let line = line.unwrap_or_else(|| panic!("{direction} {path}: {read:?}"));
            assert_eq!((&line["status"], &line["method"]), (&200.into(), &"GET".into()), "{line}");
            assert_eq!((&line["user_agent"], &line["referer"]), (&AGENT.into(), &REFERER.into()), "{line}");
        }
    }
}
