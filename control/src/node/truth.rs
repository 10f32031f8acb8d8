//! The truth thread: one current-thread runtime with a LocalSet, in which replica, intake and rollup live as actors beside the
//! catalog, and which serves the peers. Wiring only; it ends when it is told to, and with it everything in it.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix::{Actor as _, AsyncContext as _, Context};
use api::peer::v1::peer_server::PeerServer;
use futures_util::Stream;
use mesh::TrafficReport;
use runtime::listen::Listener;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tracing::warn;

use super::rooms::{Faces, OwnRooms, sessions};
use super::{StartError, joined};
use crate::backup::BackupService;
use crate::config::ConfigService;
use crate::discovery::Discovery;
use crate::intake::leases::Brake;
use crate::intake::{IntakeActor, RegistrationService};
use crate::members::MembersService;
use crate::metrics::Metrics;
use crate::query::QueryService;
use crate::replica::peers::{Identity, PeerCalls, PeerService};
use crate::replica::{Door, StartError as ReplicaError, Surroundings, Unstarted};
use crate::rollup::{ReportsService, RollupActor};
use crate::settings::Settings;

/// Largest message of a peer: a batch of Raft frames, each of at most the largest proposal and its surroundings.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What the truth thread is made of.
pub(super) struct TruthParts {
    pub(super) unstarted: Unstarted,
    pub(super) surroundings: Surroundings,
    pub(super) settings: Settings,
    pub(super) identity: Arc<Identity>,
    pub(super) calls: PeerCalls,
    pub(super) discovery: Discovery,
    pub(super) load_reports: mpsc::Receiver<TrafficReport>,
    pub(super) metrics: Metrics,
}

/// The thread while it runs.
pub(super) struct Truth {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The actors of the thread once they stand, and what others need of them.
pub(super) struct Started {
    pub(super) faces: Faces,
    pub(super) peers: PeerService,
    pub(super) log_thread: Option<JoinHandle<()>>,
}

impl Truth {
    /// Starts the thread and waits until its actors stand.
    pub(super) fn start(parts: TruthParts, peer_socket: TcpListener) -> Result<(Self, Faces), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("truth".to_owned()).spawn(move || {
            let set = LocalSet::new();
            let log_thread = set.block_on(&runtime, async {
                let (result, log_thread) = match set_up(parts) {
                    Ok(Started { faces, peers, log_thread }) => {
                        tokio::task::spawn_local(serve_socket(peer_socket, peers));
                        (Ok(faces), log_thread)
                    }
                    Err(error) => (Err(error), None),
                };
                if tell.send(result).is_ok() {
                    let _ = stopped.await; // an error is the other end dropped: the same
                }
                log_thread
            });
            // The actors end with their set, and with the replica the log's thread, once all it was given is durable.
            drop(set);
            drop(runtime);
            if let Some(thread) = log_thread {
                joined("log", thread);
            }
        })?;
        let ended = || std::io::Error::other("the truth thread ended at once");
        let faces = told.recv().map_err(|_| ended())??;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, faces))
    }

    /// Ends the thread and everything on it.
    pub(super) fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            joined("truth", thread);
        }
    }
}

/// Starts the actors in the current LocalSet.
pub(super) fn set_up(parts: TruthParts) -> Result<Started, ReplicaError> {
    let TruthParts { unstarted, surroundings, settings, identity, calls, discovery, load_reports, metrics } =
        parts;
    let intake = Context::<IntakeActor>::new();
    let recipients = vec![discovery.changes(), intake.address().recipient()];
    let wall = surroundings.wall;
    let replication =
        unstarted.start(&settings, surroundings, Arc::clone(&identity), recipients, &metrics)?;
    let door = Door::new(
        (replication.replica.clone(), replication.inbox.clone()),
        calls,
        replication.leadership.clone(),
        settings.timings.propose_timeout,
        metrics.door.clone(),
    );
    let brake =
        Brake { percent: settings.limits.expiry_brake_percent, window: settings.limits.expiry_brake_window };
    let catalog = &replication.catalog;
    let intake = intake.run(IntakeActor::new(
        Rc::clone(catalog),
        replication.leadership.clone(),
        door.clone(),
        brake,
        metrics.intake.clone(),
    ));
    let rollup = RollupActor::new(
        settings.node.0,
        door.clone(),
        Rc::clone(catalog),
        load_reports,
        wall,
        metrics.rollup.clone(),
    );
    let faces = Faces {
        registration: RegistrationService::new(door.clone(), intake),
        config: ConfigService::new(door.clone()),
        reports: ReportsService::new(rollup.start()),
        query: QueryService::new(door.clone(), wall, sessions(discovery)),
        members: MembersService::new(door.clone()),
        backup: BackupService::new(door.clone(), settings.node, settings.cluster.clone(), wall),
        door,
    };
    let rooms = OwnRooms {
        registration: faces.registration.clone(),
        query: faces.query.clone(),
        members: faces.members.clone(),
    };
    let replica = (replication.replica, replication.inbox);
    let peers = PeerService::new(identity, replica, Arc::new(rooms), replication.files);
    Ok(Started { faces, peers, log_thread: replication.log_thread })
}

async fn serve_socket(socket: TcpListener, service: PeerService) {
    match Listener::from_std(socket) {
        Ok(listener) => serve_peers(listener.incoming(), service).await,
        Err(error) => warn!(%error, "the peers' socket cannot be used"),
    }
}

/// Serves the other nodes over these connections, for as long as the process lives.
pub(super) async fn serve_peers<I>(incoming: impl Stream<Item = std::io::Result<I>>, service: PeerService)
where
    I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let service = PeerServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let served = Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(service)
        .serve_with_incoming(incoming)
        .await;
    if let Err(error) = served {
        warn!(%error, "the peers' server ended");
    }
}
