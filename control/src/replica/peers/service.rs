//! What this node answers to its peers: it carries frames and questions to the replica and to the rooms above, and decides
//! nothing. The end of a peer's stream is told to the replica, and to the link to that peer, which dials it.

use std::sync::Arc;

use actix::Addr;
use api::peer::v1::peer_server::Peer;
use api::peer::v1::{
    Checkpoint, CheckpointsRequest, CheckpointsResponse, GreetRequest, Greeting, OperateRequest,
    ProposeRequest, ProposeResponse, RaftBatch, RaftClosed, RenewLeases, RenewedLeases, SnapshotHeld,
    SnapshotOffer, SnapshotPiece, SnapshotTaken, StatusRequest,
};
use api::v1::{MemberRow, MembersChanged, ProxiesRequest, ProxiesResponse};
use bytes::Bytes;
use consensus::{Loss, NodeId, ReceiveError, SnapshotFiles};
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::identity::{Heard, Identity};
use super::shipping::Receiving;
use crate::replica::ReplicaActor;
use crate::replica::ending;
use crate::replica::inbox::Inbox;
use crate::replica::messages::{
    PeerLost, Receive, ReceiveSnapshot, ReportHashes, ReportStatus, ReturnedAnew,
};
use crate::replica::refusal;
use crate::replica::returning::has_begun;

/// What the rooms above the replica answer to a peer; `node.rs` wires it.
#[tonic::async_trait]
pub trait Rooms: Send + Sync + 'static {
    /// Renews leases here, if this node leads; answers those it does not know.
    async fn renew(&self, leases: Vec<Bytes>) -> Result<Vec<Bytes>, Status>;
    /// Changes the members, if this node leads.
    async fn operate(&self, asked: OperateRequest) -> Result<MembersChanged, Status>;
    /// How this node stands.
    async fn status(&self) -> Result<MemberRow, Status>;
    /// The proxies connected here.
    async fn proxies(&self) -> Result<ProxiesResponse, Status>;
}

/// The peers' service of one node.
pub struct PeerService {
    identity: Arc<Identity>,
    replica: Addr<ReplicaActor>,
    inbox: Inbox,
    rooms: Arc<dyn Rooms>,
    files: SnapshotFiles,
    receiving: Receiving,
}

impl PeerService {
    /// Answers for this replica and these rooms; snapshots that come are put together among `files`.
    pub fn new(
        identity: Arc<Identity>,
        (replica, inbox): (Addr<ReplicaActor>, Inbox),
        rooms: Arc<dyn Rooms>,
        files: SnapshotFiles,
    ) -> Self {
        Self { identity, replica, inbox, rooms, files, receiving: Receiving::default() }
    }

    async fn frames(
        &self,
        from: NodeId,
        signature: &MetadataMap,
        batches: &mut Streaming<RaftBatch>,
    ) -> Result<(), Status> {
        while let Some(batch) = batches.message().await? {
            let mut messages = batch.messages;
            if self.identity.still(from, signature)? == Heard::AsLeader {
                messages.retain(|frame| consensus::is_a_leaders(frame));
            }
            let received = self.replica.send(Receive { from, messages }).await;
            refuse(received.map_err(|_| stopped())?)?;
        }
        Ok(())
    }
}

fn stopped() -> Status {
    Status::unavailable("this node is stopping")
}

/// What the sender of a refused frame is told; a frame that only had no room is dropped in silence, and comes again.
fn refuse(received: Result<(), ReceiveError>) -> Result<(), Status> {
    match received {
        Ok(()) => Ok(()),
        Err(error @ ReceiveError::Malformed { .. }) => {
            warn!(%error, "closing the peer's stream");
            Err(Status::invalid_argument(error.to_string()))
        }
        Err(error @ ReceiveError::Unknown { .. }) => {
            debug!(%error, "frame dropped");
            Ok(())
        }
        Err(error @ ReceiveError::LogLost { .. }) => ending::log_lost(&error),
        Err(error) => {
            info!(%error, "frame dropped");
            Ok(())
        }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn raft(&self, request: Request<Streaming<RaftBatch>>) -> Result<Response<RaftClosed>, Status> {
        let as_leader = !self.identity.roster().is_led();
        let from = self.identity.speaker(request.metadata(), as_leader)?;
        self.identity.ring(from);
        let (signature, _, mut batches) = request.into_parts();
        let ended = self.frames(from, &signature, &mut batches).await;
        self.identity.ring(from);
        if self.replica.send(PeerLost { peer: from, loss: Loss::Ended }).await.is_err() {
            return Err(stopped());
        }
        ended.map(|()| Response::new(RaftClosed {}))
    }

    async fn offer_snapshot(
        &self,
        request: Request<SnapshotOffer>,
    ) -> Result<Response<SnapshotHeld>, Status> {
        self.identity.speaker(request.metadata(), true)?;
        let bytes = self.receiving.held(self.files.clone(), request.get_ref()).await?;
        Ok(Response::new(SnapshotHeld { bytes }))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<SnapshotTaken>, Status> {
        let from = self.identity.speaker(request.metadata(), true)?;
        let mut pieces = request.into_inner();
        let (message, data) = self.receiving.whole(self.files.clone(), &mut pieces).await?;
        let snapshot = ReceiveSnapshot { from, message, data };
        refuse(self.replica.send(snapshot).await.map_err(|_| stopped())?)?;
        Ok(Response::new(SnapshotTaken {}))
    }

    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        self.identity.caller(request.metadata())?;
        let command = api::log::v1::Command::decode(request.into_inner().command);
        let command = command
            .map_err(|error| Status::invalid_argument(format!("the command cannot be read: {error}")))?;
        let outcome = self.inbox.propose(command).await.map_err(|error| refusal::for_peer(&error))?;
        Ok(Response::new(ProposeResponse { outcome: outcome.encode_to_vec().into() }))
    }

    async fn renew(&self, request: Request<RenewLeases>) -> Result<Response<RenewedLeases>, Status> {
        self.identity.caller(request.metadata())?;
        let lost = self.rooms.renew(request.into_inner().leases).await?;
        Ok(Response::new(RenewedLeases { lost }))
    }

    async fn checkpoints(
        &self,
        request: Request<CheckpointsRequest>,
    ) -> Result<Response<CheckpointsResponse>, Status> {
        self.identity.caller(request.metadata())?;
        let hashes = self.replica.send(ReportHashes).await.map_err(|_| stopped())?;
        let checkpoints = hashes.told.into_iter().map(|(index, hash)| Checkpoint { index, hash }).collect();
        Ok(Response::new(CheckpointsResponse { checkpoints }))
    }

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<Greeting>, Status> {
        let node = self.identity.of_cluster(request.metadata())?;
        let disk = self.identity.disk_of(request.metadata());
        if request.into_inner().doubtful && self.identity.roster().is_on_another_disk(node, disk) {
            self.replica.send(ReturnedAnew { node, disk }).await.map_err(|_| stopped())?;
        }
        let status = self.replica.send(ReportStatus).await.map_err(|_| stopped())?;
        let own = self.identity.own();
        Ok(Response::new(Greeting {
            node: own.node.0,
            waiting: status.membership.is_empty(),
            commands: own.commands,
            disk: own.disk,
            begun: has_begun(&status),
            members: [status.membership.voters, status.membership.learners].concat(),
        }))
    }

    async fn operate(&self, request: Request<OperateRequest>) -> Result<Response<MembersChanged>, Status> {
        self.identity.caller(request.metadata())?;
        Ok(Response::new(self.rooms.operate(request.into_inner()).await?))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<MemberRow>, Status> {
        self.identity.caller(request.metadata())?;
        Ok(Response::new(self.rooms.status().await?))
    }

    async fn proxies(&self, request: Request<ProxiesRequest>) -> Result<Response<ProxiesResponse>, Status> {
        self.identity.caller(request.metadata())?;
        Ok(Response::new(self.rooms.proxies().await?))
    }
}
