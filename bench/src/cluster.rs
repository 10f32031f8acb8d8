//! Three nodes of one store on loopback, in a directory that is removed with them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::v1::MembersRequest;
use api::v1::query_client::QueryClient;
use tonic::transport::{Channel, Endpoint};

use crate::etcd;
use crate::process::{Failed, Process, Scratch, until};

/// How many nodes a cluster has.
pub(crate) const NODES: usize = 3;

/// How long a cluster may take to have a leader that every node knows.
const READY_SECONDS: u64 = 30;

/// Which store a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// `penstock control`.
    Penstock,
    /// etcd with its defaults.
    Etcd,
}

/// Three nodes, some of them perhaps killed.
pub(crate) struct Cluster {
    pub(crate) store: Store,
    program: PathBuf,
    arguments: Vec<Vec<String>>,
    directory: PathBuf,
    nodes: Vec<Option<Process>>,
    addresses: Vec<SocketAddr>,
    /// Where our nodes serve their metrics.
    admins: Vec<SocketAddr>,
    channels: Vec<Channel>,
    _scratch: Scratch,
}

fn channel(address: SocketAddr) -> Result<Channel, Failed> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Failed::Other(error.to_string()))?
        .connect_timeout(Duration::from_millis(200));
    Ok(endpoint.tcp_nodelay(true).connect_lazy())
}

fn penstock_arguments(node: usize, directory: &Path, addresses: &[SocketAddr]) -> Vec<String> {
    let (clients, rest) = addresses.split_at(NODES);
    let (peers, https) = rest.split_at(NODES);
    let group: Vec<String> = (0..NODES).map(|peer| format!("{}={}", peer + 1, peers[peer])).collect();
    let data = directory.join(format!("penstock-{}", node + 1));
    [
        "control".to_owned(),
        format!("--node={}", node + 1),
        format!("--peers={}", group.join(",")),
        format!("--client-address={}", clients[node]),
        format!("--peer-address={}", peers[node]),
        format!("--http-address={}", https[node]),
        format!("--data-directory={}", data.display()),
    ]
    .into()
}

fn etcd_arguments(node: usize, directory: &Path, addresses: &[SocketAddr]) -> Vec<String> {
    let (clients, peers) = addresses.split_at(NODES);
    let group: Vec<String> = (0..NODES).map(|peer| format!("n{peer}=http://{}", peers[peer])).collect();
    let mut arguments = vec![
        format!("--name=n{node}"),
        format!("--data-dir={}", directory.join(format!("etcd-{node}")).display()),
        format!("--initial-cluster={}", group.join(",")),
        "--log-level=error".to_owned(),
    ];
    for flag in ["listen-client-urls", "advertise-client-urls"] {
        arguments.push(format!("--{flag}=http://{}", clients[node]));
    }
    for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
        arguments.push(format!("--{flag}=http://{}", peers[node]));
    }
    arguments
}

impl Cluster {
    /// Starts three nodes and waits until they have a leader.
    pub(crate) async fn start(store: Store, program: PathBuf) -> Result<Self, Failed> {
        let scratch = Scratch::new(if store == Store::Penstock { "penstock" } else { "etcd" })?;
        let directory = scratch.0.clone();
        let addresses = runtime::ports::addresses(3 * NODES)?;
        let arguments = (0..NODES).map(|node| match store {
            Store::Penstock => penstock_arguments(node, &directory, &addresses),
            Store::Etcd => etcd_arguments(node, &directory, &addresses),
        });
        let mut cluster = Self {
            store,
            program,
            arguments: arguments.collect(),
            directory,
            nodes: (0..NODES).map(|_| None).collect(),
            addresses: addresses[..NODES].to_vec(),
            admins: addresses[2 * NODES..].to_vec(),
            channels: addresses[..NODES].iter().map(|address| channel(*address)).collect::<Result<_, _>>()?,
            _scratch: scratch,
        };
        for node in 0..NODES {
            cluster.restart(node)?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Of each node of ours: snapshots made since it started, their mean standstill in ms, and the bound of the longest.
    pub(crate) fn pauses(&self) -> Result<Vec<Vec<String>>, Failed> {
        let row = |node: usize| {
            Ok(std::iter::once((node + 1).to_string()).chain(pause(&self.metrics(node)?)).collect())
        };
        (0..NODES).map(row).collect()
    }

    /// What a node of ours tells of itself.
    pub(crate) fn metrics(&self, node: usize) -> Result<String, Failed> {
        let mut connection = TcpStream::connect(self.admins[node])?;
        connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut metrics = String::new();
        connection.read_to_string(&mut metrics)?;
        Ok(metrics)
    }

    /// Starts a node that does not run.
    pub(crate) fn restart(&mut self, node: usize) -> Result<(), Failed> {
        let log = self.directory.join(format!("{node}.log"));
        self.nodes[node] = Some(Process::start(&self.program, &self.arguments[node], log)?);
        Ok(())
    }

    /// Hands a running node over to who will kill it.
    pub(crate) fn take(&mut self, node: usize) -> Process {
        self.nodes[node].take().expect("only a node that answered is taken")
    }

    /// Takes a node back that was not killed after all.
    pub(crate) fn give_back(&mut self, node: usize, process: Process) {
        self.nodes[node] = Some(process);
    }

    /// Waits until every node knows a leader.
    pub(crate) async fn ready(&self) -> Result<(), Failed> {
        for node in 0..NODES {
            let log = self.directory.join(format!("{node}.log"));
            let what = format!("node {node} of {:?}", self.store);
            until(&what, READY_SECONDS, &log, async || self.leads(node).await.is_some()).await?;
        }
        Ok(())
    }

    /// Which node leads.
    pub(crate) async fn leader(&self) -> Result<usize, Failed> {
        for node in 0..NODES {
            if self.leads(node).await == Some(true) {
                return Ok(node);
            }
        }
        Err(Failed::Other(format!("{:?} has no leader", self.store)))
    }

    /// Whether `node` leads; `None` when it does not answer or knows no leader.
    async fn leads(&self, node: usize) -> Option<bool> {
        let channel = self.channel(node);
        match self.store {
            Store::Etcd => etcd::leads(channel).await.ok(),
            Store::Penstock => {
                let members = QueryClient::new(channel).members(MembersRequest {}).await.ok()?.into_inner();
                let leader = members.members.iter().find(|member| member.role == "leader")?;
                Some(leader.node == node as u64 + 1)
            }
        }
    }

    /// Where the nodes have their disks.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where clients reach `node`.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// A connection of its own to `node`, dialled on first use.
    pub(crate) fn fresh_channel(&self, node: usize) -> Result<Channel, Failed> {
        channel(self.addresses[node])
    }

    /// A connection to `node`, dialled on first use and shared by all who ask.
    pub(crate) fn channel(&self, node: usize) -> Channel {
        self.channels[node].clone()
    }

    /// CPU time that the running nodes have used so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failed> {
        self.nodes.iter().flatten().map(Process::cpu).sum()
    }

    /// Resident memory of each running node, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<Vec<u64>, Failed> {
        self.nodes.iter().flatten().map(|node| Ok(node.resident_kib()? / 1024)).collect()
    }
}

/// Count, mean and bound of the longest, in ms, of the histogram of standstills.
fn pause(metrics: &str) -> [String; 3] {
    let of = |line: &str, suffix: &str| {
        let rest =
            line.strip_prefix("penstock_raft_snapshot_pause_seconds")?.strip_prefix(suffix)?.to_owned();
        Some(rest)
    };
    let value = |suffix| metrics.lines().find_map(|line| of(line, suffix)?.trim().parse::<f64>().ok());
    let (Some(count), Some(sum)) = (value("_count "), value("_sum ")) else {
        return ["-"; 3].map(str::to_owned);
    };
    let bounds = metrics.lines().filter_map(|line| {
        let bucket = of(line, "_bucket{le=\"")?;
        let (bound, held) = bucket.split_once("\"} ")?;
        (held.parse::<f64>().ok()? >= count).then(|| bound.parse::<f64>().ok())?
    });
    let longest = bounds.fold(f64::INFINITY, f64::min) * 1000.0;
    [format!("{count}"), format!("{:.2}", sum * 1000.0 / count), format!("{longest:.2}")]
}
