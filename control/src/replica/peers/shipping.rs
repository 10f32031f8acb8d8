//! A snapshot on its way from one node to another: in pieces read from the one's disk and written to the other's, on a
//! connection of its own; goes on where an earlier try broke off, and is handed over only when its SHA-256 is right.
//!
//! Both ends hold one piece in memory, until the receiver has all and reads it back to install it. Decides nothing about
//! Raft: a try that failed is told to the replica, which tries again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use api::peer::v1::peer_client::PeerClient;
use api::peer::v1::{SnapshotOffer, SnapshotPiece};
use bytes::Bytes;
use consensus::{IncomingError, PersistError, SnapshotFiles, SnapshotLabel, SnapshotReader};
use futures_util::Stream;
use runtime::dial::Dialler;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tracing::error;

use super::calls::connect;
use super::identity::Identity;

/// Size of a piece: small enough to be nothing in memory, large enough that its round through the disk's pool is cheap.
const PIECE_BYTES: usize = 1 << 20;
/// Largest snapshot that is taken from a peer. The catalog at all of its bounds has some 250 MB; what is twice as large is a
/// fault of the sender, and would fill this node's memory.
const SNAPSHOT_BYTES_MAX: u64 = 512 << 20;

/// How a snapshot was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shipped {
    /// Its length.
    pub(super) bytes: u64,
    /// How much of it an earlier try had brought over.
    pub(super) held: u64,
}

/// Why it was not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unshipped {
    /// It cannot be read from this node's disk, or is not what was written there: no other try will do better.
    #[error("it cannot be read from this node's disk: {0}")]
    Unreadable(String),
    /// The way there, or the peer.
    #[error("{0}")]
    Peer(#[from] Status),
}

/// Sends the snapshot of `index`, with the Raft message that belongs to it.
pub(super) async fn ship(
    endpoint: &Endpoint,
    dialler: &Dialler,
    identity: &Identity,
    index: u64,
    message: Bytes,
    files: SnapshotFiles,
) -> Result<Shipped, Unshipped> {
    let opened = on_the_disk(move || files.open(index)).await?;
    let opened = opened.map_err(|error| Unshipped::Unreadable(error.to_string()))?;
    // Most often a newer one has taken its place; the replica knows.
    let reader = opened.ok_or_else(|| Unshipped::Unreadable("it is not there".to_owned()))?;
    let label = reader.label();
    let offer = SnapshotOffer { index, bytes: label.bytes, sha256: label.sha256.to_vec().into() };
    let channel = connect(endpoint, dialler).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = PeerClient::new(channel);
    let held = client.offer_snapshot(identity.sign(offer.clone())).await?.into_inner().bytes;
    let held = held.min(label.bytes);
    let first = SnapshotPiece { message, offer: Some(offer), offset: held, data: Bytes::new() };
    let is_unreadable = Arc::new(AtomicBool::new(false));
    match client.snapshot(identity.sign(pieces(first, reader, Arc::clone(&is_unreadable)))).await {
        Ok(_) => Ok(Shipped { bytes: label.bytes, held }),
        // The receiver has all bytes, and not those that this node's file promises.
        Err(status) if is_unreadable.load(Ordering::Relaxed) || status.code() == Code::DataLoss => {
            Err(Unshipped::Unreadable(status.message().to_owned()))
        }
        Err(status) => Err(status.into()),
    }
}

/// `first`, then what the reader has from its offset on.
fn pieces(
    first: SnapshotPiece,
    reader: SnapshotReader,
    is_unreadable: Arc<AtomicBool>,
) -> impl Stream<Item = SnapshotPiece> + Send {
    let begin = (reader, first.offset, is_unreadable);
    let rest = futures_util::stream::unfold(begin, |(reader, offset, is_unreadable)| async move {
        let read = on_the_disk(move || (reader.read(offset, PIECE_BYTES), reader)).await;
        match read {
            Ok((Ok(data), reader)) if !data.is_empty() => {
                let next = offset + data.len() as u64;
                let piece = SnapshotPiece { data, offset, ..SnapshotPiece::default() };
                Some((piece, (reader, next, is_unreadable)))
            }
            // The receiver misses the rest, and says so.
            Ok((Err(failure), _)) => {
                error!(%failure, offset, "a snapshot cannot be read on");
                is_unreadable.store(true, Ordering::Relaxed);
                None
            }
            Ok((Ok(_), _)) | Err(_) => None,
        }
    });
    futures_util::StreamExt::chain(futures_util::stream::iter([first]), rest)
}

/// The receiving end: one snapshot at a time.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// Counts the streams; the newest one writes, and an older one, whose sender may be long dead, ends.
    turn: AtomicU64,
}

impl Receiving {
    /// How much of the offered snapshot is here.
    pub(super) async fn held(&self, files: SnapshotFiles, offer: &SnapshotOffer) -> Result<u64, Status> {
        let label = label(offer)?;
        self.turn.fetch_add(1, Ordering::Relaxed);
        Ok(on_the_disk(move || files.incoming(label)).await?.map_err(of_disk)?.held())
    }

    /// Takes the pieces; answers the Raft message and the whole data, checked.
    pub(super) async fn whole(
        &self,
        files: SnapshotFiles,
        pieces: &mut Streaming<SnapshotPiece>,
    ) -> Result<(Bytes, Bytes), Status> {
        let nothing = || Status::invalid_argument("a snapshot came without a first piece and its offer");
        let mut piece = pieces.message().await?.ok_or_else(nothing)?;
        let label = label(piece.offer.as_ref().ok_or_else(nothing)?)?;
        let message = std::mem::take(&mut piece.message);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let mut incoming = on_the_disk(move || files.incoming(label)).await?.map_err(of_disk)?;
        loop {
            if self.turn.load(Ordering::Relaxed) != turn {
                return Err(Status::aborted("a newer stream brings a snapshot to this node"));
            }
            let SnapshotPiece { offset, data, .. } = piece;
            let written = on_the_disk(move || (incoming.write(offset, &data), incoming)).await?;
            written.0.map_err(of_incoming)?;
            incoming = written.1;
            match pieces.message().await? {
                Some(next) => piece = next,
                None => break,
            }
        }
        let data = on_the_disk(move || incoming.finish()).await?.map_err(of_incoming)?;
        Ok((message, data))
    }
}

fn label(offer: &SnapshotOffer) -> Result<SnapshotLabel, Status> {
    let SnapshotOffer { index, bytes, .. } = *offer;
    if bytes > SNAPSHOT_BYTES_MAX {
        error!(index, bytes, bytes_max = SNAPSHOT_BYTES_MAX, "the peer's snapshot is too large");
        return Err(Status::out_of_range(format!(
            "the snapshot has {bytes} bytes, more than {SNAPSHOT_BYTES_MAX}, the most that this version takes"
        )));
    }
    let sha256 = <[u8; 32]>::try_from(&offer.sha256[..]);
    let sha256 = sha256.map_err(|_| Status::invalid_argument("the SHA-256 of an offer has 32 bytes"))?;
    Ok(SnapshotLabel { index, bytes, sha256 })
}

fn of_incoming(error: IncomingError) -> Status {
    match error {
        IncomingError::OutOfPlace { .. } => Status::failed_precondition(error.to_string()),
        IncomingError::Damaged { .. } => Status::data_loss(error.to_string()),
        IncomingError::Disk(error) => of_disk(error),
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` gives it
fn of_disk(error: PersistError) -> Status {
    match error {
        PersistError::DiskFull { .. } => Status::resource_exhausted(error.to_string()),
        PersistError::Fatal { .. } => Status::internal(error.to_string()),
    }
}

/// Runs what waits for the disk beside the truth thread.
async fn on_the_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::unavailable(format!("this node is stopping: {error}")))
}
