//! The same bytes through a worker of ours and through HAProxy: what each makes of every file of the corpus, and of a
//! sentinel right behind it, which shows whether both are still at the same place of the stream. Each difference is listed
//! in `corpus/differences.md` with its reason; one that is not listed fails, and so does one that is gone.
//!
//! Needs Debian's haproxy: the feature `gates`.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use mesh::Protocol;
use proxy::http::h1::{Decoded, take_head};
use support::{endpoint, mesh, run, service, settings};

/// Sent behind each file.
const SENTINEL: &[u8] = b"GET /sentinel HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";

/// How long silence lasts until it counts as the answer: the proxy waits for more of the body.
const SILENCE: Duration = Duration::from_millis(1500);

const CONFIG: &str = "
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

/// Reads requests as we do, answers each that is whole, and hangs up at one that it would refuse.
fn answer_all(mut stream: TcpStream) {
    let (mut read, mut searched, mut buffer) = (BytesMut::new(), 0, [0; 4096]);
    let mut body = None;
    loop {
        loop {
            let Some(decoder) = &mut body else {
                match take_head(&mut read, &mut searched, HeaderMap::new) {
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
                Ok(Decoded::End | Decoded::Trailers(_)) => {
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

/// What the statuses mean.
fn verdict(statuses: &[u16]) -> String {
    match statuses.iter().position(|status| *status != 200) {
        None if statuses.is_empty() => "no answer".to_owned(),
        None => format!("{} served", statuses.len()),
        Some(at) if statuses[at] < 500 && at == 0 => "refused".to_owned(),
        Some(at) if statuses[at] < 500 => format!("{at} served, then refused"),
        Some(at) => format!("{at} served, then failed at the endpoint"),
    }
}

struct HaProxy {
    child: Child,
    address: SocketAddr,
}

impl HaProxy {
    fn start(upstream: SocketAddr) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("haproxy-{}.cfg", std::process::id()));
        let text = CONFIG.replace("LISTEN", &address.port().to_string());
        std::fs::write(&config, text.replace("UPSTREAM", &upstream.port().to_string())).unwrap();
        let child = Command::new("haproxy").arg("-db").arg("-f").arg(&config).stderr(Stdio::null()).spawn();
        let child = child.expect("haproxy starts");
        while TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        Self { child, address }
    }
}

impl Drop for HaProxy {
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

#[test]
fn haproxy_agrees_or_the_difference_is_explained() {
    run(async {
        let upstream = upstream();
        let haproxy = HaProxy::start(upstream);
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", upstream, 100)])]);
        let (ours, theirs) = (mesh.outbound, haproxy.address);
        let asking = tokio::task::spawn_blocking(move || {
            let mut differences = String::new();
            for file in files() {
                let bytes = std::fs::read(&file).unwrap();
                let [ours, theirs] = [ours, theirs].map(|address| verdict(&statuses(address, &bytes)));
                if ours != theirs {
                    let name = file.file_stem().unwrap().to_string_lossy();
                    writeln!(differences, "| {name} | {ours} | {theirs} |").unwrap();
                }
            }
            differences
        });
        let found = asking.await.unwrap();
        let listed = include_str!("../corpus/differences.md");
        let listed: Vec<String> = listed
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| file"))
            .map(|line| line.split('|').take(4).collect::<Vec<_>>().join("|") + "|")
            .collect();
        let found: Vec<&str> = found.lines().collect();
        assert_eq!(found, listed, "found:\n{}\nlisted:\n{}", found.join("\n"), listed.join("\n"));
    });
}
