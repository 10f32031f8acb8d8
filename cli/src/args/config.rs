//! Arguments of the commands that write config, or show it as it was written.

use std::path::PathBuf;

use clap::ValueEnum;

use super::names::namespace;
use super::{ConnectionArgs, DocumentKind, Name};

/// How documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DocumentForm {
    /// As `apply` takes them
    #[default]
    Yaml,
    /// JSON, for programs
    Json,
    /// One line each
    Table,
}

/// How the outcome of a write is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ApplyForm {
    /// One line for each document
    #[default]
    Text,
    /// JSON, for programs
    Json,
}

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Every document is checked first, and every complaint is shown as FILE:LINE:COLUMN: FIELD: MESSAGE. When one is wrong, \
nothing is written (exit code 1). Kinds: Service (v1), HTTPRoute and GRPCRoute (gateway.networking.k8s.io/v1, parents of \
kind Service),
TrafficPolicy (penstock.io/v1alpha1, on a Service or a route).

Examples:
  penstock apply -f shop.yaml              one file, one or more documents
  penstock apply -f services/ -f routes/   every .yaml and .yml of two folders, as one write
  penstock get all | penstock apply -f -   from standard input
  penstock apply -f shop.yaml --dry-run    check and tell, write nothing")]
pub struct ApplyArgs {
    /// File, folder (its .yaml and .yml files), or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,

    /// Check and tell, write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// How to write the outcome
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ApplyForm,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  penstock get services -o table          one line each
  penstock get httproute canary -n shop   one route, as YAML
  penstock get all > backup.yaml          everything, as apply takes it")]
pub struct GetArgs {
    /// service, httproute, grpcroute, trafficpolicy or all
    pub kind: DocumentKind,

    /// Only this one
    pub name: Option<Name>,

    /// Only this namespace; a name given without one is taken to be in it
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,

    /// How to write the documents
    #[arg(short, long, value_enum, default_value_t)]
    pub output: DocumentForm,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

impl GetArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> api::v1::GetRequest {
        let namespace = self.namespace.as_deref();
        api::v1::GetRequest {
            kind: self.kind.as_str().to_owned(),
            name: self.name.as_ref().map(|name| name.within(namespace)),
            namespace: namespace.unwrap_or_default().to_owned(),
        }
    }
}

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  penstock delete httproute canary          one route
  penstock delete svc web -n shop           one service
  penstock delete -f shop.yaml              what the file's documents name, last first")]
pub struct DeleteArgs {
    /// service, httproute, grpcroute or trafficpolicy
    #[arg(required_unless_present = "files", conflicts_with = "files", requires = "name")]
    pub kind: Option<DocumentKind>,

    /// Which one
    pub name: Option<Name>,

    /// File, folder, or - for standard input: takes away what its documents name; may be repeated
    #[arg(short, long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,

    /// The name's namespace, where the name states none
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,

    /// What is not there is no failure
    #[arg(long)]
    pub ignore_not_found: bool,

    /// How to write the outcome
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ApplyForm,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}
