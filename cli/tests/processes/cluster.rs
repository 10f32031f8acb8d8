//! Control nodes as child processes, on free ports and in a folder that goes away with them.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::v1::query_client::QueryClient;
use api::v1::{MemberRow, MembersRequest, MembersResponse};
use cli::args::{ConnectionArgs, Span};
use cli::connection::Connection;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

/// How long a cluster may take to do what it should; far more than it needs, for machines under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder below the system's temporary one, for one test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("penstock-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program with `words`, without settings of our own environment. What runs on is tied to this thread's life.
pub(crate) fn penstock(program: &str, words: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.arg(program).args(words);
    if ["control", "proxy"].contains(&program) {
        command.arg(format!("--end-with-parent={}", std::process::id()));
    }
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PENSTOCK_") {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Free addresses of the loopback, none given twice.
pub(crate) fn free_addresses(number: usize) -> Vec<SocketAddr> {
    runtime::ports::addresses(number).unwrap()
}

/// One control node, running or not.
struct Node {
    words: Vec<String>,
    peer: SocketAddr,
    http: SocketAddr,
    log: PathBuf,
    process: Option<Child>,
}

/// Control nodes that know each other. Nodes are numbered from 1.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    clients: Vec<SocketAddr>,
    name: String,
    scratch: Scratch,
}

impl Cluster {
    /// Starts `number` nodes. Call it on the test's own thread: they end with it.
    pub(crate) fn start(name: &str, number: usize) -> Self {
        Self::start_with(name, number, &[])
    }

    /// Starts `number` nodes with these flags too.
    pub(crate) fn start_with(name: &str, number: usize, more: &[&str]) -> Self {
        let scratch = Scratch::new(name);
        let addresses = free_addresses(number * 3);
        let (clients, rest) = addresses.split_at(number);
        let (peers, https) = rest.split_at(number);
        let group: Vec<String> = (0..number).map(|at| format!("{}={}", at + 1, peers[at])).collect();
        let mut cluster = Self { nodes: Vec::new(), clients: Vec::new(), name: name.to_owned(), scratch };
        for at in 0..number {
            let mut words = vec![format!("--peers={}", group.join(","))];
            words.extend(more.iter().map(|word| (*word).to_owned()));
            cluster.add([clients[at], peers[at], https[at]], words);
        }
        (1..=number as u64).for_each(|node| cluster.restart(node));
        cluster
    }

    /// Starts one more node, which waits to be brought in; answers its number.
    pub(crate) fn join(&mut self) -> u64 {
        let addresses = free_addresses(3);
        let node = self.add([addresses[0], addresses[1], addresses[2]], vec!["--join".to_owned()]);
        self.restart(node);
        node
    }

    fn add(&mut self, [client, peer, http]: [SocketAddr; 3], mut words: Vec<String>) -> u64 {
        let node = self.nodes.len() + 1;
        words.extend([
            format!("--node={node}"),
            format!("--cluster={}", self.name),
            format!("--client-address={client}"),
            format!("--peer-address={peer}"),
            format!("--http-address={http}"),
            format!("--data-directory={}", self.scratch.0.join(format!("data-{node}")).display()),
        ]);
        let log = self.scratch.0.join(format!("control-{node}.log"));
        self.nodes.push(Node { words, peer, http, log, process: None });
        self.clients.push(client);
        node as u64
    }

    fn at(&mut self, node: u64) -> &mut Node {
        &mut self.nodes[usize::try_from(node).unwrap() - 1]
    }

    /// Starts a node that does not run, with the data it left.
    pub(crate) fn restart(&mut self, node: u64) {
        let node = self.at(node);
        assert!(node.process.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(&node.log).unwrap();
        let mut command = penstock("control", &node.words);
        node.process = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self, node: u64) {
        let mut process = self.at(node).process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a signal that does not end the process.
    pub(crate) fn signal(&self, node: u64, signal: Signal) {
        let process = self.nodes[usize::try_from(node).unwrap() - 1].process.as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// SIGTERM; returns when the process has drained and ended.
    pub(crate) fn stop(&mut self, node: u64) {
        let mut process = self.at(node).process.take().unwrap();
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        assert!(process.wait().unwrap().success(), "{}", self.logs());
    }

    /// Where the other nodes reach a node.
    pub(crate) fn peer_address(&self, node: u64) -> String {
        self.nodes[usize::try_from(node).unwrap() - 1].peer.to_string()
    }

    /// What a node's HTTP port answers.
    pub(crate) async fn http(&self, node: u64, path: &str) -> String {
        let mut stream =
            TcpStream::connect(self.nodes[usize::try_from(node).unwrap() - 1].http).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: penstock\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A series of a node's metrics; 0 while there is none.
    pub(crate) async fn metric(&self, node: u64, series: &str) -> u64 {
        let metrics = self.http(node, "/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// The flags of a node.
    pub(crate) fn words(&self, node: u64) -> Vec<String> {
        self.nodes[usize::try_from(node).unwrap() - 1].words.clone()
    }

    /// From its next start on the node knows no other.
    pub(crate) fn name_alone(&mut self, node: u64) {
        let own = format!("{node}=");
        for word in &mut self.at(node).words {
            if let Some(peers) = word.strip_prefix("--peers=") {
                let peer = peers.split(',').find(|peer| peer.starts_with(&own)).unwrap();
                *word = format!("--peers={peer}");
            }
        }
    }

    /// Waits until a node has logged this.
    pub(crate) async fn until_log(&self, node: u64, what: &str) {
        self.until_true(&format!("node {node} logs {what:?}"), async || self.logged(node, what) > 0).await;
    }

    /// How many lines of a node's log say this.
    pub(crate) fn logged(&self, node: u64, what: &str) -> usize {
        let log = &self.nodes[usize::try_from(node).unwrap() - 1].log;
        std::fs::read_to_string(log).unwrap_or_default().lines().filter(|line| line.contains(what)).count()
    }

    /// Waits until this holds; ends with the logs' tails when that takes too long.
    pub(crate) async fn until_true(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = interval(Duration::from_millis(20));
        while !holds().await {
            looks.tick().await;
            assert!(Instant::now() < deadline, "{what}: never came\n{}", self.logs());
        }
    }

    /// Where a node keeps its data.
    pub(crate) fn data_directory(&self, node: u64) -> PathBuf {
        self.scratch.0.join(format!("data-{node}"))
    }

    /// Where clients of every node ask.
    pub(crate) fn control(&self) -> Vec<String> {
        self.clients.iter().map(ToString::to_string).collect()
    }

    /// A way to whichever node answers.
    pub(crate) fn connection(&self) -> Connection {
        connection(self.control())
    }

    /// A way to one node alone.
    pub(crate) fn connection_to(&self, node: u64) -> Connection {
        connection(vec![self.clients[usize::try_from(node).unwrap() - 1].to_string()])
    }

    /// Waits until `holds` of what some node sees; ends with the logs' tails when that takes too long.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&MembersResponse) -> bool,
    ) -> MembersResponse {
        self.until_seen(self.connection(), what, holds).await
    }

    /// The same of what the asked nodes see: whichever answers first is asked again, also one that belongs to nobody.
    pub(crate) async fn until_seen(
        &self,
        mut connection: Connection,
        what: &str,
        holds: impl Fn(&MembersResponse) -> bool,
    ) -> MembersResponse {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        let mut looks = interval(Duration::from_millis(10));
        while Instant::now() < deadline {
            looks.tick().await;
            match members(&mut connection).await {
                Ok(seen) if holds(&seen) => return seen,
                Ok(seen) => last = format!("{seen:#?}"),
                Err(failure) => last = failure,
            }
        }
        panic!("{what}: not within {} s; last seen: {last}\n{}", PATIENCE.as_secs(), self.logs());
    }

    /// Waits for a leader and tells its number.
    pub(crate) async fn leader(&self) -> u64 {
        let seen = self.until("a node leads", |seen| leader_of(seen).is_some()).await;
        leader_of(&seen).unwrap().node
    }

    /// Waits until this node knows a leader and tells that one's number.
    pub(crate) async fn leader_known_to(&self, node: u64) -> u64 {
        let seen =
            self.until_seen(self.connection_to(node), "it knows a leader", |seen| leader_of(seen).is_some());
        leader_of(&seen.await).unwrap().node
    }

    /// Waits until every node runs and has applied what the leader has.
    pub(crate) async fn whole(&self) -> MembersResponse {
        let number = self.nodes.len();
        let whole = move |seen: &MembersResponse| {
            // Before the log takes what they know, a node that is killed holds that back (docs/decisions/0007).
            let reached = |row: &&MemberRow| row.reachable && row.lag < 200 && row.commands == seen.commands;
            leader_of(seen).is_some() && seen.members.iter().filter(reached).count() == number
        };
        self.until("every node is there, keeps up, and the log takes all that they know", whole).await
    }

    pub(crate) fn logs(&self) -> String {
        let tail = |node: &Node| {
            let text = std::fs::read_to_string(&node.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("== {}\n{}\n", node.log.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        self.nodes.iter().map(tail).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub(crate) fn connection(control: Vec<String>) -> Connection {
    Connection::new(&ConnectionArgs { control, timeout: Span(PATIENCE) }).unwrap()
}

pub(crate) async fn members(connection: &mut Connection) -> Result<MembersResponse, String> {
    let call = |channel| async move { QueryClient::new(channel).members(MembersRequest {}).await };
    connection.ask(call).await.map_err(|failure| failure.to_string())
}

/// The row of the leader, as one node sees it. Of two that say so, the one that was elected later does.
pub(crate) fn leader_of(seen: &MembersResponse) -> Option<&MemberRow> {
    seen.members.iter().filter(|row| row.reachable && row.role == "leader").max_by_key(|row| row.term)
}

/// The first log segment of a data directory.
pub(crate) fn first_segment(data: &Path) -> PathBuf {
    let names = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("log-");
    names.filter(is_segment).min().unwrap()
}
