//! Our side of the proxy's benchmarks: a control node, what is registered there, and proxies that follow it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, Protocol, QualifiedName, RegisterRequest, WriteId};

use crate::http_load::{Http, closed_loop};
use crate::process::{Failed, Process, until};

/// Registrations that are on their way at the same time.
const LANES: usize = 64;

/// A control node.
pub(super) struct Mesh {
    client: SocketAddr,
    control: Process,
    batches: AtomicU64,
}

/// One endpoint to be registered.
pub(super) struct Registered {
    /// The service, in the namespace `bench`.
    pub(super) service: String,
    /// What is spoken.
    pub(super) protocol: Protocol,
    /// Where.
    pub(super) address: SocketAddr,
}

impl Mesh {
    /// Starts a control node and waits until it answers.
    pub(super) async fn start(penstock: &Path, directory: &Path) -> Result<Self, Failed> {
        let addresses = runtime::ports::addresses(3)?;
        let arguments = [
            "control".to_owned(),
            format!("--client-address={}", addresses[0]),
            format!("--peer-address={}", addresses[1]),
            format!("--http-address={}", addresses[2]),
            format!("--data-directory={}", directory.join("control").display()),
        ];
        let control = Process::start(penstock, &arguments, directory.join("control.log"))?;
        let mesh = Self { client: addresses[0], control, batches: AtomicU64::new(0) };
        let address = SocketAddr::from(([127, 0, 0, 1], 9)); // nobody asks for it
        let probe = || Registered { service: "probe".to_owned(), protocol: Protocol::Http1, address };
        let log = &mesh.control.log;
        until("the control node", 30, log, async || mesh.register(vec![probe()]).await.is_ok()).await?;
        Ok(mesh)
    }

    /// Registers endpoints, each lane in its own order as one client.
    pub(super) async fn register(&self, endpoints: Vec<Registered>) -> Result<(), Failed> {
        let wrong = |error: &dyn std::fmt::Display| Failed::Other(format!("cannot register: {error}"));
        let url = format!("http://{}", self.client);
        let client = RegistrationClient::connect(url).await.map_err(|error| wrong(&error))?;
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        let mut lanes: Vec<Vec<Registered>> = (0..LANES).map(|_| Vec::new()).collect();
        for (number, endpoint) in endpoints.into_iter().enumerate() {
            lanes[number % LANES].push(endpoint);
        }
        let lanes = lanes.into_iter().enumerate().map(|(lane, endpoints)| {
            let mut client = client.clone();
            async move {
                for (sequence, endpoint) in (1..).zip(endpoints) {
                    let id = WriteId { client: format!("bench-{batch}-{lane}"), sequence, since: None };
                    client.register(request(id, &endpoint)).await?;
                }
                Ok::<_, tonic::Status>(())
            }
        });
        futures_util::future::try_join_all(lanes).await.map(|_| ()).map_err(|error| wrong(&error))
    }

    /// Starts a proxy that follows this node, by the program beside `penstock` that is the proxy alone, as images have it, and
    /// waits until it serves `one.bench`.
    pub(super) async fn proxy(
        &self,
        penstock: &Path,
        directory: &Path,
        name: &str,
    ) -> Result<(Process, SocketAddr), Failed> {
        self.started(&penstock.with_file_name("penstock-proxy"), &[], directory, name).await
    }

    /// The same by `penstock proxy`.
    pub(super) async fn proxy_of_the_whole_program(
        &self,
        penstock: &Path,
        directory: &Path,
        name: &str,
    ) -> Result<(Process, SocketAddr), Failed> {
        self.started(penstock, &["proxy".to_owned()], directory, name).await
    }

    async fn started(
        &self,
        program: &Path,
        command: &[String],
        directory: &Path,
        name: &str,
    ) -> Result<(Process, SocketAddr), Failed> {
        let addresses = runtime::ports::addresses(2)?;
        let flags = [
            format!("--control={}", self.client),
            format!("--name={name}"),
            "--workload=load.bench".to_owned(),
            format!("--outbound-address={}", addresses[0]),
            format!("--admin-address={}", addresses[1]),
            "--workers=1".to_owned(),
        ];
        let arguments = [command, &flags].concat();
        let proxy = Process::start(program, &arguments, directory.join(format!("{name}.log")))?;
        let ready = async || closed_loop(addresses[0], Http::One, 1, 1).await.is_ok();
        until("our proxy", 30, &proxy.log, ready).await?;
        Ok((proxy, addresses[0]))
    }
}

/// Registers the upstream of requests for each protocol, and the one of bytes.
pub(super) async fn register_upstreams(
    mesh: &Mesh,
    upstreams: (SocketAddr, SocketAddr),
) -> Result<(), Failed> {
    let one =
        |service: &str, protocol, address| Registered { service: service.to_owned(), protocol, address };
    let (requests, bytes) = upstreams;
    mesh.register(vec![
        one("one", Protocol::Http1, requests),
        one("two", Protocol::Http2, requests),
        one("bytes", Protocol::Opaque, bytes),
    ])
    .await
}

fn request(id: WriteId, endpoint: &Registered) -> RegisterRequest {
    let named = |name: &str| Some(QualifiedName { name: name.to_owned(), namespace: "bench".to_owned() });
    RegisterRequest {
        id: Some(id),
        authority: Some(Authority { service: named(&endpoint.service), port: 80 }),
        protocol: endpoint.protocol.into(),
        endpoint: Some(Endpoint {
            instance: format!("upstream-{}", endpoint.address.to_string().replace([':', '.'], "-")),
            address: endpoint.address.to_string(),
            workload: named("upstream"),
            ..Endpoint::default()
        }),
        lease_seconds: 3600,
    }
}
