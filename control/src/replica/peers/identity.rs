//! Who a node is, in the metadata of each call between nodes: a node of another cluster, or one that is not in the peer
//! list, is refused before anything it says is read. Stands at both ends of the peer port; it is no authentication.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::NodeId;
use tokio::sync::Notify;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

const CLUSTER: &str = "penstock-cluster";
const NODE: &str = "penstock-node";

/// This node, and whom it takes for a peer.
#[derive(Debug, Clone)]
pub struct Identity {
    node: NodeId,
    cluster: String,
    /// Each peer, with a bell that rings when it opens a stream to this node.
    peers: Arc<BTreeMap<NodeId, Notify>>,
    cluster_value: MetadataValue<Ascii>,
}

impl Identity {
    /// This node of this cluster; `peers` are all its nodes.
    ///
    /// # Panics
    /// If the cluster's name is not plain text; the settings see to it.
    pub fn new(node: NodeId, cluster: &str, peers: impl IntoIterator<Item = NodeId>) -> Self {
        let cluster_value =
            cluster.parse().expect("the settings allow only plain letters in a cluster's name");
        let peers: BTreeMap<_, _> =
            peers.into_iter().filter(|peer| *peer != node).map(|peer| (peer, Notify::new())).collect();
        Self { node, cluster: cluster.to_owned(), peers: Arc::new(peers), cluster_value }
    }

    /// A peer opened a stream: it is there, and may be dialled without waiting longer.
    pub(super) fn arrived(&self, peer: NodeId) {
        if let Some(bell) = self.peers.get(&peer) {
            bell.notify_one();
        }
    }

    /// Ends when `peer` has opened a stream since this was last asked; never for a stranger.
    pub(super) async fn arrival(&self, peer: NodeId) {
        match self.peers.get(&peer) {
            Some(bell) => bell.notified().await,
            None => std::future::pending().await,
        }
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// A request that says who asks.
    pub(super) fn sign<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(CLUSTER, self.cluster_value.clone());
        request.metadata_mut().insert(NODE, MetadataValue::from(self.node.0));
        request
    }

    /// Who asks.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, with what differs and what to check.
    pub(super) fn caller(&self, metadata: &MetadataMap) -> Result<NodeId, Status> {
        let said = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        let cluster = said(CLUSTER).unwrap_or("no cluster");
        if cluster != self.cluster {
            return Err(Status::permission_denied(format!(
                "this is node {} of cluster {:?}, and the caller is of {cluster:?}; check `cluster` and `peers` of both",
                self.node, self.cluster
            )));
        }
        let node = said(NODE).and_then(|node| node.parse().ok()).map(NodeId);
        match node {
            Some(node) if self.peers.contains_key(&node) => Ok(node),
            Some(node) if node == self.node => Err(Status::permission_denied(format!(
                "the caller says that it is node {node}, and so is this one; give each node its own number"
            ))),
            _ => Err(Status::permission_denied(format!(
                "the caller is no peer of node {}; add it to `peers` of every node",
                self.node
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn identity(node: u64, cluster: &str) -> Identity {
        Identity::new(NodeId(node), cluster, [NodeId(1), NodeId(2), NodeId(3)])
    }

    #[test]
    fn a_peer_is_known_by_its_signature() {
        let request = identity(2, "a").sign(());
        assert_eq!(identity(1, "a").caller(request.metadata()).unwrap(), NodeId(2));
    }

    #[test]
    fn a_node_of_another_cluster_a_stranger_and_a_double_are_refused_with_the_reason() {
        let here = identity(1, "a");
        for (signed, reason) in [
            (identity(2, "b").sign(()), "the caller is of \"b\""),
            (identity(9, "a").sign(()), "is no peer of node 1"),
            (identity(1, "a").sign(()), "and so is this one"),
            (Request::new(()), "no cluster"),
        ] {
            let status = here.caller(signed.metadata()).unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied);
            assert!(status.message().contains(reason), "{}", status.message());
        }
    }
}
