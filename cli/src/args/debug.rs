//! Arguments of `debug`: for people who look into a node's own files.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// Arguments of `debug`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  penstock debug log --data-directory /var/lib/penstock    the last twenty entries of a log")]
pub struct DebugArgs {
    #[command(subcommand)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub command: DebugCommand,
}

/// What to look into.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Prints the entries of a node's log, decoded, while the node is down
    Log(DebugLogArgs),
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogForm {
    /// Aligned columns
    #[default]
    Table,
    /// JSON, for programs
    Json,
}

/// Arguments of `debug log`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The node must be down: its directory is read as its next start would read it, and nothing is changed. Entries that a \
snapshot has taken in and that were compacted are not in the log any more. At most 1,000 entries are shown; the answer says \
where the next page begins.

Examples:
  penstock debug log --data-directory /var/lib/penstock              the last twenty entries
  penstock debug log --data-directory d --from 100 --to 120          a range
  penstock debug log --data-directory d --to 120                     the twenty up to an entry
  penstock debug log --data-directory d --from 100 -o json | jq -c '.entries[]'")]
pub struct DebugLogArgs {
    /// The node's data directory
    #[arg(long, value_name = "DIR", env = "PENSTOCK_DATA_DIRECTORY", hide_env_values = true)]
    #[arg(default_value = "penstock-data")]
    pub data_directory: PathBuf,

    /// First entry [default: the twentieth up to the last]
    #[arg(long, value_name = "INDEX")]
    pub from: Option<u64>,

    /// Last entry [default: the last in the log]
    #[arg(long, value_name = "INDEX")]
    pub to: Option<u64>,

    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: LogForm,
}
