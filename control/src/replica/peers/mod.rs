//! How nodes reach each other, on the peer port: Raft frames on one stream per direction, snapshots and questions beside it.
//!
//! - `roster`: whom this node takes for a peer, and where each is reached
//! - `identity`: who calls, in metadata, checked on both ends
//! - `life`: which life of the cluster a node is of; others are not heard
//! - `link`: this node's end of the stream to one peer; when it breaks, the peer counts as lost
//! - `calls`: questions to a peer, each with a deadline
//! - `shipping`: a snapshot on its way, in pieces
//! - `service`: what this node answers to its peers

mod calls;
mod identity;
mod life;
mod link;
mod roster;
mod service;
mod shipping;

pub use calls::PeerCalls;
pub use identity::{Identity, Own};
pub use life::{Life, OwnLife};
pub(super) use link::Links;
pub use roster::{Peer, Roster, Standing};
pub use service::{PeerService, Rooms};
