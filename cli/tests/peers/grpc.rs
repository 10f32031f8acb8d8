//! A real proxyless gRPC client (grpcio) over the state of the world. It and its backends are `grpc_peer.py`, which
//! takes one line per call, the version to ask for, and answers one.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use api::v1::Protocol;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::found::program;
use crate::name_server;
use crate::story::Peer;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/grpc_peer.py");

/// Longest wait for a line of the script, whose own calls take at most ten seconds.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Grpc {
    _process: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    backends: [SocketAddr; 3],
}

impl Peer for Grpc {
    const ID: &'static str = "grpc-1";
    const WORKLOAD: &'static str = "frontend";
    const SERVICE: &'static str = "greeter";
    const PROTOCOL: Protocol = Protocol::Grpc;

    async fn start(control: &[SocketAddr]) -> Self {
        let python = program("PENSTOCK_PEER_PYTHON", "bin/python");
        let names = name_server::start(control).await;
        let target = format!("dns://{names}/{}:{}", name_server::NAME, control[0].port());
        let mut process = Command::new(python)
            .args([SCRIPT, &target, Self::ID, Self::WORKLOAD, Self::SERVICE])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let asks = process.stdin.take().unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let ports = timeout(LINE_TIMEOUT, answers.next_line()).await.unwrap().unwrap().unwrap();
        let ports: Vec<u16> = ports.split(' ').map(|port| port.parse().unwrap()).collect();
        let backends = [0, 1, 2].map(|at| SocketAddr::from(([127, 0, 0, 1], ports[at])));
        Self { _process: process, asks, answers, backends }
    }

    fn backends(&self) -> [SocketAddr; 3] {
        self.backends
    }

    async fn call(&mut self, next: bool) -> Result<String, String> {
        let version: &[u8] = if next { b"next\n" } else { b"this\n" };
        self.asks.write_all(version).await.unwrap();
        let line = timeout(LINE_TIMEOUT, self.answers.next_line()).await.unwrap().unwrap();
        let line = line.expect("the script runs as long as it is asked");
        match line.split_once(' ') {
            Some(("ok", name)) => Ok(name.to_owned()),
            _ => Err(line),
        }
    }
}
