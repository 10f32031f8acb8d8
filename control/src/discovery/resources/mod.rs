//! Nouns to protobuf: what a resource says, per kind, in the shape that each kind of client insists on. Pure, and the
//! same bytes on every node: no map of more than one key is ever encoded, because prost's maps have no order.

mod balancing;
mod cluster;
mod endpoints;
mod filters;
mod listener;
mod parts;
mod retries;
mod routes;
mod sessions;

pub(super) use listener::{api_listener, outbound_listener};
pub(super) use routes::outbound_routes;

use bytes::Bytes;

use super::client::Shape;
use super::kind::Kind;
use super::mirror::Entry;

/// The bytes of an authority's resource; listeners have functions of their own.
pub(super) fn authority_bytes(kind: Kind, shape: Shape, name: &str, entry: &Entry) -> Bytes {
    match kind {
        Kind::Cluster => cluster::bytes(shape, name, entry),
        Kind::Endpoints => endpoints::bytes(name, entry),
        Kind::Routes => routes::bytes(shape, name, entry),
        Kind::Listener => listener::api_listener(name, name),
    }
}
