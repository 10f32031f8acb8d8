//! The ways in which a node ends itself because it may confirm nothing any more. Each says one last line with what to do.
//! Must never be called for what a restart of the network or a person at a client can cause.

use consensus::{PersistError, ReceiveError};
use tracing::error;

/// Exit code of a process whose disk failed (`EX_IOERR` of sysexits.h).
const EXIT_DISK_FAILED: i32 = 74;

/// The disk refused a write or an fsync: what it holds is unknown.
pub(super) fn disk_failed(failure: &PersistError) -> ! {
    let source = std::error::Error::source(failure).map(ToString::to_string).unwrap_or_default();
    error!(%failure, source, "the disk failed; ending this node so that it confirms nothing it does not hold");
    exit()
}

/// The group knows of entries that this node's disk no longer has.
pub(super) fn log_lost(loss: &ReceiveError) -> ! {
    error!(%loss, "the log was lost; ending this node so that it votes for nothing it forgot");
    exit()
}

/// The log holds commands, or is about to, that this program does not know.
pub(super) fn too_old(version: u32, known: u32) -> ! {
    error!(
        version,
        known,
        "the log of this cluster is of a newer version of commands than this program knows; ending this node before it reads them by half: start the newer program that ran here, or that the other members run (`penstock members -o wide`)"
    );
    exit()
}

#[allow(clippy::disallowed_methods)] // nothing may be drained or answered any more
fn exit() -> ! {
    std::process::exit(EXIT_DISK_FAILED)
}
