//! What a proxy shows of itself, as programs read it that others wrote: its admin pages by curl, its metrics by Prometheus' own
//! parser, its access log by GoAccess, a log analyser, and by Node.

use std::fs::File;

use serde_json::Value;

use crate::cluster::{Cluster, Scratch, penstock};
use crate::stage::{App, Proxy};
use crate::upgrades::{command, python, said};

const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/metrics_peer.py");

/// What a caller says of itself to be taken for more than one field, or line.
const AGENT: &str = "a \"b\"\t\\c";
const REFERER: &str = "http://r/\"]";

/// What curl is told on every way.
pub const CURL: [&str; 5] = ["--silent", "--show-error", "--max-time", "60", "--write-out"];

/// A page of the admin port as curl gets it: its body, and behind a blank the status.
pub async fn page(proxy: &Proxy, path: &str, words: &[&str]) -> String {
    let url = format!("http://{}{path}", proxy.admin);
    said(command("curl", &[&CURL[..], &[" %{response_code}"], words, &[&url]].concat())).await.unwrap()
}

/// What Prometheus' own parser reads of a proxy's metrics.
pub async fn families(proxy: &Proxy) -> Value {
    let told = said(python(METRICS, &[&format!("http://{}/metrics", proxy.admin)])).await.unwrap();
    serde_json::from_str(&told).unwrap()
}

/// The status of one request of curl's for `web`.
pub async fn web_status(proxy: &Proxy) -> String {
    let own = ["%{response_code}", "--output", "/dev/null", "--header", "Host: web"];
    let url = format!("http://{}/", proxy.outbound);
    said(command("curl", &[&CURL[..], &own, &[&url]].concat())).await.unwrap_or_default()
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

    let families = families(&proxy).await;
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

/// strace sees which thread makes each call: it starts as the proxy's grandchild (`-D`), so that the proxy is the test's own child.
#[tokio::test]
async fn a_scrape_is_written_by_the_admin_thread_and_by_no_worker() {
    let (scratch, cluster) = (Scratch::new("traced"), Cluster::start("traced", 1));
    let web = App::start("web").await;
    let serves = [format!("--application={}", web.address), "--serves=web:80".to_owned()];
    let mut proxy = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &serves);
    let (plain, log) = (penstock("proxy", &proxy.words), File::create(&proxy.log).unwrap());
    let trace = scratch.0.join("trace").display().to_string();
    let mut traced = std::process::Command::new("strace");
    traced.args(["-D", "-f", "--decode-pids=comm", "-s", "400", "-e", "trace=write,writev,sendto,sendmsg"]);
    traced.args(["-o", &trace]).arg(plain.get_program()).args(plain.get_args());
    for (name, _) in plain.get_envs() {
        traced.env_remove(name);
    }
    proxy.process = Some(traced.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    proxy.until("curl is served", async || web_status(&proxy).await == "200").await;
    for _ in 0..3 {
        assert!(families(&proxy).await["request"].is_object());
        assert_eq!(page(&proxy, "/ready", &[]).await, "ready\n 200");
        assert_eq!(web_status(&proxy).await, "200");
    }
    proxy.kill();
    let read = || std::fs::read_to_string(&trace).unwrap_or_default();
    proxy.until("the trace is whole", async || read().contains("+++ killed by SIGKILL +++")).await;
    let trace = read();
    let written_by = |thread: &str, what: &str| {
        let thread = format!("<{thread}> ");
        trace.lines().filter(|line| line.contains(&thread) && line.contains(what)).count()
    };
    let scrape = "text/plain; version=0.0.4";
    assert!(written_by("admin", scrape) >= 3, "{trace}");
    assert_eq!(written_by("admin", scrape), trace.lines().filter(|line| line.contains(scrape)).count());
    assert!(written_by("worker-0", "HTTP/1.1 200 OK") >= 3, "the trace knows the workers too: {trace}");
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
