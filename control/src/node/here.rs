//! A whole node as tasks of the current LocalSet, without a thread, a socket or a clock of its own: what runs under a simulated
//! network and time. The same actors and services as `node.rs` starts; it ends when its LocalSet is dropped.

use std::io;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use runtime::admin::Readiness;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::tasks::Tasks;
use super::truth::{self, Started, TruthParts};
use super::{LOAD_REPORTS_MAX, StartError, opened_data, own, serve_clients};
use crate::discovery::Discovery;
use crate::metrics::Metrics;
use crate::replica::peers::PeerCalls;
use crate::replica::{Door, Surroundings};
use crate::settings::Settings;

/// Accepted connections, without end.
pub type Incoming<I> = BoxStream<'static, io::Result<I>>;

/// Starts a node in the current LocalSet, served over what comes from `clients` and `peers`; the settings' addresses are only
/// told to others. Its metrics and probes are not served.
///
/// # Errors
/// [`StartError`].
///
/// # Panics
/// Outside of a LocalSet.
pub fn start_here<I>(
    settings: Settings,
    surroundings: Surroundings,
    clients: Incoming<I>,
    peers: Incoming<I>,
) -> Result<Door, StartError>
where
    I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let surroundings = Surroundings { is_threadless: true, ..surroundings };
    let unstarted = opened_data(&surroundings, &settings)?;
    let metrics = Metrics::new();
    let tasks = Tasks::of(&settings, &metrics, &Readiness::new());
    let (load, load_reports) = mpsc::channel(LOAD_REPORTS_MAX);
    let discovery = Discovery::start_here(metrics.discovery.clone(), load);
    let (client_address, peer_address) = (settings.client_address, settings.peer_address);
    let identity = own::identity(&settings, client_address, peer_address, &unstarted, None, &metrics.peers);
    let calls = PeerCalls::new(Arc::clone(&identity), surroundings.dialler.clone());
    let Started { faces, peers: service, .. } = truth::set_up(TruthParts {
        unstarted,
        surroundings,
        settings,
        identity,
        calls,
        discovery: discovery.clone(),
        load_reports,
        metrics,
    })?;
    let door = faces.door.clone();
    tokio::task::spawn_local(truth::serve_peers(peers, service));
    for task in tasks.begun(&door, &discovery) {
        tokio::task::spawn_local(task);
    }
    tokio::task::spawn_local(async move {
        serve_clients(clients, &discovery, faces, CancellationToken::new()).await;
    });
    Ok(door)
}
