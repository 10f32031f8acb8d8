//! The outcome of `penstock simulate`, as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use simulation::{Measured, OUTAGE, Report, Scenario, percentile};

use super::units::count;

/// Outages that are told one by one.
const OUTAGES_TOLD: usize = 8;

/// One seed's run in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulated {
    /// Its seed.
    pub seed: u64,
    /// The run as one number: the same scenario and seed give the same, everywhere.
    pub trace: String,
    /// Simulated seconds.
    pub seconds: f64,
    /// Writes that were acknowledged.
    pub writes: usize,
    /// Stretches without an acknowledged write that count as outages.
    pub write_outages: usize,
    /// How long writes were out, in all of these together.
    pub write_outage_ms: f64,
    /// The longest time between two acknowledged writes.
    pub longest_write_gap_ms: f64,
    /// Changes that came to a proxy, and how long after their commit.
    pub changes: usize,
    /// Half of the changes took no longer.
    pub propagation_ms_p50: f64,
    /// All but one of a hundred took no longer.
    pub propagation_ms_p99: f64,
    /// The longest.
    pub propagation_ms_max: f64,
    /// Requests of callers.
    pub requests: u64,
    /// Requests that would have failed.
    pub requests_failed: u64,
    /// Requests that would have been tried again elsewhere.
    pub requests_tried_again: f64,
    /// Terms that had a leader.
    pub leaders: usize,
}

impl Simulated {
    /// The figures of a run.
    #[must_use]
    pub fn new(seed: u64, report: &Report, measured: &Measured) -> Self {
        let outages = measured.outages();
        let (requests, requests_failed, requests_tried_again) = measured.request_sums();
        Self {
            seed,
            trace: format!("{:016x}", report.trace),
            seconds: measured.end.as_secs_f64(),
            writes: measured.acknowledged.len(),
            write_outages: outages.len(),
            write_outage_ms: ms(outages.iter().map(simulation::Stretch::length).sum()),
            longest_write_gap_ms: ms(measured.longest_gap()),
            changes: measured.propagation.len(),
            propagation_ms_p50: ms(measured.propagation_at(0.5)),
            propagation_ms_p99: ms(measured.propagation_at(0.99)),
            propagation_ms_max: ms(measured.propagation_at(1.0)),
            requests,
            requests_failed,
            requests_tried_again: (requests_tried_again * 10.0).round() / 10.0,
            leaders: report.leaders,
        }
    }
}

/// Milliseconds to a tenth.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn heading(named: &str, scenario: &Scenario) -> String {
    let shape = &scenario.shape;
    let things = |number, thing| count(usize::try_from(number).unwrap_or(usize::MAX), thing);
    let proxies =
        if shape.proxies == 1 { "1 proxy".to_owned() } else { format!("{} proxies", shape.proxies) };
    format!(
        "{named}: {} in {}, {proxies}, {}, {} requests/s to the control plane, {}\n\n",
        things(shape.nodes, "node"),
        things(shape.zones, "zone"),
        things(shape.services, "service"),
        shape.requests_per_second,
        count(scenario.plan.steps.len(), "step"),
    )
}

/// For people: one run with its timeline, or many summed up.
#[must_use]
pub fn simulated(named: &str, scenario: &Scenario, runs: &[Simulated], one: Option<&Measured>) -> String {
    let mut text = heading(named, scenario);
    match (runs, one) {
        ([run], Some(measured)) => one_run(&mut text, run, measured),
        _ => many_runs(&mut text, runs),
    }
    text
}

fn one_run(text: &mut String, run: &Simulated, measured: &Measured) {
    let mut timeline: Vec<(Duration, String)> = measured.acts.clone();
    let leads = |(at, node, term): &(Duration, u64, u64)| (*at, format!("node {node} leads in term {term}"));
    timeline.extend(measured.leaders.iter().map(leads));
    let outages = measured.outages();
    timeline.extend(outages.iter().map(|outage| {
        (outage.to, format!("a write is acknowledged, the first for {:.0} ms", ms(outage.length())))
    }));
    timeline.sort_by_key(|(at, _)| *at);
    for (at, line) in timeline {
        let _ = writeln!(text, "{:>9.3}s  {line}", at.as_secs_f64());
    }
    let _ = writeln!(
        text,
        "\nWRITES       {} acknowledged; {} of over {} ms without one, {:.0} ms in all; the longest gap was {:.0} ms",
        run.writes,
        stretches(run.write_outages),
        OUTAGE.as_millis(),
        run.write_outage_ms,
        run.longest_write_gap_ms
    );
    for outage in outages.iter().take(OUTAGES_TOLD) {
        let _ = writeln!(
            text,
            "             {:.3}s to {:.3}s ({:.0} ms)",
            outage.from.as_secs_f64(),
            outage.to.as_secs_f64(),
            ms(outage.length())
        );
    }
    if outages.len() > OUTAGES_TOLD {
        let _ = writeln!(text, "             and {} more", outages.len() - OUTAGES_TOLD);
    }
    let _ = writeln!(
        text,
        "PROPAGATION  p50 {} ms, p99 {} ms, max {} ms from a commit until a proxy held it ({} changes)",
        run.propagation_ms_p50, run.propagation_ms_p99, run.propagation_ms_max, run.changes
    );
    let _ = writeln!(
        text,
        "REQUESTS     {} sent; {} would have failed, {} would have been tried again elsewhere",
        run.requests, run.requests_failed, run.requests_tried_again
    );
    let _ = writeln!(text, "INVARIANTS   all held in {:.0} s; trace {}", run.seconds, run.trace);
}

fn stretches(count: usize) -> String {
    if count == 1 { "one stretch".to_owned() } else { format!("{count} stretches") }
}

/// One figure of a run, to be spread over all runs.
type Figure = fn(&Simulated) -> f64;

fn many_runs(text: &mut String, runs: &[Simulated]) {
    let _ = writeln!(text, "{:<26}{:>10}{:>10}{:>10}  WORST SEED", "", "P50", "P99", "MAX");
    let figures: [(&str, Figure); 5] = [
        ("longest write gap, ms", |run| run.longest_write_gap_ms),
        ("writes out, ms", |run| run.write_outage_ms),
        ("propagation p99, ms", |run| run.propagation_ms_p99),
        ("propagation max, ms", |run| run.propagation_ms_max),
        ("requests failed, per 1000", |run| per_mille(run.requests_failed, run.requests)),
    ];
    for (name, figure) in figures {
        let spread: Vec<Duration> =
            runs.iter().map(|run| Duration::from_secs_f64(figure(run).max(0.0))).collect();
        let at = |share| percentile(spread.clone(), share).as_secs_f64();
        let worst = runs.iter().max_by(|one, other| figure(one).total_cmp(&figure(other)));
        let worst = worst.map_or(0, |run| run.seed);
        let _ = writeln!(text, "{name:<26}{:>10.1}{:>10.1}{:>10.1}  {worst}", at(0.5), at(0.99), at(1.0));
    }
    let seconds: f64 = runs.iter().map(|run| run.seconds).sum();
    let _ = writeln!(text, "\nINVARIANTS   all held in {} runs, {seconds:.0} simulated seconds", runs.len());
}

#[allow(clippy::cast_precision_loss)] // counts of a simulation
fn per_mille(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 1000.0 * part as f64 / whole as f64 }
}

/// For programs.
#[must_use]
pub fn simulated_json(named: &str, scenario: &Scenario, runs: &[Simulated]) -> String {
    super::json(&serde_json::json!({
        "scenario": named,
        "shape": scenario.shape.written(),
        "steps": scenario.plan.steps.iter().map(|step| {
            serde_json::json!({ "at_seconds": step.at.as_secs_f64(), "act": step.act.written() })
        }).collect::<Vec<_>>(),
        "runs": runs,
    }))
}
