//! `snapshot`: saves a backup from a running cluster, tells what one holds, restores one into a data directory. The last two
//! ask no control node; what they do to files is `control::backup`'s.

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::v1::backup_client::BackupClient;
use api::v1::{BackupHead, SavePiece, SaveRequest};
use control::backup::{BackupWriter, RestoreError};
use tokio::time::timeout;
use tonic::Streaming;

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
        SnapshotCommand::Save(args) => save(args).await,
        SnapshotCommand::Inspect(args) => inspect(&args),
        SnapshotCommand::Restore(args) => restore(&args),
    }
}

async fn save(args: SaveArgs) -> Result<Answer, Failure> {
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

/// The file while it is not whole: beside its place, under another name, gone when it is given up.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(target: &Path) -> Result<Self, Failure> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let path = target.with_file_name(name);
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(Failure::Refused(format!("cannot write {}: {error}", path.display()))),
        }
    }

    fn refused(&self, action: &str, error: &std::io::Error) -> Failure {
        Failure::Refused(format!("cannot {action} {}: {error}", self.path.display()))
    }

    /// Gives it its name, durably.
    fn keep(self, target: &Path) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.refused("sync", &error))?;
        std::fs::rename(&self.path, target).map_err(|error| self.refused("rename", &error))?;
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced =
            File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.refused("sync the directory of", &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Under its name it is kept: then there is nothing left here to remove.
        let _renamed = std::fs::remove_file(&self.path);
    }
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
