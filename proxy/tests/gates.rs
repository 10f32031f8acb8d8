//! The figures that noise cannot move: system calls, allocations and idle memory of a worker, counted from outside by
//! strace, valgrind and the kernel. A worker runs in a process of its own, which is this very program started again; what
//! its start and its end cost falls out, because a long run is compared with a short one.
//!
//! Needs strace and valgrind: the feature `gates`, which `.ci/run gates` sets. `cargo test` leaves it out.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mesh::Protocol;
use proxy::worker::{DrainPlan, Idle, Limits};
use support::{endpoint, mesh_with, run, service, settings};

/// Where the worker that is measured finds its endpoint.
const UPSTREAM: &str = "PENSTOCK_GATES_UPSTREAM";

/// What a small API is asked and answers.
const ASKED: &[u8] =
    b"GET /api/items?page=2 HTTP/1.1\r\nHost: web\r\nUser-Agent: gates\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\nServer: gates\r\n\r\n{\"items\": []}";
const POSTED: &[u8] =
    b"POST /api/items HTTP/1.1\r\nHost: web\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"items\": []}";

/// Files that watchers were told so far.
static FILES: AtomicU32 = AtomicU32::new(0);

/// System calls that a request may cost, and how often they are counted at most.
const CALLS_MAX: f64 = 4.4;
const COUNTS: usize = 5;

/// Connections that are busy at the same time.
const CONNECTIONS: usize = 8;

/// The role of the child: a worker for the endpoint in the environment, until its input ends.
#[test]
#[ignore = "left out: this is not a test but the process that the others measure"]
fn the_worker_that_is_measured() {
    let Ok(upstream) = std::env::var(UPSTREAM) else { return };
    run(async {
        let endpoints = vec![endpoint("web", upstream.parse().unwrap(), 100)];
        let services = [service("web", Protocol::Http1, endpoints)];
        let mesh = mesh_with(&settings(), Limits::default(), &services);
        let mut out = std::io::stdout();
        writeln!(out, "\nlistens {}", mesh.outbound).unwrap();
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = ended.send(());
        });
        end.await.unwrap();
        mesh.workers.drain(DrainPlan {
            accept_for: Duration::ZERO,
            finish_within: Duration::ZERO,
            idle: Idle::CloseSoon,
        });
        mesh.workers.finished().await;
    });
}

/// An endpoint that reads a request with the body that its head states, and answers.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                let mut read = [0; 4096];
                // Each request of these tests arrives in one piece.
                while stream.read(&mut read).is_ok_and(|length| length > 0) {
                    stream.write_all(ANSWER).unwrap();
                }
            });
        }
    });
    address
}

/// A running worker.
struct Worker {
    child: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Worker {
    /// Starts it under a program that watches, if there is one.
    fn start(watcher: &[&str], upstream: SocketAddr) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut words: Vec<PathBuf> = watcher.iter().map(PathBuf::from).collect();
        words.push(own);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["--exact", "the_worker_that_is_measured", "--ignored", "--nocapture", "--test-threads=1"])
            .env(UPSTREAM, upstream.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", words[0].display()));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the worker ended before it listened");
            if let Some(address) = line.trim().strip_prefix("listens ") {
                break address.parse().unwrap();
            }
        };
        Self { child, output, address }
    }

    /// Its resident memory in bytes.
    fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Ends it well and waits for that.
    fn end(mut self) {
        drop(self.child.stdin.take());
        let _ = self.output.read_to_end(&mut Vec::new());
        assert!(self.child.wait().unwrap().success());
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `text` and reads the answer.
fn ask(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let (mut answer, mut read) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"{\"items\": []}") {
        let length = stream.read(&mut read).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&read[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
}

/// Sends `each` requests on every connection, all at once.
fn load(address: SocketAddr, text: &'static [u8], each: usize) {
    let load = || {
        let mut stream = connect(address);
        (0..each).for_each(|_| ask(&mut stream, text));
    };
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(load);
        }
    });
}

/// What one more request costs, as `count` reads it from what `watcher` wrote into the file that it is told.
fn per_request(
    watcher: impl Fn(&str) -> Vec<String>,
    text: &'static [u8],
    each: [usize; 2],
    count: impl Fn(&str) -> f64,
) -> f64 {
    let counted = each.map(|each| {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("gates-{}-{number}", std::process::id());
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let words = watcher(file.to_str().unwrap());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let worker = Worker::start(&words, upstream());
        load(worker.address, text, each);
        worker.end();
        let told = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        count(&told)
    });
    #[allow(clippy::cast_precision_loss)] // some thousand requests
    let requests = ((each[1] - each[0]) * CONNECTIONS) as f64;
    (counted[1] - counted[0]) / requests
}

fn words(text: &str, file: &str) -> Vec<String> {
    text.replace("FILE", file).split(' ').map(str::to_owned).collect()
}

/// The number of calls in the last line of strace's table.
fn calls(table: &str) -> f64 {
    let line = table.lines().find(|line| line.ends_with(" total")).expect("strace ends with a total");
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

/// The allocations that valgrind counted.
fn allocations(report: &str) -> f64 {
    let (_, rest) = report.split_once("total heap usage: ").expect("valgrind tells the heap's usage");
    rest.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}

/// Both costs of requests like `text`.
///
/// A busy machine adds calls and takes none away: a worker whose callers get no CPU is woken for each of them alone, and waits once more
/// for the next. So calls are counted again where they are too many, and the least of them are what a request costs.
fn costs(text: &'static [u8]) -> (f64, f64) {
    let count = || per_request(|file| words("strace -f -c -o FILE", file), text, [50, 450], calls);
    let mut calls = count();
    for _ in 1..COUNTS {
        if calls > CALLS_MAX {
            calls = calls.min(count());
        }
    }
    let memcheck = "valgrind --leak-check=no --undef-value-errors=no --log-file=FILE";
    let allocations = per_request(|file| words(memcheck, file), text, [10, 110], allocations);
    (calls, allocations)
}

#[test]
fn a_get_costs_at_most_4_4_system_calls_and_4_allocations() {
    let (calls, allocations) = costs(ASKED);
    writeln!(std::io::stderr(), "GET: {calls:.2} system calls, {allocations:.2} allocations").unwrap();
    assert!(calls <= CALLS_MAX, "{calls:.2} system calls per request");
    assert!(allocations <= 4.0, "{allocations:.2} allocations per request");
}

#[test]
fn a_small_post_costs_no_more() {
    let (calls, allocations) = costs(POSTED);
    writeln!(std::io::stderr(), "POST: {calls:.2} system calls, {allocations:.2} allocations").unwrap();
    assert!(calls <= CALLS_MAX, "{calls:.2} system calls per request");
    assert!(allocations <= 4.0, "{allocations:.2} allocations per request");
}

#[test]
fn an_idle_connection_costs_at_most_3_kib() {
    let worker = Worker::start(&[], upstream());
    let used = |count: usize| -> Vec<TcpStream> {
        (0..count)
            .map(|_| {
                let mut stream = connect(worker.address);
                ask(&mut stream, ASKED);
                stream
            })
            .collect()
    };
    let first = used(100);
    let before = worker.resident_bytes();
    let more = used(800);
    let each = (worker.resident_bytes() - before) / more.len();
    writeln!(std::io::stderr(), "an idle connection: {each} bytes").unwrap();
    assert!(each <= 3 * 1024, "{each} bytes per idle connection");
    drop((first, more));
    worker.end();
}
