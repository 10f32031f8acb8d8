//! Wires one proxy together: starts the workers, the control thread and the admin server, and stops them in order.
//!
//! It holds no rule: what is followed, registered, reported and carried is decided in the rooms below. The control
//! thread is one current-thread runtime; it carries the xDS stream, the registration and the reports, and is never in
//! the path of a request.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh::{Authority, ProxyId, Timestamp};
use runtime::admin::{self, Condition, Readiness};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::discovery::{self, Addresses, Asked, Bounds, Feed, Subscriber};
use crate::identity;
use crate::metrics::Metrics;
use crate::pages;
use crate::records::{Recorder, Writers};
use crate::register::{self, Registrations};
use crate::report::carrier::{Lines, Reporter, Source};
use crate::report::collector::Collector;
use crate::report::families::Families;
use crate::report::ring::Ring;
use crate::resources::{self, Pressure};
use crate::settings::Settings;
use crate::snapshot::{DEMAND_QUEUE, Demand, Published};
use crate::worker::{self, DrainPlan, InboundSettings, Taken, WorkerSettings, Workers};

/// How long a drain waits for the workload to have left the mesh. Longer keeps a stopping host waiting for a control
/// plane that is gone; shorter lets callers pick an endpoint that ends, if an election runs.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// Stream events on their way to the feed. One suffices: the feed is on the same thread, and h2 holds what comes.
const EVENTS_MAX: usize = 4;
/// Lists of called authorities on their way to the feed.
const USED_MAX: usize = 4;

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener or thread of the data path could not be had.
    #[error("cannot start the workers: {0}")]
    Workers(#[source] io::Error),
    /// The admin server could not be had.
    #[error(transparent)]
    Admin(#[from] admin::StartError),
    /// The access log or the exporter of spans could not be had.
    #[error("cannot record requests: {0}")]
    Records(#[source] io::Error),
    /// The control thread could not be had.
    #[error("cannot start the control thread: {0}; the process is out of threads, memory or files")]
    Thread(#[source] io::Error),
    /// The workload would be registered where nobody can connect.
    #[error(
        "cannot tell at which address callers reach this proxy, as its inbound side listens on every one: \
         set advertise_address"
    )]
    NoAddress,
}

/// How a proxy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything was finished, or the deadline of the settings let go of it.
    Finished,
    /// A second signal let go of what still ran.
    CutShort,
}

/// A proxy that runs. Dropped, it ends without waiting for what runs; [`Running::drain`] ends it well.
#[derive(Debug)]
pub struct Running {
    /// Where the application sends its requests.
    pub outbound_address: SocketAddr,
    /// Where callers' proxies connect, if the application serves anything.
    pub inbound_address: Option<SocketAddr>,
    /// Where `/metrics`, `/live` and `/ready` are.
    pub admin_address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
    admin: admin::Running,
}

/// Binds every listener and starts every thread; returns once connections are taken.
///
/// # Errors
/// If an address cannot be bound or a thread cannot be started; then nothing is left behind.
pub fn start(settings: Settings) -> Result<Running, StartError> {
    resources::raise_file_limit();
    let metrics = Metrics::new();
    let readiness = Readiness::new();
    let listening = readiness.condition("listeners", "are not bound yet");
    let control = readiness.condition("control", "no control node has answered yet");
    let serving = readiness.condition("serving", "is starting");
    let families = Families::new(settings.workload.clone());
    metrics.registry.register(Box::new(families.clone())).expect("no other family has these names");
    let published = Published::new();
    let (admin, lines) = pages::server(&settings, metrics.registry.clone(), readiness, &published);
    let admin = admin.start(settings.admin_address)?;
    let (recorder, writers) = Writers::start(&settings, &metrics.records).map_err(StartError::Records)?;

    // The thread starts first and waits for its parts: were it to fail after the workers, those would be left behind.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let (hand_over, parts) = std::sync::mpsc::sync_channel::<Parts>(1);
    let (stopped_sender, stopped) = oneshot::channel();
    let body = move || {
        if let Ok(parts) = parts.recv() {
            carry(&runtime, parts);
        }
        // Dropped unsent, it says the same.
        let _ = stopped_sender.send(());
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(body).map_err(StartError::Thread)?;

    let pressure = Pressure::default();
    let (demand, demands) = mpsc::channel(DEMAND_QUEUE);
    let workers = worker::start(&worker_settings(&settings, &pressure, recorder), &published, &demand)
        .map_err(StartError::Workers)?;
    drop(demand);
    lines.workers.get_or_init(|| workers.asker());
    let (outbound_address, inbound_address) = (workers.outbound_address, workers.inbound_address);
    let proxy = ProxyId { name: settings.name.clone(), incarnation: incarnation() };
    let Ok(registrations) = registrations(&settings, &proxy, inbound_address) else {
        workers.drain(DrainPlan { accept_for: Duration::ZERO, finish_within: Duration::ZERO });
        return Err(StartError::NoAddress);
    };
    listening.met();
    serving.met();
    if settings.control.is_empty() {
        control.met();
    }
    let admin_address = admin.address();
    info!(proxy = %proxy.name, outbound = %outbound_address, inbound = ?inbound_address, admin = %admin_address, "proxy runs");
    let (stop, stops) = oneshot::channel();
    let parts = Parts {
        proxy,
        settings,
        metrics,
        families,
        published,
        pressure,
        demands,
        lines,
        workers,
        writers,
        registrations,
        control,
        serving,
        stop: stops,
    };
    hand_over.send(parts).expect("the control thread waits for its parts");
    Ok(Running { outbound_address, inbound_address, admin_address, stop, stopped, admin })
}

impl Running {
    /// Stops well: stops being ready, leaves the mesh, serves on until callers have moved on, finishes what runs,
    /// reports the last window. `cut_short` (a second signal) lets go at once.
    pub async fn drain(self, cut_short: impl Future<Output = ()>) -> Drained {
        let Self { stop, stopped, admin, .. } = self;
        // The thread is gone already if nobody listens; then `stopped` says so.
        let _ = stop.send(());
        let drained = tokio::select! {
            biased;
            _ = stopped => Drained::Finished,
            () = cut_short => Drained::CutShort,
        };
        admin.stop();
        drained
    }
}

/// All that the control thread needs.
struct Parts {
    proxy: ProxyId,
    settings: Settings,
    metrics: Metrics,
    families: Families,
    published: Arc<Published>,
    pressure: Pressure,
    demands: mpsc::Receiver<Demand>,
    lines: pages::Lines,
    workers: Workers,
    writers: Writers,
    registrations: Option<Registrations>,
    control: Condition,
    serving: Condition,
    stop: oneshot::Receiver<()>,
}

/// The body of the control thread.
fn carry(runtime: &Runtime, parts: Parts) {
    LocalSet::new().block_on(runtime, control(parts));
}

async fn control(parts: Parts) {
    let Parts { settings, metrics, .. } = parts;
    let (uplink_sender, uplink) = watch::channel(None);
    let pages::Lines { scrapes, questions, .. } = parts.lines;
    let asked = Asked { demands: parts.demands, questions, uplink: uplink.clone() };
    let used = follow(&settings, &metrics, parts.published, asked, uplink_sender, &parts.control);
    spawn_local(met_on_contact(uplink.clone(), parts.control));
    spawn_local(resources::watch(settings.memory_max, parts.pressure, metrics.resources.clone()));

    let leave = CancellationToken::new();
    let registration = parts.registrations.map(|registrations| {
        let carried = register::carry(registrations, uplink.clone(), leave.clone(), metrics.register, chance);
        spawn_local(carried)
    });

    let reporter = Reporter::new(
        Collector::new(settings.workload.clone()),
        Ring::new(parts.proxy),
        parts.families,
        metrics.workers,
        metrics.report,
        wall,
    );
    let (end_workers, drain) = oneshot::channel();
    let lines = Lines { uplink, scrapes, drain, used };
    let reporting = spawn_local(reporter.run(parts.workers, lines, chance));

    let well = parts.stop.await.is_ok();
    parts.serving.lacking("is draining");
    if well {
        depart(leave, registration).await;
        let plan = DrainPlan { accept_for: settings.leave_grace, finish_within: settings.drain };
        // Without a receiver the reporter has ended, and the workers with it.
        let _ = end_workers.send(plan);
    } else {
        drop(end_workers);
    }
    if let Err(error) = reporting.await {
        warn!(%error, "the reporter ended badly; the last window may be lost");
    }
    parts.writers.finished();
    info!("proxy ended");
}

/// Starts discovery; what it returns is told which authorities were called.
fn follow(
    settings: &Settings,
    metrics: &Metrics,
    published: Arc<Published>,
    asked: Asked,
    uplink: watch::Sender<Option<Channel>>,
    control: &Condition,
) -> mpsc::Sender<Vec<Authority>> {
    let (event_sender, events) = mpsc::channel(EVENTS_MAX);
    let (used_sender, used) = mpsc::channel(USED_MAX);
    let addresses = Addresses::new(settings.control.clone(), &settings.name);
    spawn_local(discovery::carry(addresses, event_sender, uplink, metrics.stream.clone(), chance));
    let subscriber = Subscriber::new(identity::node(settings), Bounds::default());
    let mut feed = Feed::new(subscriber, published, metrics.feed.clone());
    if let Some(directory) = settings.state_directory.clone()
        && feed.keep_in(directory)
    {
        info!("serving with the config kept on disk until a control node answers");
        control.met();
    }
    spawn_local(feed.run(asked, used, events));
    used_sender
}

/// Takes the workload out of the mesh, for a bounded time.
async fn depart(leave: CancellationToken, registration: Option<JoinHandle<()>>) {
    let Some(registration) = registration else { return };
    leave.cancel();
    match tokio::time::timeout(LEAVE_WITHIN, registration).await {
        Ok(Ok(())) => info!("left the mesh"),
        Ok(Err(error)) => warn!(%error, "the registration ended badly; its lease will lapse"),
        Err(_) => warn!(?LEAVE_WITHIN, "no control node took the leave; the lease will lapse"),
    }
}

/// Ready once a control node was reached. It stays so afterwards: the last good config serves on without one.
async fn met_on_contact(mut uplink: watch::Receiver<Option<Channel>>, control: Condition) {
    if uplink.wait_for(Option::is_some).await.is_ok() {
        control.met();
    }
}

fn worker_settings(settings: &Settings, pressure: &Pressure, recorder: Option<Recorder>) -> WorkerSettings {
    let inbound = settings.application.as_ref().map(|application| InboundSettings {
        listen: application.inbound_address,
        application: application.address,
        protocol: application.protocol,
        serves: application.serves.clone(),
    });
    WorkerSettings {
        workers: settings.workers,
        outbound: settings.outbound_address,
        inbound,
        upstreams: settings.upstreams.clone(),
        workload: settings.workload.clone(),
        intercept: settings.intercept,
        has_control: !settings.control.is_empty(),
        locality: settings.locality.clone(),
        seed: RandomState::new().hash_one(&settings.name),
        pressure: pressure.clone(),
        recorder,
    }
}

/// What to register, if anything is served and there is somewhere to register it.
fn registrations(
    settings: &Settings,
    proxy: &ProxyId,
    inbound: Option<SocketAddr>,
) -> Result<Option<Registrations>, StartError> {
    let (Some(application), Some(inbound)) = (&settings.application, inbound) else { return Ok(None) };
    if settings.control.is_empty() {
        return Ok(None);
    }
    let address =
        identity::advertised(application, inbound, &settings.control).ok_or(StartError::NoAddress)?;
    Ok(Some(Registrations {
        client: identity::client(proxy),
        application: application.address,
        requests: identity::registrations(settings, application, address),
    }))
}

impl Source for Workers {
    async fn take(&self) -> Taken {
        Self::take(self).await
    }

    fn drain(&self, plan: DrainPlan) {
        Self::drain(self, plan);
    }

    async fn finished(self) -> Taken {
        Self::finished(self).await
    }
}

/// The wall clock, in the one place that may read it.
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(0).plus(since)
}

/// Rises with every start: the wall clock, to the millisecond.
fn incarnation() -> u64 {
    wall().0
}

/// A number in `[0, 1)` for jitter; each `RandomState` has its own keys.
fn chance() -> f64 {
    #[allow(clippy::cast_precision_loss)] // 53 bits fit exactly
    let number = (RandomState::new().hash_one(0) >> 11) as f64;
    number / (1_u64 << 53) as f64
}
