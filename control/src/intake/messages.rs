//! What may be said to the intake actor.

use actix::Message;
use api::LeaseKey;
use consensus::NodeId;

/// Renews leases on this node, if it leads; answers those that have to be registered again. Sent by the registration service and the
/// peers' service, for each renewal.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<LeaseKey>, NotLeader>")]
pub struct Renew(pub Vec<LeaseKey>);

/// This node keeps no leases, or not yet; ask `leader`, if one is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node does not lead, and only the leader keeps leases")]
pub struct NotLeader {
    /// Whom this node believes to lead.
    pub leader: Option<NodeId>,
}
