//! Proxies as child processes, an application for them to stand beside, and a caller.

use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval};

use crate::cluster::{Scratch, free_addresses, penstock};

/// How long anything may take here; far more than it needs, for machines under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An application on a port of its own, which answers every request with its name until it is dropped.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl App {
    pub(crate) async fn start(name: &'static str) -> Self {
        // At a port that nobody else is given once it has gone: its proxy looks whether anybody listens there.
        let [address] = free_addresses(1)[..] else { unreachable!("one was asked for") };
        let listener = TcpListener::bind(address).await.unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let answer = service_fn(move |_| async move {
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(name.as_bytes()))))
                    });
                    let serving = hyper::server::conn::http1::Builder::new();
                    let _ = serving.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One proxy, running or not.
pub(crate) struct Proxy {
    pub(crate) outbound: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) words: Vec<String>,
    pub(crate) log: PathBuf,
    pub(crate) process: Option<Child>,
}

impl Proxy {
    /// A proxy of this name and workload that follows `control`, with more flags; not started yet.
    pub(crate) fn new(
        scratch: &Scratch,
        name: &str,
        workload: &str,
        control: &[String],
        more: &[String],
    ) -> Self {
        let [outbound, inbound, admin]: [SocketAddr; 3] = free_addresses(3).try_into().unwrap();
        let mut words = vec![
            format!("--name={name}"),
            format!("--workload={workload}"),
            format!("--outbound-address={outbound}"),
            format!("--inbound-address={inbound}"),
            format!("--admin-address={admin}"),
            format!("--control={}", control.join(",")),
        ];
        words.extend(more.iter().cloned());
        let log = scratch.0.join(format!("{name}.log"));
        Self { outbound, admin, words, log, process: None }
    }

    /// Starts it. Call it on the test's own thread: it ends with that.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.process = Some(self.spawned(&[]));
    }

    /// A process of this proxy, with `action` before its flags.
    pub(crate) fn spawned(&self, action: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let words: Vec<String> =
            action.iter().map(|word| (*word).to_owned()).chain(self.words.clone()).collect();
        let mut command = penstock("proxy", &words);
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Starts a new process in the place of the running one, and waits until that one has ended.
    pub(crate) async fn upgrade(&mut self) {
        let old = self.process.take().unwrap();
        self.process = Some(self.spawned(&["upgrade"]));
        ended(old, &self.log).await;
        assert!(self.process.as_mut().unwrap().try_wait().unwrap().is_none(), "{}", tail(&self.log));
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// One answer of the service that `host` names, or `None` while the proxy cannot be reached.
    pub(crate) async fn ask(&self, host: &str) -> Option<(u16, String)> {
        ask(self.outbound, host, "/").await
    }

    /// A page of the admin port.
    pub(crate) async fn page(&self, path: &str) -> Option<(u16, String)> {
        ask(self.admin, "admin", path).await
    }

    /// The value of one line of `/metrics`.
    pub(crate) async fn metric(&self, line: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics").await?;
        let value = text.lines().find_map(|shown| shown.strip_prefix(line)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok())
    }

    /// Waits until `holds` of an answer of the service.
    pub(crate) async fn until_answer(&self, host: &str, holds: impl Fn(u16, &str) -> bool) -> (u16, String) {
        let mut last = None;
        self.until(&format!("an answer of {host}"), async || {
            last = self.ask(host).await;
            last.as_ref().is_some_and(|(status, body)| holds(*status, body))
        })
        .await;
        last.unwrap()
    }

    /// Asks again and again until `holds`; ends with the log's tail when that takes too long.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = interval(Duration::from_millis(20));
        while Instant::now() < deadline {
            looks.tick().await;
            if holds().await {
                return;
            }
        }
        panic!("{what}: not within {} s\n{}", PATIENCE.as_secs(), tail(&self.log));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// SIGTERM.
pub(crate) fn terminate(process: &Child) {
    let id = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
}

/// Waits for a process to end well.
pub(crate) async fn ended(mut process: Child, log: &Path) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = interval(Duration::from_millis(20));
    loop {
        looks.tick().await;
        if let Some(status) = process.try_wait().unwrap() {
            assert!(status.success(), "{status}\n{}", tail(log));
            return;
        }
        if Instant::now() >= deadline {
            process.kill().unwrap();
            process.wait().unwrap();
            panic!("it did not end within {} s\n{}", PATIENCE.as_secs(), tail(log));
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("== {}\n{}\n", log.display(), lines[lines.len().saturating_sub(30)..].join("\n"))
}

/// One request on a connection of its own; `None` when there is no answer.
pub(crate) async fn ask(address: SocketAddr, host: &str, path: &str) -> Option<(u16, String)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let driven = tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Full::<Bytes>::default()).unwrap();
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    driven.abort();
    Some((head.status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
}
