//! How one control node is started: flags over environment over file become a value that cannot be wrong.
//!
//! Ground floor: imports nothing of its crate. Every fault is told at once, by [`runtime::settings`]. Must never touch the
//! disk or the network: whether a directory or an address can be had is found out at start.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use consensus::NodeId;
use runtime::settings::{Complaints, Reader, Sources, parse};
use runtime::telemetry::{self, Filter, Format};

/// Most voters. Each one more makes every write wait for more disks, and nine survive four losses already.
const NODES_MAX: usize = 9;
/// Shortest silence that may count as death: restarts and elections must not.
const DEAD_AFTER_MIN: Duration = Duration::from_secs(10);
/// A follower must miss this many heartbeats before it campaigns, or one late heartbeat unseats the leader.
const HEARTBEATS_PER_ELECTION: u32 = 4;

/// Settings of one control node.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Who this node is; never used again for another disk.
    pub node: NodeId,
    /// Name of the cluster. Nodes of another one are refused, and so is their data directory.
    pub cluster: String,
    /// Where log and snapshots lie.
    pub data_directory: PathBuf,
    /// Where each node of the cluster is reached by the others, this one included, as `host:port`. Only this one, with no
    /// address, when it is alone.
    pub peers: BTreeMap<NodeId, String>,
    /// Found nothing: wait with an empty log until a leader brings this node in. Without meaning once it has a log.
    pub join: bool,
    /// Whether an empty data directory is founded. Not where `node` or `cluster` is said, and neither `peers` nor `join`: such a
    /// node may have lost its disk, and would found a cluster beside its own.
    pub may_found: bool,
    /// The host under which others reach this node, where it cannot tell from `peers` or the addresses that it listens on.
    pub advertise_host: Option<String>,
    /// Where clients are served: discovery, registration, config, query, reports.
    pub client_address: SocketAddr,
    /// Where the other nodes are served.
    pub peer_address: SocketAddr,
    /// Where `/metrics`, `/live` and `/ready` are served.
    pub http_address: SocketAddr,
    /// Raft's timings.
    pub timings: Timings,
    /// What the leader does with members unasked.
    pub autopilot: Autopilot,
    /// What is bounded, and how.
    pub limits: Limits,
    /// How long a stop may take before what still runs is let go.
    pub drain: Duration,
    /// What is logged.
    pub log: Filter,
    /// How a line of the log looks.
    pub log_format: Format,
}

/// Raft's timings; all nodes of a cluster should have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// How long a follower waits for a silent leader, at least; at most twice as long.
    pub election_timeout: Duration,
    /// How long a write may look for a leader before it is given up.
    pub propose_timeout: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(40),
            election_timeout: Duration::from_millis(200),
            propose_timeout: Duration::from_secs(5),
        }
    }
}

/// What the leader does with members unasked; all nodes of a cluster should have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autopilot {
    /// Silence after which a node's seat goes, if enough others are there; `None`: never.
    pub dead_after: Option<Duration>,
    /// Voters that stay in any case.
    pub voters_min: usize,
}

impl Default for Autopilot {
    /// An hour outlasts reboots and repairs of a host; three voters bear one loss, fewer none.
    fn default() -> Self {
        Self { dead_after: Some(Duration::from_secs(3600)), voters_min: 3 }
    }
}

/// Bounds that an operator may want to move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Writes of this node's clients that may wait for their commit; more are refused with a time to try again.
    pub proposals_in_flight: usize,
    /// Threads that serve clients.
    pub client_threads: usize,
    /// Share of an authority's endpoints, in percent, that may expire within one window of the brake.
    pub expiry_brake_percent: u32,
    /// Length of the brake's window.
    pub expiry_brake_window: Duration,
    /// Free space below which new writes are refused, so that what was taken already still finds room.
    pub disk_reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proposals_in_flight: 8192,
            client_threads: 1,
            expiry_brake_percent: 50,
            expiry_brake_window: Duration::from_secs(60),
            disk_reserve_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// One node alone, every listener on a free port of the loopback: what embedded use and tests start from.
    #[must_use]
    pub fn alone(data_directory: PathBuf) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            node: NodeId(1),
            cluster: "penstock".to_owned(),
            data_directory,
            peers: BTreeMap::from([(NodeId(1), String::new())]),
            join: false,
            may_found: true,
            advertise_host: None,
            client_address: any_port,
            peer_address: any_port,
            http_address: any_port,
            timings: Timings::default(),
            autopilot: Autopilot::default(),
            limits: Limits::default(),
            drain: Duration::from_secs(10),
            log: Filter::default(),
            log_format: Format::default(),
        }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// Every complaint at once: key, value, rule and reason.
    pub fn read(sources: Sources) -> Result<Self, Complaints> {
        let mut reader = Reader::new(sources);
        let numbered = reader.optional("node", parse::whole(1..=u64::MAX));
        let node = numbered.unwrap_or(1);
        let named = reader.optional("cluster", cluster_name);
        let data_directory = reader.or("data_directory", parse::path, PathBuf::from("penstock-data"));
        let join = reader.or("join", parse::boolean, false);
        let peers = read_peers(&mut reader, NodeId(node));
        check_join(&mut reader, join, numbered.is_some(), &peers);
        let may_found = join || !is_unlisted(&peers) || (numbered.is_none() && named.is_none());
        let cluster = named.unwrap_or_else(|| "penstock".to_owned());
        let advertise_host = reader.optional("advertise_host", advertised_host);
        let client_address = reader.or("client_address", parse::socket_address, anywhere(4100));
        let peer_address = reader.or("peer_address", parse::socket_address, anywhere(4101));
        let http_address = reader.or("http_address", parse::socket_address, anywhere(4102));
        check_apart(&mut reader, [client_address, peer_address, http_address]);
        let timings = read_timings(&mut reader);
        let autopilot = read_autopilot(&mut reader);
        let limits = read_limits(&mut reader);
        let drain_range = Duration::ZERO..=Duration::from_secs(600);
        let drain = reader.or("drain_seconds", parse::seconds(drain_range), Duration::from_secs(10));
        let log = reader.or("log", telemetry::filter, Filter::default());
        let log_format = reader.or("log_format", telemetry::format, Format::default());
        reader.finish(|| {
            Some(Self {
                node: NodeId(node),
                cluster,
                data_directory,
                peers,
                join,
                may_found,
                advertise_host,
                client_address,
                peer_address,
                http_address,
                timings,
                autopilot,
                limits,
                drain,
                log,
                log_format,
            })
        })
    }
}

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// The name goes into metadata of each call between nodes and into the data directory: keep it to plain letters.
fn cluster_name(raw: &str) -> parse::Parsed<String> {
    let fits = (1..=63).contains(&raw.len())
        && raw.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits { Ok(raw.to_owned()) } else { Err("must be 1 to 63 letters, digits, '-', '_' or '.'".to_owned()) }
}

/// `1=control-1.example:4101`.
fn peer(raw: &str) -> parse::Parsed<(NodeId, String)> {
    let rule = || "must be a node's number and its peer address, such as 2=control-2.example:4101".to_owned();
    let (number, address) = raw.split_once('=').ok_or_else(rule)?;
    let number: u64 = number.trim().parse().ok().filter(|number| *number > 0).ok_or_else(rule)?;
    parse::host_and_port(address.trim())?;
    Ok((NodeId(number), address.trim().to_owned()))
}

/// A name or an address, without a port: those are the listeners'.
fn advertised_host(raw: &str) -> parse::Parsed<String> {
    let host = raw.trim();
    let bracketed =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let fits = parse::host_and_port(&format!("{bracketed}:1")).is_ok();
    if fits {
        Ok(bracketed)
    } else {
        Err("must be a host without a port, such as control-4.example".to_owned())
    }
}

/// Whether `peers` were not said.
fn is_unlisted(peers: &BTreeMap<NodeId, String>) -> bool {
    peers.values().all(String::is_empty)
}

fn check_join(reader: &mut Reader, join: bool, numbered: bool, peers: &BTreeMap<NodeId, String>) {
    let rule = "needs `node` too: a new node has a number that no other ever had";
    reader.check("join", !join || numbered, rule);
    reader.check(
        "join",
        !join || is_unlisted(peers),
        "does not go with `peers`: who joins learns the others from them",
    );
}

fn read_peers(reader: &mut Reader, node: NodeId) -> BTreeMap<NodeId, String> {
    let listed = reader.list("peers", peer);
    let mut peers = BTreeMap::new();
    for (id, address) in &listed {
        let twice = peers.insert(*id, address.clone()).is_some();
        reader.check("peers", !twice, &format!("names node {id} twice: each node has one address"));
    }
    let mut addresses: Vec<&String> = peers.values().collect();
    addresses.sort_unstable();
    addresses.dedup();
    let distinct = addresses.len() == peers.len();
    reader.check("peers", distinct, "gives two nodes the same address: each node needs its own");
    if peers.is_empty() {
        return BTreeMap::from([(node, String::new())]);
    }
    let spelled = reader.spelled("node");
    let own = peers.contains_key(&node);
    reader.check("peers", own, &format!("must name this node too ({spelled} is {node}), at its own address"));
    let count = peers.len();
    let odd = !count.is_multiple_of(2);
    reader.check(
        "peers",
        odd,
        &format!(
            "names {count} nodes: an even number survives no more losses than {}, and needs one more for its quorum; name 1, 3 or 5",
            count.saturating_sub(1)
        ),
    );
    reader.check("peers", count <= NODES_MAX, &format!("names {count} nodes: the most is {NODES_MAX}"));
    peers
}

fn check_apart(reader: &mut Reader, addresses: [SocketAddr; 3]) {
    let keys = ["client_address", "peer_address", "http_address"];
    for (index, key) in keys.iter().enumerate() {
        let clash = (0..index).find(|other| {
            let (a, b) = (addresses[*other], addresses[index]);
            a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || a.ip().is_unspecified())
        });
        if let Some(other) = clash {
            let rule =
                format!("must differ from {}: each listener needs its own port", reader.spelled(keys[other]));
            reader.check(key, false, &rule);
        }
    }
}

fn read_timings(reader: &mut Reader) -> Timings {
    let standard = Timings::default();
    let range =
        |from: u64, to: u64| parse::milliseconds(Duration::from_millis(from)..=Duration::from_millis(to));
    let heartbeat = reader.or("heartbeat_ms", range(5, 5_000), standard.heartbeat);
    let election_timeout = reader.or("election_timeout_ms", range(20, 60_000), standard.election_timeout);
    let propose_timeout = reader.or("propose_timeout_ms", range(100, 60_000), standard.propose_timeout);
    let rule = format!(
        "must be at least {HEARTBEATS_PER_ELECTION} x {} ({}), or a late heartbeat unseats the leader",
        reader.spelled("heartbeat_ms"),
        heartbeat.as_millis()
    );
    reader.check("election_timeout_ms", election_timeout >= heartbeat * HEARTBEATS_PER_ELECTION, &rule);
    Timings { heartbeat, election_timeout, propose_timeout }
}

fn read_autopilot(reader: &mut Reader) -> Autopilot {
    let standard = Autopilot::default();
    let range = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);
    let dead_after =
        reader.or("autopilot_dead_seconds", parse::seconds(range), standard.dead_after.unwrap_or_default());
    let off_or_long = dead_after.is_zero() || dead_after >= DEAD_AFTER_MIN;
    reader.check(
        "autopilot_dead_seconds",
        off_or_long,
        "must be 0 (never) or at least 10: a restart is no death",
    );
    let voters_min = reader.optional("autopilot_voters_min", parse::whole(1..=NODES_MAX as u64));
    Autopilot {
        dead_after: Some(dead_after).filter(|after| !after.is_zero()),
        voters_min: voters_min.and_then(|min| usize::try_from(min).ok()).unwrap_or(standard.voters_min),
    }
}

fn read_limits(reader: &mut Reader) -> Limits {
    let standard = Limits::default();
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let proposals = reader.optional("proposals_in_flight", parse::whole(16..=1_000_000));
    let threads = reader.optional("client_threads", parse::whole(1..=64));
    let percent = reader.optional("expiry_brake_percent", parse::whole(1..=100));
    let reserve = reader.optional("disk_reserve_mib", parse::whole(0..=1 << 20));
    let window = parse::seconds(Duration::from_secs(1)..=Duration::from_secs(3600));
    Limits {
        proposals_in_flight: proposals.map_or(standard.proposals_in_flight, count),
        client_threads: threads.map_or(standard.client_threads, count),
        expiry_brake_percent: percent
            .and_then(|percent| u32::try_from(percent).ok())
            .unwrap_or(standard.expiry_brake_percent),
        expiry_brake_window: reader.or("expiry_brake_window_seconds", window, standard.expiry_brake_window),
        disk_reserve_bytes: reserve.map_or(standard.disk_reserve_bytes, |mib| mib << 20),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        let complaints = Settings::read(Sources::new().with_file("control.yaml", text)).unwrap_err();
        complaints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_said_is_one_node_alone_on_the_usual_ports() {
        let settings = Settings::read(Sources::new()).unwrap();
        assert_eq!((settings.node, settings.peers.len()), (NodeId(1), 1));
        assert_eq!(settings.client_address.port(), 4100);
        assert_eq!(settings.http_address.port(), 4102);
    }

    #[test]
    fn three_peers_are_read_from_a_list_and_from_a_variable() {
        let file = "node: 2\npeers: [1=a:4101, 2=b:4101, 3=c:4101]\n";
        let settings = Settings::read(Sources::new().with_file("control.yaml", file)).unwrap();
        assert_eq!(settings.peers[&NodeId(3)], "c:4101");
        let variables = [("PENSTOCK_NODE", "2"), ("PENSTOCK_PEERS", "1=a:4101,2=b:4101,3=c:4101")];
        assert_eq!(Settings::read(Sources::new().with_environment(variables)).unwrap().peers, settings.peers);
    }

    #[test]
    fn a_file_with_five_faults_shows_five_complaints() {
        let said = complaints(
            "node: zero\nclient_address: localhost\npeers: [1=a:4101, 2=b:70000]\nheartbeat_ms: 100\nelection_timeout_ms: 200\nlog: loud\n",
        );
        assert!(said.len() >= 5, "{said:#?}");
        for (line, part) in [
            (1, "node=zero"),
            (2, "client_address=localhost"),
            (3, "peers=2=b:70000"),
            (5, "late heartbeat"),
            (6, "log=loud"),
        ] {
            let found = said
                .iter()
                .any(|one| one.starts_with(&format!("control.yaml:{line}:")) && one.contains(part));
            assert!(found, "line {line}: {said:#?}");
        }
    }

    #[test]
    fn a_peer_list_that_gives_no_quorum_is_refused_with_the_reason() {
        let said = complaints("peers: [1=a:4101, 2=b:4101]\n");
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(
            said[0].contains("names 2 nodes: an even number survives no more losses than 1"),
            "{said:#?}"
        );
    }

    #[test]
    fn a_node_that_is_not_among_its_peers_and_doubles_are_refused() {
        let said = complaints("node: 9\npeers: [1=a:4101, 2=a:4101, 3=c:4101]\n");
        assert!(said.iter().any(|one| one.contains("must name this node too (node is 9)")), "{said:#?}");
        assert!(said.iter().any(|one| one.contains("two nodes the same address")), "{said:#?}");
        let said = complaints("peers: [1=a:4101, 1=b:4101, 3=c:4101]\n");
        assert!(said.iter().any(|one| one.contains("names node 1 twice")), "{said:#?}");
    }

    #[test]
    fn the_autopilot_can_be_switched_off_but_not_be_made_hasty() {
        let read = |text| Settings::read(Sources::new().with_file("control.yaml", text)).unwrap().autopilot;
        assert_eq!(read("").dead_after, Some(Duration::from_secs(3600)));
        assert_eq!(
            read("autopilot_dead_seconds: 0\nautopilot_voters_min: 5\n"),
            Autopilot { dead_after: None, voters_min: 5 }
        );
        assert!(complaints("autopilot_dead_seconds: 3\n")[0].contains("a restart is no death"));
    }

    #[test]
    fn who_joins_needs_a_number_and_no_peers() {
        let said = complaints("join: true\npeers: [1=a:4101, 2=b:4101, 3=c:4101]\n");
        assert!(said.iter().any(|one| one.contains("needs `node` too")), "{said:#?}");
        assert!(said.iter().any(|one| one.contains("does not go with `peers`")), "{said:#?}");
        let file = "node: 4\njoin: true\nadvertise_host: 2001:db8::4\n";
        let settings = Settings::read(Sources::new().with_file("control.yaml", file)).unwrap();
        assert_eq!((settings.join, settings.advertise_host.as_deref()), (true, Some("[2001:db8::4]")));
    }

    /// A host of a cluster that had lost its disk, and whose settings had lost `peers`, became a second cluster of that name.
    #[test]
    fn who_names_a_node_or_a_cluster_founds_nothing_unless_it_says_with_whom() {
        let read = |text| Settings::read(Sources::new().with_file("control.yaml", text)).unwrap().may_found;
        assert!(read("") && read("cluster: lab\npeers: [1=a:4101]\n") && read("node: 4\njoin: true\n"));
        assert!(!read("node: 1\n") && !read("cluster: production\n"));
    }

    #[test]
    fn two_listeners_on_one_port_are_refused() {
        let said = complaints("http_address: 127.0.0.1:4100\n");
        assert!(said[0].contains("must differ from client_address"), "{said:#?}");
    }
}
