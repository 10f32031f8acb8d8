//! The rollup's actor: a thin ear before [`Partials`]. On the truth thread, one per node. It takes reports of proxies and load
//! reports of Envoy and gRPC clients, proposes what the core says, and answers after the commit. On the leader it also lets
//! the log's time pass while there is a history and nothing else does. It holds no rule.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, ResponseFuture, StreamHandler};
use api::log::v1::{Command, Outcome, Partial, Tick, command::Body};
use mesh::TrafficReport;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::messages::{Acknowledged, Report, ReportError};
use super::partials::{BatchId, Output, Partials, WaiterId};
use crate::catalog::{Catalog, Rollups};
use crate::metrics::RollupMetrics;
use crate::replica::messages::ProposeError;
use crate::replica::{Door, WallClock};

/// How often the core is asked. It gathers for a second; this is how late it may be.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// Pause before the log's time is moved again, when the first command that should is not applied yet.
const TICK_AGAIN: Duration = Duration::from_secs(1);
/// Reports that wait in the mailbox. Each may have a megabyte.
const MAILBOX_MAX: usize = 256;

type Answer = oneshot::Sender<Result<Acknowledged, ReportError>>;

/// The actor that counts traffic.
pub struct RollupActor {
    partials: Partials,
    waiters: BTreeMap<WaiterId, Answer>,
    last_waiter: WaiterId,
    door: Door,
    catalog: Rc<RefCell<Catalog>>,
    load_reports: Option<mpsc::Receiver<TrafficReport>>,
    started: Instant,
    ticked: Duration,
    wall: WallClock,
    metrics: RollupMetrics,
}

impl RollupActor {
    /// An actor for this node, which proposes through `door` and takes what comes from `load_reports` too.
    #[must_use]
    pub fn new(
        node: u64,
        door: Door,
        catalog: Rc<RefCell<Catalog>>,
        load_reports: mpsc::Receiver<TrafficReport>,
        wall: WallClock,
        metrics: RollupMetrics,
    ) -> Self {
        Self {
            partials: Partials::new(node),
            waiters: BTreeMap::new(),
            last_waiter: 0,
            door,
            catalog,
            load_reports: Some(load_reports),
            started: Instant::now(),
            ticked: Duration::ZERO,
            wall,
            metrics,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn take(&mut self, report: TrafficReport, answer: Option<Answer>, context: &mut Context<Self>) {
        let waiter = answer.is_some().then(|| {
            self.last_waiter += 1;
            self.last_waiter
        });
        let windows = report.windows.len();
        match self.partials.report(report, waiter, self.now()) {
            Ok(outputs) => {
                self.metrics.windows.inc_by(windows as u64);
                if let (Some(waiter), Some(answer)) = (waiter, answer) {
                    self.waiters.insert(waiter, answer);
                }
                self.carry_out(outputs, context);
            }
            Err(full) => {
                self.metrics.refused.inc();
                match answer {
                    Some(answer) => drop(answer.send(Err(ReportError::Full(full.to_string())))),
                    None => self.metrics.lost.inc_by(windows as u64),
                }
            }
        }
    }

    fn poll(&mut self, context: &mut Context<Self>) {
        let outputs = self.partials.poll(self.now());
        self.carry_out(outputs, context);
        self.let_time_pass(context);
    }

    fn carry_out(&mut self, outputs: Vec<Output>, context: &mut Context<Self>) {
        for output in outputs {
            match output {
                Output::Propose { batch, partial } => self.propose(batch, partial, context),
                Output::Acknowledge { waiter, acknowledged, too_old } => {
                    self.metrics.too_old.inc_by(too_old.len() as u64);
                    self.answer(waiter, Ok(Acknowledged { windows: acknowledged, too_old }));
                }
                Output::Fail { waiter, reason } => {
                    self.answer(waiter, Err(ReportError::NotCommitted(reason)));
                }
                Output::Lost(windows) => {
                    self.metrics.lost.inc_by(windows as u64);
                    warn!(windows, "load reports were lost: no leader took them for a minute");
                }
            }
        }
    }

    fn answer(&mut self, waiter: WaiterId, result: Result<Acknowledged, ReportError>) {
        if let Some(answer) = self.waiters.remove(&waiter) {
            let _ = answer.send(result); // a proxy that has gone sends again elsewhere
        }
    }

    fn propose(&self, batch: BatchId, partial: Partial, context: &mut Context<Self>) {
        let door = self.door.clone();
        let command = Command { id: None, at_ms: 0, body: Some(Body::Partial(partial)) };
        let proposing = async move { door.propose(command).await };
        let proposing = actix::fut::wrap_future::<_, Self>(proposing);
        context.spawn(actix::fut::ActorFutureExt::map(proposing, move |result, actor, context| {
            actor.proposed(batch, result, context);
        }));
    }

    fn proposed(
        &mut self,
        batch: BatchId,
        result: Result<Outcome, ProposeError>,
        context: &mut Context<Self>,
    ) {
        use api::log::v1::outcome::Result as Applied;
        let now = self.now();
        let outputs = match result {
            Ok(outcome) => {
                match &outcome.result {
                    Some(Applied::Done(_)) => self.metrics.partials.inc(),
                    Some(Applied::AlreadyCounted(already)) => {
                        self.metrics.duplicates.inc_by(already.counted.len() as u64);
                    }
                    _ => {}
                }
                self.partials.answered(batch, &outcome, now)
            }
            Err(error) => self.partials.failed(batch, &error.to_string(), now),
        };
        self.carry_out(outputs, context);
        let outputs = self.partials.poll(now);
        self.carry_out(outputs, context);
    }

    /// While the catalog keeps a history, its time must pass also when nobody writes, or `stat` would show the past as now:
    /// once a window has settled by the clock, a span must reach it by the log's time too.
    fn let_time_pass(&mut self, context: &mut Context<Self>) {
        let now = self.now();
        let behind = Rollups::settled((self.wall)()) > Rollups::settled(self.catalog.borrow().now());
        if !behind
            || now.saturating_sub(self.ticked) < TICK_AGAIN
            || !self.door.leadership().borrow().is_here()
            || self.catalog.borrow().rollups().first().is_none()
        {
            return;
        }
        self.ticked = now;
        let door = self.door.clone();
        let ticking = async move {
            let ticked = door.propose(Command { id: None, at_ms: 0, body: Some(Body::Tick(Tick {})) }).await;
            debug!(passed = ticked.is_ok(), "the log's time");
        };
        context.spawn(actix::fut::wrap_future(ticking));
    }
}

impl Actor for RollupActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MAX);
        context.run_interval(POLL_EVERY, Self::poll);
        if let Some(reports) = self.load_reports.take() {
            context.add_stream(ReceiverStream::new(reports));
        }
    }
}

/// A load report of a client that never sends it again.
impl StreamHandler<TrafficReport> for RollupActor {
    fn handle(&mut self, report: TrafficReport, context: &mut Self::Context) {
        self.take(report, None, context);
    }

    fn finished(&mut self, _: &mut Self::Context) {
        debug!("no more load reports");
    }
}

impl Handler<Report> for RollupActor {
    type Result = ResponseFuture<Result<Acknowledged, ReportError>>;

    fn handle(&mut self, Report(report): Report, context: &mut Self::Context) -> Self::Result {
        let (answer, answered) = oneshot::channel();
        self.take(report, Some(answer), context);
        Box::pin(async move {
            let stopping = || ReportError::NotCommitted("this node is stopping".to_owned());
            answered.await.unwrap_or_else(|_| Err(stopping()))
        })
    }
}
