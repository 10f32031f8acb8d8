//! One control node: wires its rooms together, starts them, drains them in reverse order. Holds no rule.
//!
//! Threads: the caller's opens everything that can be refused; `truth` owns replica, catalog, intake and rollup and serves the
//! peers; `log` syncs; `discovery` holds the sessions; `clients` carries gRPC; `admin` answers probes.

mod clients;
mod here;
mod own;
mod rooms;
mod tasks;
mod truth;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use consensus::{NodeId, OpenError};
use futures_util::Stream;
use runtime::admin::{self, Admin, Condition, Readiness};
use runtime::listen::{self, BindError, Share};
use runtime::signals::Signals;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tracing::{info, warn};

use crate::discovery::{Discovery, DiscoveryThread};
use crate::metrics::Metrics;
use crate::replica::messages::TransferError;
use crate::replica::peers::PeerCalls;
use crate::replica::{Door, StartError as ReplicaError, Surroundings, Unstarted};
use crate::settings::Settings;
use clients::Clients;
use tasks::Tasks;
use truth::{Truth, TruthParts};

pub use here::{Incoming, start_here};

/// Load reports that may wait for the rollup. More than this from clients that never send again are lost, and counted.
const LOAD_REPORTS_MAX: usize = 1024;
/// Silence of a client's connection after which it is asked whether it lives, and how long it may take to say so.
const CLIENT_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Calls that one client connection may have open. Fewer queue the writes of a busy gateway; more let one client take all.
const CALLS_PER_CONNECTION_MAX: u32 = 1024;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory was refused.
    #[error("{}", with_source(.0))]
    Data(OpenError),
    /// The data directory is empty, and who would be founded there belongs to a cluster that nothing is said of.
    #[error(
        "{directory} is empty, and node {node} of cluster {cluster:?} is told neither `peers` nor `join`: it does not found a cluster of its own, which clients and proxies of the real one might reach; say --peers as the other nodes of the cluster do, or --join to be brought in by them; for a cluster of this node alone say --peers {node}=HOST:PORT, its own address"
    )]
    Unfounded {
        /// The data directory.
        directory: PathBuf,
        /// Which node.
        node: NodeId,
        /// Of which cluster.
        cluster: String,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The replica did not start.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The admin server did not start.
    #[error(transparent)]
    Admin(#[from] admin::StartError),
    /// A thread or a runtime could not be made.
    #[error("cannot start a thread of the node: {0}; the process is out of threads, memory or files")]
    Thread(#[from] std::io::Error),
}

/// An error and what the system said.
fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// What the caller brings along, in place of what the settings name.
#[derive(Default)]
pub struct Given {
    /// An open socket for clients, so that nodes of one test can know each other's addresses before they start.
    pub clients: Option<TcpListener>,
    /// An open socket for the other nodes.
    pub peers: Option<TcpListener>,
    /// Another machine, for instance one whose disk is full.
    pub surroundings: Surroundings,
    /// Another newest version of commands than this program's, for instance an older program's.
    pub commands: Option<u32>,
}

/// A node that runs. Dropped, it ends abruptly; [`Running::stop`] drains it.
pub struct Running {
    /// Where clients are served.
    pub client_address: SocketAddr,
    /// Where the other nodes are served.
    pub peer_address: SocketAddr,
    /// Where metrics and probes are served.
    pub http_address: SocketAddr,
    door: Door,
    discovery: Discovery,
    serving: Condition,
    drain: Duration,
    // In the order in which they end.
    clients: Clients,
    truth: Truth,
    discovery_thread: Option<DiscoveryThread>,
    admin: admin::Running,
}

/// Starts a node from its settings.
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub fn start(settings: Settings) -> Result<Running, StartError> {
    start_with(settings, Given::default())
}

/// Starts a node with what the caller brings along.
///
/// # Errors
/// [`StartError`]; then nothing runs.
pub fn start_with(settings: Settings, given: Given) -> Result<Running, StartError> {
    let opened =
        |given: Option<TcpListener>, address| given.map_or_else(|| listen::bind(address, Share::Alone), Ok);
    let client_socket = opened(given.clients, settings.client_address)?;
    let peer_socket = opened(given.peers, settings.peer_address)?;
    client_socket.set_nonblocking(true)?;
    peer_socket.set_nonblocking(true)?;
    let (client_address, peer_address) = (client_socket.local_addr()?, peer_socket.local_addr()?);
    let surroundings = given.surroundings;
    let unstarted = opened_data(&surroundings, &settings)?;
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let serving = readiness.condition("serving", "starting");
    let tasks = Tasks::of(&settings, &metrics, &readiness);
    let admin = Admin::new(metrics.registry.clone(), readiness).start(settings.http_address)?;

    let (load, load_reports) = mpsc::channel(LOAD_REPORTS_MAX);
    let (discovery, discovery_thread) = Discovery::start(metrics.discovery.clone(), load)?;
    let clients = Clients::start(settings.limits.client_threads)?;
    let identity =
        own::identity(&settings, client_address, peer_address, &unstarted, given.commands, &metrics.peers);
    let calls = {
        let _clients = clients.handle().enter();
        PeerCalls::new(Arc::clone(&identity), surroundings.dialler.clone())
    };
    let drain = settings.drain;
    let node = settings.node;
    let (truth, faces) = Truth::start(
        TruthParts {
            unstarted,
            surroundings,
            settings,
            identity,
            calls,
            discovery: discovery.clone(),
            load_reports,
            metrics,
        },
        peer_socket,
    )?;
    let door = faces.door.clone();
    clients.serve(&client_socket, &discovery, &faces)?;
    for task in tasks.begun(&door, &discovery) {
        drop(clients.handle().spawn(task));
    }
    serving.met();
    let http_address = admin.address();
    info!(node = node.0, %client_address, %peer_address, %http_address, "control node started");
    Ok(Running {
        client_address,
        peer_address,
        http_address,
        door,
        discovery,
        serving,
        drain,
        clients,
        truth,
        discovery_thread: Some(discovery_thread),
        admin,
    })
}

fn opened_data(surroundings: &Surroundings, settings: &Settings) -> Result<Unstarted, StartError> {
    Unstarted::open(surroundings, settings).map_err(|error| match error {
        OpenError::Unfounded { directory } => {
            StartError::Unfounded { directory, node: settings.node, cluster: settings.cluster.clone() }
        }
        other => StartError::Data(other),
    })
}

/// Starts a node and runs it until SIGTERM or SIGINT, then drains it; a second signal cuts the drain short. Blocks.
///
/// # Errors
/// [`StartError`].
pub fn run(settings: Settings) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let running = start(settings)?;
    let stop = runtime.block_on(signals.next());
    info!(%stop, "stopping");
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = running.drained() => {}
            again = signals.next() => warn!(%again, "drain cut short"),
        }
    });
    drop(running);
    Ok(())
}

impl Running {
    /// Drains and ends the node. Blocks: not to be called on a runtime's thread.
    ///
    /// # Panics
    /// On the thread of a tokio runtime.
    pub fn stop(self) {
        let handle = self.clients.handle().clone();
        handle.block_on(self.drained());
    }

    /// This node's own door, for programs that embed it.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Everything that others may wait for: leadership handed over, streams ended, running calls finished.
    async fn drained(&self) {
        self.serving.lacking("stopping");
        let begun = Instant::now();
        self.hand_over().await;
        if self.discovery.end_streams("this node drains: connect to another node").await.is_err() {
            warn!("discovery had ended before the drain");
        }
        self.clients.stop();
        let left = self.drain.saturating_sub(begun.elapsed());
        if tokio::time::timeout(left, self.clients.finished()).await.is_err() {
            warn!(seconds = self.drain.as_secs(), "drain deadline passed; letting go of running calls");
        }
        info!("drained");
    }

    async fn hand_over(&self) {
        if self.door.peers().peers().is_empty() {
            return;
        }
        match self.door.hand_over(self.drain).await {
            Ok(successor) => info!(successor = successor.0, "leadership handed over"),
            Err(TransferError::NotLeader) => {}
            Err(error) => warn!(%error, "leadership not handed over"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.clients.end();
        self.truth.end();
        if let Some(DiscoveryThread { stop, thread }) = self.discovery_thread.take() {
            let _ = stop.send(());
            joined("discovery", thread);
        }
        info!(http_address = %self.admin.address(), "control node ended");
    }
}

/// Serves clients over these connections until it is told to stop and every call has ended.
async fn serve_clients<I>(
    incoming: impl Stream<Item = std::io::Result<I>>,
    discovery: &Discovery,
    faces: rooms::Faces,
    until: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let router = Server::builder()
        .max_concurrent_streams(Some(CALLS_PER_CONNECTION_MAX))
        .http2_keepalive_interval(Some(CLIENT_KEEP_ALIVE))
        .http2_keepalive_timeout(Some(CLIENT_KEEP_ALIVE))
        .add_service(discovery.streams())
        .add_service(discovery.load_reports());
    let served = faces.add_to(router).serve_with_incoming_shutdown(incoming, until.cancelled_owned());
    if let Err(error) = served.await {
        warn!(%error, "the clients' server ended");
    }
}

fn joined(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        warn!(name, "a thread of the node had panicked");
    }
}
