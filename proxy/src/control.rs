//! The control thread of a proxy, from its parts to its end: one current-thread runtime that carries the xDS stream, the
//! registration and the reports, and is never in the path of a request. It holds no rule but the order in which things end.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesh::{Authority, ProxyId, Timestamp};
use runtime::admin::Condition;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::application::{self, Process};
use crate::discovery::{self, Addresses, Asked, Bounds, Feed, Subscriber};
use crate::handover::{Offer, Successor};
use crate::identity;
use crate::metrics::Metrics;
use crate::pages;
use crate::records::Writers;
use crate::register::{self, Registrations};
use crate::report::carrier::{Lines, Reporter, Source};
use crate::report::collector::Collector;
use crate::report::families::Families;
use crate::report::ring::Ring;
use crate::resources::{self, Pressure};
use crate::settings::Settings;
use crate::snapshot::{Demand, Published};
use crate::worker::{Asker, DrainPlan, Idle, Taken, Workers};

/// How long a drain waits for the workload to have left the mesh. Longer keeps a stopping host waiting for a control
/// plane that is gone; shorter lets callers pick an endpoint that ends, if an election runs.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// Stream events on their way to the feed. One suffices: the feed is on the same thread, and h2 holds what comes.
const EVENTS_MAX: usize = 4;
/// Lists of called authorities on their way to the feed.
const USED_MAX: usize = 4;

/// Why a proxy wants to end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A new process serves in its place.
    TakenOver,
    /// The process that it follows has ended.
    ApplicationGone,
}

/// How a proxy is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At once.
    Now,
    /// When the application is gone, or the drain's time is over.
    AfterApplication,
}

/// All that the control thread needs.
pub(crate) struct Parts {
    pub(crate) proxy: ProxyId,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) families: Families,
    pub(crate) published: Arc<Published>,
    pub(crate) pressure: Pressure,
    pub(crate) demands: mpsc::Receiver<Demand>,
    pub(crate) lines: pages::Lines,
    pub(crate) workers: Workers,
    pub(crate) writers: Writers,
    pub(crate) registrations: Option<Registrations>,
    pub(crate) control: Condition,
    pub(crate) serving: Condition,
    pub(crate) process: Option<Process>,
    pub(crate) admin_socket: std::net::TcpListener,
    pub(crate) stop: oneshot::Receiver<Stop>,
    pub(crate) ends: oneshot::Sender<End>,
}

/// Starts the control thread, which waits for its parts; the other end tells when it has ended.
pub(crate) fn start() -> io::Result<(std::sync::mpsc::SyncSender<Parts>, oneshot::Receiver<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (hand_over, parts) = std::sync::mpsc::sync_channel::<Parts>(1);
    let (stopped_sender, stopped) = oneshot::channel();
    let body = move || {
        if let Ok(parts) = parts.recv() {
            carry(&runtime, parts);
        }
        // Dropped unsent, it says the same.
        let _ = stopped_sender.send(());
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(body)?;
    Ok((hand_over, stopped))
}

/// The body of the control thread.
fn carry(runtime: &Runtime, parts: Parts) {
    LocalSet::new().block_on(runtime, control(parts));
}

async fn control(parts: Parts) {
    let Parts { settings, metrics, .. } = parts;
    let (uplink_sender, uplink) = watch::channel(None);
    let pages::Lines { scrape, scrapes, questions, .. } = parts.lines;
    let (workers, families) = (parts.workers.asker(), parts.families.clone());
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

    let offer = offer(&settings, parts.admin_socket, &workers);
    let ending = ending(offer, parts.process.as_ref(), parts.stop, parts.ends).await;
    parts.serving.lacking("is draining");
    let mut successor = None;
    match ending {
        Ending::Dropped => drop(end_workers),
        Ending::TakenOver(taken) => {
            if let Some(registration) = registration {
                registration.abort(); // the new process renews the lease
            }
            successor = told(taken, &scrape, &families).await;
            let plan =
                DrainPlan { accept_for: Duration::ZERO, finish_within: settings.drain, idle: Idle::KeepLong };
            let _ = end_workers.send(plan);
        }
        Ending::Asked(stop) => {
            let began = Instant::now();
            depart(leave, registration).await;
            if stop == Stop::AfterApplication {
                follow_application(&settings, parts.process.as_ref(), &workers).await;
            }
            let left = settings.drain.saturating_sub(began.elapsed()).max(settings.leave_grace);
            let plan =
                DrainPlan { accept_for: settings.leave_grace, finish_within: left, idle: Idle::CloseSoon };
            // Without a receiver the reporter has ended, and the workers with it.
            let _ = end_workers.send(plan);
        }
    }
    if let Err(error) = reporting.await {
        warn!(%error, "the reporter ended badly; the last window may be lost");
    }
    if let Some(successor) = successor {
        successor.tell(families.hand_over()).await;
    }
    parts.writers.finished();
    info!("proxy ended");
}

/// Why the control thread begins to end.
enum Ending {
    /// Nobody holds the proxy any more.
    Dropped,
    /// It was asked to.
    Asked(Stop),
    /// A new process serves.
    TakenOver(Successor),
}

/// Offers the listeners to a new process, if the settings say where.
fn offer(settings: &Settings, admin: std::net::TcpListener, workers: &Asker) -> Option<Offer> {
    let path = settings.upgrade_path()?;
    let offered = Offer::at(&path, &settings.name, admin, workers.clone());
    let told = |error: &io::Error| {
        warn!(path = %path.display(), %error, "no new process can take over: an upgrade needs a restart");
    };
    offered.inspect_err(told).ok()
}

/// Waits for whatever ends the proxy; `ends` tells what it does not learn by itself.
async fn ending(
    offer: Option<Offer>,
    process: Option<&Process>,
    mut stop: oneshot::Receiver<Stop>,
    ends: oneshot::Sender<End>,
) -> Ending {
    let taken = async {
        match offer {
            Some(offer) => offer.taken().await,
            None => std::future::pending().await,
        }
    };
    let gone = async {
        match process {
            Some(process) => process.gone().await,
            None => std::future::pending().await,
        }
    };
    let successor = tokio::select! {
        biased;
        stop = &mut stop => return stop.map_or(Ending::Dropped, Ending::Asked),
        successor = taken => Some(successor),
        () = gone => None,
    };
    let end = if successor.is_some() { End::TakenOver } else { End::ApplicationGone };
    info!(?end, "wants to end");
    let _ = ends.send(end); // whoever started it may have dropped it, which `stop` tells
    match (stop.await, successor) {
        (Err(_), _) => Ending::Dropped,
        (Ok(_), Some(successor)) => Ending::TakenOver(successor),
        (Ok(stop), None) => Ending::Asked(stop),
    }
}

/// Tells the new process what was counted so far. Nobody sees this process' counts any more.
async fn told(
    successor: Successor,
    scrape: &mpsc::Sender<oneshot::Sender<()>>,
    families: &Families,
) -> Option<Successor> {
    pages::fresh_counts(scrape.clone()).await;
    successor.tell(families.hand_over()).await
}

/// Serves on until the application is gone, as far as the settings want that and know how to tell.
async fn follow_application(settings: &Settings, process: Option<&Process>, workers: &Asker) {
    let address = settings.application.as_ref().map(|application| application.address);
    if !settings.life.follows_application || (process.is_none() && address.is_none()) {
        return;
    }
    let gone = async {
        match (process, address) {
            (Some(process), _) => process.gone().await,
            (None, Some(address)) => application::silent(address, workers).await,
            (None, None) => {}
        }
    };
    match tokio::time::timeout(settings.drain.saturating_sub(settings.leave_grace), gone).await {
        Ok(()) => info!("the application is gone"),
        Err(_) => warn!("the application is still there, but the time to stop is over"),
    }
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
pub(crate) fn incarnation() -> u64 {
    wall().0
}

/// A number in `[0, 1)` for jitter; each `RandomState` has its own keys.
fn chance() -> f64 {
    #[allow(clippy::cast_precision_loss)] // 53 bits fit exactly
    let number = (RandomState::new().hash_one(0) >> 11) as f64;
    number / (1_u64 << 53) as f64
}
