//! What real clients notice of a proxy whose life goes over to a new process, or that ends with its application: nothing. curl over
//! kept connections, grpcio over HTTP/2, and Redis' own load generator over bytes that the proxies know nothing of.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cluster::{Cluster, Scratch, free_addresses};
use crate::found::{program, until};
use crate::stage::{App, PATIENCE, Proxy, ended, tail, terminate};

const CALLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/calls_peer.py");

/// From one run of a client to the next, at least. Each of Redis' opens fifty connections, and the ports of those that are closed are not
/// free again for a minute.
const REST: Duration = Duration::from_millis(150);

/// A program without what the environment says of proxies, which ends with the test.
pub fn command(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A script for the Python that has grpcio.
pub fn python(script: &str, words: &[&str]) -> Command {
    let python = program("PENSTOCK_PEER_PYTHON", "bin/python").display().to_string();
    let mut command = command(&python, &[&[script], words].concat());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Whether a client ended well; what it said if not.
pub async fn ran(command: Command) -> Result<(), String> {
    said(command).await.map(drop)
}

/// What a program wrote that ended well; all that it said if not.
pub async fn said(mut command: Command) -> Result<String, String> {
    let output = command.output().await.map_err(|error| format!("{command:?}: {error}"))?;
    let [told, errors] =
        [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
    if output.status.success() {
        Ok(told)
    } else {
        Err(format!("{command:?}: {}\n{told}{errors}", output.status))
    }
}

/// A Redis that keeps nothing.
async fn redis() -> (Child, SocketAddr) {
    let address = free_addresses(1)[0];
    let port = address.port().to_string();
    let words = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let server = command("redis-server", &words).stdout(Stdio::null()).spawn().unwrap();
    until("Redis answers", async || ran(command("redis-cli", &["-p", &port, "ping"])).await.ok()).await;
    (server, address)
}

/// A server that tells where it listens by its first line, and more by those after it.
pub async fn listening(mut command: Command) -> (Child, SocketAddr, Lines<BufReader<ChildStdout>>) {
    let mut server = command.stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = next_line(&mut lines).await;
    (server, line.strip_prefix("listens ").unwrap().parse().unwrap(), lines)
}

/// The next line of such a server.
pub async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(PATIENCE, lines.next_line()).await.expect("the server tells").unwrap();
    line.expect("the server goes on")
}

/// Clients that run again and again, each kind with a count of the runs that went well.
#[derive(Default)]
struct Clients {
    is_over: Arc<AtomicBool>,
    kinds: Vec<(&'static str, Arc<AtomicU64>)>,
    running: JoinSet<()>,
}

impl Clients {
    /// By each address of the outbound port, and by the listener at `port` that stands for the cache.
    fn of_every_protocol(outbound: SocketAddr, port: &str) -> Self {
        let mut clients = Self::default();
        for address in twins(outbound) {
            clients.keep("curl over one kept connection", move || {
                let connect_to = format!("::{address}");
                let fixed = [
                    "--silent",
                    "--show-error",
                    "--fail",
                    "--max-time",
                    "60",
                    "--output",
                    "/dev/null",
                    "--connect-to",
                ];
                command("curl", &[&fixed[..], &[&connect_to, "http://web/[1-100]"]].concat())
            });
            clients.keep("grpcio over one channel", move || {
                python(CALLS, &[&address.to_string(), "greeter:9000", "150"])
            });
        }
        for (kind, keeps, count) in
            [("Redis' load on new connections", "0", "50"), ("and on kept ones", "1", "1000")]
        {
            let port = port.to_owned();
            clients.keep(kind, move || {
                command(
                    "redis-benchmark",
                    &["-p", &port, "-q", "-c", "4", "-t", "ping_mbulk", "-k", keeps, "-n", count],
                )
            });
        }
        clients
    }

    fn keep(&mut self, kind: &'static str, make: impl Fn() -> Command + Send + 'static) {
        let (is_over, runs) = (Arc::clone(&self.is_over), Arc::<AtomicU64>::default());
        self.kinds.push((kind, Arc::clone(&runs)));
        self.running.spawn(async move {
            let mut turns = interval(REST);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !is_over.load(Ordering::Relaxed) {
                turns.tick().await;
                ran(make()).await.unwrap();
                runs.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Waits until each kind went well once more from its beginning to its end.
    async fn go_on(&mut self) {
        let goals: Vec<u64> = self.kinds.iter().map(|(_, runs)| runs.load(Ordering::Relaxed) + 2).collect();
        until("every kind of client goes on", async || {
            while let Some(failed) = self.running.try_join_next() {
                failed.expect("a client failed");
            }
            let reached =
                self.kinds.iter().zip(&goals).all(|((_, runs), goal)| runs.load(Ordering::Relaxed) >= *goal);
            reached.then_some(())
        })
        .await;
    }

    async fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended.expect("a client failed");
        }
        for (kind, runs) in &self.kinds {
            eprintln!("{} runs of {kind}, none failed", runs.load(Ordering::Relaxed));
        }
    }
}

/// Addresses of the proxy's outbound port: the one that it was given, and its twin of IPv6 where the host has that.
fn twins(outbound: SocketAddr) -> Vec<SocketAddr> {
    let twin = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, outbound.port()));
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    if has_ipv6 { vec![outbound, twin] } else { vec![outbound] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_of_any_protocol_notices_that_the_proxies_on_its_way_are_upgraded() {
    let (scratch, cluster) = (Scratch::new("upgrades"), Cluster::start("upgrades", 1));
    let (web, (_redis, cache), (_greeter, greeter, _lines)) =
        (App::start("web").await, redis().await, listening(python(CALLS, &["server"])).await);
    let proxy = |workload: &str, more: &[String]| {
        let state = format!("--state-directory={}", scratch.0.join(workload).display());
        let shared =
            [state, "--drain-seconds=5".to_owned(), "--workers=2".to_owned(), "--intercept".to_owned()];
        Proxy::new(
            &scratch,
            &format!("{workload}-1"),
            workload,
            &cluster.control(),
            &[&shared, more].concat(),
        )
    };
    let callee = |workload: &str, application: SocketAddr, protocol: &str, serves: &str| {
        let words = [
            format!("--application={application}"),
            format!("--protocol={protocol}"),
            format!("--serves={serves}"),
        ];
        proxy(workload, &words)
    };
    let listener = free_addresses(1)[0];
    let mut proxies = [
        callee("web", web.address, "http", "web:80"),
        callee("cache", cache, "tcp", "cache:6379"),
        callee("greeter", greeter, "grpc", "greeter:9000"),
        proxy("shop", &[format!("--upstreams={listener}=cache:6379")]),
    ];
    proxies.iter_mut().for_each(Proxy::start);
    let outbound = proxies[3].outbound;
    proxies[3].until_answer("web", |status, _| status == 200).await;
    let port = listener.port().to_string();
    until("the cache is reached", async || {
        ran(command("redis-cli", &["-p", &port, "-e", "ping"])).await.ok()
    })
    .await;
    let target = outbound.to_string();
    until("the greeter is reached", async || ran(python(CALLS, &[&target, "greeter:9000", "1"])).await.ok())
        .await;

    let mut clients = Clients::of_every_protocol(outbound, &port);
    clients.go_on().await;
    for proxy in [3, 0, 1, 2, 3] {
        proxies[proxy].upgrade().await;
        clients.go_on().await;
    }
    clients.end().await;
    for proxy in &proxies {
        let refused = proxy.metric("penstock_proxy_requests_cut_off_total").await;
        assert_eq!(refused, Some(0.0), "{}", tail(&proxy.log));
    }
}

/// Says that it was asked, and never answers, or no more than half of it.
const SILENT: &str = "require('http').createServer((request, answer) => { console.log('asked'); \
    if (request.url === '/half') answer.writeHead(200, { 'Content-Length': 8 }).write('half'); }) \
    .listen(0, '127.0.0.1', function () { console.log(`listens 127.0.0.1:${this.address().port}`); })";

#[tokio::test]
async fn what_still_runs_at_the_deadline_of_a_drain_is_cut_off_and_curl_takes_it_for_no_answer() {
    let (scratch, cluster) = (Scratch::new("deadline"), Cluster::start("deadline", 1));
    let (_server, address, mut lines) = listening(command("node", &["--eval", SILENT])).await;
    let serves = [format!("--application={address}"), "--serves=web:80".to_owned()];
    let mut web = Proxy::new(&scratch, "web-1", "web", &cluster.control(), &serves);
    let short = ["--drain-seconds=1".to_owned()];
    let mut shop = Proxy::new(&scratch, "shop-1", "shop", &cluster.control(), &short);
    web.start();
    web.until("it is registered", async || web.metric("penstock_proxy_registered").await == Some(1.0)).await;
    shop.start();
    shop.until("it is ready", async || shop.page("/ready").await.is_some_and(|(status, _)| status == 200))
        .await;
    let connect_to = format!("::{}", shop.outbound);
    let ways = [("--http1.1", ""), ("--http1.1", "half"), ("--http2-prior-knowledge", "")];
    let callers = ways.map(|(version, path)| {
        let url = format!("http://web/{path}");
        let words = ["--silent", "--max-time", "50", version, "--connect-to", &connect_to, &url];
        tokio::spawn(command("curl", &words).output())
    });
    for _ in &callers {
        assert_eq!(next_line(&mut lines).await, "asked");
    }
    let process = shop.process.take().unwrap();
    terminate(&process);
    ended(process, &shop.log).await;
    for ((version, path), caller) in ways.iter().zip(callers) {
        let output = caller.await.unwrap().unwrap();
        // An empty answer, a part of one, a connection or a stream that ended: curl has a word for each.
        let told = output.status.code().unwrap();
        assert!([18, 52, 56, 92].contains(&told), "{version} /{path}: {output:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_stopped_serves_redis_until_that_is_shut_down() {
    let (scratch, cluster) = (Scratch::new("redis"), Cluster::start("redis", 1));
    let (mut server, cache) = redis().await;
    let words = [
        format!("--application={cache}"),
        "--protocol=tcp".to_owned(),
        "--serves=cache:6379".to_owned(),
        "--drain-seconds=60".to_owned(),
    ];
    let mut proxy = Proxy::new(&scratch, "cache-1", "cache", &cluster.control(), &words);
    proxy.start();
    let registered = "penstock_proxy_registered";
    proxy.until("it is registered", async || proxy.metric(registered).await == Some(1.0)).await;
    let inbound = proxy.words.iter().find_map(|word| word.strip_prefix("--inbound-address=")).unwrap();
    let port = inbound.parse::<SocketAddr>().unwrap().port().to_string();
    let process = proxy.process.take().unwrap();
    terminate(&process);
    proxy.until("it has left the mesh", async || proxy.metric(registered).await == Some(0.0)).await;
    ran(command("redis-cli", &["-p", &port, "-e", "set", "color", "blue"])).await.unwrap();
    // The word comes through the proxy itself; Redis closes the connection instead of an answer.
    let _ = ran(command("redis-cli", &["-p", &port, "shutdown", "nosave"])).await;
    assert!(server.wait().await.unwrap().success());
    ended(process, &proxy.log).await;
    assert!(std::fs::read_to_string(&proxy.log).unwrap().contains("the application is gone"));
}
