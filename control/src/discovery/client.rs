//! Who follows a stream, read once from the xDS `Node` of its first request: its name, and which shape of resources
//! it insists on. Pure; a value here is checked, what is wrong ends the stream with a status that says so.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind as Json;
use mesh::Revision;
use tonic::Status;

/// Longest name of a node. Longer ones would let a client make `proxies` unreadable and cost memory per session.
const ID_BYTES_MAX: usize = 256;

/// Where Envoy listens when its node states nothing: Penstock's own outbound port.
const OUTBOUND_ADDRESS: &str = "127.0.0.1:4140";

/// Which resources a client can take (`docs/xds.md` has a table of what each insists on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Penstock's proxy, and whoever is none of the others: by name, on demand.
    Penstock,
    /// Envoy: one listener with every service as a virtual host.
    Envoy,
    /// Proxyless gRPC: an API listener per service.
    Grpc,
}

impl Shape {
    /// The shape for a user agent.
    fn of(user_agent: &str) -> Self {
        let lower = user_agent.to_ascii_lowercase();
        if lower.starts_with("envoy") {
            Self::Envoy
        } else if lower.starts_with("grpc") {
            Self::Grpc
        } else {
            Self::Penstock
        }
    }
}

/// The far end of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The node's id: the proxy's name.
    pub id: String,
    /// What runs beside it, as the node's cluster says; may be empty.
    pub cluster: String,
    /// As it calls itself: `penstock`, `envoy`, `gRPC C-core`.
    pub user_agent: String,
    /// What it can take.
    pub shape: Shape,
    /// Where Envoy's one listener listens (node metadata `penstock.outbound_address`).
    pub outbound: SocketAddr,
    /// The newest revision it ever saw, if it says so (node metadata `penstock.revision`): no answer may be older.
    pub seen: Option<Revision>,
}

impl Client {
    /// Reads the node of a first request.
    ///
    /// # Errors
    /// If there is no node, or it has no id or a malformed one, or its outbound address is none.
    pub fn of(node: Option<&Node>) -> Result<Self, Status> {
        let Some(node) = node else {
            return Err(Status::invalid_argument(
                "the first request of a stream has no node: set node.id to the proxy's name",
            ));
        };
        if node.id.is_empty() || node.id.len() > ID_BYTES_MAX || node.id.chars().any(char::is_control) {
            return Err(Status::invalid_argument(format!(
                "the node's id has {} bytes: set node.id to 1 to {ID_BYTES_MAX} bytes without control characters",
                node.id.len()
            )));
        }
        let outbound = stated(node, "penstock.outbound_address").unwrap_or(OUTBOUND_ADDRESS);
        let outbound = outbound.parse().map_err(|_| {
            Status::invalid_argument(format!(
                "node metadata penstock.outbound_address={outbound:?} is not an address: expected ip:port"
            ))
        })?;
        Ok(Self {
            id: node.id.clone(),
            cluster: cut(&node.cluster),
            user_agent: cut(&node.user_agent_name),
            shape: Shape::of(&node.user_agent_name),
            outbound,
            seen: stated(node, "penstock.revision").and_then(|text| text.parse().ok()),
        })
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ID_BYTES_MAX).collect()
}

/// A text of the node's metadata.
fn stated<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        Json::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use envoy_types::pb::google::protobuf::{Struct, Value};

    use super::*;

    fn node(user_agent: &str, key: &str, value: &str) -> Node {
        let value = Value { kind: Some(Json::StringValue(value.to_owned())) };
        let metadata = Struct { fields: [(key.to_owned(), value)].into() };
        Node {
            id: "p1".to_owned(),
            user_agent_name: user_agent.to_owned(),
            metadata: Some(metadata),
            ..Node::default()
        }
    }

    #[test]
    fn the_shape_follows_the_user_agent() {
        for (user_agent, shape) in [
            ("penstock", Shape::Penstock),
            ("", Shape::Penstock),
            ("envoy", Shape::Envoy),
            ("gRPC C-core linux", Shape::Grpc),
            ("grpc-go", Shape::Grpc),
        ] {
            assert_eq!(Client::of(Some(&node(user_agent, "k", "v"))).unwrap().shape, shape, "{user_agent}");
        }
    }

    #[test]
    fn metadata_says_where_envoy_listens_and_what_was_seen() {
        let client = Client::of(Some(&node("envoy", "penstock.outbound_address", "127.0.0.1:9"))).unwrap();
        assert_eq!(client.outbound, "127.0.0.1:9".parse().unwrap());
        let client = Client::of(Some(&node("penstock", "penstock.revision", "1.7"))).unwrap();
        assert_eq!(client.seen, Some(Revision::new(1, 7)));
    }

    #[test]
    fn a_node_that_is_missing_or_malformed_is_refused_with_what_to_do() {
        let unnamed = Node { id: String::new(), ..node("envoy", "k", "v") };
        let endless = Node { id: "x".repeat(ID_BYTES_MAX + 1), ..node("envoy", "k", "v") };
        let nowhere = node("envoy", "penstock.outbound_address", "web");
        for node in [None, Some(&unnamed), Some(&endless), Some(&nowhere)] {
            let status = Client::of(node).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains("node"), "{status}");
        }
    }
}
