//! Arguments of `demo`.

use clap::ValueEnum;

use super::Span;

/// How the demo shows what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DemoForm {
    /// A live table
    #[default]
    Table,
    /// One JSON document at the end, for programs
    Json,
}

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Starts three control nodes, a shop of five services over HTTP/1.1 and gRPC with a proxy beside each instance, and a \
load generator. One service misbehaves: find out which, from a second terminal. Everything ends with Ctrl-C and leaves \
nothing behind.

Examples:
  penstock demo                               until Ctrl-C
  penstock demo --kill-leader                 what happens when the leader is killed?
  penstock demo --for 20s -o json             a measured run, for a program")]
pub struct DemoArgs {
    /// Kill -9 the leading control node after a while, and show what that did to writes and requests
    #[arg(long)]
    pub kill_leader: bool,

    /// End by itself after this long; without it, at Ctrl-C
    #[arg(long = "for", value_name = "SPAN")]
    pub length: Option<Span>,

    /// Requests per second that enter the application
    #[arg(long, value_name = "RATE", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub rate: u32,

    /// How to show what happens; json needs --for
    #[arg(short, long, value_enum, default_value_t)]
    pub output: DemoForm,

    /// Keep the data directory and logs, and say where they are
    #[arg(long)]
    pub keep: bool,
}
