//! Arguments of `check`.

use std::path::PathBuf;

use super::query::Form;
use super::{ConnectionArgs, Span};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exit code 0 when nothing failed (warnings do not fail), 1 when something did, 3 when no control node answered.

Examples:
  penstock check                         is the mesh healthy?
  penstock check --wait 60s              wait until it is, at most a minute
  penstock check --pre --data /var/lib/penstock   before an installation: can this machine run a control node?")]
pub struct CheckArgs {
    /// Check this machine before an installation: ports, limits, the data directory
    #[arg(long)]
    pub pre: bool,

    /// The data directory that --pre tries
    #[arg(long, value_name = "DIR", requires = "pre")]
    pub data: Option<PathBuf>,

    /// Check again until nothing fails, at most this long
    #[arg(long, value_name = "SPAN", conflicts_with = "pre")]
    pub wait: Option<Span>,

    /// How to write the findings
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}
