//! This node's end of the Raft stream to each peer: a bounded queue of frames, sent in batches; dialled again when it breaks.
//!
//! A stream that ends is told to the replica and dialled again at once, and so is told an address that refuses ([`PeerLost`]): that
//! is what makes failover fast. Frames are dropped when the queue is full or nothing is connected; Raft sends again. Must never
//! wait for a peer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use api::peer::v1::peer_client::PeerClient;
use api::peer::v1::{GreetRequest, RaftBatch};
use bytes::Bytes;
use consensus::{Loss, NodeId, SnapshotFiles};
use futures_util::Stream;
use runtime::backoff::Backoff;
use runtime::dial::Dialler;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::calls::{connect, endpoint, loss_of, timed};
use super::identity::{Identity, removed_at};
use super::roster::{Peer, Roster};
use super::shipping::{self, Shipped, Unshipped};
use crate::metrics::PeerMetrics;
use crate::replica::ReplicaActor;
use crate::replica::messages::{PeerLost, SnapshotSent, SnapshotUnreadable, ToldRemoved};

/// Frames that wait for the socket. Raft keeps 256 appends in flight; more waiting ones only get old.
const FRAMES_MAX: usize = 1024;
/// Frames that go in one gRPC message: enough to share its cost, few enough to stay small.
const FRAMES_PER_BATCH_MAX: usize = 64;
/// Bytes after which a gRPC message takes no further frame. With the largest frame on top it stays far below what the other
/// side takes, which would end the stream; a follower that catches up is sent hundreds of frames of a megabyte.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// First and longest wait between two dials, but that a stream which stood for longer than the first is dialled anew at once.
/// Shorter spins on a dead host; longer keeps a restarted node out of the group.
const REDIAL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Wait after a refusal (another cluster, a stranger, another disk). Shorter fills both logs until a person mends it; longer
/// keeps a node that is let in again waiting.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// First and longest wait after a refusal because this node was removed, which is for good but where a peer lags behind.
const REMOVED_WAIT: (Duration, Duration) = (REFUSED_WAIT, Duration::from_secs(60));
/// A silent host is noticed after this, when no FIN tells of its death; elections do not wait for it.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

type Slot = Rc<RefCell<Option<mpsc::Sender<Bytes>>>>;

/// The streams to all peers; held by the driver, on its thread.
pub(in crate::replica) struct Links {
    held: BTreeMap<NodeId, Held>,
    identity: Arc<Identity>,
    dialler: Dialler,
    metrics: PeerMetrics,
}

/// One peer's link while it is dialled.
struct Held {
    address: String,
    slot: Slot,
    endpoint: Endpoint,
    task: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Links {
    /// No links yet; [`Self::follow`] makes them.
    pub(in crate::replica) fn new(identity: Arc<Identity>, dialler: Dialler, metrics: PeerMetrics) -> Self {
        Self { held: BTreeMap::new(), identity, dialler, metrics }
    }

    /// This node, as it signs.
    pub(in crate::replica) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whom this node takes for a peer.
    pub(in crate::replica) fn roster(&self) -> &Arc<Roster> {
        self.identity.roster()
    }

    /// Dials every peer of the roster, for ever, as tasks of the current LocalSet; lets go of those that are none any more,
    /// and dials those anew that have moved.
    pub(in crate::replica) fn follow(&mut self, replica: &Addr<ReplicaActor>) {
        let peers = self.identity.roster().dialled();
        self.held.retain(|node, held| peers.get(node).is_some_and(|peer| peer.address == held.address));
        for (node, peer) in peers {
            if self.held.contains_key(&node) || peer.address.is_empty() {
                continue;
            }
            match endpoint(&peer.address) {
                Ok(endpoint) => {
                    let held = self.dial(node, peer, endpoint, replica.clone());
                    self.held.insert(node, held);
                }
                Err(error) => warn!(peer = node.0, address = peer.address, %error, "no address of a peer"),
            }
        }
    }

    fn dial(&self, node: NodeId, peer: Peer, at: Endpoint, replica: Addr<ReplicaActor>) -> Held {
        let listed = peer.listed.and_then(|listed| endpoint(&listed).ok()).map(kept_alive);
        let endpoint = kept_alive(at);
        let (slot, identity) = (Slot::default(), Arc::clone(&self.identity));
        let dialler = self.dialler.clone();
        let link = Link {
            peer: node,
            slot: Rc::clone(&slot),
            endpoint: endpoint.clone(),
            listed,
            identity,
            dialler,
            replica,
            waits: Backoff::new(REDIAL.0, REDIAL.1),
            refusals: Refusals::default(),
        };
        Held { address: peer.address, slot, endpoint, task: tokio::task::spawn_local(link.run()) }
    }

    /// Sends a frame, or drops it.
    pub(in crate::replica) fn send(&self, to: NodeId, frame: Bytes) {
        let Some(held) = self.held.get(&to) else { return self.metrics.dropped_unconnected.inc() };
        let sent = held.slot.borrow().as_ref().map(|frames| frames.try_send(frame));
        match sent {
            Some(Ok(())) => self.metrics.frames.inc(),
            Some(Err(_)) => self.metrics.dropped_full.inc(),
            None => self.metrics.dropped_unconnected.inc(),
        }
    }

    /// Ships a snapshot in pieces, beside the stream, and tells the replica how it ended.
    pub(in crate::replica) fn send_snapshot(
        &self,
        to: NodeId,
        index: u64,
        attempt: u64,
        message: Bytes,
        files: SnapshotFiles,
        replica: Addr<ReplicaActor>,
    ) {
        let endpoint = self.held.get(&to).map(|held| held.endpoint.clone());
        let (identity, dialler) = (Arc::clone(&self.identity), self.dialler.clone());
        let metrics = self.metrics.clone();
        tokio::task::spawn_local(async move {
            let shipped = match endpoint {
                Some(endpoint) => shipping::ship(&endpoint, &dialler, &identity, index, message, files).await,
                None => Err(Status::unavailable("nobody has said where it is reached").into()),
            };
            match &shipped {
                Ok(Shipped { bytes, held }) => {
                    metrics.snapshot_bytes.inc_by(bytes - held);
                    metrics.snapshot_resumes.inc_by(u64::from(*held > 0));
                    info!(peer = to.0, index, bytes, held, "snapshot sent");
                }
                Err(error) => warn!(peer = to.0, index, %error, "snapshot not sent"),
            }
            if matches!(shipped, Err(Unshipped::Unreadable(_))) {
                let told = replica.send(SnapshotUnreadable { index, attempt }).await;
                debug!(index, told = told.is_ok(), "unreadable snapshot told");
            }
            let told = replica.send(SnapshotSent { to, attempt, ok: shipped.is_ok() }).await;
            debug!(peer = to.0, told = told.is_ok(), "snapshot's end told");
        });
    }
}

/// One link's task.
struct Link {
    peer: NodeId,
    slot: Slot,
    endpoint: Endpoint,
    listed: Option<Endpoint>,
    identity: Arc<Identity>,
    dialler: Dialler,
    replica: Addr<ReplicaActor>,
    waits: Backoff,
    refusals: Refusals,
}

impl Link {
    async fn run(mut self) {
        let mut found = None;
        loop {
            let connected = match found.take() {
                Some(channel) => Ok(channel),
                None => connect(&self.endpoint, &self.dialler).await,
            };
            let missed = connected.is_err();
            let (loss, wait) = match connected {
                Ok(channel) => {
                    self.waits.reset();
                    (Loss::Ended, self.stream(channel).await)
                }
                Err(error) => {
                    debug!(peer = self.peer.0, %error, "peer cannot be reached");
                    (loss_of(&error), Some(self.next_wait()))
                }
            };
            if self.replica.send(PeerLost { peer: self.peer, loss }).await.is_err() {
                return; // the replica has stopped, and with it this node
            }
            let Some(wait) = wait else { continue };
            // A peer that has come back says so by its own stream. Until both streams stand a survivor has no vote to ask
            // for: without this, a leader that died in those moments was missed for an election timeout (395 ms). And one
            // whose own stream ends is to be found dead, if it is, although this link had ended before.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.identity.rung(self.peer) => self.waits.reset(),
                channel = self.answering_where_listed(), if missed => found = Some(channel),
            }
        }
    }

    /// The peer at the address that the settings have for it, once it answers there; never if there is none, or who answers is
    /// another.
    async fn answering_where_listed(&self) -> Channel {
        let asked = async {
            let channel = connect(self.listed.as_ref()?, &self.dialler).await.ok()?;
            let mut client = PeerClient::new(channel.clone());
            let request = self.identity.sign(GreetRequest { doubtful: false });
            let greeting = timed(async { client.greet(request).await }).await.ok()?;
            (greeting.node == self.peer.0).then_some(channel)
        };
        match asked.await {
            Some(channel) => channel,
            None => std::future::pending().await,
        }
    }

    fn next_wait(&mut self) -> Duration {
        self.waits.next(jitter(self.peer, self.identity.own().node))
    }

    /// Holds the stream until it ends; answers how long to wait before the next.
    async fn stream(&mut self, channel: Channel) -> Option<Duration> {
        let opened = Instant::now();
        let (frames, queued) = mpsc::channel(FRAMES_MAX);
        self.slot.replace(Some(frames));
        let batches = batches(queued);
        debug!(peer = self.peer.0, "peer connected");
        let ended = PeerClient::new(channel).raft(self.identity.sign(batches)).await;
        self.slot.replace(None);
        match ended {
            Err(status) if status.code() == Code::PermissionDenied => Some(self.refused(&status).await),
            ended => {
                let reason = ended.err().map(|status| status.to_string()).unwrap_or_default();
                info!(peer = self.peer.0, reason, "stream to peer ended");
                self.refusals = Refusals::default();
                (opened.elapsed() < REDIAL.0).then(|| self.next_wait())
            }
        }
    }

    /// The peer will not hear this node.
    async fn refused(&mut self, status: &Status) -> Duration {
        let removed = removed_at(status);
        if let Some(index) = removed {
            let told = self.replica.send(ToldRemoved { index }).await;
            debug!(peer = self.peer.0, index, told = told.is_ok(), "a peer says that this node was removed");
        }
        let (wait, is_news) = self.refusals.again(status.message(), removed.is_some());
        if is_news {
            warn!(peer = self.peer.0, reason = status.message(), "peer refuses this node");
        }
        wait
    }
}

/// Refusals of one peer, in a row.
#[derive(Debug)]
struct Refusals {
    reason: String,
    removed_waits: Backoff,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { reason: String::new(), removed_waits: Backoff::new(REMOVED_WAIT.0, REMOVED_WAIT.1) }
    }
}

impl Refusals {
    /// It refused once more: how long to wait, and whether the reason is another than before.
    fn again(&mut self, reason: &str, removed: bool) -> (Duration, bool) {
        let is_news = self.reason != reason;
        reason.clone_into(&mut self.reason);
        // Not spread by chance: nobody else is to be kept apart from.
        (if removed { self.removed_waits.next(1.0) } else { REFUSED_WAIT }, is_news)
    }
}

/// A connection whose other end is asked now and then whether it is there.
fn kept_alive(endpoint: Endpoint) -> Endpoint {
    endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE).keep_alive_while_idle(true)
}

/// The queued frames, as many in one message as have come and may go together.
fn batches(queued: mpsc::Receiver<Bytes>) -> impl Stream<Item = RaftBatch> + Send {
    futures_util::stream::unfold(queued, |mut queued| async move {
        let first = queued.recv().await?;
        let mut bytes = first.len();
        let mut messages = vec![first];
        while messages.len() < FRAMES_PER_BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(frame) = queued.try_recv() else { break };
            bytes += frame.len();
            messages.push(frame);
        }
        Some((RaftBatch { messages }, queued))
    })
}

/// Spreads the redials of the pairs of a group; two nodes never compute the same.
fn jitter(peer: NodeId, node: NodeId) -> f64 {
    let mixed = peer.0.wrapping_mul(31).wrapping_add(node.0).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    f64::from(u32::try_from(mixed).unwrap_or_default()) / 256.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use futures_util::StreamExt as _;

    use super::*;

    async fn batched(sizes: &[usize]) -> Vec<usize> {
        let (frames, queued) = mpsc::channel(FRAMES_MAX);
        for size in sizes {
            frames.try_send(Bytes::from(vec![0; *size])).unwrap();
        }
        drop(frames);
        batches(queued).map(|batch| batch.messages.len()).collect().await
    }

    #[test]
    fn a_refusal_is_told_once_and_a_removed_node_asks_ever_more_seldom_and_another_as_often_as_before() {
        let mut refusals = Refusals::default();
        let mut told = |reason, removed| {
            let (wait, is_news) = refusals.again(reason, removed);
            (wait.as_secs(), is_news)
        };
        assert_eq!([told("stranger", false), told("stranger", false)], [(1, true), (1, false)]);
        let removed: Vec<_> = (0..8).map(|_| told("removed", true)).collect();
        assert_eq!(removed.iter().map(|(wait, _)| *wait).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(removed.iter().filter(|(_, is_news)| *is_news).count(), 1);
        assert_eq!(told("stranger", false), (1, true), "it is told again that it is another");
    }

    #[tokio::test]
    async fn small_frames_go_together_and_large_ones_alone() {
        assert_eq!(batched(&[100; 130]).await, [64, 64, 2]);
        assert_eq!(batched(&[BATCH_BYTES_MAX; 3]).await, [1, 1, 1]);
        assert_eq!(batched(&[BATCH_BYTES_MAX / 2; 3]).await, [2, 1]);
    }
}
