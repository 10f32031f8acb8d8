//! What can be typed. Each command's arguments are parsed into types that cannot be wrong, and then become the
//! request that `commands` sends; nothing here does anything.

mod command;
mod config;
mod debug;
mod demo;
mod health;
mod init;
mod members;
mod names;
mod program;
mod query;
mod simulate;
mod snapshot;
mod span;

pub use command::{Args, Command, CompletionsArgs, ProxyProgram};
pub use config::{ApplyArgs, ApplyForm, DeleteArgs, DocumentForm, GetArgs};
pub use debug::{DebugArgs, DebugCommand, DebugLogArgs, LogForm};
pub use demo::{DemoArgs, DemoForm};
pub use health::CheckArgs;
pub use init::{InitArgs, InitBackend, ProxyCommand};
pub use members::{
    ChangeArgs, ChangeForm, MembersAction, MembersAddArgs, MembersArgs, MembersListArgs, MembersPromoteArgs,
    MembersRemoveArgs, MembersTransferArgs,
};
pub use names::{DocumentKind, Name, Resource, ResourceKind};
pub use program::{ControlArgs, ProcessArgs, ProxyArgs, ProxyLine, UpgradeArgs};
pub use query::{
    AgeArgs, ConnectionArgs, EdgesArgs, EndpointsArgs, Form, ProxiesArgs, ServicesArgs, StatArgs,
};
pub use simulate::{SimulateArgs, SimulateForm};
pub use snapshot::{
    BackupForm, DirectoryArgs, InspectArgs, RecoverArgs, RestoreArgs, SaveArgs, SnapshotArgs, SnapshotCommand,
};
pub use span::{Span, StatWindow};
