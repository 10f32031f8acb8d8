//! The command line as a whole: every command, and what is said below its help.

use clap::{Parser, Subcommand};

use super::{
    ApplyArgs, CheckArgs, ControlArgs, DebugArgs, DeleteArgs, DemoArgs, EdgesArgs, EndpointsArgs, GetArgs,
    MembersArgs, ProxiesArgs, ProxyLine, RecoverArgs, ServicesArgs, SimulateArgs, SnapshotArgs, StatArgs,
};

const AFTER: &str = "\
Exit codes: 0 done or healthy; 1 the mesh said no (refused, not found, unhealthy); 2 wrong command line, settings \
or environment, nothing was tried; 3 no control node answered in time.";

const EXAMPLES: &str = "\
Examples:
  penstock demo                        a whole mesh on this machine, with an application and load
  penstock control                     one control node, a valid cluster by itself
  penstock stat --from web             who of those that web calls is to blame
  penstock apply -f shop/ --dry-run    check every file of a folder, change nothing";

/// A service mesh that you just install.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = AFTER, after_long_help = format!("{EXAMPLES}\n\n{AFTER}"))]
pub struct Args {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A proxy beside a workload: `penstock proxy` as a program of its own.
#[derive(Debug, Parser)]
#[command(name = "penstock-proxy", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct ProxyProgram {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub line: ProxyLine,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a control node
    Control(Box<ControlArgs>),
    /// Runs a proxy beside a workload
    Proxy(Box<ProxyLine>),
    /// Runs a whole mesh with an application and load on this machine
    Demo(DemoArgs),
    /// Shows success rate, request rate and latency per service or workload
    Stat(StatArgs),
    /// Shows the same per edge: caller, service, callee
    Edges(EdgesArgs),
    /// Shows services, their ports, and how many endpoints are ready
    Services(ServicesArgs),
    /// Shows the endpoints of services
    Endpoints(EndpointsArgs),
    /// Shows the control nodes, adds, promotes and removes them
    Members(MembersArgs),
    /// Shows the connected proxies, and which revision each holds
    Proxies(ProxiesArgs),
    /// Writes services and routes from YAML, all or none
    Apply(ApplyArgs),
    /// Shows services and routes as they were applied
    Get(GetArgs),
    /// Takes services and routes away
    Delete(DeleteArgs),
    /// Checks that the mesh is healthy, with a hint for each fault
    Check(CheckArgs),
    /// Saves the state of the cluster in a file, checks one, and makes a new cluster of it
    Snapshot(SnapshotArgs),
    /// Makes one node's data the whole cluster, after a majority was lost for good
    Recover(RecoverArgs),
    /// Looks into the files of a node that is down
    Debug(DebugArgs),
    /// Tests failover: runs a scenario of faults against a simulated mesh
    Simulate(SimulateArgs),
    /// Writes a completion script for a shell
    Completions(CompletionsArgs),
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  penstock completions bash > /etc/bash_completion.d/penstock
  penstock completions zsh > \"${fpath[1]}/_penstock\"")]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
