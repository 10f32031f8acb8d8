//! Wires one proxy together: starts the workers, the control thread and the admin server, and stops them in order.
//!
//! It holds no rule: what is followed, registered, reported and carried is decided in the rooms below; `control.rs` is the
//! control thread.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;

use mesh::ProxyId;
use runtime::admin::{self, Condition, Readiness};
use runtime::listen::{Share, bind};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::application::Process;
use crate::control::{self, End, Parts, Stop, incarnation};
use crate::handover::{self, Predecessor};
use crate::identity;
use crate::metrics::Metrics;
use crate::pages;
use crate::process_families::ProcessFamilies;
use crate::records::{Recorder, Writers};
use crate::register::Registrations;
use crate::report::families::Families;
use crate::resources::{self, Pressure};
use crate::settings::Settings;
use crate::snapshot::{DEMAND_QUEUE, Published};
use crate::worker::{self, DrainPlan, InboundSettings, Inherited, Role, WorkerSettings};

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener or thread of the data path could not be had.
    #[error("cannot start the workers: {0}")]
    Workers(#[source] io::Error),
    /// The admin server could not be had.
    #[error(transparent)]
    Admin(#[from] admin::StartError),
    /// No other process could be taken over from.
    #[error("cannot take over from the running proxy: {0}")]
    TakeOver(#[source] io::Error),
    /// The application's process cannot be followed, or no new process could take over later.
    #[error("{0}")]
    Life(#[source] io::Error),
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
    ending: Endings,
    admin: admin::Running,
}

/// How it is ended, and how it tells that it has.
#[derive(Debug)]
struct Endings {
    stop: oneshot::Sender<Stop>,
    stopped: oneshot::Receiver<()>,
    end: oneshot::Receiver<End>,
    taken_over: bool,
}

/// Binds every listener and starts every thread; returns once connections are taken.
///
/// # Errors
/// If an address cannot be bound or a thread cannot be started; then nothing is left behind.
pub fn start(settings: Settings) -> Result<Running, StartError> {
    begin(settings, None)
}

/// Starts on the listeners of the process of this proxy that runs, which then ends; no connection is lost between them.
///
/// # Errors
/// If there is none that offers itself, or as [`start`]; then that one goes on as it was.
pub fn take_over(settings: Settings) -> Result<Running, StartError> {
    let taken = handover::take_over(&settings).map_err(StartError::TakeOver)?;
    begin(settings, Some(taken))
}

fn begin(settings: Settings, taken: Option<(Inherited, Predecessor)>) -> Result<Running, StartError> {
    resources::raise_file_limit();
    let metrics = Metrics::new();
    let readiness = Readiness::new();
    let conditions = Conditions::of(&readiness);
    let families = Families::new(settings.workload.clone());
    metrics.registry.register(Box::new(families.clone())).expect("no other family has these names");
    metrics
        .registry
        .register(Box::new(ProcessFamilies::new()))
        .expect("no other family has these names either");
    let published = Published::new();
    let (admin, lines) = pages::server(&settings, metrics.registry.clone(), readiness, &published);
    let (inherited, predecessor) = taken.unzip();
    let mut inherited = inherited.unwrap_or_default();
    let admin_socket = admin_socket(&mut inherited, &settings)?;
    let process = settings.life.follow_pid.map(Process::of).transpose().map_err(StartError::Life)?;
    let (recorder, writers) = Writers::start(&settings, &metrics.records).map_err(StartError::Records)?;

    // The thread starts first and waits for its parts: were it to fail after the workers, those would be left behind.
    let (hand_over, stopped) = control::start().map_err(StartError::Thread)?;
    let pressure = Pressure::default();
    let (demand, demands) = mpsc::channel(DEMAND_QUEUE);
    let worker_settings = worker_settings(&settings, &pressure, recorder);
    let workers = worker::start_on(&mut inherited, &worker_settings, &published, &demand)
        .map_err(StartError::Workers)?;
    drop(demand);
    lines.workers.get_or_init(|| workers.asker());
    let (outbound_address, inbound_address) = (workers.outbound_address, workers.inbound_address);
    let proxy = ProxyId { name: settings.name.clone(), incarnation: incarnation() };
    let Ok(registrations) = registrations(&settings, &proxy, inbound_address) else {
        workers.drain(DrainPlan::default());
        return Err(StartError::NoAddress);
    };
    conditions.started(settings.control.is_empty());
    let (stop, stops) = oneshot::channel();
    let (ends, end) = oneshot::channel();
    let Conditions { control, serving, .. } = conditions;
    let (name, drain, counted) = (settings.name.clone(), settings.drain, families.clone());
    let shared_admin_socket = admin_socket.try_clone().map_err(StartError::Life)?;
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
        process,
        admin_socket: shared_admin_socket,
        stop: stops,
        ends,
    };
    hand_over.send(parts).expect("the control thread waits for its parts");
    if let Some(predecessor) = predecessor {
        predecessor.relieve(&counted, drain).map_err(StartError::TakeOver)?;
    }
    // Last of all: counts must not be seen before those of the process before this one are in them.
    let admin = admin.start_on(admin_socket)?;
    let admin_address = admin.address();
    info!(proxy = %name, outbound = %outbound_address, inbound = ?inbound_address, admin = %admin_address, "proxy runs");
    let ending = Endings { stop, stopped, end, taken_over: false };
    Ok(Running { outbound_address, inbound_address, admin_address, ending, admin })
}

/// The admin port's, taken over or fresh.
fn admin_socket(
    inherited: &mut Inherited,
    settings: &Settings,
) -> Result<std::net::TcpListener, admin::StartError> {
    match inherited.take(&Role::Admin, settings.admin_address).pop() {
        Some(socket) => Ok(socket),
        None => Ok(bind(settings.admin_address, Share::Alone)?),
    }
}

/// What must hold before the proxy is ready.
struct Conditions {
    listening: Condition,
    control: Condition,
    serving: Condition,
}

impl Conditions {
    fn of(readiness: &Readiness) -> Self {
        Self {
            listening: readiness.condition("listeners", "are not bound yet"),
            control: readiness.condition("control", "no control node has answered yet"),
            serving: readiness.condition("serving", "is starting"),
        }
    }

    fn started(&self, is_alone: bool) {
        self.listening.met();
        self.serving.met();
        if is_alone {
            self.control.met();
        }
    }
}

impl Running {
    /// Waits until the proxy wants to end by itself; for ever, if it never does. To be followed by [`Self::drain`].
    pub async fn ends(&mut self) -> End {
        match (&mut self.ending.end).await {
            Ok(end) => {
                self.ending.taken_over = end == End::TakenOver;
                end
            }
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops well: stops being ready, leaves the mesh, serves on until callers have moved on, finishes what runs,
    /// reports the last window. `cut_short` (a second signal) lets go at once.
    pub async fn drain(self, cut_short: impl Future<Output = ()>) -> Drained {
        self.stop(Stop::Now, cut_short).await
    }

    /// The same, but serves on until the application is gone or the drain's time is over, where the settings want that.
    pub async fn drain_after_application(self, cut_short: impl Future<Output = ()>) -> Drained {
        self.stop(Stop::AfterApplication, cut_short).await
    }

    async fn stop(self, how: Stop, cut_short: impl Future<Output = ()>) -> Drained {
        let Self { ending: Endings { stop, stopped, taken_over, .. }, admin, .. } = self;
        // Where a new process answers on this port from now on, two would tell two different counts.
        let admin = (!taken_over).then_some(admin);
        // The thread is gone already if nobody listens; then `stopped` says so.
        let _ = stop.send(how);
        let drained = tokio::select! {
            biased;
            _ = stopped => Drained::Finished,
            () = cut_short => Drained::CutShort,
        };
        drop(admin);
        drained
    }
}

fn worker_settings(settings: &Settings, pressure: &Pressure, recorder: Option<Recorder>) -> WorkerSettings {
    let inbound = settings.application.as_ref().map(|application| InboundSettings {
        listen: application.inbound_address,
        application: application.address,
        protocol: application.protocol,
        mode: settings.inbound_mode,
        serves: application.serves.clone(),
        requests_max: application.requests_max,
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
