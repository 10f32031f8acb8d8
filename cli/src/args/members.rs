//! Arguments of `members`: the control nodes, and what is done with them.

use api::v1;
use clap::Subcommand;

use super::{ConnectionArgs, Form};

/// Arguments of `members`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(after_long_help = "\
Without a subcommand it lists. The list answers also when there is no leader: it is what one node sees, the first that \
answers. The other subcommands need a leader; each may be sent again, and what is so already is answered as done.

A new node first follows without a vote (a learner), and gets one when it has caught up. One change goes at a time. What \
would leave the cluster without a quorum is refused, unless it is forced.

Examples:
  penstock members                                     the control nodes, and who leads
  penstock members -o wide                             with votes, addresses and versions
  penstock control --node 4 --join                     on the new host: waits to be brought in
  penstock members add 4 10.0.0.4:4101 --promote       bring it in, with a vote as soon as it has caught up
  penstock members remove 3                            a dead node's seat goes
  penstock members transfer 2                          node 2 shall lead")]
pub struct MembersArgs {
    /// What to do; nothing lists
    #[command(subcommand)]
    pub action: Option<MembersAction>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub list: MembersListArgs,
}

/// What is done with the control nodes.
#[derive(Debug, Subcommand)]
pub enum MembersAction {
    /// Shows the control nodes: leader, term, commit, applied, lag
    List(MembersListArgs),
    /// Brings a node in, without a vote at first
    Add(MembersAddArgs),
    /// Gives a node that has caught up a vote
    Promote(MembersPromoteArgs),
    /// Takes a node out, for ever
    Remove(MembersRemoveArgs),
    /// Hands leadership over
    Transfer(MembersTransferArgs),
}

/// Arguments of `members list`.
#[derive(Debug, clap::Args)]
pub struct MembersListArgs {
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

/// How the outcome of a change is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ChangeForm {
    /// One sentence
    #[default]
    Text,
    /// JSON, for programs
    Json,
}

/// What every change takes.
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    /// How to write the outcome
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ChangeForm,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub connection: ConnectionArgs,
}

/// Arguments of `members add`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Start the node first, with an empty data directory: `penstock control --node 4 --join`. It waits until it is brought in.

Examples:
  penstock members add 4 10.0.0.4:4101             a learner; promote it later
  penstock members add 4 10.0.0.4:4101 --promote   with a vote as soon as it has caught up")]
pub struct MembersAddArgs {
    /// Number of the new node: one that no other node ever had
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub node: u64,

    /// Where the other nodes reach it
    #[arg(value_name = "HOST:PORT")]
    pub peer_address: String,

    /// Give it a vote as soon as it has caught up
    #[arg(long)]
    pub promote: bool,

    /// Also when nobody answers there yet
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub change: ChangeArgs,
}

/// Arguments of `members promote`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Refused while the node lacks more than a few entries; the refusal says how many.

Examples:
  penstock members promote 4                  a vote for node 4
  penstock members promote 4 --instead-of 3   in the place of node 3, in one step")]
pub struct MembersPromoteArgs {
    /// Which node
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub node: u64,

    /// A voter that leaves in the same step
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    pub instead_of: Option<u64>,

    /// Also when that may leave the cluster without a quorum
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub change: ChangeArgs,
}

/// Arguments of `members remove`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A leader hands over first. A removed node learns of it, says so, and takes no part any more; its number is never used again.

Examples:
  penstock members remove 3           its seat goes
  penstock members remove 3 --force   although the voters that are left may be no quorum")]
pub struct MembersRemoveArgs {
    /// Which node
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub node: u64,

    /// Also when that may leave the cluster without a quorum: then nothing can be written until enough of them are back
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub change: ChangeArgs,
}

/// Arguments of `members transfer`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  penstock members transfer     to the voter that is furthest: before work on the leader's host
  penstock members transfer 2   to node 2")]
pub struct MembersTransferArgs {
    /// To which node; without it, to the voter that is furthest
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub node: Option<u64>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub change: ChangeArgs,
}

impl MembersAddArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> v1::AddMemberRequest {
        let peer_address = self.peer_address.clone();
        v1::AddMemberRequest { node: self.node, peer_address, promote: self.promote, force: self.force }
    }
}

impl MembersPromoteArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> v1::PromoteMemberRequest {
        let instead_of = self.instead_of.unwrap_or_default();
        v1::PromoteMemberRequest { node: self.node, instead_of, force: self.force }
    }
}

impl MembersRemoveArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> v1::RemoveMemberRequest {
        v1::RemoveMemberRequest { node: self.node, force: self.force }
    }
}

impl MembersTransferArgs {
    /// What to ask.
    #[must_use]
    pub fn request(&self) -> v1::TransferLeadershipRequest {
        v1::TransferLeadershipRequest { node: self.node.unwrap_or_default() }
    }
}
