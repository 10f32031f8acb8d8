//! Backups: the whole catalog as one file, and what is done to data directories while no node runs on them.
//!
//! - `service`: the gRPC face, which streams the catalog as of one revision
//! - [`BackupWriter`], [`read`]: the file, checked to the last bit (`file`)
//! - [`restore`]: a file becomes the data directory of a new cluster's founder; [`found_with`] is its part without files of people
//! - [`log_page`]: the log of a node that is down, in words
//! - [`Survivor`]: one node's directory becomes the whole cluster, after a majority was lost for good (`recover`)

mod file;
mod log_page;
mod recover;
mod restore;
mod service;

pub use file::{Backup, BackupError, BackupWriter, read, sha256};
pub use log_page::{LogPage, LogPageError, LogRow, PAGE_ROWS_MAX, log_page};
pub use recover::{Findings, RecoverError, Survivor};
pub use restore::{RestoreError, Restored, found_with, restore};
pub use service::BackupService;
