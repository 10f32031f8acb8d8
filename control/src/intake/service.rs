//! The gRPC face of registration: checks what comes off the wire, makes it a command, and carries it through the door.
//! Step 1 of the way of the data. It keeps nothing, so that any node takes any call.

use std::time::Duration;

use actix::Addr;
use api::log::v1::{Command, Leave, command::Body};
use api::v1::registration_server::Registration;
use api::v1::{
    LeaveRequest, LeaveResponse, RegisterRequest, RegisterResponse, RenewRequest, RenewResponse, WriteId,
};
use api::{FieldError, LeaseKey};
use bytes::Bytes;
use prost::Message as _;
use tonic::{Code, Request, Response, Status};

use super::actor::IntakeActor;
use super::messages::Renew;
use crate::replica::{Door, refusal};

/// Leases in one renewal: a proxy stands beside a few ports; more is not a proxy.
const RENEWALS_MAX: usize = 100;
/// How long a renewal may look for a leader. A proxy renews at a third of its lease, and so has two more tries.
const RENEW_TIMEOUT: Duration = Duration::from_secs(3);
/// Wait before a renewal is tried again while no leader is known.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The registration service of one node; cheap to clone.
#[derive(Clone)]
pub struct RegistrationService {
    door: Door,
    intake: Addr<IntakeActor>,
}

impl RegistrationService {
    /// Writes through this door, renews with this actor.
    pub fn new(door: Door, intake: Addr<IntakeActor>) -> Self {
        Self { door, intake }
    }

    /// Renews on this node, if it leads: what the peers' service asks. Keys are encoded [`api::v1::LeaseKey`]s.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` if this node does not lead.
    pub async fn renew_here(&self, leases: Vec<Bytes>) -> Result<Vec<Bytes>, Status> {
        let keys: Result<Vec<LeaseKey>, Status> = leases.into_iter().map(decoded).collect();
        let lost = self.intake.send(Renew(keys?)).await.map_err(|_| stopping())?;
        let lost = lost.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(lost.iter().map(encoded).collect())
    }

    async fn renew_anywhere(&self, keys: &[LeaseKey]) -> Result<Vec<LeaseKey>, Status> {
        let mut leadership = self.door.leadership();
        loop {
            let seen = *leadership.borrow_and_update();
            let tried = match seen.leader {
                _ if seen.is_here() => {
                    self.intake.send(Renew(keys.to_vec())).await.map_err(|_| stopping())?.ok()
                }
                Some(leader) if leader != seen.node => {
                    let asked = self.door.peers().renew(leader, keys.iter().map(encoded).collect());
                    let moved = leadership.clone();
                    tokio::select! {
                        biased;
                        answer = asked => from_leader(answer)?,
                        () = moved_from(moved, leader) => None,
                    }
                }
                _ => None,
            };
            match tried {
                Some(lost) => return Ok(lost),
                None => {
                    let _ = tokio::time::timeout(TRY_AGAIN_AFTER, leadership.changed()).await;
                }
            }
        }
    }
}

/// Ready once another than `leader` leads.
async fn moved_from(
    mut leadership: tokio::sync::watch::Receiver<crate::replica::Leadership>,
    leader: consensus::NodeId,
) {
    if leadership.wait_for(|now| now.leader.is_some_and(|now| now != leader)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The leases that the leader does not know; `None`: try again.
fn from_leader(
    answer: Result<api::peer::v1::RenewedLeases, Status>,
) -> Result<Option<Vec<LeaseKey>>, Status> {
    match answer {
        Ok(renewed) => renewed.lost.into_iter().map(decoded).collect::<Result<_, _>>().map(Some),
        Err(status) if status.code() == Code::PermissionDenied => {
            Err(Status::unavailable(format!("the leader refuses this node: {}", status.message())))
        }
        Err(_) => Ok(None),
    }
}

fn stopping() -> Status {
    Status::unavailable("this node is stopping; ask another one")
}

fn encoded(key: &LeaseKey) -> Bytes {
    api::v1::LeaseKey::from(key).encode_to_vec().into()
}

fn decoded(bytes: Bytes) -> Result<LeaseKey, Status> {
    let message = api::v1::LeaseKey::decode(bytes);
    let message =
        message.map_err(|error| Status::invalid_argument(format!("a lease cannot be read: {error}")))?;
    LeaseKey::try_from(&message).map_err(|error| invalid(&error))
}

fn invalid(error: &FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// A write's identity, if it has one: without, it is idempotent only by what it says.
fn checked_id(id: Option<WriteId>) -> Result<Option<WriteId>, Status> {
    if let Some(id) = &id {
        api::WriteId::try_from(id).map_err(|error| invalid(&error.within("id")))?;
    }
    Ok(id)
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let request = request.into_inner();
        let registration = api::Registration::try_from(&request).map_err(|error| invalid(&error))?;
        let body = Body::Register((&registration).into());
        let command = Command { id: checked_id(request.id)?, at_ms: 0, body: Some(body) };
        let outcome = self.door.propose(command).await.map_err(|error| refusal::for_client(&error))?;
        let (revision, _) = refusal::done(outcome)?;
        let lease_seconds = registration.lease_seconds;
        Ok(Response::new(RegisterResponse { revision: Some(revision), lease_seconds }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let leases = request.into_inner().leases;
        if leases.len() > RENEWALS_MAX {
            let count = leases.len();
            return Err(Status::invalid_argument(format!(
                "{count} leases in one renewal, the most is {RENEWALS_MAX}: send several"
            )));
        }
        let read = |(index, lease): (usize, &api::v1::LeaseKey)| {
            LeaseKey::try_from(lease)
                .map_err(|error: FieldError| invalid(&error.within(&format!("leases[{index}]"))))
        };
        let keys: Vec<LeaseKey> = leases.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let renewed = tokio::time::timeout(RENEW_TIMEOUT, self.renew_anywhere(&keys)).await;
        let lost = renewed.map_err(|_| {
            Status::unavailable(format!(
                "no leader took the renewal within {} s; try again",
                RENEW_TIMEOUT.as_secs()
            ))
        })??;
        Ok(Response::new(RenewResponse { lost: lost.iter().map(Into::into).collect() }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveResponse>, Status> {
        let LeaveRequest { id, lease } = request.into_inner();
        let lease = lease.ok_or_else(|| Status::invalid_argument("lease: is missing"))?;
        LeaseKey::try_from(&lease).map_err(|error| invalid(&error.within("lease")))?;
        let body = Body::Leave(Leave { lease: Some(lease) });
        let command = Command { id: checked_id(id)?, at_ms: 0, body: Some(body) };
        let outcome = self.door.propose(command).await.map_err(|error| refusal::for_client(&error))?;
        let (revision, _) = refusal::done(outcome)?;
        Ok(Response::new(LeaveResponse { revision: Some(revision) }))
    }
}
