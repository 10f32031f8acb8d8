//! A proxy that runs out of files or of memory under crowds of real callers: who is refused is told why, whoever looks at its admin port
//! is answered, and when the crowd is gone everybody is served again.

use std::process::{Command as Program, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::cluster::{Cluster, Scratch, penstock};
use crate::seen::{families, page, web_status};
use crate::stage::{App, Proxy};
use crate::upgrades::{command, next_line, said};

const CROWD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/crowd.mjs");

/// Files that the proxy may open, and callers that want one each.
const FILES: u64 = 256;
const CALLERS: u64 = 400;

/// Callers that send 60 KiB each, and how much of that the ceiling of memory leaves room for.
const HEADS: u64 = 800;
const ROOM_MIB: u64 = 24;
const MIB: u64 = 1024 * 1024;

/// What a caller's unfinished head may cost: the bound on heads is 64 KiB, and a buffer doubles as it grows.
const HEAD_BYTES_MAX: u64 = 160 * 1024;

/// A crowd; it is gone when this is dropped.
struct Crowd {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    fn comes(kind: &str, proxy: &Proxy, count: u64) -> Self {
        let (port, count) = (proxy.outbound.port().to_string(), count.to_string());
        let mut crowd = command("node", &[CROWD, kind, &port, &count]);
        let mut process = crowd.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _process: process, lines }
    }
}

/// A control node, and a proxy beside the application `web`.
async fn callee(name: &str) -> (Scratch, Cluster, App, Proxy) {
    let (scratch, cluster) = (Scratch::new(name), Cluster::start(name, 1));
    let web = App::start("web").await;
    let serves = [format!("--application={}", web.address), "--serves=web:80".to_owned()];
    let mut callee = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &serves);
    callee.start();
    (scratch, cluster, web, callee)
}

/// The same program under a limit of open files that it cannot raise.
fn start_limited(proxy: &mut Proxy) {
    let plain = penstock("proxy", &proxy.words);
    let log = std::fs::File::create(&proxy.log).unwrap();
    let mut limited = Program::new("prlimit");
    limited.arg(format!("--nofile={FILES}:{FILES}")).arg(plain.get_program()).args(plain.get_args());
    for (name, _) in plain.get_envs() {
        limited.env_remove(name);
    }
    let limited = limited.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    proxy.process = Some(limited.spawn().unwrap());
}

#[tokio::test]
async fn callers_for_whom_there_are_no_files_are_told_so_and_probes_and_scrapes_are_answered() {
    let (scratch, cluster, _web, _callee) = callee("files").await;
    let mut caller = Proxy::new(&scratch, "shop-1", "shop", &cluster.control(), &[]);
    start_limited(&mut caller);
    caller.until_answer("web", |status, _| status == 200).await;
    let mut crowd = Crowd::comes("asks", &caller, CALLERS);
    let told: Value = serde_json::from_str(&next_line(&mut crowd.lines).await).unwrap();
    let statuses = told["statuses"].as_object().unwrap();
    let of = |status: &str| statuses.get(status).and_then(Value::as_u64).unwrap_or_default();
    assert!(of("200") > 0 && of("503") > 0 && of("200") + of("503") == CALLERS, "{told}");
    let reasons = told["reasons"].as_array().unwrap();
    assert!(reasons.len() == 1 && reasons[0].as_str().unwrap().contains("(nofile)"), "{told}");
    assert_eq!(page(&caller, "/ready", &[]).await, "ready\n 200");
    assert_eq!(families(&caller).await["penstock_proxy_refused"]["type"], "counter");
    let refused = caller.metric("penstock_proxy_refused_total{reason=\"files\"}").await.unwrap();
    assert_eq!(refused, of("503") as f64, "{told}");
    caller
        .until("its log says so", async || {
            std::fs::read_to_string(&caller.log).unwrap().contains("nearly out of files")
        })
        .await;
    drop(crowd);
    caller.until("curl is served again", async || web_status(&caller).await == "200").await;
}

/// How many of 400 requests by nghttp2's client, 80 at a time, were answered well, and how many refused.
async fn loaded(proxy: &Proxy) -> (u64, u64) {
    let (at, host) = (format!("http://{}/", proxy.outbound), "--header=:authority: web");
    let told = said(command("h2load", &["-n", "400", "-c", "4", "-m", "20", host, &at])).await.unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("status codes: ")).unwrap();
    let of = |class: &str| {
        let figure = line.split(", ").find_map(|figure| figure.strip_suffix(class));
        figure.unwrap().trim().parse::<u64>().unwrap()
    };
    (of(" 2xx"), of(" 5xx"))
}

#[tokio::test]
async fn past_the_ceiling_of_memory_load_is_shed_until_the_callers_who_took_it_are_gone() {
    let (scratch, cluster, _web, _callee) = callee("ceiling").await;
    let mut caller = Proxy::new(&scratch, "shop-1", "shop", &cluster.control(), &["--workers=1".to_owned()]);
    caller.start();
    caller.until_answer("web", |status, _| status == 200).await;
    assert_eq!(loaded(&caller).await, (400, 0));
    let resident = async || caller.metric("process_resident_memory_bytes").await.unwrap() as u64;
    let idle = resident().await;
    caller.kill();
    caller.words.push(format!("--memory-max-mib={}", idle / MIB + ROOM_MIB));
    caller.start();
    caller.until_answer("web", |status, _| status == 200).await;
    let mut crowd = Crowd::comes("heads", &caller, HEADS);
    assert_eq!(next_line(&mut crowd.lines).await, "there");
    caller
        .until("some of a load are shed, and some served", async || {
            let (served, shed) = loaded(&caller).await;
            assert_eq!(served + shed, 400, "none is lost");
            served > 0 && shed > 0
        })
        .await;
    assert_eq!(page(&caller, "/ready", &[]).await, "ready\n 200");
    assert!(caller.metric("penstock_proxy_refused_total{reason=\"memory\"}").await.unwrap() > 0.0);
    let now = caller.metric("process_resident_memory_bytes").await.unwrap() as u64;
    assert!(now < idle + HEADS * HEAD_BYTES_MAX + ROOM_MIB * MIB, "{now} bytes resident, {idle} before");
    drop(crowd);
    caller.until("all of a load are served again", async || loaded(&caller).await == (400, 0)).await;
}
