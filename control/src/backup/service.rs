//! The gRPC face of backups: a linearizable copy of the catalog, made into bytes beside the truth thread and streamed in
//! pieces. One at a time, since each holds the whole state as bytes.

use std::sync::Arc;
use std::time::Duration;

use api::v1::backup_server::Backup;
use api::v1::{BackupHead, SavePiece, SaveRequest};
use bytes::Bytes;
use consensus::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::file::sha256;
use crate::replica::{Door, WallClock, refusal};

/// Size of a piece; a client takes up to 4 MiB in one message.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait for a slow client: the bytes are there anyway, and are shared.
const PIECES_WAITING_MAX: usize = 4;
/// How long a client may take over one piece. Longer lets one that has gone away keep everybody else from a backup.
const PIECE_PATIENCE: Duration = Duration::from_secs(30);

/// The backup service of one node; cheap to clone.
#[derive(Clone)]
pub struct BackupService {
    door: Door,
    node: NodeId,
    cluster: String,
    wall: WallClock,
    turn: Arc<Semaphore>,
}

impl BackupService {
    /// Streams what this door's catalog holds.
    #[must_use]
    pub fn new(door: Door, node: NodeId, cluster: String, wall: WallClock) -> Self {
        Self { door, node, cluster, wall, turn: Arc::new(Semaphore::new(1)) }
    }
}

#[tonic::async_trait]
impl Backup for BackupService {
    type SaveStream = ReceiverStream<Result<SavePiece, Status>>;

    async fn save(&self, _: Request<SaveRequest>) -> Result<Response<Self::SaveStream>, Status> {
        let turn = Arc::clone(&self.turn).try_acquire_owned();
        let turn = turn.map_err(|_| {
            Status::resource_exhausted(
                "this node is giving a backup already; try again when that one has ended",
            )
        })?;
        let copied = self.door.consult(Clone::clone).await;
        let catalog = copied.map_err(|error| refusal::of_read(&error))?;
        let revision = catalog.applied();
        let made = tokio::task::spawn_blocking(move || {
            let data = Bytes::from(catalog.snapshot());
            let sum = sha256(&data).to_vec();
            (data, sum)
        });
        let (data, sha256) =
            made.await.map_err(|error| Status::internal(format!("making the backup: {error}")))?;
        let head = BackupHead {
            cluster: self.cluster.clone(),
            revision: Some(revision.into()),
            taken_ms: (self.wall)().0,
            node: self.node.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bytes: data.len() as u64,
        };
        info!(%revision, bytes = data.len(), "a backup is taken");
        let (pieces, stream) = mpsc::channel(PIECES_WAITING_MAX);
        tokio::spawn(give(pieces, head, data, sha256, turn));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Gives the pieces to the stream as fast as its client takes them.
async fn give(
    pieces: mpsc::Sender<Result<SavePiece, Status>>,
    head: BackupHead,
    data: Bytes,
    sha256: Vec<u8>,
    _turn: OwnedSemaphorePermit,
) {
    let first = SavePiece { head: Some(head), ..SavePiece::default() };
    let last = SavePiece { sha256, ..SavePiece::default() };
    let middle = (0..data.len()).step_by(PIECE_BYTES).map(|from| {
        let piece = data.slice(from..data.len().min(from + PIECE_BYTES));
        SavePiece { data: piece.into(), ..SavePiece::default() }
    });
    for piece in std::iter::once(first).chain(middle).chain(std::iter::once(last)) {
        let given = tokio::time::timeout(PIECE_PATIENCE, pieces.send(Ok(piece))).await;
        if !matches!(given, Ok(Ok(()))) {
            return warn!("the client of a backup went away or stopped reading");
        }
    }
}
