//! The gRPC face of changes of the members. On the leader it finds out who answers at a new node's address, and moves
//! leadership off a node that is to go; elsewhere it passes the call on. It keeps nothing: each call may be sent again.

use std::error::Error;

use api::peer::v1::{Greeting, OperateRequest};
use api::v1::members_server::Members;
use api::v1::{
    AddMemberRequest, MembersChanged, PromoteMemberRequest, RemoveMemberRequest, TransferLeadershipRequest,
};
use consensus::{Membership, NodeId};
use tonic::{Code, Request, Response, Status};
use tracing::info;

use crate::catalog::members::is_address;
use crate::replica::messages::{ChangeError, Changed, TransferError};
use crate::replica::seats::{Wish, WishError};
use crate::replica::{Door, refusal};

/// The members' service of one node; cheap to clone.
#[derive(Clone)]
pub struct MembersService {
    door: Door,
}

impl MembersService {
    /// Works through this door.
    pub fn new(door: Door) -> Self {
        Self { door }
    }

    async fn anywhere(&self, asked: OperateRequest) -> Result<Response<MembersChanged>, Status> {
        let seen = *self.door.leadership().borrow();
        let answer = match seen.leader {
            _ if seen.is_here() => self.here(asked).await,
            Some(leader) if leader != seen.node => {
                self.door.peers().operate(leader, asked).await.map_err(|status| elsewhere(leader, status))
            }
            _ => Err(Status::unavailable(format!("node {} knows no leader now", seen.node))),
        };
        answer.map(Response::new)
    }

    /// Carries it out, if this node leads: what the peers' service asks.
    ///
    /// # Errors
    /// What stood in the way; `UNAVAILABLE` when the next leader may take it.
    pub async fn here(&self, asked: OperateRequest) -> Result<MembersChanged, Status> {
        match asked {
            OperateRequest { add: Some(add), .. } => self.add(add).await,
            OperateRequest { promote: Some(promote), .. } => {
                let instead_of = (promote.instead_of != 0).then_some(NodeId(promote.instead_of));
                self.change(Wish::Promote { node: node(promote.node)?, instead_of }, promote.force).await
            }
            OperateRequest { remove: Some(remove), .. } => {
                self.change(Wish::Remove { node: node(remove.node)? }, remove.force).await
            }
            OperateRequest { transfer: Some(transfer), .. } => self.transfer(transfer).await,
            _ => Err(Status::invalid_argument("nothing is asked that this version knows")),
        }
    }

    async fn add(&self, add: AddMemberRequest) -> Result<MembersChanged, Status> {
        let AddMemberRequest { node: number, peer_address, promote, force } = add;
        let node = node(number)?;
        if !is_address(&peer_address) {
            return Err(Status::invalid_argument(format!(
                "peer_address={peer_address}: must be a host and a port, such as control-4.example:4101"
            )));
        }
        let ground = self.door.ground().await.ok_or_else(stopping)?;
        ground.ground().check_number(node).map_err(|error| Status::failed_precondition(error.to_string()))?;
        if ground.status.membership.contains(node.0) {
            // Who answers there does not matter: it is told that this is so, or where the member is.
            return self.change(Wish::Add { node, peer_address, disk: 0, promote }, force).await;
        }
        let disk = match self.door.peers().greet(&peer_address, false).await {
            Ok(greeting) => self.check_greeting(node, &peer_address, &greeting).await?,
            Err(_) if force => 0,
            Err(status) => {
                return Err(Status::failed_precondition(format!(
                    "no node can be added at {peer_address}: {}; start `penstock control --node {node} --join` there first, or say --force to add it before it runs",
                    cause(&status)
                )));
            }
        };
        self.change(Wish::Add { node, peer_address, disk, promote }, force).await
    }

    /// Whether who answers at a new node's address is that node, and fit to come in; its disk.
    async fn check_greeting(&self, node: NodeId, at: &str, greeting: &Greeting) -> Result<u64, Status> {
        let refused = |said: String| Err(Status::failed_precondition(said));
        if greeting.node != node.0 {
            return refused(format!("at {at} answers node {}, not node {node}", greeting.node));
        }
        let Some(ground) = self.door.ground().await else { return Err(stopping()) };
        let member = ground.status.membership.contains(node.0);
        if !greeting.waiting && !member {
            return refused(format!(
                "node {node} cannot be added at {at}: who answers there has a log of its own already, of a group of {:?}; if that log is not needed, stop it, move its data directory away, and start it again with `penstock control --node {node} --join`",
                greeting.members
            ));
        }
        if greeting.commands < ground.members.version() {
            return refused(format!(
                "node {node} at {at} knows commands up to version {}, and this log holds version {}; start it with the program that the other members run",
                greeting.commands,
                ground.members.version()
            ));
        }
        let own = self.door.peers().identity().own();
        if own.peer_address.is_none() && ground.members.get(own.node.0).is_none() {
            return refused(format!(
                "the leader, node {}, does not know where others reach it, so a new node could not answer it; restart it with `--advertise-host HOST`",
                own.node
            ));
        }
        Ok(greeting.disk)
    }

    async fn change(&self, wish: Wish, force: bool) -> Result<MembersChanged, Status> {
        match self.door.change_members(wish, force).await {
            Ok(Changed { says, membership }) => Ok(told(says, &membership)),
            Err(ChangeError::Wish(WishError::Already(says))) => {
                let status = self.door.status().await.ok_or_else(stopping)?;
                Ok(told(says, &status.membership))
            }
            Err(ChangeError::Wish(WishError::Leads(leader))) => {
                // The next leader takes it, when the caller asks again.
                let successor = self.moved(None).await?;
                Err(Status::unavailable(format!(
                    "node {leader} led; leadership has moved to node {successor}, which takes this when asked again"
                )))
            }
            Err(ChangeError::Wish(error @ WishError::NotFound(_))) => {
                Err(Status::not_found(error.to_string()))
            }
            Err(ChangeError::Wish(error @ WishError::Refused(_))) => {
                Err(Status::failed_precondition(error.to_string()))
            }
            Err(ChangeError::Propose(error)) => Err(refusal::for_client(&error)),
        }
    }

    async fn transfer(&self, transfer: TransferLeadershipRequest) -> Result<MembersChanged, Status> {
        let status = self.door.status().await.ok_or_else(stopping)?;
        let to = (transfer.node != 0).then_some(NodeId(transfer.node));
        if let Some(to) = to {
            if to == status.node {
                return Ok(told(format!("node {to} leads already"), &status.membership));
            }
            if !status.membership.voters.contains(&to.0) {
                return Err(Status::failed_precondition(format!(
                    "node {to} has no vote, and so cannot lead; the voters are {:?}",
                    status.membership.voters
                )));
            }
        }
        let successor = self.moved(to).await?;
        Ok(told(format!("node {successor} leads"), &status.membership))
    }

    /// Hands leadership over; answers who leads then.
    async fn moved(&self, to: Option<NodeId>) -> Result<NodeId, Status> {
        match self.door.transfer_leadership(to).await {
            Ok(leader) => {
                info!(to = leader.0, "leadership transferred, as asked");
                Ok(leader)
            }
            Err(TransferError::NotLeader) => {
                Err(Status::unavailable("leadership has moved in this moment; ask again"))
            }
            Err(TransferError::NobodyFit) => {
                let whom = to.map_or_else(|| "no other voter".to_owned(), |to| format!("node {to} does not"));
                Err(Status::failed_precondition(format!(
                    "leadership stays: {whom} answers; look at `penstock members`"
                )))
            }
            Err(error @ TransferError::NotTaken(_)) => {
                Err(Status::unavailable(format!("{error}; ask again")))
            }
            Err(TransferError::Stopping) => Err(stopping()),
        }
    }
}

/// A leader that refuses this node itself (it was removed, its disk is another) may take the same from another one.
fn elsewhere(leader: NodeId, status: Status) -> Status {
    if status.code() != Code::PermissionDenied {
        return status;
    }
    Status::unavailable(format!("node {leader}, which leads, refuses this node: {}", status.message()))
}

/// Why nobody is greeted at an address, in words that say what to look at.
fn cause(status: &Status) -> String {
    if status.code() == Code::Unimplemented {
        return "what answers there is no peer port of a control node (4101, unless its settings say otherwise)"
            .to_owned();
    }
    let mut innermost: &dyn Error = status;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if innermost.is::<Status>() { status.message().to_owned() } else { innermost.to_string() }
}

fn told(message: String, membership: &Membership) -> MembersChanged {
    MembersChanged { message, voters: membership.voters.clone(), learners: membership.learners.clone() }
}

fn node(number: u64) -> Result<NodeId, Status> {
    if number == 0 { Err(Status::invalid_argument("node: must not be 0")) } else { Ok(NodeId(number)) }
}

fn stopping() -> Status {
    Status::unavailable("this node is stopping; ask another one")
}

#[tonic::async_trait]
impl Members for MembersService {
    async fn add(&self, request: Request<AddMemberRequest>) -> Result<Response<MembersChanged>, Status> {
        let add = Some(request.into_inner());
        self.anywhere(OperateRequest { add, ..OperateRequest::default() }).await
    }

    async fn promote(
        &self,
        request: Request<PromoteMemberRequest>,
    ) -> Result<Response<MembersChanged>, Status> {
        let promote = Some(request.into_inner());
        self.anywhere(OperateRequest { promote, ..OperateRequest::default() }).await
    }

    async fn remove(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<MembersChanged>, Status> {
        let remove = Some(request.into_inner());
        self.anywhere(OperateRequest { remove, ..OperateRequest::default() }).await
    }

    async fn transfer(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<MembersChanged>, Status> {
        let transfer = Some(request.into_inner());
        self.anywhere(OperateRequest { transfer, ..OperateRequest::default() }).await
    }
}
