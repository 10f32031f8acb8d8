//! What a worker counts beside edges: open connections, and each time a bound was hit. Collected with the edges.

use crate::detect::{How, Spoken};
use crate::metrics::pools::Connects;

/// Totals only rise; the others are as of now. Added up over the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Open connections from the application.
    pub outbound_connections: u64,
    /// Open connections from callers.
    pub inbound_connections: u64,
    /// Requests that run now.
    pub requests_running: u64,
    /// Connections that are carried as bytes now: opaque ones, and those after an upgrade or CONNECT.
    pub tunnels: u64,
    /// Times that bytes were copied because no pipe was left to splice them.
    pub pipes_exhausted_total: u64,
    /// Connections passed on to where they were going, because that is no service's.
    pub passed_through_total: u64,
    /// Of those, the ones for which no word came in time.
    pub owner_timeout_total: u64,
    /// Connections to the application that could not be made in their callers' names, as was wanted.
    pub client_address_lost_total: u64,
    /// Own connections that came back to the proxy.
    pub loops_refused_total: u64,
    /// Connections that were looked at.
    pub detected: Detected,
    /// Connections accepted so far.
    pub accepted_total: u64,
    /// Connections refused because a worker had its most.
    pub connections_refused_total: u64,
    /// Requests refused as malformed (two lengths, a bad head): 400.
    pub malformed_total: u64,
    /// Requests refused because their head was too large: 431.
    pub head_too_large_total: u64,
    /// Connections closed because a head did not arrive in time: 408.
    pub head_timeout_total: u64,
    /// Requests for a service that the mesh does not have: 404.
    pub unknown_service_total: u64,
    /// Requests for which no word of their service came in time: 503.
    pub demand_timeout_total: u64,
    /// Demands that found the queue full.
    pub demand_refused_total: u64,
    /// Requests refused for want of memory: 503.
    pub shed_total: u64,
    /// Connections and requests refused because the process had no files for them: 503.
    pub out_of_files_total: u64,
    /// Requests given up because their caller neither sent nor read.
    pub stalled_total: u64,
    /// Connections carried as bytes that ended because the caller's host was lost.
    pub callers_lost_total: u64,
    /// The same because the endpoint's was.
    pub endpoints_lost_total: u64,
    /// Requests cut off at the end of a drain.
    pub cut_off_total: u64,
    /// Idle connections to endpoints that were closed because the pool was full.
    pub pool_overflow_total: u64,
    /// Connections to endpoints that were made, and how long that took.
    pub connects: Connects,
    /// Kept connections that were found dead and replaced in silence.
    pub reused_dead_total: u64,
    /// Picks that went to another because an endpoint was too new for its whole share.
    pub slow_start_passed_total: u64,
    /// Retries that a route allowed and that were made.
    pub retries_made_total: u64,
    /// Requests that were answered well by a retry.
    pub retries_succeeded_total: u64,
    /// Retries that were wanted and had no room in the budget.
    pub retries_over_budget_total: u64,
    /// Retries that were wanted and whose request's body was larger than what is kept.
    pub retries_too_large_total: u64,
    /// Endpoints that are ejected now.
    pub endpoints_ejected: u64,
    /// Ejections for failures in a row.
    pub ejected_in_a_row_total: u64,
    /// Ejections for a success rate far below the others'.
    pub ejected_outlier_total: u64,
    /// Ejections that were due and that the floor of ready endpoints did not allow.
    pub ejections_refused_total: u64,
    /// Requests that a zone was too thin to keep.
    pub zone_spilled_total: u64,
    /// Requests refused because as many as a policy allows were under way.
    pub breaker_requests_total: u64,
    /// Requests refused because as many as a policy allows waited for a connection.
    pub breaker_pending_total: u64,
    /// Requests refused by a policy's rate limit.
    pub rate_limited_total: u64,
    /// Requests refused because the application had as many as its proxy lets through.
    pub overloaded_total: u64,
    /// Requests that a fault delayed.
    pub faults_delayed_total: u64,
    /// Requests that a fault aborted.
    pub faults_aborted_total: u64,
    /// Copies of requests sent to mirrors.
    pub copies_sent_total: u64,
    /// Copies not sent because as many as allowed were under way.
    pub copies_dropped_busy_total: u64,
    /// Copies not sent because their body was larger than what is kept.
    pub copies_dropped_large_total: u64,
    /// Copies given up because they took too long.
    pub copies_dropped_late_total: u64,
    /// Edges counted under `other` because the table was full.
    pub edges_folded_total: u64,
    /// Edges forgotten because they were idle.
    pub edges_evicted_total: u64,
    /// Lines of the access log that found its queue full.
    pub log_lines_dropped_total: u64,
    /// Spans that found the exporter's queue full.
    pub spans_dropped_total: u64,
}

/// Connections that were looked at, by what they speak and by what decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Detected([[u64; 5]; 4]);

impl Detected {
    const SPOKEN: [&str; 4] = ["http1", "http2", "tls", "other"];
    const HOW: [&str; 5] = ["bytes", "server_first", "waited", "ended", "remembered"];

    /// One more.
    pub fn add(&mut self, spoken: &Spoken, how: How) {
        let spoken = match spoken {
            Spoken::Http1 => 0,
            Spoken::Http2 => 1,
            Spoken::Tls(_) => 2,
            Spoken::Other => 3,
        };
        self.0[spoken][how as usize] += 1;
    }

    /// What they speak, what decided, and how many, as labelled.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let of = |(spoken, counts): (&'static str, &[u64; 5])| {
            let counts = *counts;
            Self::HOW.into_iter().zip(counts).map(move |(how, count)| (spoken, how, count))
        };
        Self::SPOKEN.into_iter().zip(&self.0).flat_map(of).collect::<Vec<_>>().into_iter()
    }

    fn merge(&mut self, other: &Self) {
        for (sums, counts) in self.0.iter_mut().zip(&other.0) {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
}

impl Counters {
    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        self.outbound_connections += other.outbound_connections;
        self.inbound_connections += other.inbound_connections;
        self.requests_running += other.requests_running;
        self.tunnels += other.tunnels;
        self.pipes_exhausted_total += other.pipes_exhausted_total;
        self.passed_through_total += other.passed_through_total;
        self.owner_timeout_total += other.owner_timeout_total;
        self.client_address_lost_total += other.client_address_lost_total;
        self.loops_refused_total += other.loops_refused_total;
        self.detected.merge(&other.detected);
        self.accepted_total += other.accepted_total;
        self.connections_refused_total += other.connections_refused_total;
        self.malformed_total += other.malformed_total;
        self.head_too_large_total += other.head_too_large_total;
        self.head_timeout_total += other.head_timeout_total;
        self.unknown_service_total += other.unknown_service_total;
        self.demand_timeout_total += other.demand_timeout_total;
        self.demand_refused_total += other.demand_refused_total;
        self.shed_total += other.shed_total;
        self.out_of_files_total += other.out_of_files_total;
        self.stalled_total += other.stalled_total;
        self.callers_lost_total += other.callers_lost_total;
        self.endpoints_lost_total += other.endpoints_lost_total;
        self.cut_off_total += other.cut_off_total;
        self.pool_overflow_total += other.pool_overflow_total;
        self.connects.merge(&other.connects);
        self.reused_dead_total += other.reused_dead_total;
        self.slow_start_passed_total += other.slow_start_passed_total;
        self.retries_made_total += other.retries_made_total;
        self.retries_succeeded_total += other.retries_succeeded_total;
        self.retries_over_budget_total += other.retries_over_budget_total;
        self.retries_too_large_total += other.retries_too_large_total;
        self.endpoints_ejected += other.endpoints_ejected;
        self.ejected_in_a_row_total += other.ejected_in_a_row_total;
        self.ejected_outlier_total += other.ejected_outlier_total;
        self.ejections_refused_total += other.ejections_refused_total;
        self.zone_spilled_total += other.zone_spilled_total;
        self.breaker_requests_total += other.breaker_requests_total;
        self.breaker_pending_total += other.breaker_pending_total;
        self.rate_limited_total += other.rate_limited_total;
        self.overloaded_total += other.overloaded_total;
        self.faults_delayed_total += other.faults_delayed_total;
        self.faults_aborted_total += other.faults_aborted_total;
        self.copies_sent_total += other.copies_sent_total;
        self.copies_dropped_busy_total += other.copies_dropped_busy_total;
        self.copies_dropped_large_total += other.copies_dropped_large_total;
        self.copies_dropped_late_total += other.copies_dropped_late_total;
        self.edges_folded_total += other.edges_folded_total;
        self.edges_evicted_total += other.edges_evicted_total;
        self.log_lines_dropped_total += other.log_lines_dropped_total;
        self.spans_dropped_total += other.spans_dropped_total;
    }
}
