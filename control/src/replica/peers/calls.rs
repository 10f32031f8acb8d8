//! Questions of this node to its peers: forwarded proposals and renewals, status, proxies. Each on a connection apart from
//! the Raft stream, so that a large answer never stands before a heartbeat; each with a deadline.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::peer::v1::peer_client::PeerClient;
use api::peer::v1::{
    CheckpointsRequest, GreetRequest, Greeting, OperateRequest, ProposeRequest, RenewLeases, RenewedLeases,
    StatusRequest,
};
use api::v1::{MemberRow, MembersChanged, ProxiesRequest, ProxiesResponse};
use bytes::Bytes;
use consensus::{Loss, NodeId};
use runtime::dial::Dialler;
use tokio::runtime::Handle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::identity::Identity;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a peer may take to tell its status: an answer from memory. Longer makes `penstock members` slow when one is down.
const STATUS_TIMEOUT: Duration = Duration::from_millis(700);
/// Largest answer that is taken; the rows of some 50,000 proxies.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The peers of this node, to be asked. Cheap to clone; its connections live on the runtime that made it.
#[derive(Debug, Clone)]
pub struct PeerCalls {
    identity: Arc<Identity>,
    dialler: Dialler,
    runtime: Handle,
    channels: Arc<Mutex<BTreeMap<NodeId, (String, Channel)>>>,
}

impl PeerCalls {
    /// Nothing is connected; a connection comes up with the first question to its peer.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(identity: Arc<Identity>, dialler: Dialler) -> Self {
        Self { identity, dialler, runtime: Handle::current(), channels: Arc::default() }
    }

    /// The other nodes.
    #[must_use]
    pub fn peers(&self) -> Vec<NodeId> {
        self.identity.roster().peers().into_keys().collect()
    }

    /// This node, and whom it takes for a peer.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Asks the leader to propose an encoded command; answers its encoded outcome.
    pub(in crate::replica) async fn propose(&self, leader: NodeId, command: Bytes) -> Result<Bytes, Status> {
        let request = self.identity.sign(ProposeRequest { command });
        Ok(self.client(leader)?.propose(request).await?.into_inner().outcome)
    }

    /// Tells the leader of renewals that came to this node.
    ///
    /// # Errors
    /// The leader's status, or `UNAVAILABLE`.
    pub async fn renew(&self, leader: NodeId, leases: Vec<Bytes>) -> Result<RenewedLeases, Status> {
        let request = self.identity.sign(RenewLeases { leases });
        Ok(self.client(leader)?.renew(request).await?.into_inner())
    }

    /// How a peer stands.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn status(&self, peer: NodeId) -> Result<MemberRow, Status> {
        let mut client = self.client(peer)?;
        timed(async { client.status(self.identity.sign(StatusRequest {})).await }).await
    }

    /// Hashes of a peer's catalog at recent entries.
    pub(in crate::replica) async fn checkpoints(&self, peer: NodeId) -> Result<Vec<(u64, u64)>, Status> {
        let mut client = self.client(peer)?;
        let told =
            timed(async { client.checkpoints(self.identity.sign(CheckpointsRequest {})).await }).await?;
        Ok(told.checkpoints.into_iter().map(|checkpoint| (checkpoint.index, checkpoint.hash)).collect())
    }

    /// The proxies that are connected to a peer.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn proxies(&self, peer: NodeId) -> Result<ProxiesResponse, Status> {
        let mut client = self.client(peer)?;
        let request = ProxiesRequest { this_node_only: true };
        timed(async { client.proxies(self.identity.sign(request)).await }).await
    }

    /// Who answers at an address, a member or not; a node whose disk is in doubt says so, and is brought in anew.
    ///
    /// # Errors
    /// If nobody does, or a node of another cluster.
    pub async fn greet(&self, address: &str, doubtful: bool) -> Result<Greeting, Status> {
        let endpoint = endpoint(address).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut client = PeerClient::new(self.connected_lazily(&endpoint));
        timed(async { client.greet(self.identity.sign(GreetRequest { doubtful })).await }).await
    }

    /// Asks the leader for a change of the members.
    ///
    /// # Errors
    /// The leader's status.
    pub async fn operate(&self, leader: NodeId, asked: OperateRequest) -> Result<MembersChanged, Status> {
        Ok(self.client(leader)?.operate(self.identity.sign(asked)).await?.into_inner())
    }

    fn client(&self, peer: NodeId) -> Result<PeerClient<Channel>, Status> {
        let unknown = || Status::unavailable(format!("nobody has said where node {peer} is reached"));
        let known = self.identity.roster().peer(peer).filter(|peer| !peer.address.is_empty());
        let address = known.ok_or_else(unknown)?.address;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(&peer) {
            Some((at, channel)) if *at == address => channel.clone(),
            _ => {
                let endpoint = endpoint(&address).map_err(|error| Status::unavailable(error.to_string()))?;
                let channel = self.connected_lazily(&endpoint);
                channels.insert(peer, (address, channel.clone()));
                channel
            }
        };
        Ok(PeerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }

    fn connected_lazily(&self, endpoint: &Endpoint) -> Channel {
        let _runtime = self.runtime.enter();
        connect_lazy(endpoint, &self.dialler)
    }
}

pub(super) async fn timed<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(STATUS_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("the peer did not answer in time")),
    }
}

/// A connection that comes up with its first call.
fn connect_lazy(endpoint: &Endpoint, dialler: &Dialler) -> Channel {
    match dialler {
        Dialler::System => endpoint.connect_lazy(),
        Dialler::Given(dial) => {
            let dial = Arc::clone(dial);
            endpoint.connect_with_connector_lazy(tower::service_fn(move |address| dial(address)))
        }
    }
}

/// A connection that stands.
pub(super) async fn connect(
    endpoint: &Endpoint,
    dialler: &Dialler,
) -> Result<Channel, tonic::transport::Error> {
    match dialler {
        Dialler::System => endpoint.connect().await,
        Dialler::Given(dial) => {
            let dial = Arc::clone(dial);
            endpoint.connect_with_connector(tower::service_fn(move |address| dial(address))).await
        }
    }
}

/// Whether a peer's address refused the connection, or did not answer.
pub(super) fn loss_of(error: &tonic::transport::Error) -> Loss {
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return Loss::Refused;
        }
        cause = error.source();
    }
    Loss::Unreachable
}

/// A peer's address with the options of every connection between nodes.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20))
}
