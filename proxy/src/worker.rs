//! Starts the workers and speaks to them: each is one thread with a current-thread runtime, its own listeners, pools,
//! balancers and counters. Called by `proxy.rs` on the control thread. A worker shares nothing but the snapshot, so
//! this must never hand one worker's state to another.

mod listening;
mod running;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mesh::{Authority, Edge, EdgeTraffic, Locality, Protocol, WorkloadName};
use runtime::listen::{Share, bind};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::sync::{mpsc, oneshot};

use crate::records::Recorder;
use crate::resources::Pressure;
use crate::settings::InboundMode;
use crate::snapshot::{DemandSender, Published};
use crate::transparent;
use running::{Message, run};

pub use listening::{Inherited, Role};

pub use crate::http::signs::Limits;
pub use crate::http::state::OpenConnection;
pub use crate::metrics::pools::SetCounts;
pub use crate::report::counters::Counters;
pub use crate::report::edges::StatusCount;

/// Connections that the kernel keeps while a worker is busy; the kernel caps it at its own `somaxconn`.
const BACKLOG: i32 = 4096;

/// Messages that may wait for one worker; the control thread sends one at a time.
const MESSAGES_MAX: usize = 16;

/// How long a worker may take to answer a person's question.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// How the data path is started; `proxy.rs` makes it from the settings.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Number of threads, at least 1. Several share each address by `SO_REUSEPORT`.
    pub workers: usize,
    /// Where the application sends its requests. Port 0 lets the kernel choose.
    pub outbound: SocketAddr,
    /// What is forwarded to the application, if it serves anything.
    pub inbound: Option<InboundSettings>,
    /// Listeners for the application that stand for one service each.
    pub upstreams: Vec<(SocketAddr, Authority)>,
    /// What this proxy stands beside.
    pub workload: WorkloadName,
    /// Connections may come that the rules of the host sent here; otherwise all are taken as meant for us.
    pub intercept: bool,
    /// Whether a control plane is there to be asked.
    pub has_control: bool,
    /// Where it stands, for policies that prefer its zone.
    pub locality: Locality,
    /// Seeds the balancers' choices; each worker derives its own.
    pub seed: u64,
    /// Whether requests must be shed.
    pub pressure: Pressure,
    /// Records requests for the access log and for spans; `None` while neither is asked for.
    pub recorder: Option<Recorder>,
}

/// How requests for the application arrive.
#[derive(Debug, Clone)]
pub struct InboundSettings {
    /// Where callers' proxies connect. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where the application listens.
    pub application: SocketAddr,
    /// What the application speaks.
    pub protocol: Protocol,
    /// How connections are brought there, and whether the application sees its callers' addresses.
    pub mode: InboundMode,
    /// Most requests that a worker gives the application at a time; more are refused at once.
    pub requests_max: Option<u32>,
    /// The services that the application serves; requests that name none of them count under the first.
    pub serves: Vec<Authority>,
}

/// What becomes of idle connections in a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idle {
    /// They are closed soon: the host stops.
    #[default]
    CloseSoon,
    /// They stay until their callers use them once more or the drain is nearly over: another process serves on.
    KeepLong,
}

/// How a drain goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainPlan {
    /// How long new connections are still taken (and answered with `connection: close`): until callers know that this
    /// proxy leaves.
    pub accept_for: Duration,
    /// When, counted from the start of the drain, what still runs is cut off.
    pub finish_within: Duration,
    /// What becomes of idle connections after the last accept.
    pub idle: Idle,
}

/// What one call of [`Workers::take`] collects.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// What each edge carried since the last call, over all workers; an edge may appear once per worker.
    pub edges: Vec<(Edge, EdgeTraffic)>,
    /// The requests of each by status.
    pub statuses: Vec<(Edge, Vec<StatusCount>)>,
    /// As of now.
    pub counters: Counters,
    /// Each set of endpoints as of now, once per worker.
    pub sets: Vec<(Authority, SetCounts)>,
}

impl Taken {
    fn merge(&mut self, other: Self) {
        self.edges.extend(other.edges);
        self.statuses.extend(other.statuses);
        self.counters.merge(&other.counters);
        self.sets.extend(other.sets);
    }
}

#[derive(Debug)]
struct Handle {
    messages: mpsc::Sender<Message>,
    last: oneshot::Receiver<Taken>,
}

/// The running workers. Dropping it ends them without a drain; end them with [`Self::drain`] and [`Self::finished`].
#[derive(Debug)]
pub struct Workers {
    /// Where outbound listens.
    pub outbound_address: SocketAddr,
    /// Where inbound listens, if it does.
    pub inbound_address: Option<SocketAddr>,
    /// Where the listeners of single services are, in the order of the settings.
    pub upstream_addresses: Vec<SocketAddr>,
    handles: Vec<Handle>,
}

/// Asks running workers for what they have open. Unlike [`Workers`] it does not keep them alive.
#[derive(Debug, Clone, Default)]
pub struct Asker {
    workers: Vec<mpsc::WeakSender<Message>>,
}

impl Asker {
    /// How many connections are open, and of each worker the oldest up to `limit`. A worker that does not answer in time
    /// is left out.
    pub async fn connections(&self, limit: usize) -> (usize, Vec<OpenConnection>) {
        let (mut open, mut shown) = (0, Vec::new());
        for worker in self.workers.iter().filter_map(mpsc::WeakSender::upgrade) {
            let (answer, answered) = oneshot::channel();
            if worker.try_send(Message::Connections(limit, answer)).is_ok()
                && let Ok(Ok((count, some))) = tokio::time::timeout(ASK_WITHIN, answered).await
            {
                open += count;
                shown.extend(some);
            }
        }
        (open, shown)
    }

    /// How many requests run and how many connections are carried as bytes; what does not answer in time counts as none.
    pub async fn running(&self) -> u64 {
        let mut running = 0;
        for worker in self.workers.iter().filter_map(mpsc::WeakSender::upgrade) {
            let (answer, answered) = oneshot::channel();
            if worker.try_send(Message::Running(answer)).is_ok()
                && let Ok(Ok(count)) = tokio::time::timeout(ASK_WITHIN, answered).await
            {
                running += count;
            }
        }
        running
    }

    /// The listening sockets of all workers, as descriptors of their own; what drains has none.
    pub async fn listeners(&self) -> Vec<(Role, OwnedFd)> {
        let mut all = Vec::new();
        for worker in self.workers.iter().filter_map(mpsc::WeakSender::upgrade) {
            let (answer, answered) = oneshot::channel();
            if worker.send(Message::Listeners(answer)).await.is_ok()
                && let Ok(some) = answered.await
            {
                all.extend(some);
            }
        }
        all
    }
}

/// Where one worker accepts.
#[derive(Default)]
struct Listeners {
    outbound: Vec<std::net::TcpListener>,
    inbound: Vec<std::net::TcpListener>,
    upstreams: Vec<(Authority, std::net::TcpListener)>,
}

/// What one worker is started with.
struct Start {
    settings: WorkerSettings,
    limits: Limits,
    number: u64,
    listeners: Listeners,
    published: Arc<Published>,
    demand: DemandSender,
    messages: mpsc::Receiver<Message>,
    last: oneshot::Sender<Taken>,
}

/// Binds the listeners and starts the threads.
///
/// # Errors
/// If an address cannot be bound or a thread cannot be started; the message names the address.
pub fn start(
    settings: &WorkerSettings,
    published: &Arc<Published>,
    demand: &DemandSender,
) -> io::Result<Workers> {
    start_on(&mut Inherited::default(), settings, published, demand)
}

/// The same on the listeners of the process before this one, as far as there are any.
///
/// # Errors
/// As [`start`].
pub fn start_on(
    inherited: &mut Inherited,
    settings: &WorkerSettings,
    published: &Arc<Published>,
    demand: &DemandSender,
) -> io::Result<Workers> {
    let (workers, starts) = prepare(inherited, settings, Limits::default(), published, demand)?;
    for start in starts {
        std::thread::Builder::new().name(format!("worker-{}", start.number)).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
                .expect("the system gives a thread its event queue");
            tokio::task::LocalSet::new().block_on(&runtime, run(start));
        })?;
    }
    Ok(workers)
}

/// Starts a single worker as a task of the current `LocalSet` instead of a thread, with limits of the caller's choice: for
/// tests, which need short ones.
///
/// # Errors
/// As [`start`].
pub fn start_here(
    settings: &WorkerSettings,
    limits: Limits,
    published: &Arc<Published>,
    demand: &DemandSender,
) -> io::Result<Workers> {
    let settings = WorkerSettings { workers: 1, ..settings.clone() };
    let (workers, starts) = prepare(&mut Inherited::default(), &settings, limits, published, demand)?;
    for start in starts {
        tokio::task::spawn_local(run(start));
    }
    Ok(workers)
}

fn prepare(
    inherited: &mut Inherited,
    settings: &WorkerSettings,
    limits: Limits,
    published: &Arc<Published>,
    demand: &DemandSender,
) -> io::Result<(Workers, Vec<Start>)> {
    let count = settings.workers.max(1);
    let mut all: Vec<Listeners> = (0..count).map(|_| Listeners::default()).collect();
    let mut bound = (settings.outbound, None, Vec::new());
    let at = |shares: &[Vec<std::net::TcpListener>]| shares[0][0].local_addr();
    let shares = inherited.shared_out(&Role::Outbound, settings.outbound, count, || {
        listeners(settings.outbound, count, false)
    })?;
    bound.0 = at(&shares)?;
    for (of_worker, share) in all.iter_mut().zip(shares) {
        of_worker.outbound = share;
    }
    if let Some(inbound) = &settings.inbound {
        let shares = inherited
            .shared_out(&Role::Inbound, inbound.listen, count, || listeners(inbound.listen, count, false))?;
        bound.1 = Some(at(&shares)?);
        for (of_worker, share) in all.iter_mut().zip(shares) {
            of_worker.inbound = share;
        }
    }
    if settings.intercept {
        for (of_worker, share) in all.iter_mut().zip(twins(inherited, &Role::Outbound, Some(bound.0), count))
        {
            of_worker.outbound.extend(share);
        }
        for (of_worker, share) in all.iter_mut().zip(twins(inherited, &Role::Inbound, bound.1, count)) {
            of_worker.inbound.extend(share);
        }
    }
    if settings.inbound.as_ref().is_some_and(|inbound| inbound.mode == InboundMode::Tproxy) {
        for listener in all.iter().flat_map(|of_worker| &of_worker.inbound) {
            transparent::allow(&SockRef::from(listener), listener.local_addr()?.is_ipv4())?;
        }
    }
    for (address, authority) in &settings.upstreams {
        let role = Role::Upstream(authority.to_string());
        let shares = inherited.shared_out(&role, *address, count, || listeners(*address, count, false))?;
        bound.2.push(at(&shares)?);
        for (of_worker, share) in all.iter_mut().zip(shares) {
            of_worker.upstreams.extend(share.into_iter().map(|listener| (authority.clone(), listener)));
        }
    }
    let (mut handles, mut starts) = (Vec::new(), Vec::new());
    for (number, listeners) in (0_u64..).zip(all) {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let (last, received) = oneshot::channel();
        handles.push(Handle { messages: sender, last: received });
        starts.push(Start {
            settings: settings.clone(),
            limits,
            number,
            listeners,
            published: Arc::clone(published),
            demand: demand.clone(),
            messages,
            last,
        });
    }
    let (outbound_address, inbound_address, upstream_addresses) = bound;
    Ok((Workers { outbound_address, inbound_address, upstream_addresses, handles }, starts))
}

/// Where what is redirected over IPv6 arrives: beside an IPv4 address that stands for this host, the same of IPv6. None on a
/// host without IPv6, which redirects nothing there.
fn twins(
    inherited: &mut Inherited,
    role: &Role,
    address: Option<SocketAddr>,
    count: usize,
) -> Vec<Vec<std::net::TcpListener>> {
    let Some(address) = address else { return Vec::new() };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST,
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv6Addr::UNSPECIFIED,
        _ => return Vec::new(),
    };
    let twin = SocketAddr::from((ip, address.port()));
    inherited.shared_out(role, twin, count, || listeners(twin, count, true)).unwrap_or_else(|error| {
        tracing::info!(%error, "nothing is intercepted over IPv6");
        Vec::new()
    })
}

/// `count` listeners of one address; the kernel spreads connections over them. A twin leaves IPv4 to its sibling.
fn listeners(address: SocketAddr, count: usize, is_twin: bool) -> io::Result<Vec<std::net::TcpListener>> {
    let share = if count > 1 { Share::BetweenWorkers } else { Share::Alone };
    let first = listener(address, share, is_twin)?;
    let bound = first.local_addr()?;
    let mut all = vec![first];
    for _ in 1..count {
        all.push(listener(bound, share, is_twin)?);
    }
    Ok(all)
}

fn listener(address: SocketAddr, share: Share, is_twin: bool) -> io::Result<std::net::TcpListener> {
    if !is_twin {
        return bind(address, share).map_err(io::Error::other);
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restarted proxy must be able to listen while its old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share == Share::BetweenWorkers)?;
    socket.set_only_v6(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Workers {
    /// A way to ask for what is open.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker { workers: self.handles.iter().map(|handle| handle.messages.downgrade()).collect() }
    }

    /// What was counted since the last call. Called at the end of each window and for each scrape, by one task.
    pub async fn take(&self) -> Taken {
        let mut taken = Taken::default();
        for handle in &self.handles {
            let (answer, answered) = oneshot::channel();
            if handle.messages.send(Message::Take(answer)).await.is_ok()
                && let Ok(part) = answered.await
            {
                taken.merge(part);
            }
        }
        taken
    }

    /// Begins the drain; a second call changes nothing.
    pub fn drain(&self, plan: DrainPlan) {
        for handle in &self.handles {
            // Fails only when the worker has ended, or 16 takes wait, which one task alone cannot cause.
            let _ = handle.messages.try_send(Message::Drain(plan));
        }
    }

    /// Waits until every worker has ended, which they do only after [`Self::drain`]; what they counted last is returned.
    pub async fn finished(self) -> Taken {
        let mut taken = Taken::default();
        for handle in self.handles {
            let Handle { messages: _open, last } = handle;
            if let Ok(part) = last.await {
                taken.merge(part);
            }
        }
        taken
    }
}
