//! The same bytes through a worker of ours, through HAProxy and through Envoy: what each makes of every file of the corpus, and
//! of a sentinel right behind it, which shows whether both are still at the same place of the stream. Each difference is listed
//! in `corpus/differences*.md` with its reason; one that is not listed fails, and so does one that is gone.
//!
//! Needs Debian's haproxy, and Envoy in `PENSTOCK_PEER_ENVOY`: the feature `gates`, and `.ci/run gates`.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::HeaderMap;
use mesh::Protocol;
use proxy::http::h1::{Decoded, take_head};
use proxy::http::head_bounds::HeadBounds;
use support::{endpoint, mesh, run, service, settings};

/// Sent behind each file.
const SENTINEL: &[u8] = b"GET /sentinel HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";

/// How long silence lasts until it counts as the answer: the proxy waits for more of the body.
const SILENCE: Duration = Duration::from_millis(1500);

/// How often a file is sent whose verdicts are not as listed: a silence may be that of a busy machine.
const TRIES: usize = 3;

/// How long a peer may take to listen; far more than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

const HAPROXY: &str = "
global
    nbthread 1
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend outbound
    bind 127.0.0.1:LISTEN
    default_backend web
backend web
    server web 127.0.0.1:UPSTREAM
";

/// As it comes, with a route for every path.
const ENVOY: &str = "
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: LISTEN } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: outbound
          route_config:
            virtual_hosts:
            - { name: web, domains: ['*'], routes: [{ match: { prefix: '' }, route: { cluster: web } }] }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: web
    connect_timeout: 1s
    load_assignment:
      cluster_name: web
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: UPSTREAM } } }
";

/// Reads requests as we do, answers each that is whole, and hangs up at one that it would refuse.
fn answer_all(mut stream: TcpStream) {
    let (mut read, mut searched, mut buffer) = (BytesMut::new(), 0, [0; 4096]);
    let mut body = None;
    loop {
        loop {
            let Some(decoder) = &mut body else {
                match take_head(&mut read, &mut searched, HeadBounds::OF_APPLICATIONS, HeaderMap::new) {
                    Err(_) => return,
                    Ok(None) => break,
                    Ok(Some(head)) => body = Some(head.body),
                }
                continue;
            };
            match decoder.decode_strictly(&mut read) {
                Err(_) => return,
                Ok(Decoded::More) => break,
                Ok(Decoded::Data(_)) => {}
                Ok(Decoded::End | Decoded::Trailers(..)) => {
                    body = None;
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
            }
        }
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => read.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
}

fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer_all(stream.unwrap()));
        }
    });
    address
}

/// The statuses that come back, in order.
fn statuses(address: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let _ = stream.write_all(&[bytes, SENTINEL].concat()); // it may be refused before its end
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told); // silence and a reset are ends too
    let text = String::from_utf8_lossy(&told).into_owned();
    text.split("HTTP/1.")
        .skip(1)
        .map(|rest| rest.get(2..5).and_then(|status| status.parse().ok()).unwrap_or(0))
        .collect()
}

/// What the statuses mean. 501 is a refusal too: of a transfer coding that is not known (RFC 9112, section 6.1).
fn verdict(statuses: &[u16]) -> String {
    let is_refusal = |status: u16| status < 500 || status == 501;
    match statuses.iter().position(|status| *status != 200) {
        None if statuses.is_empty() => "no answer".to_owned(),
        None => format!("{} served", statuses.len()),
        Some(at) if is_refusal(statuses[at]) && at == 0 => "refused".to_owned(),
        Some(at) if is_refusal(statuses[at]) => format!("{at} served, then refused"),
        Some(at) => format!("{at} served, then failed at the endpoint"),
    }
}

/// Another proxy in front of `upstream`; ended when dropped.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    fn haproxy(upstream: SocketAddr) -> Self {
        Self::start("haproxy", HAPROXY, "haproxy", &["-db", "-f"], upstream)
    }

    fn envoy(upstream: SocketAddr) -> Self {
        let program = std::env::var("PENSTOCK_PEER_ENVOY").expect("PENSTOCK_PEER_ENVOY names envoy");
        let flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "off", "-c"];
        Self::start("envoy", ENVOY, &program, &flags, upstream)
    }

    /// Starts a program, whose last flag is followed by its configuration.
    fn start(name: &str, config: &str, program: &str, flags: &[&str], upstream: SocketAddr) -> Self {
        let address = runtime::ports::addresses(1).unwrap()[0];
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = directory.join(format!("{name}-{}.yaml", std::process::id()));
        let text = config.replace("LISTEN", &address.port().to_string());
        std::fs::write(&file, text.replace("UPSTREAM", &upstream.port().to_string())).unwrap();
        let mut command = Command::new(program);
        command.args(flags).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let mut peer = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let runs = peer.child.try_wait().unwrap().is_none();
            assert!(
                runs && Instant::now() < deadline,
                "{name} does not listen; it was told {}",
                file.display()
            );
            std::thread::yield_now();
        }
        std::fs::remove_file(&file).unwrap();
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn files() -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/requests");
    let mut files: Vec<PathBuf> = ["accepted", "refused"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(corpus.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The rows of a list of differences, without their reasons.
fn rows(list: &str) -> Vec<String> {
    let rows = list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| file"));
    rows.map(|line| line.split('|').take(4).collect::<Vec<_>>().join("|") + "|").collect()
}

/// Sends every file through a worker of ours and through `peer`; where the verdicts differ, `listed` must say so.
fn assert_explained(peer: impl FnOnce(SocketAddr) -> Peer, listed: &str) {
    run(async {
        let upstream = upstream();
        let peer = peer(upstream);
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", upstream, 100)])]);
        let (ours, theirs) = (mesh.outbound, peer.address);
        let (listed, expected) = (rows(listed), rows(listed));
        let asking = tokio::task::spawn_blocking(move || {
            let difference = |name: &str, bytes: &[u8]| {
                let [ours, theirs] = [ours, theirs].map(|address| verdict(&statuses(address, bytes)));
                (ours != theirs).then(|| format!("| {name} | {ours} | {theirs} |"))
            };
            let mut found = Vec::new();
            for file in files() {
                let (name, bytes) =
                    (file.file_stem().unwrap().to_string_lossy(), std::fs::read(&file).unwrap());
                let expected = expected.iter().find(|row| row.starts_with(&format!("| {name} |")));
                let (mut told, mut tries) = (difference(&name, &bytes), 1);
                while told.as_ref() != expected && tries < TRIES {
                    (told, tries) = (difference(&name, &bytes), tries + 1);
                }
                found.extend(told);
            }
            found
        });
        let found = asking.await.unwrap();
        assert_eq!(found, listed, "found:\n{}\nlisted:\n{}", found.join("\n"), listed.join("\n"));
    });
}

#[test]
fn haproxy_agrees_or_the_difference_is_explained() {
    assert_explained(Peer::haproxy, include_str!("../corpus/differences.md"));
}

#[test]
fn envoy_agrees_or_the_difference_is_explained() {
    assert_explained(Peer::envoy, include_str!("../corpus/differences-envoy.md"));
}
