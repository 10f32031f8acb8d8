//! `snapshot`: saves a backup from a running cluster, tells what one holds, restores one into a data directory. The last two
//! ask no control node; what they do to files is `control::backup`'s.

use std::io::{BufWriter, ErrorKind};
use std::time::Duration;

use api::v1::backup_client::BackupClient;
use api::v1::{BackupHead, SavePiece, SaveRequest};
use control::backup::{BackupWriter, RestoreError};
use runtime::signals::Signals;
use tokio::time::timeout;
use tonic::Streaming;

use super::partial::Partial;
use super::program::settings;
use crate::answer::{Answer, Failure};
use crate::args::{InspectArgs, RestoreArgs, SaveArgs, SnapshotArgs, SnapshotCommand};
use crate::connection::Connection;
use crate::progress::Progress;
use crate::render;

/// Longest wait for the next piece. Shorter gives up on a loaded node; longer keeps the user before one that froze.
const PIECE_WAIT: Duration = Duration::from_secs(30);

/// Runs it.
pub(super) async fn run(args: SnapshotArgs) -> Result<Answer, Failure> {
    match args.command {
        SnapshotCommand::Save(args) => save_unless_interrupted(&args).await,
        SnapshotCommand::Inspect(args) => inspect(&args),
        SnapshotCommand::Restore(args) => restore(&args),
    }
}

/// Whoever ends it (Ctrl-C, SIGTERM) finds no half of a file.
async fn save_unless_interrupted(args: &SaveArgs) -> Result<Answer, Failure> {
    let listening = Signals::listen();
    let mut signals =
        listening.map_err(|error| Failure::Refused(format!("cannot wait for Ctrl-C: {error}")))?;
    tokio::select! {
        saved = save(args) => saved,
        signal = signals.next() => {
            let file = args.file.display();
            Err(Failure::Interrupted(format!("ended by {signal}: {file} was not written; run it again")))
        }
    }
}

async fn save(args: &SaveArgs) -> Result<Answer, Failure> {
    if args.file.is_dir() {
        return Err(Failure::Usage(format!("{} is a directory; name a file in it", args.file.display())));
    }
    if args.file.exists() && !args.force {
        let file = args.file.display();
        return Err(Failure::Usage(format!("{file} is there already; name another file, or say --force")));
    }
    let mut connection = Connection::new(&args.connection)?;
    let call = |channel| async move { BackupClient::new(channel).save(SaveRequest {}).await };
    let mut pieces = connection.ask(call).await?;
    let partial = Partial::create(&args.file)?;
    let head = next(&mut pieces).await?.and_then(|first| first.head);
    let head = head.ok_or_else(|| broken("the node's answer had no head"))?;
    let sha256 = receive(&partial, &head, &mut pieces).await?;
    partial.keep(&args.file)?;
    Ok(Answer::fine(render::saved(&head, &sha256, &args.file)))
}

/// Writes every piece, and checks what was told against what came.
async fn receive(
    partial: &Partial,
    head: &BackupHead,
    pieces: &mut Streaming<SavePiece>,
) -> Result<[u8; 32], Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData => broken(&error.to_string()),
        _ => partial.refused("write", &error),
    };
    let mut writer = BackupWriter::begin(BufWriter::new(&partial.file), head).map_err(failed)?;
    let mut progress = Progress::of("saving", head.bytes);
    let mut told = Vec::new();
    while let Some(piece) = next(pieces).await? {
        writer.write(&piece.data).map_err(failed)?;
        progress.add(piece.data.len());
        told = piece.sha256;
    }
    let data = writer.data_sha256();
    let (_, sha256) = writer.finish().map_err(failed)?;
    if told != data {
        return Err(broken("its SHA-256 is not the one that the node told"));
    }
    Ok(sha256)
}

async fn next(pieces: &mut Streaming<SavePiece>) -> Result<Option<SavePiece>, Failure> {
    match timeout(PIECE_WAIT, pieces.message()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(status)) => Err(broken(status.message())),
        Err(_) => Err(broken("the node stopped sending")),
    }
}

fn broken(why: &str) -> Failure {
    Failure::Unreachable(format!("the backup broke off: {why}; no file was written, run it again"))
}

fn inspect(args: &InspectArgs) -> Result<Answer, Failure> {
    let backup = control::backup::read(&args.file).map_err(|error| Failure::Refused(error.to_string()))?;
    let sizes = backup.catalog.sizes();
    let view = render::BackupView::of(&backup.head, &sizes, &backup.sha256, backup.file_bytes);
    Ok(Answer::fine(render::backup(&view, args.output)))
}

fn restore(args: &RestoreArgs) -> Result<Answer, Failure> {
    let settings = settings(|environment| args.directory.sources(environment))?;
    let restored = control::backup::restore(&args.file, &settings);
    let restored = restored.map_err(|error: RestoreError| Failure::Refused(error.to_string()))?;
    let answer = Answer::fine(render::restored(&restored));
    let others: Vec<String> = restored
        .founders
        .iter()
        .filter(|founder| **founder != restored.node)
        .map(ToString::to_string)
        .collect();
    if others.is_empty() {
        return Ok(answer);
    }
    Ok(answer.noting(format!(
        "note: restore the same file with the same peers as node {} too, before any of them is started",
        others.join(" and as node ")
    )))
}
