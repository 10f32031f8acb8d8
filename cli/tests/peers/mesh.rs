//! A control plane of three real processes, and what the story asks of it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use api::v1::config_client::ConfigClient;
use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use api::v1::{
    ApplyRequest, Authority, DeleteRequest, Endpoint, GroupBy, LeaseKey, LeaveRequest, Protocol,
    ProxiesRequest, QualifiedName, RegisterRequest, SourceFile, StatRequest, WriteId,
};
use tokio::process::{Child, Command};
use tonic::transport::Channel;

use crate::cluster::Scratch;
use crate::found::{free_addresses, free_port_on_three_addresses, until};
use crate::story::Peer;

/// Longer than a test runs: nothing here renews.
const LEASE_SECONDS: u32 = 3600;

/// Longest wait for one answer of a node that may be gone.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Mesh {
    nodes: Vec<Node>,
    scratch: Scratch,
    sequence: u64,
}

struct Node {
    process: Child,
    client: SocketAddr,
    alive: bool,
}

fn name(name: &str) -> Option<QualifiedName> {
    Some(QualifiedName { name: name.to_owned(), namespace: "default".to_owned() })
}

fn authority(service: &str) -> Option<Authority> {
    Some(Authority { service: name(service), port: 80 })
}

/// The kind of route that a client's calls are ruled by.
fn kind<P: Peer>() -> &'static str {
    if P::PROTOCOL == Protocol::Grpc { "GRPCRoute" } else { "HTTPRoute" }
}

/// Calls with a header go to the next version, and half of all others.
fn route<P: Peer>() -> String {
    let (service, kind) = (P::SERVICE, kind::<P>());
    let [all, never] = match P::PROTOCOL {
        Protocol::Grpc => {
            ["method: {service: penstock.test.Greeter, method: Name}", "method: {service: never.Never}"]
        }
        _ => ["path: {type: PathPrefix, value: /}", "path: {type: PathPrefix, value: /never}"],
    };
    format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {service}-route, namespace: default}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {service}, port: 80}}]
  rules:
    - matches:
        - headers: [{{name: x-version, value: next}}]
          {all}
        - {never}
      backendRefs: [{{name: {service}-next, port: 80}}]
      timeouts: {{request: 30s}}
    - backendRefs:
        - {{name: {service}, port: 80, weight: 50}}
        - {{name: {service}-next, port: 80, weight: 50}}
"#
    )
}

impl Mesh {
    /// Three nodes of which one leads.
    pub async fn start() -> Self {
        let scratch = Scratch::new("peers");
        let clients = free_port_on_three_addresses();
        let addresses: [SocketAddr; 6] = free_addresses();
        let peers: Vec<_> = (0..3).map(|at| format!("{}={}", at + 1, addresses[at])).collect();
        let nodes = (0..3).map(|at| {
            let (client, peer, http) = (clients[at], addresses[at], addresses[at + 3]);
            let log = std::fs::File::create(scratch.0.join(format!("node-{}.log", at + 1))).unwrap();
            let process = Command::new(env!("CARGO_BIN_EXE_penstock"))
                .arg("control")
                .arg(format!("--end-with-parent={}", std::process::id()))
                .arg(format!("--node={}", at + 1))
                .arg(format!("--peers={}", peers.join(",")))
                .arg(format!("--client-address={client}"))
                .arg(format!("--peer-address={peer}"))
                .arg(format!("--http-address={http}"))
                .arg(format!("--data-directory={}", scratch.0.join(format!("node-{}", at + 1)).display()))
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            Node { process, client, alive: true }
        });
        let mut mesh = Self { nodes: nodes.collect(), scratch, sequence: 0 };
        until("three nodes run, and one leads", async || mesh.leads().await).await;
        mesh
    }

    pub fn control(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.client).collect()
    }

    async fn leads(&mut self) -> Option<()> {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if let Ok(Some(status)) = node.process.try_wait() {
                let log = self.scratch.0.join(format!("node-{}.log", at + 1));
                panic!("node {} ended, {status}: {}", at + 1, std::fs::read_to_string(log).unwrap());
            }
        }
        let request = api::v1::MembersRequest {};
        let members = QueryClient::new(self.channel().await?).members(request).await.ok()?.into_inner();
        let all = members.members.len() == 3 && members.members.iter().all(|member| member.reachable);
        (all && members.members.iter().any(|member| member.role == "leader")).then_some(())
    }

    /// A connection to a node that lives.
    async fn channel(&self) -> Option<Channel> {
        let node = self.nodes.iter().find(|node| node.alive)?;
        let endpoint = Channel::from_shared(format!("http://{}", node.client)).unwrap();
        endpoint.timeout(CALL_TIMEOUT).connect().await.ok()
    }

    fn write_id<P: Peer>(&mut self) -> Option<WriteId> {
        self.sequence += 1;
        Some(WriteId { client: format!("story-of-{}", P::ID), sequence: self.sequence, since: None })
    }

    /// Registers an instance at an address, or moves it there. Sent again until it is taken: the write id makes that
    /// safe.
    pub async fn register<P: Peer>(&mut self, instance: &str, service: &str, address: SocketAddr) {
        self.register_as::<P>(instance, service, P::PROTOCOL, address).await;
    }

    /// The same, of a service that speaks `protocol`.
    pub async fn register_as<P: Peer>(
        &mut self,
        instance: &str,
        service: &str,
        protocol: Protocol,
        address: SocketAddr,
    ) {
        let request = RegisterRequest {
            id: self.write_id::<P>(),
            authority: authority(service),
            protocol: protocol.into(),
            endpoint: Some(Endpoint {
                instance: instance.to_owned(),
                address: address.to_string(),
                workload: name(service),
                ..Endpoint::default()
            }),
            lease_seconds: LEASE_SECONDS,
        };
        until(&format!("{instance} is registered at {address}"), async || {
            RegistrationClient::new(self.channel().await?).register(request.clone()).await.ok()
        })
        .await;
    }

    pub async fn leave<P: Peer>(&mut self, instance: &str) {
        let lease = Some(LeaseKey { authority: authority(P::SERVICE), instance: instance.to_owned() });
        let request = LeaveRequest { id: self.write_id::<P>(), lease };
        until(&format!("{instance} has left"), async || {
            RegistrationClient::new(self.channel().await?).leave(request.clone()).await.ok()
        })
        .await;
    }

    pub async fn apply_route<P: Peer>(&mut self) {
        self.apply::<P>(route::<P>()).await;
    }

    /// Applies documents, of which none may be complained about.
    pub async fn apply<P: Peer>(&mut self, yaml: String) {
        let file = SourceFile { name: "applied.yaml".to_owned(), yaml };
        let request = ApplyRequest { id: self.write_id::<P>(), files: vec![file], dry_run: false };
        until("the documents are applied", async || {
            let client = ConfigClient::new(self.channel().await?).apply(request.clone()).await;
            let response = client.ok()?.into_inner();
            assert_eq!(response.complaints, Vec::new());
            Some(())
        })
        .await;
    }

    pub async fn delete_route<P: Peer>(&mut self) {
        let route = name(&format!("{}-route", P::SERVICE));
        let request = DeleteRequest { id: self.write_id::<P>(), kind: kind::<P>().to_owned(), name: route };
        until("the route is deleted", async || {
            ConfigClient::new(self.channel().await?).delete(request.clone()).await.ok()
        })
        .await;
    }

    /// The node that a client follows and whose news it has taken in.
    pub async fn followed(&self, id: &str) -> Option<u64> {
        let request = ProxiesRequest::default();
        let rows = QueryClient::new(self.channel().await?).proxies(request).await.ok()?.into_inner();
        let row = rows.proxies.into_iter().find(|row| row.proxy == id && row.state == "current")?;
        assert_eq!((row.refused, row.refusal.as_str()), (0, ""), "{id} refused a resource");
        Some(row.node)
    }

    /// SIGKILL, as a power cut would end it.
    pub async fn kill(&mut self, node: u64) {
        let at = usize::try_from(node).unwrap() - 1;
        self.nodes[at].process.kill().await.unwrap();
        self.nodes[at].alive = false;
    }

    /// Successes and failures of the calls of a client to its service, as `stat` has them.
    pub async fn counted<P: Peer>(&self) -> Option<(u64, u64)> {
        let request = StatRequest {
            group_by: GroupBy::Edge.into(),
            from: name(P::WORKLOAD),
            window_seconds: 600,
            ..StatRequest::default()
        };
        let rows = QueryClient::new(self.channel().await?).stat(request).await.ok()?.into_inner().rows;
        let service = authority(P::SERVICE);
        let edges = rows.into_iter().filter(|row| row.authority == service).filter_map(|row| row.traffic);
        Some(edges.fold((0, 0), |(successes, failures), traffic| {
            (successes + traffic.successes, failures + traffic.failures.iter().sum::<u64>())
        }))
    }

    pub async fn stop(mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.alive) {
            node.process.kill().await.unwrap();
        }
    }
}
