//! Flags of `control` and `proxy`. Each is a setting that also has a key in the settings file and a variable
//! (`--data-directory`, `data_directory`, `PENSTOCK_DATA_DIRECTORY`). Values go on as text: the programs check all
//! sources together and complain of every fault at once.

use std::ffi::OsString;
use std::path::PathBuf;

use runtime::settings::Sources;

use super::ProxyCommand;

/// Below the help of both programs.
const SETTINGS: &str = "\
Each flag is also a key of the settings file (--lease-seconds is lease_seconds) and a variable \
(PENSTOCK_LEASE_SECONDS). Flags win over variables, variables over the file. Every wrong setting is told at once, \
with exit code 2.";

/// What both programs take.
#[derive(Debug, clap::Args)]
pub struct ProcessArgs {
    /// Settings file, YAML
    #[arg(long, value_name = "FILE", env = "PENSTOCK_SETTINGS", hide_env_values = true)]
    settings: Option<PathBuf>,

    /// Longest stop after SIGTERM; then what still runs is let go
    #[arg(long, value_name = "SECONDS")]
    drain_seconds: Option<String>,

    /// What is logged: a level, or levels by part, as in info,control=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,

    /// plain or json [default: plain]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// End with the process of this id, which must be the parent: for tests and the demo
    #[arg(long, value_name = "ID", hide = true)]
    pub end_with_parent: Option<u32>,
}

impl ProcessArgs {
    /// The file, `environment`, and the flags of both programs.
    fn sources<K, V>(&self, environment: impl IntoIterator<Item = (K, V)>) -> Sources
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let sources = Sources::new().with_environment(environment);
        let sources = match &self.settings {
            Some(path) => sources.with_file_at(path),
            None => sources,
        };
        sources
            .with_flag("drain_seconds", self.drain_seconds.as_ref())
            .with_flag("log", self.log.as_ref())
            .with_flag("log_format", self.log_format.as_ref())
    }
}

/// Every value of a flag that makes a list, as one.
fn joined(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

/// Arguments of `control`.
#[derive(Debug, clap::Args)]
#[command(after_help = SETTINGS, after_long_help = format!("\
{SETTINGS}

Examples:
  penstock control                                       one node, a valid cluster by itself
  penstock control --settings /etc/penstock/control.yaml
  penstock control --node 2 --data-directory /var/lib/penstock \\
      --peers 1=10.0.0.1:4101,2=10.0.0.2:4101,3=10.0.0.3:4101   one of three nodes
  penstock control --node 4 --join --data-directory /var/lib/penstock
                                                         a new one; `penstock members add` brings it in"))]
pub struct ControlArgs {
    /// Number of this node, from 1; never used again for another disk [default: 1]
    #[arg(long, value_name = "NUMBER")]
    node: Option<String>,

    /// Name of the cluster; nodes and data of another one are refused [default: penstock]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Found nothing: wait with an empty log until `penstock members add` brings this node in
    #[arg(long)]
    join: bool,

    /// Host under which others reach this node, where `peers` and the addresses below do not tell
    #[arg(long, value_name = "HOST")]
    advertise_host: Option<String>,

    /// Every node of the cluster, this one included, by its peer address; may be left out, with --node and --cluster, by one
    /// node alone
    #[arg(long, value_name = "NODE=HOST:PORT,...")]
    peers: Vec<String>,

    /// Where log and snapshots lie [default: penstock-data]
    #[arg(long, value_name = "DIR")]
    data_directory: Option<String>,

    /// Where clients are served: discovery, registration, config, query, reports [default: 0.0.0.0:4100]
    #[arg(long, value_name = "ADDRESS")]
    client_address: Option<String>,

    /// Where the other nodes are served [default: 0.0.0.0:4101]
    #[arg(long, value_name = "ADDRESS")]
    peer_address: Option<String>,

    /// Where /metrics, /live and /ready are served [default: 0.0.0.0:4102]
    #[arg(long, value_name = "ADDRESS")]
    http_address: Option<String>,

    /// How often a leader shows that it lives [default: 40]
    #[arg(long, value_name = "MILLISECONDS")]
    heartbeat_ms: Option<String>,

    /// How long a follower waits for a silent leader, at least [default: 200]
    #[arg(long, value_name = "MILLISECONDS")]
    election_timeout_ms: Option<String>,

    /// How long a write may look for a leader [default: 5000]
    #[arg(long, value_name = "MILLISECONDS")]
    propose_timeout_ms: Option<String>,

    /// Silence after which a dead node's seat goes, if enough others are there; 0 never [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    autopilot_dead_seconds: Option<String>,

    /// Voters that the autopilot leaves in any case [default: 3]
    #[arg(long, value_name = "COUNT")]
    autopilot_voters_min: Option<String>,

    /// Writes of clients that may wait for their commit [default: 8192]
    #[arg(long, value_name = "COUNT")]
    proposals_in_flight: Option<String>,

    /// Threads that serve clients [default: 1]
    #[arg(long, value_name = "COUNT")]
    client_threads: Option<String>,

    /// Share of a service's endpoints that may expire within one window of the brake [default: 50]
    #[arg(long, value_name = "PERCENT")]
    expiry_brake_percent: Option<String>,

    /// Length of the brake's window [default: 60]
    #[arg(long, value_name = "SECONDS")]
    expiry_brake_window_seconds: Option<String>,

    /// Free disk space below which writes are refused, so that what was taken finds room [default: 64]
    #[arg(long, value_name = "MIB")]
    disk_reserve_mib: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub process: ProcessArgs,
}

impl ControlArgs {
    /// Everything that was said of this node.
    pub fn sources<K, V>(&self, environment: impl IntoIterator<Item = (K, V)>) -> Sources
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        self.process
            .sources(environment)
            .with_flag("node", self.node.as_ref())
            .with_flag("cluster", self.cluster.as_ref())
            .with_flag("peers", joined(&self.peers))
            .with_flag("join", self.join.then_some(true))
            .with_flag("advertise_host", self.advertise_host.as_ref())
            .with_flag("data_directory", self.data_directory.as_ref())
            .with_flag("client_address", self.client_address.as_ref())
            .with_flag("peer_address", self.peer_address.as_ref())
            .with_flag("http_address", self.http_address.as_ref())
            .with_flag("heartbeat_ms", self.heartbeat_ms.as_ref())
            .with_flag("election_timeout_ms", self.election_timeout_ms.as_ref())
            .with_flag("propose_timeout_ms", self.propose_timeout_ms.as_ref())
            .with_flag("autopilot_dead_seconds", self.autopilot_dead_seconds.as_ref())
            .with_flag("autopilot_voters_min", self.autopilot_voters_min.as_ref())
            .with_flag("proposals_in_flight", self.proposals_in_flight.as_ref())
            .with_flag("client_threads", self.client_threads.as_ref())
            .with_flag("expiry_brake_percent", self.expiry_brake_percent.as_ref())
            .with_flag("expiry_brake_window_seconds", self.expiry_brake_window_seconds.as_ref())
            .with_flag("disk_reserve_mib", self.disk_reserve_mib.as_ref())
    }
}

/// The whole line of `proxy`: flags of one that is to start, or something else to do with proxies.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = SETTINGS, after_long_help = format!("\
{SETTINGS}

Examples:
  penstock proxy --name web-1 --workload web --control 10.0.0.1:4100,10.0.0.2:4100 \\
      --application 127.0.0.1:8080 --serves web.default:80      beside an instance of web
  penstock proxy --name batch-1 --workload batch                beside a workload that only calls
  penstock proxy init --dry-run                                 what would send this host's connections to it
  penstock proxy upgrade --name web-1 ...                       a new process in the place of the running one"))]
pub struct ProxyLine {
    #[command(subcommand)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub command: Option<ProxyCommand>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub flags: ProxyArgs,
}

/// Arguments of `proxy upgrade`.
#[derive(Debug, clap::Args)]
#[command(after_help = SETTINGS, after_long_help = format!("\
Takes the listening sockets of the running proxy over, which then finishes what it has and ends. Give the flags of that proxy: it is \
found by its state directory or its --upgrade-socket. If anything is wrong the running one goes on as it was.

{SETTINGS}

Examples:
  penstock proxy upgrade --settings /etc/penstock/proxy.yaml
  penstock proxy upgrade --name web-1 --workload web --state-directory /var/lib/penstock --control 10.0.0.1:4100"))]
pub struct UpgradeArgs {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub flags: ProxyArgs,
}

/// Flags of a proxy.
#[derive(Debug, clap::Args)]
pub struct ProxyArgs {
    /// Name of this proxy, unique in the mesh, the same after a restart
    #[arg(long)]
    name: Option<String>,

    /// What it stands beside: name or name.namespace
    #[arg(long)]
    workload: Option<String>,

    /// Namespace of the workload, where its name states none [default: default]
    #[arg(long)]
    namespace: Option<String>,

    /// Control nodes to follow
    #[arg(long, value_name = "HOST:PORT,...")]
    control: Vec<String>,

    /// Where the application listens
    #[arg(long, value_name = "ADDRESS")]
    application: Option<String>,

    /// The services that the application serves
    #[arg(long, value_name = "SERVICE:PORT,...")]
    serves: Vec<String>,

    /// What the application speaks: http, http2, grpc or tcp [default: http]
    #[arg(long)]
    protocol: Option<String>,

    /// Where the application sends its requests [default: 127.0.0.1:4140]
    #[arg(long, value_name = "ADDRESS")]
    outbound_address: Option<String>,

    /// Listeners that stand for one service each, of any protocol: 5432=db.shop:5432
    #[arg(long, value_name = "[ADDRESS:]PORT=SERVICE:PORT,...")]
    upstreams: Vec<String>,

    /// Take connections that the host's rules send here (penstock proxy init): true or false [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    intercept: Option<String>,

    /// How callers' connections come (penstock proxy init): redirect, or tproxy, by which the application sees its callers' addresses [default: redirect]
    #[arg(long, value_name = "MODE")]
    inbound_mode: Option<String>,

    /// Where callers' proxies connect [default: 0.0.0.0:4143]
    #[arg(long, value_name = "ADDRESS")]
    inbound_address: Option<String>,

    /// The address that is registered, where callers see another than the inbound one
    #[arg(long, value_name = "ADDRESS")]
    advertise_address: Option<String>,

    /// Where /metrics, /live, /ready, /config, /connections and /log-level are served [default: 0.0.0.0:4191]
    #[arg(long, value_name = "ADDRESS")]
    admin_address: Option<String>,

    /// From where the admin port takes changes, such as of the log level: loopback or anywhere [default: loopback]
    #[arg(long, value_name = "WHERE")]
    admin_changes: Option<String>,

    /// Share of requests relative to its siblings, 1 to 1000 [default: 100]
    #[arg(long)]
    weight: Option<String>,

    /// Where it stands
    #[arg(long)]
    region: Option<String>,

    /// Where it stands, within the region
    #[arg(long)]
    zone: Option<String>,

    /// Threads that carry traffic [default: 1]
    #[arg(long, value_name = "COUNT")]
    workers: Option<String>,

    /// How long the registration holds without renewal [default: 15]
    #[arg(long, value_name = "SECONDS")]
    lease_seconds: Option<String>,

    /// Where the last good config is kept over a restart; only in memory without it
    #[arg(long, value_name = "DIR")]
    state_directory: Option<String>,

    /// Resident memory past which requests are shed with 503; without it never
    #[arg(long, value_name = "MIB")]
    memory_max_mib: Option<String>,

    /// How long requests are still taken after the workload has left the mesh [default: 1000]
    #[arg(long, value_name = "MILLISECONDS")]
    leave_grace_ms: Option<String>,

    /// What a stop by SIGTERM waits for: application (it is gone, or --drain-seconds are over) or none [default: application]
    #[arg(long, value_name = "WHAT")]
    drain_follows: Option<String>,

    /// Process of the application: the proxy ends when it ends, and a stop waits for it instead of for its port
    #[arg(long, value_name = "ID")]
    follow_pid: Option<String>,

    /// Where `upgrade` finds this proxy [default: upgrade.sock in the state directory, if there is one]
    #[arg(long, value_name = "PATH")]
    upgrade_socket: Option<String>,

    /// off, or a line per request: common, combined (both Apache's) or json [default: off]
    #[arg(long, value_name = "FORMAT")]
    access_log: Option<String>,

    /// Where the access log is written; opened anew when it was moved away [default: standard output]
    #[arg(long, value_name = "FILE")]
    access_log_file: Option<String>,

    /// OpenTelemetry collector that spans are exported to, by OTLP over gRPC; none without it
    #[arg(long, value_name = "HOST:PORT")]
    trace_collector: Option<String>,

    /// Share of the traces that begin at this proxy which is sampled, 0 to 1; others keep their callers' choice [default: 0]
    #[arg(long, value_name = "RATIO")]
    trace_ratio: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show the comment as help
    pub process: ProcessArgs,
}

impl ProxyArgs {
    /// Everything that was said of this proxy.
    pub fn sources<K, V>(&self, environment: impl IntoIterator<Item = (K, V)>) -> Sources
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        self.process
            .sources(environment)
            .with_flag("name", self.name.as_ref())
            .with_flag("workload", self.workload.as_ref())
            .with_flag("namespace", self.namespace.as_ref())
            .with_flag("control", joined(&self.control))
            .with_flag("application", self.application.as_ref())
            .with_flag("serves", joined(&self.serves))
            .with_flag("protocol", self.protocol.as_ref())
            .with_flag("outbound_address", self.outbound_address.as_ref())
            .with_flag("intercept", self.intercept.as_ref())
            .with_flag("inbound_mode", self.inbound_mode.as_ref())
            .with_flag("upstreams", joined(&self.upstreams))
            .with_flag("inbound_address", self.inbound_address.as_ref())
            .with_flag("advertise_address", self.advertise_address.as_ref())
            .with_flag("admin_address", self.admin_address.as_ref())
            .with_flag("admin_changes", self.admin_changes.as_ref())
            .with_flag("weight", self.weight.as_ref())
            .with_flag("region", self.region.as_ref())
            .with_flag("zone", self.zone.as_ref())
            .with_flag("workers", self.workers.as_ref())
            .with_flag("lease_seconds", self.lease_seconds.as_ref())
            .with_flag("state_directory", self.state_directory.as_ref())
            .with_flag("memory_max_mib", self.memory_max_mib.as_ref())
            .with_flag("leave_grace_ms", self.leave_grace_ms.as_ref())
            .with_flag("drain_follows", self.drain_follows.as_ref())
            .with_flag("follow_pid", self.follow_pid.as_ref())
            .with_flag("upgrade_socket", self.upgrade_socket.as_ref())
            .with_flag("access_log", self.access_log.as_ref())
            .with_flag("access_log_file", self.access_log_file.as_ref())
            .with_flag("trace_collector", self.trace_collector.as_ref())
            .with_flag("trace_ratio", self.trace_ratio.as_ref())
    }
}
