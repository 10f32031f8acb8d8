//! What may be said to a discovery shard. The catalog's changes come as [`CatalogChanged`] of the replica.
//!
//! [`CatalogChanged`]: crate::replica::messages::CatalogChanged

use actix::Message;
use tokio::sync::mpsc;
use tonic::Status;

use super::session::Way;
use super::shard::{Request, Sent, SessionId};

/// A stream was opened. Sent by the gRPC face, once per stream; answers what to call it, or why it is refused.
#[derive(Debug, Message)]
#[rtype(result = "Result<SessionId, Status>")]
pub struct OpenStream {
    /// Which variant of the protocol it speaks.
    pub way: Way,
    /// Where its answers go; bounded, see `service.rs`.
    pub out: mpsc::Sender<Sent>,
}

/// A request came on a stream. Sent by the gRPC face, which waits until it was taken before it reads the next one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Take {
    /// On which stream.
    pub id: SessionId,
    /// What it says.
    pub request: Request,
}

/// A stream ended. Sent by the gRPC face, once per stream.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CloseStream(pub SessionId);

/// This node has caught up with the others: sessions may be answered. Sent by `node.rs`, once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Begin;

/// A linearizable read that began after `ticket` was told by [`Discovery::tickets`] found `applied`. Sent by `node.rs`
/// after each new ticket.
///
/// [`Discovery::tickets`]: super::Discovery::tickets
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Confirm {
    /// The ticket.
    pub ticket: u64,
    /// What the read found applied.
    pub applied: mesh::Revision,
}

/// No node leads, so that nobody can tell what is newest: what waits for that up to this ticket is answered by what is
/// known. Sent by `node.rs`, when a linearizable read takes too long.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct GiveUpProof(pub u64);

/// Asks who follows this node's streams. Sent for `penstock proxies`; answers a row per stream, without the node's id.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<api::v1::ProxyRow>")]
pub struct ReportProxies;

/// Ends every stream with `UNAVAILABLE`, and refuses new ones, so that clients go to another node. Sent by the drain, when this
/// node was removed from the group, and when its catalog was found to differ from the others'.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct EndStreams {
    /// What clients are told.
    pub reason: String,
}
