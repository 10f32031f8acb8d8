//! Why a data directory was refused, and why a batch could not be made durable.

use std::io;
use std::path::PathBuf;

/// Why a data directory was not opened. It was not changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{directory} is in use by another process; stop that one first, or give this node a directory of its own"
    )]
    InUse {
        /// The data directory.
        directory: PathBuf,
    },
    /// The directory belongs to another cluster or node.
    #[error(
        "{directory} belongs to {found}, not to {wanted}; give this node its own directory, or correct its cluster and node settings"
    )]
    Foreign {
        /// The data directory.
        directory: PathBuf,
        /// Whose it is.
        found: String,
        /// Whom it was opened for.
        wanted: String,
    },
    /// It holds no log, and [`crate::LogSettings::may_found`] says that none is to be made.
    #[error("{directory} holds no log, and none is to be founded there")]
    Unfounded {
        /// The data directory.
        directory: PathBuf,
    },
    /// A newer version of this program wrote it.
    #[error(
        "{directory} has format {found}, this program knows up to {known}; start the newer program again, or restore a backup"
    )]
    NewerFormat {
        /// The data directory.
        directory: PathBuf,
        /// What stands there.
        found: u64,
        /// What this program knows.
        known: u64,
    },
    /// Bytes that were durable once are not what they were.
    #[error(
        "{file} is corrupted at offset {offset}: {reason}; do not edit it: move the directory away whole; where other nodes hold the data, start this one with an empty directory (it comes back as a learner and gets its vote back), else restore a backup"
    )]
    Corrupted {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left on the disk of {file}; free some and start again")]
    DiskFull {
        /// The file that should have been written.
        file: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why something could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// Nothing of it was written; free space and try the same again.
    #[error("no space left on the disk of {file}; nothing was written; free some, the same is tried again")]
    DiskFull {
        /// The file that could not be written or made longer.
        file: PathBuf,
    },
    /// End the process at once: what reached the disk is unknown, and asking again would be answered with a
    /// lie (the kernel drops the dirty pages and reports success).
    #[error("cannot {action} {file}; the process must end, because what reached the disk is unknown")]
    Fatal {
        /// What was tried.
        action: &'static str,
        /// On what.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
