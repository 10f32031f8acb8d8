//! Carries the counts: takes them from the workers at each window's end and for each scrape, shows them, reports them.
//!
//! One task on the control thread. It is the only one that takes from the workers, so that nothing is taken twice; on a
//! drain it ends them, and reports the last window. It holds no rule of what is sent: `ring.rs` does.

use std::future::pending;
use std::time::Duration;

use api::v1;
use api::v1::reports_client::ReportsClient;
use futures_util::future::LocalBoxFuture;
use mesh::{Authority, Timestamp, Window};
use runtime::backoff::Backoff;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::collector::Collector;
use super::families::Families;
use super::ring::Ring;
use crate::metrics::{ReportMetrics, WorkerMetrics, raise};
use crate::worker::{Counters, DrainPlan, Taken};

/// How long a node may take: its answer comes after the commit, and an election fits in.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// First and last wait before a report is sent again. Longer waits risk the window's age.
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_LAST: Duration = Duration::from_secs(5);
/// How long an ending proxy tries to hand its last windows in. Longer keeps a stopping host waiting for a control plane
/// that is gone; shorter loses the last window to an election.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// What counts, and how it is ended: the workers, or a test in their place.
pub(crate) trait Source {
    /// What was counted since the last call.
    async fn take(&self) -> Taken;
    /// Begins the drain.
    fn drain(&self, plan: DrainPlan);
    /// Waits for the end of the drain; what was counted last.
    async fn finished(self) -> Taken;
}

/// What the reporter hears and tells.
pub(crate) struct Lines {
    /// The connection to the control node that is followed.
    pub(crate) uplink: watch::Receiver<Option<Channel>>,
    /// Scrapes that wait for fresh counts.
    pub(crate) scrapes: mpsc::Receiver<oneshot::Sender<()>>,
    /// Ends the workers.
    pub(crate) drain: oneshot::Receiver<DrainPlan>,
    /// Authorities that were called, once a window.
    pub(crate) used: mpsc::Sender<Vec<Authority>>,
}

/// Takes, shows and reports what the workers count.
pub(crate) struct Reporter<W> {
    collector: Collector,
    ring: Ring,
    families: Families,
    workers: WorkerMetrics,
    metrics: ReportMetrics,
    /// The wall clock: windows are aligned to it on every proxy.
    wall: W,
    open: Window,
    sending: Option<LocalBoxFuture<'static, Result<v1::ReportResponse, Status>>>,
    send_at: Instant,
    backoff: Backoff,
}

impl<W: Fn() -> Timestamp> Reporter<W> {
    pub(crate) fn new(
        collector: Collector,
        ring: Ring,
        families: Families,
        workers: WorkerMetrics,
        metrics: ReportMetrics,
        wall: W,
    ) -> Self {
        let open = Window::at(wall());
        let backoff = Backoff::new(WAIT_FIRST, WAIT_LAST);
        let send_at = Instant::now();
        Self { collector, ring, families, workers, metrics, wall, open, sending: None, send_at, backoff }
    }

    /// Runs until the workers have ended and the last window is handed in, or cannot be.
    pub(crate) async fn run<S: Source>(
        mut self,
        source: S,
        mut lines: Lines,
        mut chance: impl FnMut() -> f64,
    ) {
        let plan = loop {
            let window_end = self.window_end();
            tokio::select! {
                biased;
                plan = &mut lines.drain => break plan.ok(),
                Some(done) = lines.scrapes.recv() => {
                    self.counted(&source.take().await);
                    // The scraper may have gone meanwhile.
                    let _ = done.send(());
                }
                () = sleep_until(window_end) => {
                    self.counted(&source.take().await);
                    self.close(&lines.used);
                }
                answer = answered(&mut self.sending) => self.report_answered(answer, chance()),
                Ok(()) = lines.uplink.changed() => self.send_at = Instant::now(),
                () = sleep_until(self.send_at), if self.may_send(&lines.uplink) => self.send(&lines.uplink),
            }
        };
        // Whoever held the other end of `drain` is gone: then there is nobody to serve for either.
        source.drain(plan.unwrap_or(DrainPlan::default()));
        let mut ended = std::pin::pin!(source.finished());
        let last = loop {
            tokio::select! {
                biased;
                last = &mut ended => break last,
                // Nothing can be taken any more; what was shown last is shown again.
                Some(done) = lines.scrapes.recv() => { let _ = done.send(()); }
                answer = answered(&mut self.sending) => self.report_answered(answer, chance()),
                Ok(()) = lines.uplink.changed() => self.send_at = Instant::now(),
                () = sleep_until(self.send_at), if self.may_send(&lines.uplink) => self.send(&lines.uplink),
            }
        };
        self.counted(&last);
        self.close(&lines.used);
        self.flush(lines, chance).await;
    }

    /// Hands in what is left, for a bounded time.
    async fn flush(mut self, mut lines: Lines, mut chance: impl FnMut() -> f64) {
        let until = Instant::now() + FLUSH_WITHIN;
        while self.ring.waiting() > 0 {
            tokio::select! {
                biased;
                answer = answered(&mut self.sending) => self.report_answered(answer, chance()),
                Some(done) = lines.scrapes.recv() => { let _ = done.send(()); }
                Ok(()) = lines.uplink.changed() => self.send_at = Instant::now(),
                () = sleep_until(self.send_at), if self.may_send(&lines.uplink) => self.send(&lines.uplink),
                () = sleep_until(until) => {
                    let windows = self.ring.waiting();
                    warn!(windows, "ends with windows that no control node took: stat will miss them");
                    return;
                }
            }
        }
        info!("the last window is reported");
    }

    /// When the open window ends, by the wall clock as it is now.
    fn window_end(&self) -> Instant {
        let now = (self.wall)();
        let current = Window::at(now);
        if current != self.open {
            return Instant::now();
        }
        Instant::now() + Window(current.0 + 1).start().since(now)
    }

    fn counted(&mut self, taken: &Taken) {
        self.collector.add(&taken.edges);
        self.families.add(&taken.edges, &taken.statuses, Instant::now().into_std());
        show(&self.workers, &taken.counters);
        let sets = taken.sets.iter().map(|(authority, counts)| (authority.to_string(), *counts));
        self.workers.pools.show(sets, &taken.counters.connects);
    }

    fn close(&mut self, used: &mpsc::Sender<Vec<Authority>>) {
        // A full queue means that discovery has not even read the last ones: they are as good.
        let _ = used.try_send(self.collector.called());
        self.ring.close(self.open, self.collector.close());
        self.open = Window::at((self.wall)());
        self.show_ring();
    }

    fn show_ring(&self) {
        let lost = self.ring.lost();
        self.metrics.waiting.set(i64::try_from(self.ring.waiting()).unwrap_or(i64::MAX));
        raise(&self.metrics.lost_windows, lost.windows);
        raise(&self.metrics.lost_requests, lost.requests);
        raise(&self.metrics.folded, self.collector.folded());
    }

    fn may_send(&self, uplink: &watch::Receiver<Option<Channel>>) -> bool {
        self.sending.is_none() && self.ring.waiting() > 0 && uplink.borrow().is_some()
    }

    fn send(&mut self, uplink: &watch::Receiver<Option<Channel>>) {
        let (Some(channel), Some(report)) = (uplink.borrow().clone(), self.ring.report()) else { return };
        let report = v1::TrafficReport::from(&report);
        self.sending = Some(Box::pin(async move {
            match timeout(CALL_TIMEOUT, ReportsClient::new(channel).report(report)).await {
                Ok(answered) => answered.map(tonic::Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded(format!("no answer within {CALL_TIMEOUT:?}"))),
            }
        }));
    }

    fn report_answered(&mut self, answer: Result<v1::ReportResponse, Status>, chance: f64) {
        self.sending = None;
        match answer {
            Ok(answer) => {
                let before = self.ring.waiting();
                self.ring.acknowledged(&answer.acknowledged, &answer.too_old);
                let taken = before - self.ring.waiting();
                self.metrics.acknowledged.inc_by((taken as u64).saturating_sub(answer.too_old.len() as u64));
                if taken > 0 {
                    self.backoff.reset();
                    self.send_at = Instant::now();
                } else {
                    self.send_at = Instant::now() + self.backoff.next(chance);
                }
            }
            Err(status) => {
                self.metrics.failed.inc();
                if status.code() == Code::InvalidArgument {
                    warn!(reason = status.message(), "the control plane refuses a window; it is given up");
                    self.ring.give_up_oldest();
                } else {
                    debug!(%status, "report failed; sending it again");
                }
                self.send_at = Instant::now() + self.backoff.next(chance);
            }
        }
        self.show_ring();
    }
}

/// The answer to the report in flight; never, when none is.
async fn answered(
    sending: &mut Option<LocalBoxFuture<'static, Result<v1::ReportResponse, Status>>>,
) -> Result<v1::ReportResponse, Status> {
    match sending {
        Some(sending) => sending.await,
        None => pending().await,
    }
}

/// Shows what the workers count beside edges.
fn show(metrics: &WorkerMetrics, counters: &Counters) {
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let open = |direction, count| {
        metrics.open_connections.with_label_values(&[direction, "src"]).set(gauge(count));
    };
    open("outbound", counters.outbound_connections);
    open("inbound", counters.inbound_connections);
    metrics.running.set(gauge(counters.requests_running));
    show_tunnels(metrics, counters);
    for (spoken, how, total) in counters.detected.totals().filter(|(_, _, total)| *total > 0) {
        raise(&metrics.detected.with_label_values(&[spoken, how]), total);
    }
    raise(&metrics.passed_through, counters.passed_through_total);
    raise(&metrics.owner_timeouts, counters.owner_timeout_total);
    raise(&metrics.client_addresses_lost, counters.client_address_lost_total);
    raise(&metrics.accepted, counters.accepted_total);
    raise(&metrics.cut_off, counters.cut_off_total);
    raise(&metrics.pool_overflow, counters.pool_overflow_total);
    raise(&metrics.reused_dead, counters.reused_dead_total);
    raise(&metrics.slow_start_passed, counters.slow_start_passed_total);
    show_retries(metrics, counters);
    raise(&metrics.copies, counters.copies_sent_total);
    for (kind, total) in [("delay", counters.faults_delayed_total), ("abort", counters.faults_aborted_total)]
    {
        raise(&metrics.faults.with_label_values(&[kind]), total);
    }
    for (reason, total) in [
        ("busy", counters.copies_dropped_busy_total),
        ("body", counters.copies_dropped_large_total),
        ("late", counters.copies_dropped_late_total),
    ] {
        raise(&metrics.copies_dropped.with_label_values(&[reason]), total);
    }
    metrics.ejected.set(gauge(counters.endpoints_ejected));
    raise(&metrics.ejections_refused, counters.ejections_refused_total);
    raise(&metrics.zone_spilled, counters.zone_spilled_total);
    for (reason, total) in [
        ("failures_in_a_row", counters.ejected_in_a_row_total),
        ("success_rate", counters.ejected_outlier_total),
    ] {
        raise(&metrics.ejections.with_label_values(&[reason]), total);
    }
    raise(&metrics.edges_folded, counters.edges_folded_total);
    raise(&metrics.edges_evicted, counters.edges_evicted_total);
    raise(&metrics.records_dropped.with_label_values(&["access_log"]), counters.log_lines_dropped_total);
    raise(&metrics.records_dropped.with_label_values(&["spans"]), counters.spans_dropped_total);
    for (reason, total) in [
        ("connections_full", counters.connections_refused_total),
        ("malformed", counters.malformed_total),
        ("head_too_large", counters.head_too_large_total),
        ("head_timeout", counters.head_timeout_total),
        ("unknown_service", counters.unknown_service_total),
        ("demand_timeout", counters.demand_timeout_total),
        ("demand_queue_full", counters.demand_refused_total),
        ("circuit_requests", counters.breaker_requests_total),
        ("circuit_pending", counters.breaker_pending_total),
        ("rate_limit", counters.rate_limited_total),
        ("overloaded", counters.overloaded_total),
        ("memory", counters.shed_total),
        ("files", counters.out_of_files_total),
        ("stalled", counters.stalled_total),
        ("loop", counters.loops_refused_total),
    ] {
        raise(&metrics.refused.with_label_values(&[reason]), total);
    }
}

fn show_tunnels(metrics: &WorkerMetrics, counters: &Counters) {
    metrics.tunnels.set(i64::try_from(counters.tunnels).unwrap_or(i64::MAX));
    raise(&metrics.pipes_exhausted, counters.pipes_exhausted_total);
    for (end, total) in [("caller", counters.callers_lost_total), ("endpoint", counters.endpoints_lost_total)]
    {
        raise(&metrics.hosts_lost.with_label_values(&[end]), total);
    }
}

fn show_retries(metrics: &WorkerMetrics, counters: &Counters) {
    raise(&metrics.retries_made, counters.retries_made_total);
    raise(&metrics.retries_succeeded, counters.retries_succeeded_total);
    for (reason, total) in
        [("budget", counters.retries_over_budget_total), ("body", counters.retries_too_large_total)]
    {
        raise(&metrics.retries_refused.with_label_values(&[reason]), total);
    }
}

#[cfg(test)]
#[path = "carrier_tests.rs"]
mod tests;
