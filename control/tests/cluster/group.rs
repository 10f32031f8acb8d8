//! A group of nodes under test: started on sockets opened before, so that each knows the others' addresses; stopped in order or
//! abruptly; waited for by asking, never by sleeping.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::log::v1::{Command, Register, command::Body};
use api::v1::config_client::ConfigClient;
use api::v1::members_client::MembersClient;
use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use api::v1::reports_client::ReportsClient;
use api::v1::{
    Authority, Endpoint, EndpointsRequest, LeaseKey, MemberRow, MembersRequest, QualifiedName,
    RegisterRequest, RegisterResponse, WriteId,
};
use consensus::NodeId;
use control::{Given, Running, Settings};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint as Address};
use tonic::{Code, Response, Status};

use crate::switched_disk::{SwitchedDisk, given};

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// A question that was not answered as hoped is asked again, but not in a circle without a breath.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(10);

/// Some nodes, and a runtime to ask them from.
pub(crate) struct Group {
    pub(crate) runtime: Runtime,
    nodes: BTreeMap<u64, Running>,
    addresses: BTreeMap<u64, String>,
    settings: BTreeMap<u64, Settings>,
    directory: PathBuf,
}

impl Group {
    /// Starts so many nodes.
    pub(crate) fn of(count: u64) -> Self {
        Self::with(count, |_| {})
    }

    /// Starts so many nodes with settings of the test's own.
    pub(crate) fn with(count: u64, change: impl Fn(&mut Settings)) -> Self {
        Self::with_all(count, change, &BTreeMap::new(), None)
    }

    /// Starts so many nodes that know commands up to this version, as an older program would.
    pub(crate) fn of_version(count: u64, commands: u32) -> Self {
        Self::with_all(count, |_| {}, &BTreeMap::new(), Some(commands))
    }

    /// Starts a node on each of these disks.
    pub(crate) fn on(disks: &BTreeMap<u64, SwitchedDisk>) -> Self {
        Self::on_with(disks, |_| {})
    }

    /// Starts a node on each of these disks, with settings of the test's own.
    pub(crate) fn on_with(disks: &BTreeMap<u64, SwitchedDisk>, change: impl Fn(&mut Settings)) -> Self {
        Self::with_all(disks.len() as u64, change, disks, None)
    }

    fn with_all(
        count: u64,
        change: impl Fn(&mut Settings),
        disks: &BTreeMap<u64, SwitchedDisk>,
        commands: Option<u32>,
    ) -> Self {
        static GROUPS: AtomicU64 = AtomicU64::new(0);
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("group-{}-{number}", std::process::id());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sockets, peers) = places(count);
        let mut group = Self {
            runtime,
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            settings: BTreeMap::new(),
            directory,
        };
        for (node, socket) in (1..=count).zip(sockets) {
            let data = group.directory.join(node.to_string());
            let mut settings = Settings { node: NodeId(node), ..Settings::alone(data) };
            if count > 1 {
                settings.peers = peers.clone();
            }
            change(&mut settings);
            let given = disks.get(&node).map(given).unwrap_or_default();
            group.start_given(node, settings, Given { peers: Some(socket), commands, ..given });
        }
        group
    }

    fn start(
        &mut self,
        node: u64,
        settings: Settings,
        peers: Option<TcpListener>,
        disk: Option<&SwitchedDisk>,
    ) {
        let given = Given { peers, ..disk.map(given).unwrap_or_default() };
        self.start_given(node, settings, given);
    }

    /// Starts a node with what the test brings along.
    pub(crate) fn start_given(&mut self, node: u64, settings: Settings, given: Given) {
        let running = control::start_with(settings.clone(), given).unwrap();
        self.addresses.insert(node, running.client_address.to_string());
        let settings = Settings { peer_address: running.peer_address, ..settings };
        self.settings.insert(node, settings);
        self.nodes.insert(node, running);
    }

    /// Starts a new node that waits to be brought in; answers where the others reach it.
    pub(crate) fn start_joining(&mut self, node: u64) -> String {
        let data = self.directory.join(node.to_string());
        let peers = BTreeMap::from([(NodeId(node), String::new())]);
        let settings = Settings { node: NodeId(node), join: true, peers, ..Settings::alone(data) };
        self.start(node, settings, None, None);
        self.nodes[&node].peer_address.to_string()
    }

    /// Waits until every node takes part in elections: each leads once. A founder that came late does not while its empty disk is in
    /// doubt, and a leader that ends before it has vouched for that one leaves nobody who may elect another.
    pub(crate) fn until_all_vote(&self) {
        for node in self.running() {
            self.until("each leads once", async || {
                for other in self.running() {
                    let door = self.running_node(other).door();
                    if other == node && door.leadership().borrow().leader == Some(NodeId(node)) {
                        return Some(());
                    }
                    let _refused_elsewhere = door.transfer_leadership(Some(NodeId(node))).await;
                }
                None
            });
        }
    }

    /// Ends a node without a word to anybody.
    pub(crate) fn end_abruptly(&mut self, node: u64) {
        drop(self.nodes.remove(&node));
    }

    /// Drains a node.
    pub(crate) fn stop(&mut self, node: u64) {
        self.nodes.remove(&node).unwrap().stop();
    }

    /// Starts a node again on its old data and peer address.
    pub(crate) fn start_again(&mut self, node: u64) {
        let settings = self.settings[&node].clone();
        self.start(node, settings, None, None);
    }

    /// Ends all nodes and starts each on another peer address, which only its settings and those of the others name.
    pub(crate) fn move_all(&mut self) {
        let (sockets, peers) = places(self.settings.len() as u64);
        self.nodes.clear();
        for (node, socket) in (1..).zip(sockets) {
            let settings = Settings { peers: peers.clone(), ..self.settings[&node].clone() };
            self.start(node, settings, Some(socket), None);
        }
    }

    pub(crate) fn running(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn running_node(&self, node: u64) -> &Running {
        &self.nodes[&node]
    }

    pub(crate) fn settings(&self, node: u64) -> &Settings {
        &self.settings[&node]
    }

    pub(crate) fn channel(&self, node: u64) -> Channel {
        let _runtime = self.runtime.enter();
        Address::from_shared(format!("http://{}", self.addresses[&node])).unwrap().connect_lazy()
    }

    pub(crate) fn registration(&self, node: u64) -> RegistrationClient<Channel> {
        RegistrationClient::new(self.channel(node))
    }

    pub(crate) fn query(&self, node: u64) -> QueryClient<Channel> {
        QueryClient::new(self.channel(node))
    }

    pub(crate) fn config(&self, node: u64) -> ConfigClient<Channel> {
        ConfigClient::new(self.channel(node))
    }

    pub(crate) fn reports(&self, node: u64) -> ReportsClient<Channel> {
        ReportsClient::new(self.channel(node))
    }

    /// Asks until the answer fits.
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let asking = async {
            let mut beat = tokio::time::interval(BETWEEN_QUESTIONS);
            loop {
                beat.tick().await;
                if let Some(answer) = ask().await {
                    return answer;
                }
            }
        };
        let answered = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, asking).await });
        answered.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// What a call comes to for a client, who asks again while a node cannot answer: where a busy machine holds threads up for longer
    /// than an election takes to begin, also a sound group is without a leader for a while.
    pub(crate) fn answer<T>(
        &self,
        mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        self.until("an answer", async || match call().await {
            Err(status) if status.code() == Code::Unavailable => None,
            answered => Some(answered.map(Response::into_inner)),
        })
    }

    pub(crate) fn members(&self, node: u64) -> MembersClient<Channel> {
        MembersClient::new(self.channel(node))
    }

    /// The members as a node tells them.
    pub(crate) fn rows(&self, node: u64) -> Vec<MemberRow> {
        let mut client = self.query(node);
        let answered = self.runtime.block_on(client.members(MembersRequest {}));
        answered.unwrap().into_inner().members
    }

    /// Asks a node until its rows fit.
    pub(crate) fn until_rows(&self, node: u64, what: &str, fit: impl Fn(&[MemberRow]) -> bool) {
        let mut client = self.query(node);
        self.until(what, async move || {
            let rows = client.members(MembersRequest {}).await.ok()?.into_inner().members;
            fit(&rows).then_some(())
        });
    }

    /// The version of commands that the log takes, as a node knows it.
    pub(crate) fn version(&self, node: u64) -> u32 {
        let mut client = self.query(node);
        self.runtime.block_on(client.members(MembersRequest {})).unwrap().into_inner().commands
    }

    /// Waits until the log takes the commands of this version, as every running node knows.
    pub(crate) fn until_version(&self, version: u32) {
        for node in self.running() {
            let mut client = self.query(node);
            self.until("the version of commands", async move || {
                let commands = client.members(MembersRequest {}).await.ok()?.into_inner().commands;
                (commands == version).then_some(())
            });
        }
    }

    /// The node that leads, as a running node sees it. Of two that say so, the one that was elected later does.
    pub(crate) fn leader(&self) -> u64 {
        let mut clients: Vec<_> = self.running().into_iter().map(|node| self.query(node)).collect();
        let running = self.running();
        self.until("a leader", async move || {
            for client in &mut clients {
                let members = client.members(MembersRequest {}).await.ok()?.into_inner().members;
                let leading = members.iter().filter(|row| row.role == "leader");
                let leader = leading.max_by_key(|row| row.term).map(|row| row.node);
                if leader.is_some_and(|leader| running.contains(&leader)) {
                    return leader;
                }
            }
            None
        })
    }

    /// A running node that does not lead.
    pub(crate) fn follower(&self) -> u64 {
        let leader = self.leader();
        self.running().into_iter().find(|node| *node != leader).unwrap()
    }

    /// Registers through a node.
    pub(crate) fn register(&self, node: u64, request: RegisterRequest) -> Result<RegisterResponse, Status> {
        let client = self.registration(node);
        self.answer(async move || client.clone().register(request.clone()).await)
    }

    /// Writes a [`bulk`] through a node, for as long as a slow disk or an election takes.
    pub(crate) fn write_bulk(&self, node: u64) {
        self.until("a large write", async || self.running_node(node).door().propose(bulk()).await.ok());
    }

    /// The instances of a service, as a node tells them.
    pub(crate) fn instances(&self, node: u64, service: &str) -> Vec<String> {
        let client = self.query(node);
        let request = EndpointsRequest { service: Some(name(service)), ..EndpointsRequest::default() };
        match self.answer(async move || client.clone().endpoints(request.clone()).await) {
            Ok(response) => {
                let rows = response.endpoints;
                rows.into_iter().filter_map(|row| row.endpoint).map(|endpoint| endpoint.instance).collect()
            }
            Err(status) if status.code() == Code::NotFound => Vec::new(),
            Err(status) => panic!("{status}"),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.nodes.clear();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Free addresses for so many nodes, as sockets and as peers.
fn places(count: u64) -> (Vec<TcpListener>, BTreeMap<NodeId, String>) {
    let sockets = runtime::ports::reserve(usize::try_from(count).unwrap()).unwrap();
    let address = |socket: &TcpListener| socket.local_addr().unwrap().to_string();
    let peers = (1..=count).map(NodeId).zip(sockets.iter().map(address)).collect();
    (sockets, peers)
}

pub(crate) fn name(service: &str) -> QualifiedName {
    QualifiedName { name: service.to_owned(), namespace: "default".to_owned() }
}

pub(crate) fn authority(service: &str) -> Authority {
    Authority { service: Some(name(service)), port: 80 }
}

pub(crate) fn lease(service: &str, instance: &str) -> LeaseKey {
    LeaseKey { authority: Some(authority(service)), instance: instance.to_owned() }
}

pub(crate) fn write_id(client: &str, sequence: u64) -> Option<WriteId> {
    Some(WriteId { client: client.to_owned(), sequence, since: None })
}

/// A registration of an instance, by a client that writes once.
pub(crate) fn registration(service: &str, instance: &str) -> RegisterRequest {
    RegisterRequest {
        id: write_id(instance, 1),
        authority: Some(authority(service)),
        protocol: api::v1::Protocol::Http1.into(),
        endpoint: Some(Endpoint {
            instance: instance.to_owned(),
            address: "10.0.0.1:4143".to_owned(),
            workload: Some(name(service)),
            locality: None,
            weight: 0,
            health: 0,
        }),
        lease_seconds: 60,
    }
}

/// A command of three megabytes that means nothing: it goes into the log, and the catalog refuses it.
pub(crate) fn bulk() -> Command {
    let endpoint = Endpoint { instance: "x".repeat(3 << 20), ..Endpoint::default() };
    let register = Register { endpoint: Some(endpoint), ..Register::default() };
    Command { id: None, at_ms: 0, body: Some(Body::Register(register)) }
}

/// A small command of this number, which the catalog takes.
pub(crate) fn small(number: u64) -> Command {
    let request = registration("web", &format!("web-{number:04}"));
    let register = Register {
        authority: request.authority,
        protocol: request.protocol,
        endpoint: request.endpoint,
        lease_seconds: request.lease_seconds,
    };
    Command { id: None, at_ms: 0, body: Some(Body::Register(register)) }
}
