//! How one proxy is started: flags over environment over file become a value that cannot be wrong.
//!
//! Ground floor: imports nothing of its crate. Every fault is told at once, by [`runtime::settings`]. Must never touch the
//! disk or the network: whether an address can be had is found out at start.

mod inbound_mode;
mod life;
mod seen;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mesh::{Authority, Endpoint, Locality, Protocol, WorkloadName};
use runtime::settings::{Complaints, Reader, Sources, parse};
use runtime::telemetry::{self, Filter, Format};

pub use inbound_mode::InboundMode;
pub use life::Life;
pub use seen::{AccessLogFormat, Seen};

/// Longest name of a proxy: a Kubernetes pod's (a DNS subdomain) fits.
const NAME_BYTES_MAX: usize = 253;
/// Control addresses in one list. A group has at most nine nodes; twice that leaves room for a move.
const CONTROL_MAX: usize = 18;
/// Smallest ceiling of memory: an idle proxy must fit below it, or it would shed for ever.
const MEMORY_MIN_MIB: u64 = 16;
/// Services that one application may serve; one call renews the leases of all of them.
const SERVES_MAX: usize = 100;
/// Listeners for single services. Each is a socket per worker; a workload that calls more services than this should be
/// intercepted.
const UPSTREAMS_MAX: usize = 100;

/// Settings of one proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Unique in the mesh, the same after a restart: a pod's name, a host's name with the workload's.
    pub name: String,
    /// What it stands beside.
    pub workload: WorkloadName,
    /// Control nodes, as `host:port`. Empty: no control plane, and no service is found.
    pub control: Vec<String>,
    /// What the application serves, if anything.
    pub application: Option<Application>,
    /// Where the application sends its requests.
    pub outbound_address: SocketAddr,
    /// Listeners for the application that stand for one service each: how one without interception reaches what does not
    /// say where it goes (a database's protocol, say).
    pub upstreams: Vec<(SocketAddr, Authority)>,
    /// Whether the host sends connections here that were going elsewhere (`penstock proxy init`).
    pub intercept: bool,
    /// How those for the application come.
    pub inbound_mode: InboundMode,
    /// Where `/metrics`, `/live` and `/ready` are served.
    pub admin_address: SocketAddr,
    /// Whether the admin port takes changes from other hosts too.
    pub admin_changes_from_anywhere: bool,
    /// Where it stands, for callers that prefer what is near.
    pub locality: Locality,
    /// Threads that carry traffic.
    pub workers: usize,
    /// Where the last good config is kept over a restart; `None`: only in memory.
    pub state_directory: Option<PathBuf>,
    /// Resident bytes past which requests are shed; `None`: never.
    pub memory_max: Option<u64>,
    /// How long new requests are still taken after the workload has left the mesh, so that callers have moved on.
    pub leave_grace: Duration,
    /// How long a stop may take before what still runs is let go.
    pub drain: Duration,
    /// How its life goes on and ends.
    pub life: Life,
    /// What is told of single requests.
    pub seen: Seen,
    /// What is logged.
    pub log: Filter,
    /// How a line of the log looks.
    pub log_format: Format,
}

/// The application beside the proxy, as callers reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// The services it serves, at least one.
    pub serves: Vec<Authority>,
    /// Where callers' proxies connect.
    pub inbound_address: SocketAddr,
    /// Most requests that each worker gives the application at a time; more are refused at once. `None`: no bound.
    pub requests_max: Option<u32>,
    /// The address that is registered, where it differs from `inbound_address`; its port 0 means the inbound one.
    pub advertise: Option<SocketAddr>,
    /// Share of requests relative to its siblings.
    pub weight: u32,
    /// How long the registration holds without renewal.
    pub lease: Duration,
}

impl Settings {
    /// A caller alone: every listener on a free port of the loopback, no control node. What tests and embedded use
    /// start from.
    #[must_use]
    pub fn alone(name: &str, workload: WorkloadName) -> Self {
        Self {
            name: name.to_owned(),
            workload,
            control: Vec::new(),
            application: None,
            outbound_address: loopback(0),
            upstreams: Vec::new(),
            intercept: false,
            inbound_mode: InboundMode::default(),
            admin_address: loopback(0),
            admin_changes_from_anywhere: false,
            locality: Locality::default(),
            workers: 1,
            state_directory: None,
            memory_max: None,
            leave_grace: Duration::from_millis(1000),
            drain: Duration::from_secs(30),
            life: Life::default(),
            seen: Seen::default(),
            log: Filter::default(),
            log_format: Format::default(),
        }
    }

    /// Where a new process of this proxy takes over, if it can.
    #[must_use]
    pub fn upgrade_path(&self) -> Option<PathBuf> {
        let below = || self.state_directory.as_ref().map(|directory| directory.join("upgrade.sock"));
        self.life.upgrade_socket.clone().or_else(below)
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// Every complaint at once: key, value, rule and reason.
    pub fn read(sources: Sources) -> Result<Self, Complaints> {
        let mut reader = Reader::new(sources);
        let name = reader.required("name", proxy_name);
        let workload = reader.required("workload", label_or_qualified);
        let namespace = reader.optional("namespace", label);
        let control = reader.list("control", control_address);
        reader.check(
            "control",
            control.len() <= CONTROL_MAX,
            &format!("names more than {CONTROL_MAX} nodes"),
        );
        let application = read_application(&mut reader);
        let outbound_address = reader.or("outbound_address", parse::socket_address, loopback(4140));
        let upstreams = reader.list("upstreams", upstream);
        reader.check(
            "upstreams",
            upstreams.len() <= UPSTREAMS_MAX,
            &format!("names more than {UPSTREAMS_MAX} services"),
        );
        let intercept = reader.or("intercept", parse::boolean, false);
        let at = application.as_ref().map(|application| application.address);
        let inbound_mode = inbound_mode::read(&mut reader, intercept, at);
        let admin_address = reader.or("admin_address", parse::socket_address, anywhere(4191));
        let places = [("loopback", false), ("anywhere", true)];
        let admin_changes_from_anywhere = reader.or("admin_changes", parse::one_of(&places), false);
        let region = reader.optional("region", parse::text).unwrap_or_default();
        let zone = reader.optional("zone", parse::text).unwrap_or_default();
        let workers = reader.or("workers", parse::whole(1..=256), 1);
        let state_directory = reader.optional("state_directory", parse::path);
        let memory_max = reader.optional("memory_max_mib", parse::whole(MEMORY_MIN_MIB..=1024 * 1024));
        let range = Duration::ZERO..=Duration::from_secs(60);
        let leave_grace = reader.or("leave_grace_ms", parse::milliseconds(range), Duration::from_secs(1));
        let range = Duration::ZERO..=Duration::from_secs(3600);
        let drain = reader.or("drain_seconds", parse::seconds(range), Duration::from_secs(30));
        reader.check(
            "leave_grace_ms",
            leave_grace <= drain,
            "must not be longer than drain_seconds, which bounds the whole stop",
        );
        let life = life::read(&mut reader);
        let seen = seen::read(&mut reader);
        let log = reader.or("log", telemetry::filter, Filter::default());
        let log_format = reader.or("log_format", telemetry::format, Format::default());
        check_apart(&mut reader, outbound_address, admin_address, &upstreams, application.as_ref());
        let workload = workload.and_then(|workload| qualified(&mut reader, &workload, namespace));
        reader.finish(|| {
            Some(Self {
                name: name?,
                workload: workload?,
                control,
                application,
                outbound_address,
                upstreams,
                intercept,
                inbound_mode,
                admin_address,
                admin_changes_from_anywhere,
                locality: Locality { region, zone },
                workers: usize::try_from(workers).unwrap_or(1),
                state_directory,
                memory_max: memory_max.map(|mib| mib * 1024 * 1024),
                leave_grace,
                drain,
                life,
                seen,
                log,
                log_format,
            })
        })
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// The application's part. `application` and `serves` come together, or the proxy stands beside a mere caller.
fn read_application(reader: &mut Reader) -> Option<Application> {
    let address = reader.optional("application", parse::socket_address);
    let serves = reader.list("serves", |raw| raw.parse::<Authority>().map_err(|error| error.to_string()));
    let protocols = [Protocol::Http1, Protocol::Http2, Protocol::Grpc, Protocol::Opaque];
    let words: Vec<_> = protocols.map(|protocol| (protocol.as_str(), protocol)).to_vec();
    let protocol = reader.or("protocol", parse::one_of(&words), Protocol::default());
    let inbound_address = reader.or("inbound_address", parse::socket_address, anywhere(4143));
    let requests_max = reader.optional("inbound_requests_max", parse::whole(1..=1_000_000));
    let requests_max = requests_max.and_then(|most| u32::try_from(most).ok());
    let advertise = reader.optional("advertise_address", advertised);
    let weight = reader.or(
        "weight",
        parse::whole(1..=u64::from(Endpoint::MAX_WEIGHT)),
        Endpoint::DEFAULT_WEIGHT.into(),
    );
    let range = Duration::from_secs(5)..=Duration::from_secs(3600);
    let lease = reader.or("lease_seconds", parse::seconds(range), Duration::from_secs(15));
    reader.check("serves", serves.len() <= SERVES_MAX, &format!("names more than {SERVES_MAX} services"));
    let spelled = reader.spelled("application");
    reader.check(
        "serves",
        serves.is_empty() || address.is_some(),
        &format!("is set but {spelled} is not: say where the application listens, such as 127.0.0.1:8080"),
    );
    let spelled = reader.spelled("serves");
    reader.check(
        "application",
        address.is_none() || !serves.is_empty(),
        &format!("is set but {spelled} is not: say which services it serves, such as web.default:80"),
    );
    let weight = u32::try_from(weight).unwrap_or(Endpoint::DEFAULT_WEIGHT);
    Some(Application {
        address: address?,
        protocol,
        serves,
        inbound_address,
        requests_max,
        advertise,
        weight,
        lease,
    })
}

fn check_apart(
    reader: &mut Reader,
    outbound: SocketAddr,
    admin: SocketAddr,
    upstreams: &[(SocketAddr, Authority)],
    application: Option<&Application>,
) {
    let clash = |a: SocketAddr, b: SocketAddr| {
        a.port() != 0
            && a.port() == b.port()
            && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    };
    let rule = |reader: &Reader, key: &str| {
        format!("must differ from {}: each listener needs its own port", reader.spelled(key))
    };
    let why = rule(reader, "outbound_address");
    reader.check("admin_address", !clash(admin, outbound), &why);
    for (at, (address, _)) in upstreams.iter().enumerate() {
        reader.check("upstreams", !clash(*address, outbound), &why);
        let twice = upstreams[..at].iter().any(|(other, _)| clash(*other, *address));
        reader.check(
            "upstreams",
            !twice,
            &format!("names {address} twice: each listener needs its own port"),
        );
    }
    let Some(application) = application else { return };
    reader.check("inbound_address", !clash(application.inbound_address, outbound), &why);
    let why = rule(reader, "admin_address");
    reader.check("inbound_address", !clash(application.inbound_address, admin), &why);
    let why = rule(reader, "inbound_address");
    reader.check("application", !clash(application.address, application.inbound_address), &why);
}

/// The name goes into each node's memory and tables: keep it to plain letters.
fn proxy_name(raw: &str) -> parse::Parsed<String> {
    let fits = (1..=NAME_BYTES_MAX).contains(&raw.len())
        && raw.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let rule = || format!("must be 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'");
    if fits { Ok(raw.to_owned()) } else { Err(rule()) }
}

fn label_or_qualified(raw: &str) -> parse::Parsed<String> {
    raw.parse::<WorkloadName>().map(|_| raw.to_owned()).map_err(|error| error.to_string())
}

fn label(raw: &str) -> parse::Parsed<String> {
    WorkloadName::new("workload", raw).map(|_| raw.to_owned()).map_err(|error| error.to_string())
}

/// `workload` may name its namespace itself; then `namespace` must agree.
fn qualified(reader: &mut Reader, workload: &str, namespace: Option<String>) -> Option<WorkloadName> {
    let parsed: WorkloadName = workload.parse().ok()?;
    let Some(namespace) = namespace else { return Some(parsed) };
    if !workload.contains('.') {
        return WorkloadName::new(parsed.name(), &namespace).ok();
    }
    let rule =
        format!("must be {:?}, the namespace that {} names", parsed.namespace(), reader.spelled("workload"));
    reader.check("namespace", parsed.namespace() == namespace, &rule);
    Some(parsed)
}

/// `host:port` of a control node; kept as text, because a name is resolved at each dial.
fn control_address(raw: &str) -> parse::Parsed<String> {
    parse::host_and_port(raw).map(|_| raw.to_owned())
}

/// `5432=db.shop:5432`, or with an address before the port.
fn upstream(raw: &str) -> parse::Parsed<(SocketAddr, Authority)> {
    let rule = || "must be [ADDRESS:]PORT=SERVICE:PORT, such as 5432=db.shop:5432".to_owned();
    let (listen, service) = raw.split_once('=').ok_or_else(rule)?;
    let listen = match listen.parse::<u16>() {
        Ok(port) => loopback(port),
        Err(_) => listen.parse().map_err(|_| rule())?,
    };
    Ok((listen, service.parse::<Authority>().map_err(|error| error.to_string())?))
}

/// `10.0.0.7` or `10.0.0.7:4143`.
fn advertised(raw: &str) -> parse::Parsed<SocketAddr> {
    let parsed =
        raw.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)).or_else(|_| raw.parse::<SocketAddr>());
    let address = parsed.map_err(|_| "must be a numeric address, with or without a port".to_owned())?;
    if address.ip().is_unspecified() {
        return Err("must be an address that callers can connect to, not the unspecified one".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn read(text: &str) -> Result<Settings, Complaints> {
        Settings::read(Sources::new().with_file("proxy.yaml", text))
    }

    fn complaints(text: &str) -> Vec<String> {
        read(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_and_a_workload_are_enough_for_a_caller() {
        let settings = read("name: web-1\nworkload: web\n").unwrap();
        assert_eq!(settings.workload.to_string(), "web.default");
        assert_eq!((settings.outbound_address.port(), settings.admin_address.port()), (4140, 4191));
        assert_eq!(settings.application, None);
    }

    #[test]
    fn a_workload_that_serves_is_read_with_its_services() {
        let text = "name: web-1\nworkload: web\nnamespace: shop\ncontrol: [c1:4100, c2:4100]\n\
                    application: 127.0.0.1:8080\nserves: [web.shop:80, web-admin.shop:81]\nprotocol: grpc\n\
                    advertise_address: 10.0.0.7\n";
        let settings = read(text).unwrap();
        let application = settings.application.unwrap();
        assert_eq!(settings.workload.to_string(), "web.shop");
        assert_eq!(application.serves[1].to_string(), "web-admin.shop.svc.cluster.local:81");
        assert_eq!((application.protocol, application.inbound_address.port()), (Protocol::Grpc, 4143));
        assert_eq!(application.advertise.unwrap().to_string(), "10.0.0.7:0");
    }

    #[test]
    fn a_file_with_five_faults_shows_five_complaints_with_their_lines() {
        let text = "name: \"web 1\"\nworkload: Web_1\ncontrol: [c1]\napplication: localhost:80\nworkers: 0\n";
        let said = complaints(text);
        assert_eq!(said.len(), 5, "{said:#?}");
        for (line, complaint) in (1..).zip(&said) {
            assert!(complaint.starts_with(&format!("proxy.yaml:{line}: ")), "{said:#?}");
        }
    }

    #[test]
    fn services_without_an_application_and_the_other_way_round_are_refused() {
        let said = complaints("name: a\nworkload: a\nserves: [web]\n");
        assert!(said[0].contains("say where the application listens"), "{said:#?}");
        let said = complaints("name: a\nworkload: a\napplication: 127.0.0.1:80\n");
        assert!(said[0].contains("say which services it serves"), "{said:#?}");
    }

    #[test]
    fn a_listener_for_a_service_is_read_with_and_without_its_address() {
        let settings =
            read("name: a\nworkload: a\nupstreams: [5432=db.shop:5432, '[::1]:6379=cache']\n").unwrap();
        let shown: Vec<_> = settings.upstreams.iter().map(|(a, s)| format!("{a} {s}")).collect();
        let cache = "[::1]:6379 cache.default.svc.cluster.local:80";
        assert_eq!(shown, ["127.0.0.1:5432 db.shop.svc.cluster.local:5432", cache]);
        for (wrong, told) in [
            ("db:5432", "must be [ADDRESS:]PORT=SERVICE:PORT"),
            ("db=5432", "must be [ADDRESS:]PORT=SERVICE:PORT"),
            ("1=www.example.com:5432", "is not a name in this mesh"),
            ("4140=db:5432", "must differ from outbound_address"),
            ("1=db:5432, 1=web", "names 127.0.0.1:1 twice"),
        ] {
            let said = complaints(&format!("name: a\nworkload: a\nupstreams: [{wrong}]\n"));
            assert!(said[0].contains(told), "{said:#?}");
        }
    }

    #[test]
    fn two_listeners_on_one_port_are_refused() {
        let said = complaints("name: a\nworkload: a\nadmin_address: 127.0.0.1:4140\n");
        assert!(said[0].contains("must differ from outbound_address"), "{said:#?}");
        let base = "name: a\nworkload: a\nserves: [web]\n";
        let said = complaints(&format!("{base}application: 127.0.0.1:4143\n"));
        assert!(said[0].contains("must differ from inbound_address"), "{said:#?}");
    }

    #[test]
    fn a_namespace_that_contradicts_the_workload_is_refused() {
        let said = complaints("name: a\nworkload: web.shop\nnamespace: other\n");
        assert!(said[0].contains("must be \"shop\""), "{said:#?}");
    }
}
