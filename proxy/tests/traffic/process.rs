//! The peers as processes: servers that are told of by a line when they listen, and clients that are run to their end. All of
//! them end with the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

/// How long anything may take here; far more than it needs, for machines under load.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of our own scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/traffic/programs");

/// A program, without what the environment says of proxies.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// curl, which gives up on its own before we do.
pub fn curl(words: &[&str]) -> Command {
    let mut command = program("curl");
    command.args(["--silent", "--show-error", "--max-time", "50"]).args(words);
    command
}

/// Node with one of our scripts.
pub fn node(script: &str, words: &[&str]) -> Command {
    let mut command = program("node");
    command.arg(Path::new(SCRIPTS).join(script)).args(words);
    command
}

/// The Python that has grpcio and websockets, with one of our scripts.
pub fn python(script: &str, words: &[&str]) -> Command {
    let told = std::env::var_os("PENSTOCK_PEER_PYTHON").map(PathBuf::from);
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/venv/bin/python");
    let python = told.unwrap_or_else(built);
    assert!(python.exists(), "{} is missing: run `bash .ci/run tools peers`", python.display());
    let mut command = program(&python.display().to_string());
    command.arg(Path::new(SCRIPTS).join(script)).args(words);
    command
}

/// Runs a program to its end and returns what it wrote.
pub async fn said(command: Command) -> String {
    said_to(command, b"").await
}

/// Runs a program to its end with `input`, which stays open until then, and returns what it wrote.
pub async fn said_to(command: Command, input: &[u8]) -> String {
    let name = format!("{command:?}");
    let (code, out, errors) = ended(command, input).await;
    assert!(code == Some(0), "{name}: {code:?}\n{errors}{out}");
    out
}

/// Runs a program to its end with `input`, which stays open until then; its code, and what it wrote to either output.
pub async fn ended(mut command: Command, input: &[u8]) -> (Option<i32>, String, String) {
    let name = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    let mut pipe = child.stdin.take().unwrap();
    let _ = pipe.write_all(input).await; // it may have ended already, which its status tells
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{name} does not end")).unwrap();
    drop(pipe);
    let [out, errors] =
        [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
    (output.status.code(), out, errors)
}

/// Runs a client that tells what it saw as JSON.
pub async fn told(command: Command) -> Value {
    let text = said(command).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A server that runs until it is dropped.
pub struct Server {
    _process: Child,
    pub address: SocketAddr,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts one that writes `announcement` and its address once it listens.
    pub async fn start(mut command: Command, announcement: &str) -> Self {
        let name = format!("{command:?}");
        let spawned = command.stdout(Stdio::piped()).spawn();
        let mut process = spawned.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = async {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("{name} ends before it listens"));
                if let Some(address) = line.strip_prefix(announcement) {
                    break address.trim().parse().unwrap();
                }
            }
        };
        let address = timeout(PATIENCE, address).await.unwrap_or_else(|_| panic!("{name} does not listen"));
        Self { _process: process, address, lines }
    }

    /// One of our own.
    pub async fn ours(command: Command) -> Self {
        Self::start(command, "listens ").await
    }

    /// One that must be told where to listen, and tells nothing.
    pub async fn at(mut command: Command, address: SocketAddr) -> Self {
        let name = format!("{command:?}");
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            let runs = process.try_wait().unwrap().is_none();
            assert!(runs && Instant::now() < deadline, "{name} does not listen at {address}");
            tokio::task::yield_now().await;
        }
        Self { _process: process, address, lines }
    }

    /// The next line that it writes.
    pub async fn line(&mut self) -> String {
        timeout(PATIENCE, self.lines.next_line()).await.expect("the server tells").unwrap().unwrap()
    }
}

/// Addresses on which nobody listens. Until its server listens there, neither another test's nor a connection's own port is
/// the same.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    runtime::ports::addresses(N).unwrap().try_into().unwrap()
}

/// A folder that is gone with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder); // of a process that had this number before
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // a test that failed may have left it half made
    }
}

/// Reads to the end.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection ends").unwrap();
    read
}
