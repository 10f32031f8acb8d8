//! Arguments of `snapshot` and `recover`. The data directory of a node is named as `control` names it, so that the settings
//! file of the node can be given and nothing is typed twice.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use runtime::settings::Sources;

use super::ConnectionArgs;

/// How a backup is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum BackupForm {
    /// One line for each fact
    #[default]
    Table,
    /// JSON, for programs
    Json,
}

/// Arguments of `snapshot`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  penstock snapshot save mesh.backup
  penstock snapshot inspect mesh.backup
  penstock snapshot restore mesh.backup --settings /etc/penstock/control.yaml")]
pub struct SnapshotArgs {
    /// What to do
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// What can be done with a backup.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Saves the state of a running cluster in a file
    Save(SaveArgs),
    /// Checks a backup to the last bit, and tells what it holds
    Inspect(InspectArgs),
    /// Makes the data directory of a new cluster's node from a backup
    Restore(RestoreArgs),
}

/// Arguments of `snapshot save`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The backup has every write that was acknowledged before the command was typed, from any node. Writes go on meanwhile. The \
file appears under its name only when it is whole and its SHA-256 was checked.

Examples:
  penstock snapshot save mesh.backup
  penstock snapshot save /backups/mesh.backup --force --control 10.0.0.1:4100,10.0.0.2:4100")]
pub struct SaveArgs {
    /// Where to write it
    pub file: PathBuf,

    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

/// Arguments of `snapshot inspect`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exit code 1 says that the file is damaged, or no backup. No control node is asked.

Examples:
  penstock snapshot inspect mesh.backup
  penstock snapshot inspect mesh.backup -o json | jq -r .sha256")]
pub struct InspectArgs {
    /// The backup
    pub file: PathBuf,

    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: BackupForm,
}

/// Which node's data directory.
#[derive(Debug, clap::Args)]
pub struct DirectoryArgs {
    /// Settings file of the node, YAML
    #[arg(long, value_name = "FILE", env = "PENSTOCK_SETTINGS", hide_env_values = true)]
    settings: Option<PathBuf>,

    /// Number of the node [default: 1]
    #[arg(long, value_name = "NUMBER")]
    node: Option<String>,

    /// Name of the cluster [default: penstock]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Every node of the cluster by its peer address; none for one node alone
    #[arg(long, value_name = "NODE=HOST:PORT,...")]
    peers: Vec<String>,

    /// Where log and snapshots lie [default: penstock-data]
    #[arg(long, value_name = "DIR")]
    data_directory: Option<String>,
}

impl DirectoryArgs {
    /// Everything that was said of the node.
    pub fn sources<K, V>(&self, environment: impl IntoIterator<Item = (K, V)>) -> Sources
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let sources = Sources::new().with_environment(environment);
        let sources = match &self.settings {
            Some(path) => sources.with_file_at(path),
            None => sources,
        };
        let peers = (!self.peers.is_empty()).then(|| self.peers.join(","));
        sources
            .with_flag("node", self.node.as_ref())
            .with_flag("cluster", self.cluster.as_ref())
            .with_flag("peers", peers)
            .with_flag("data_directory", self.data_directory.as_ref())
    }
}

/// Arguments of `snapshot restore`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Run it once for each node of the new cluster, with the same file and the same peers, before any of them is started. The \
directory must be empty. Proxies that hold newer revisions of the old cluster follow the new one without a restart, since it \
begins a later epoch; nodes of the old cluster are refused.

Examples:
  penstock snapshot restore mesh.backup --settings /etc/penstock/control.yaml
  penstock snapshot restore mesh.backup --node 2 --data-directory /var/lib/penstock \\
      --peers 1=10.0.0.1:4101,2=10.0.0.2:4101,3=10.0.0.3:4101")]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub directory: DirectoryArgs,
}

/// Arguments of `recover`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
For the case that a majority of the nodes is lost for good, with their disks. Makes the data directory of one node that is \
left the whole cluster. It keeps everything that this node holds; writes that were acknowledged by the lost nodes and had not \
reached this one are lost. Choose the node that was furthest (`penstock members` before the loss, or the entry that this \
command tells). The node must not run. On a terminal it asks twice; a script says --confirm='CLUSTER may lose writes'.

Examples:
  penstock recover --settings /etc/penstock/control.yaml
  penstock recover --node 2 --cluster production --data-directory /var/lib/penstock \\
      --confirm 'production may lose writes'")]
pub struct RecoverArgs {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub directory: DirectoryArgs,

    /// Do not ask: these words say it, with the name of the cluster
    #[arg(long, value_name = "'CLUSTER may lose writes'")]
    pub confirm: Option<String>,
}
