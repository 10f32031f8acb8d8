//! Who a node is, in the metadata of each call between nodes: a node of another cluster, one that is no member, or one that
//! was removed is refused before anything it says is read. Stands at both ends of the peer port; it is no authentication.

use std::sync::Arc;

use consensus::NodeId;
use prometheus::IntCounter;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Status};

use super::life::{Life, OwnLife};
use super::roster::{GUESTS_MAX, Roster, Standing};
use crate::metrics::PeerMetrics;

const CLUSTER: &str = "penstock-cluster";
const NODE: &str = "penstock-node";
const ADDRESS: &str = "penstock-address";
const DISK: &str = "penstock-disk";
const LIFE: &str = "penstock-life";
/// In a refusal: the entry that removed the caller from the group.
const REMOVED_AT: &str = "penstock-removed-at";

/// How much of what a caller says is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// All of it.
    Wholly,
    /// The caller is on another disk than is known here. Its votes and confirmations might count twice, once for each disk; but
    /// if it leads, it was brought in again while this node was away, which only a leader can tell this node.
    AsLeader,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its number.
    pub node: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// Where the others reach it; `None` when it cannot know (it listens everywhere, and nobody has told it).
    pub peer_address: Option<String>,
    /// Where clients reach it.
    pub client_address: String,
    /// Identity of its data directory.
    pub disk: u64,
    /// The newest version of commands that it knows.
    pub commands: u32,
}

/// This node, and whom it takes for a peer.
#[derive(Debug, Clone)]
pub struct Identity {
    own: Arc<Own>,
    roster: Arc<Roster>,
    cluster_value: MetadataValue<Ascii>,
    life: OwnLife,
    guests_refused: IntCounter,
}

impl Identity {
    /// This node; `roster` are its peers, and `life` is that of its data.
    ///
    /// # Panics
    /// If the cluster's name is not plain text; the settings see to it.
    pub fn new(own: Own, roster: Arc<Roster>, life: OwnLife, metrics: &PeerMetrics) -> Self {
        let cluster_value =
            own.cluster.parse().expect("the settings allow only plain letters in a cluster's name");
        let guests_refused = metrics.guests_refused.clone();
        Self { own: Arc::new(own), roster, cluster_value, life, guests_refused }
    }

    /// A peer opened a stream, or its stream ended: whether it is there is to be found out without waiting longer.
    pub(super) fn ring(&self, peer: NodeId) {
        if let Some(peer) = self.roster.peer(peer) {
            peer.bell.notify_one();
        }
    }

    /// Ends when it has rung for `peer` since this was last asked; never for a stranger.
    pub(super) async fn rung(&self, peer: NodeId) {
        match self.roster.peer(peer) {
            Some(peer) => peer.bell.notified().await,
            None => std::future::pending().await,
        }
    }

    /// What this node says of itself.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Whom it takes for a peer.
    #[must_use]
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// A request that says who asks.
    pub(super) fn sign<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(CLUSTER, self.cluster_value.clone());
        metadata.insert(NODE, MetadataValue::from(self.own.node.0));
        metadata.insert(DISK, MetadataValue::from(self.own.disk));
        let address = self.own.peer_address.as_ref().and_then(|address| address.parse().ok());
        if let Some(address) = address {
            metadata.insert(ADDRESS, address);
        }
        let life = self.life.now().to_string().parse().expect("a life is told in letters and digits");
        metadata.insert(LIFE, life);
        request
    }

    /// Who asks, if it is a peer; where it says that it is reached is noted.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, with what differs and what to check.
    pub(super) fn caller(&self, metadata: &MetadataMap) -> Result<NodeId, Status> {
        let node = self.of_cluster(metadata)?;
        self.check_standing(node, self.disk_of(metadata))?;
        self.roster.met(node, text(metadata, ADDRESS).unwrap_or_default());
        Ok(node)
    }

    /// Who opens a Raft stream, or ships a snapshot: as [`Self::caller`], but that one on another disk than is known here is let
    /// in where `as_leader` it may be heard, see [`Heard`].
    ///
    /// # Errors
    /// As [`Self::caller`].
    pub(super) fn speaker(&self, metadata: &MetadataMap, as_leader: bool) -> Result<NodeId, Status> {
        let node = self.of_cluster(metadata)?;
        match self.still(node, metadata)? {
            Heard::AsLeader if as_leader => Ok(node),
            Heard::AsLeader | Heard::Wholly => self.caller(metadata),
        }
    }

    /// What is heard of a caller whose stream runs on.
    ///
    /// # Errors
    /// As [`Self::caller`].
    pub(super) fn still(&self, node: NodeId, metadata: &MetadataMap) -> Result<Heard, Status> {
        let disk = self.disk_of(metadata);
        if self.roster.is_on_another_disk(node, disk) {
            return Ok(Heard::AsLeader);
        }
        self.check_standing(node, disk).map(|()| Heard::Wholly)
    }

    /// The disk that a caller says is its own; 0 when it says none.
    pub(super) fn disk_of(&self, metadata: &MetadataMap) -> u64 {
        number(metadata, DISK).unwrap_or_default()
    }

    fn check_life(&self, theirs: Option<Life>) -> Result<(), Status> {
        let ours = self.life.now();
        if theirs.is_some_and(|theirs| theirs.fits(ours)) {
            return Ok(());
        }
        let theirs = theirs.map_or_else(|| "none".to_owned(), |theirs| theirs.to_string());
        Err(Status::permission_denied(format!(
            "the caller's data is of another life of this cluster ({theirs}, here it is {ours}): one of the two was \
             restored or recovered without the other; move the data directory of the wrong one away"
        )))
    }

    fn check_standing(&self, node: NodeId, disk: u64) -> Result<(), Status> {
        let own = self.own.node;
        match self.roster.standing(node, disk) {
            Standing::Peer => Ok(()),
            Standing::Stranger => Err(Status::permission_denied(format!(
                "node {node} is no member, as far as node {own} knows; `penstock members add {node} HOST:PORT` brings it in"
            ))),
            Standing::OneTooMany => {
                self.guests_refused.inc();
                Err(Status::permission_denied(format!(
                    "node {node} is not known to node {own}, which knows no leader and hears {GUESTS_MAX} strangers already, the most that it may; it hears node {node} once the log names it"
                )))
            }
            Standing::OtherDisk => Err(Status::permission_denied(format!(
                "the group knows node {node} with another disk than the caller's"
            ))),
            Standing::Removed(index) => {
                let mut status = Status::permission_denied(format!(
                    "node {node} was removed from the group (entry {index})"
                ));
                status.metadata_mut().insert(REMOVED_AT, MetadataValue::from(index));
                Err(status)
            }
        }
    }

    /// Who asks, a member or not, if it is another node of this cluster.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub(super) fn of_cluster(&self, metadata: &MetadataMap) -> Result<NodeId, Status> {
        let cluster = text(metadata, CLUSTER).unwrap_or("no cluster");
        let Own { node: own, cluster: own_cluster, .. } = &*self.own;
        if cluster != own_cluster {
            return Err(Status::permission_denied(format!(
                "this is node {own} of cluster {own_cluster:?}, and the caller is of {cluster:?}; check `cluster` of both"
            )));
        }
        self.check_life(text(metadata, LIFE).and_then(Life::parse))?;
        match number(metadata, NODE).filter(|node| *node > 0) {
            Some(node) if node == own.0 => Err(Status::permission_denied(format!(
                "the caller says that it is node {node}, and so is this one; give each node its own number"
            ))),
            Some(node) => Ok(NodeId(node)),
            None => Err(Status::permission_denied("the caller does not say which node it is")),
        }
    }
}

/// The entry that removed this node, if a peer's refusal says so.
pub(super) fn removed_at(status: &Status) -> Option<u64> {
    number(status.metadata(), REMOVED_AT)
}

fn text<'m>(metadata: &'m MetadataMap, key: &str) -> Option<&'m str> {
    metadata.get(key).and_then(|value| value.to_str().ok())
}

fn number(metadata: &MetadataMap, key: &str) -> Option<u64> {
    text(metadata, key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use consensus::Membership;

    use super::*;
    use crate::catalog::members::fixture;
    use crate::metrics::Metrics;

    fn identity(node: u64, cluster: &str) -> Identity {
        of_life(node, cluster, Life::Begun(700))
    }

    fn of_life(node: u64, cluster: &str, life: Life) -> Identity {
        let founders = [1, 2, 3].map(|node| (NodeId(node), format!("host-{node}:4101")));
        let own = Own {
            node: NodeId(node),
            cluster: cluster.to_owned(),
            peer_address: Some(format!("host-{node}:4101")),
            client_address: String::new(),
            disk: 7,
            commands: 1,
        };
        let roster = Arc::new(Roster::new(NodeId(node), &founders.into()));
        Identity::new(own, roster, OwnLife::new(life), &Metrics::new().peers)
    }

    #[test]
    fn a_node_of_another_life_is_refused_and_told_to_move_one_directory_away() {
        let here = identity(1, "a");
        let status = here.caller(of_life(2, "a", Life::Begun(600)).sign(()).metadata()).unwrap_err();
        assert!(status.message().contains("another life of this cluster (600, here it is 700)"), "{status}");
        assert!(status.message().contains("move the data directory"), "{status}");
        here.caller(of_life(2, "a", Life::After(600)).sign(()).metadata()).unwrap();
    }

    #[test]
    fn a_peer_is_known_by_its_signature() {
        let request = identity(2, "a").sign(());
        assert_eq!(identity(1, "a").caller(request.metadata()).unwrap(), NodeId(2));
    }

    #[test]
    fn who_is_on_another_disk_is_let_in_only_to_be_heard_as_a_leader() {
        let here = identity(1, "a");
        here.roster().follow(&Membership::of_voters([1, 2].map(NodeId)), &fixture(&[(2, "b:4101", 8)], &[]));
        let signed = identity(2, "a").sign(());
        let refused = here.speaker(signed.metadata(), false).unwrap_err();
        assert!(refused.message().contains("node 2 with another disk"), "{refused}");
        assert_eq!(here.caller(signed.metadata()).unwrap_err().message(), refused.message());
        assert_eq!(here.speaker(signed.metadata(), true).unwrap(), NodeId(2));
        assert_eq!(here.still(NodeId(2), signed.metadata()).unwrap(), Heard::AsLeader);
        let other = identity(3, "a").sign(());
        assert_eq!(here.speaker(other.metadata(), true).unwrap(), NodeId(3), "nobody leads: a guest");
        assert_eq!(here.still(NodeId(3), other.metadata()).unwrap(), Heard::Wholly);
    }

    #[test]
    fn one_stranger_too_many_is_refused_in_words_of_its_own_and_counted() {
        let here = identity(1, "a");
        let strangers = 10..10 + GUESTS_MAX as u64;
        for node in strangers.clone() {
            here.caller(identity(node, "a").sign(()).metadata()).unwrap();
        }
        assert_eq!(here.guests_refused.get(), 0);
        let refused = here.caller(identity(strangers.end, "a").sign(()).metadata()).unwrap_err();
        assert!(refused.message().contains("knows no leader and hears 16 strangers already"), "{refused}");
        assert_eq!(here.guests_refused.get(), 1);
    }

    #[test]
    fn a_node_of_another_cluster_a_stranger_and_a_double_are_refused_with_the_reason() {
        let here = identity(1, "a");
        here.roster().led(true);
        for (signed, reason) in [
            (identity(2, "b").sign(()), "the caller is of \"b\""),
            (identity(9, "a").sign(()), "node 9 is no member, as far as node 1 knows"),
            (identity(1, "a").sign(()), "and so is this one"),
            (Request::new(()), "no cluster"),
        ] {
            let status = here.caller(signed.metadata()).unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied);
            assert!(status.message().contains(reason), "{}", status.message());
            assert_eq!(removed_at(&status), None);
        }
        assert_eq!(here.of_cluster(identity(9, "a").sign(()).metadata()).unwrap(), NodeId(9));
    }
}
