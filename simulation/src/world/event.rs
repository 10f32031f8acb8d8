//! What can happen next.

use api::LeaseKey;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use bytes::Bytes;
use consensus::{Loss, NodeId};
use control::replica::peers::Life;
use mesh::{TrafficReport, Window};

use super::writes::{Key, Seen};
use crate::network::Host;

/// The node that a message of Raft or a question comes from, and what it says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) node: u64,
    /// Which of the starts on its machine its process is.
    pub(crate) start: u64,
    /// Identity of its data directory.
    pub(crate) disk: u64,
    /// The life of the cluster that its data is of.
    pub(crate) of_life: Life,
}

/// One thing that happens at one moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node's replica asked to be woken.
    Wake { node: u64, life: u64, number: u64 },
    /// Raft bytes arrive.
    Raft { from: Sender, to: u64, bytes: Bytes },
    /// A snapshot arrives, complete.
    RaftSnapshot { from: Sender, to: u64, bytes: Bytes, data: Bytes },
    /// A node's transport knows what became of a snapshot it sent.
    SnapshotSent { node: u64, life: u64, to: NodeId, attempt: u64, ok: bool },
    /// A node sees its connection to a peer end, or what became of dialling it anew.
    PeerLost { node: u64, life: u64, peer: u64, loss: Loss },
    /// What a node sent to open a connection arrives at the host of a peer.
    Dialled { node: u64, life: u64, peer: u64 },
    /// A node's disk has done what was queued.
    DiskDone { node: u64, life: u64 },
    /// A request arrives at a node; what comes from another node is signed.
    Request { from: Host, signed: Option<Sender>, to: u64, call: u64, body: Request },
    /// The answer arrives where it was asked.
    Reply { to: Host, call: u64, body: Reply },
    /// A client looks whether to ask something, or again; void if it has asked since.
    ClientWake { client: u64, call: u64 },
    /// A workload looks whether to register or renew; void if it has asked since.
    WorkloadWake { workload: u64, call: u64 },
    /// A proxy looks whether it has a stream.
    ProxyWake { proxy: u64, life: u64 },
    /// A proxy wants other services.
    ProxyWanders(u64),
    /// A proxy counts requests, and tells them.
    Traffic { proxy: u64, life: u64 },
    /// A node looks whether traffic is due to be proposed.
    PollPartials { node: u64, life: u64 },
    /// A node looks whether leases have lapsed.
    PollLeases { node: u64, life: u64 },
    /// A node looks whether it or another is back on another disk, and whether the log knows where it is reached.
    Tend { node: u64, life: u64 },
    /// A node looks whether the log may take newer commands.
    PollGate { node: u64, life: u64 },
    /// A node has waited long enough for what others say of their programs.
    GateTimeout { node: u64, life: u64, round: u64 },
    /// A node has waited long enough for the outcome of a partial.
    PartialTimeout { node: u64, life: u64, batch: u64 },
    /// A request of a proxy's stream arrives at a node.
    StreamRequest { proxy: u64, node: u64, stream: u64, request: Box<DeltaDiscoveryRequest> },
    /// An answer of a node arrives at a proxy.
    StreamResponse { proxy: u64, stream: u64, response: Box<DeltaDiscoveryResponse> },
    /// A proxy sees its stream end.
    StreamBroken { proxy: u64, stream: u64 },
    /// A node sees a proxy's stream end.
    SessionBroken { node: u64, proxy: u64, stream: u64 },
    /// A step of the plan is due.
    Act(usize),
    /// What a step of the plan did is over.
    Over(usize),
    /// A node that was told to stop looks whether it has handed over what it leads.
    Stops { node: u64, life: u64 },
    /// A leader that is to die soon after its election does.
    ReignEnds { node: u64, life: u64, dead: std::time::Duration },
    /// The connections of all proxies are reset, so many times more.
    Storm { times: u64 },
    /// Every proxy that has no connection dials.
    AllDial,
    /// A proxy in a crash loop dies, so many times more.
    ProxyDies { proxy: u64, times: u64 },
    /// A lying disk looks whether it may lose power now.
    PowerFails { node: u64, life: u64, dead: std::time::Duration, looks: u32 },
    /// A node that is dead is started again.
    Restart(u64),
    /// An operator takes a backup.
    TakeBackup,
    /// An operator restores every node.
    Restore,
    /// An operator asks for the whole membership again.
    Reinstate,
    /// Everything has healed for a while: it is looked at whether proxies let go of what has left.
    LookAtWithdrawals,
    /// Somebody looks what callers meet.
    Look,
    /// All faults end for good.
    Heal,
}

impl Event {
    /// Whether it is a message, a question or an answer: what is on its way when all nodes end never arrives. A proxy's stream is
    /// told its end otherwise.
    pub(super) fn is_on_the_way(&self) -> bool {
        matches!(
            self,
            Self::Raft { .. }
                | Self::RaftSnapshot { .. }
                | Self::PeerLost { .. }
                | Self::Request { .. }
                | Self::Reply { .. }
        )
    }

    /// The node whose process would have to do something; it does not while it stands still.
    pub(super) fn node(&self) -> Option<u64> {
        match self {
            Self::Wake { node, .. }
            | Self::SnapshotSent { node, .. }
            | Self::PeerLost { node, .. }
            | Self::DiskDone { node, .. }
            | Self::Stops { node, .. }
            | Self::PollPartials { node, .. }
            | Self::PollLeases { node, .. }
            | Self::PollGate { node, .. }
            | Self::Tend { node, .. }
            | Self::GateTimeout { node, .. }
            | Self::PartialTimeout { node, .. }
            | Self::StreamRequest { node, .. }
            | Self::SessionBroken { node, .. } => Some(*node),
            Self::Raft { to, .. } | Self::RaftSnapshot { to, .. } | Self::Request { to, .. } => Some(*to),
            Self::Reply { to: Host::Node(node), .. } => Some(*node),
            _ => None,
        }
    }
}

/// What is asked of a node.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// Apply this command.
    Propose(Box<api::log::v1::Command>),
    /// Say what stands there now.
    Read(Key),
    /// Say as of which entry your catalog is, if it is no older than this; else ask a quorum first.
    ReadWithin(std::time::Duration),
    /// Renew this lease.
    Renew(LeaseKey),
    /// Count these windows.
    Report(Box<TrafficReport>),
    /// Say which commands your program knows.
    Commands,
    /// Say whether you have begun; who asks is in doubt about its disk.
    Greet,
}

/// What a node answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// The command was applied.
    Outcome(Box<api::log::v1::Outcome>),
    /// This stands there.
    Value(Seen),
    /// This is the last entry in the catalog, which misses nothing that was acknowledged so long before it was asked.
    Aged { index: u64, stale: std::time::Duration },
    /// The lease is renewed, or (`false`) not known.
    Renewed(bool),
    /// Nothing was done; ask this one.
    NotLeader(Option<NodeId>),
    /// The windows of a proxy's life were counted, or are too old.
    Counted { life: u64, acknowledged: Vec<Window>, too_old: Vec<Window> },
    /// The program of this node knows commands up to this version.
    Knows { node: u64, commands: u32 },
    /// Whether this node holds more than a founding.
    Greeting { node: u64, begun: bool },
    /// Nobody knows: ask again.
    Unknown,
}
