//! Three processes under test: started on ports that were free a moment ago, ended by their ids, asked over gRPC.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use api::v1::{
    Authority, Endpoint, EndpointsRequest, MembersRequest, QualifiedName, RegisterRequest, WriteId,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint as Address};

const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(10);
/// Listeners of one node: clients, peers, HTTP.
const LISTENERS: usize = 3;

pub(crate) struct Processes {
    pub(crate) runtime: Runtime,
    children: BTreeMap<u64, Child>,
    ports: BTreeMap<u64, Vec<u16>>,
    directory: PathBuf,
}

impl Processes {
    pub(crate) fn start() -> Self {
        static GROUPS: AtomicU64 = AtomicU64::new(0);
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("killed-{}-{number}", std::process::id());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Bound all at once, so that they differ; given up just before the processes take them.
        let sockets: Vec<TcpListener> =
            (0..3 * LISTENERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let free: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        let ports = (1..=3).zip(free.chunks(LISTENERS).map(<[u16]>::to_vec)).collect();
        drop(sockets);
        let mut processes = Self { runtime, children: BTreeMap::new(), ports, directory };
        for node in 1..=3 {
            processes.restart(node);
        }
        processes
    }

    /// Starts a node, on the data that it has.
    pub(crate) fn restart(&mut self, node: u64) {
        let peers: Vec<String> =
            self.ports.iter().map(|(node, ports)| format!("{node}=127.0.0.1:{}", ports[1])).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-control"));
        command.env("PENSTOCK_NODE", node.to_string()).env("PENSTOCK_PEERS", peers.join(","));
        command.env("PENSTOCK_DATA_DIRECTORY", self.directory.join(node.to_string()));
        for (key, port) in ["CLIENT", "PEER", "HTTP"].iter().zip(&self.ports[&node]) {
            command.env(format!("PENSTOCK_{key}_ADDRESS"), format!("127.0.0.1:{port}"));
        }
        let log = self.directory.join(format!("{node}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        self.children.insert(node, command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// SIGKILL, and the end of it.
    pub(crate) fn kill(&mut self, node: u64) {
        let child = self.children.get_mut(&node).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn signal(&self, node: u64, signal: Signal) {
        let id = i32::try_from(self.children[&node].id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits until a process has ended by itself.
    pub(crate) fn ended(&mut self, node: u64) -> ExitStatus {
        self.children.get_mut(&node).unwrap().wait().unwrap()
    }

    pub(crate) fn all(&self) -> Vec<u64> {
        self.ports.keys().copied().collect()
    }

    fn channel(&self, node: u64) -> Channel {
        let _runtime = self.runtime.enter();
        let address = format!("http://127.0.0.1:{}", self.ports[&node][0]);
        Address::from_shared(address).unwrap().connect_timeout(Duration::from_secs(1)).connect_lazy()
    }

    pub(crate) fn registrations(&self) -> Vec<RegistrationClient<Channel>> {
        self.all().into_iter().map(|node| RegistrationClient::new(self.channel(node))).collect()
    }

    /// Asks until it is so.
    pub(crate) fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let asking = async {
            let mut beat = tokio::time::interval(BETWEEN_QUESTIONS);
            while !holds().await {
                beat.tick().await;
            }
        };
        let held = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, asking).await });
        held.unwrap_or_else(|_| panic!("never came: {what}"));
    }

    /// The node that says of itself that it leads in the highest term.
    pub(crate) fn leader(&self) -> u64 {
        let mut clients: Vec<_> =
            self.all().into_iter().map(|node| QueryClient::new(self.channel(node))).collect();
        let mut found = None;
        self.until("a leader", async || {
            let mut leaders = Vec::new();
            for client in &mut clients {
                let asked = client.members(MembersRequest {});
                let Ok(Ok(response)) = tokio::time::timeout(Duration::from_secs(2), asked).await else {
                    continue;
                };
                let rows = response.into_inner().members;
                leaders.extend(
                    rows.into_iter().filter(|row| row.role == "leader").map(|row| (row.term, row.node)),
                );
            }
            found = leaders.into_iter().max().map(|(_, node)| node);
            found.is_some()
        });
        found.unwrap()
    }

    /// How many endpoints a node holds, by a linearizable read.
    pub(crate) fn instances(&self, node: u64) -> u64 {
        let mut client = QueryClient::new(self.channel(node));
        let mut count = 0;
        self.until("an answer", async || match client.endpoints(EndpointsRequest::default()).await {
            Ok(response) => {
                count = response.into_inner().endpoints.len() as u64;
                true
            }
            Err(_) => false,
        });
        count
    }

    /// Waits until a node serves again and holds so many endpoints.
    pub(crate) fn until_holds(&self, node: u64, count: u64) {
        let mut client = QueryClient::new(self.channel(node));
        self.until("the node is back and whole", async || {
            let asked = client.endpoints(EndpointsRequest::default()).await;
            asked.is_ok_and(|response| response.into_inner().endpoints.len() as u64 >= count)
        });
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// The registration of an instance of its own, by one client that counts up.
pub(crate) fn registration(sequence: u64) -> RegisterRequest {
    let name = |name: &str| Some(QualifiedName { name: name.to_owned(), namespace: "default".to_owned() });
    RegisterRequest {
        id: Some(WriteId { client: "writer".to_owned(), sequence, since: None }),
        authority: Some(Authority { service: name(&format!("service-{}", sequence % 50)), port: 80 }),
        protocol: api::v1::Protocol::Http1.into(),
        endpoint: Some(Endpoint {
            instance: format!("instance-{sequence}"),
            address: "10.0.0.1:4143".to_owned(),
            workload: name("workload"),
            locality: None,
            weight: 0,
            health: 0,
        }),
        lease_seconds: 3600,
    }
}
