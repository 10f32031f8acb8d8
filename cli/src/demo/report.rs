//! What a run of the demo comes to: the mesh's figures beside those of the application itself, and every fault between
//! them. Pure: counts in, a document or a text out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::v1;
use serde::Serialize;

use super::leader_kill::LeaderKill;
use super::shop::{Books, ENTRY, LOAD_WORKLOAD, edges};
use crate::render::{Cell, Column, Ink, Table, latency, share};

/// Requests and how they ended, as one party counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// All.
    pub requests: u64,
    /// Those that ended well.
    pub successes: u64,
    /// All others.
    pub failures: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} failed)", self.requests, self.failures)
    }
}

impl Counts {
    /// So many of each kind.
    #[must_use]
    pub fn of(successes: u64, failures: u64) -> Self {
        Self { requests: successes + failures, successes, failures }
    }

    fn plus(self, more: Self) -> Self {
        Self::of(self.successes + more.successes, self.failures + more.failures)
    }
}

/// One edge, counted three times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EdgeReport {
    /// The calling workload.
    pub from: &'static str,
    /// The called service.
    pub to: &'static str,
    /// What `edges` shows: counted by the caller's proxy.
    pub mesh: Counts,
    /// What the callers heard.
    pub callers: Counts,
    /// What the callee's instances told.
    pub callees: Counts,
    /// Whether all three are equal.
    pub agree: bool,
    /// As the mesh measured it, in microseconds: p50, p95, p99.
    pub latency_us: [u64; 3],
}

/// One service, counted on its own side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceReport {
    /// Its name.
    pub service: &'static str,
    /// What `stat` shows: counted by the callees' proxies.
    pub mesh: Counts,
    /// What its instances told.
    pub callees: Counts,
    /// Whether both are equal.
    pub agree: bool,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How long load was sent.
    pub seconds: f64,
    /// What entered by the load.
    pub entered: Counts,
    /// Calls, of all edges, that failed because of the mesh.
    pub mesh_failures: u64,
    /// Why, and how often.
    pub mesh_failure_reasons: BTreeMap<String, u64>,
    /// Every edge.
    pub edges: Vec<EdgeReport>,
    /// Every service.
    pub services: Vec<ServiceReport>,
    /// What the loss of the leader did, if one was killed.
    pub kill: Option<LeaderKill>,
    /// What should not be; empty when the mesh kept its promises.
    pub faults: Vec<String>,
}

impl Report {
    /// Holds what the mesh says (per edge, and per service) against what the application counted.
    #[must_use]
    pub(crate) fn of(
        seconds: f64,
        books: &Books,
        per_edge: &v1::StatResponse,
        per_service: &v1::StatResponse,
        kill: Option<LeaderKill>,
    ) -> Self {
        let edges: Vec<EdgeReport> = edges().map(|(from, to)| edge(from, to, books, per_edge)).collect();
        let mut services: Vec<&'static str> = edges.iter().map(|edge| edge.to).collect();
        services.sort_unstable();
        services.dedup();
        let services = services.into_iter().map(|name| service(name, books, per_service)).collect();
        let entered = edges.iter().find(|edge| (edge.from, edge.to) == (LOAD_WORKLOAD, ENTRY));
        let mut report = Self {
            seconds,
            entered: entered.map(|edge| edge.callers).unwrap_or_default(),
            mesh_failures: books.mesh_failures(),
            mesh_failure_reasons: books.reasons.clone(),
            edges,
            services,
            kill,
            faults: Vec::new(),
        };
        report.faults = report.found_faults();
        report
    }

    /// Whether the mesh has heard of all that the application counted.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.edges.iter().all(|edge| edge.agree) && self.services.iter().all(|service| service.agree)
    }

    fn found_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for EdgeReport { from, to, mesh, callers, callees, agree, .. } in &self.edges {
            if callers.requests == 0 {
                faults.push(format!("{from} -> {to}: nothing flowed"));
            } else if !agree {
                faults.push(format!(
                    "{from} -> {to}: the mesh counted {mesh}, the callers {callers}, the callees {callees}"
                ));
            }
        }
        for ServiceReport { service, mesh, callees, agree } in &self.services {
            if !agree {
                faults.push(format!("{service}: the mesh counted {mesh}, its instances {callees}"));
            }
        }
        for (reason, times) in &self.mesh_failure_reasons {
            faults.push(format!("failed because of the mesh, {times} times: {reason}"));
        }
        if let Some(kill) = self.kill.as_ref().filter(|kill| kill.lost_writes > 0) {
            faults.push(format!("{} acknowledged writes are lost", kill.lost_writes));
        }
        faults
    }

    /// The document for programs.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("figures and words have a form in JSON");
        text.push('\n');
        text
    }

    /// The end of the demo, for people.
    #[must_use]
    pub fn text(&self, ink: Ink) -> String {
        let mut columns = vec![Column::left("FROM"), Column::left("TO")];
        columns.extend(["SUCCESS", "MESH", "CALLERS", "CALLEES", "P50", "P95", "P99"].map(Column::right));
        let mut table = Table::new(columns);
        for edge in &self.edges {
            let counted = edge.mesh.requests.to_string();
            let mut cells: Vec<Cell> = vec![
                edge.from.into(),
                edge.to.into(),
                share(edge.mesh.successes, edge.mesh.requests).into(),
                if edge.agree { Cell::good(counted) } else { Cell::bad(counted) },
                edge.callers.requests.to_string().into(),
                edge.callees.requests.to_string().into(),
            ];
            cells.extend(edge.latency_us.map(|micros| Cell::from(latency(micros))));
            table.row(cells);
        }
        let Self { seconds, entered, mesh_failures, .. } = self;
        let mut text = format!(
            "\nAfter {seconds:.0} s of load, requests as the mesh, the callers and the callees counted them:\n{}",
            table.text(ink)
        );
        let _ = writeln!(
            text,
            "requests: {} entered, {mesh_failures} calls failed because of the mesh",
            entered.requests
        );
        if let Some(kill) = &self.kill {
            let _ = writeln!(text, "{}", kill.sentence());
        }
        for fault in &self.faults {
            let _ = writeln!(text, "fault: {fault}");
        }
        text
    }
}

fn edge(from: &'static str, to: &'static str, books: &Books, per_edge: &v1::StatResponse) -> EdgeReport {
    let key = (from.to_owned(), to.to_owned());
    let heard = books.callers.get(&key).cloned().unwrap_or_default();
    let told = books.callees.get(&key).copied().unwrap_or_default();
    let of_edge = |row: &&v1::StatRow| {
        row.caller.as_ref().is_some_and(|caller| caller.name == from) && asks_for(row, to)
    };
    let rows: Vec<&v1::StatRow> = per_edge.rows.iter().filter(of_edge).collect();
    let largest = rows.iter().max_by_key(|row| row.traffic.as_ref().map_or(0, |traffic| traffic.successes));
    let callers = Counts::of(heard.good, heard.failures + heard.mesh);
    let callees = Counts::of(told.good, told.failures);
    let mesh = summed(&rows);
    EdgeReport {
        from,
        to,
        mesh,
        callers,
        callees,
        agree: mesh == callers && callers == callees,
        latency_us: largest.map_or([0; 3], |row| [row.p50_us, row.p95_us, row.p99_us]),
    }
}

fn service(name: &'static str, books: &Books, per_service: &v1::StatResponse) -> ServiceReport {
    let rows: Vec<&v1::StatRow> = per_service.rows.iter().filter(|row| asks_for(row, name)).collect();
    let told = books.callees.iter().filter(|((_, callee), _)| callee == name);
    let counts = told.map(|(_, told)| Counts::of(told.good, told.failures));
    let callees = counts.fold(Counts::default(), Counts::plus);
    let mesh = summed(&rows);
    ServiceReport { service: name, mesh, callees, agree: mesh == callees }
}

fn asks_for(row: &v1::StatRow, service: &str) -> bool {
    let asked = row.authority.as_ref().and_then(|authority| authority.service.as_ref());
    asked.is_some_and(|asked| asked.name == service)
}

fn summed(rows: &[&v1::StatRow]) -> Counts {
    let traffic = rows.iter().filter_map(|row| row.traffic.as_ref());
    let counts = traffic.map(|traffic| Counts::of(traffic.successes, traffic.failures.iter().sum()));
    counts.fold(Counts::default(), Counts::plus)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::shop::{Heard, Tally};
    use super::*;

    fn row(caller: Option<&str>, service: &str, successes: u64, failures: u64) -> v1::StatRow {
        let named = |name: &str| v1::QualifiedName { name: name.to_owned(), namespace: "default".to_owned() };
        v1::StatRow {
            caller: caller.map(named),
            authority: Some(v1::Authority { service: Some(named(service)), port: 80 }),
            traffic: Some(v1::EdgeTraffic {
                successes,
                failures: vec![failures],
                ..v1::EdgeTraffic::default()
            }),
            ..v1::StatRow::default()
        }
    }

    /// Each edge was called twice, of which reviews failed once; then the mesh's figures that say so.
    fn run() -> (Books, v1::StatResponse, v1::StatResponse) {
        let tally = Tally::default();
        let (mut per_edge, mut per_service) = (Vec::new(), Vec::new());
        for (from, to) in edges() {
            let failing = u64::from(to == "reviews");
            for number in 0..2 {
                let good = number >= failing;
                tally.told(from, to, to, good);
                let heard = if good { Heard::Good } else { Heard::Failure };
                tally.heard(from, to, &heard, Duration::from_millis(1));
            }
            per_edge.push(row(Some(from), to, 2 - failing, failing));
            per_service.push(row(None, to, 2 - failing, failing));
        }
        let stat = |rows| v1::StatResponse { rows, ..v1::StatResponse::default() };
        (tally.books(), stat(per_edge), stat(per_service))
    }

    #[test]
    fn equal_counts_agree_and_are_no_fault() {
        let (books, per_edge, per_service) = run();
        let report = Report::of(20.0, &books, &per_edge, &per_service, None);
        assert!(report.agrees(), "{report:?}");
        assert_eq!(report.faults, Vec::<String>::new());
        assert_eq!(report.entered, Counts::of(2, 0));
        let text = report.text(Ink::Plain);
        assert!(text.contains("web      reviews   50.00%     2        2        2"), "{text}");
    }

    #[test]
    fn one_request_that_only_one_party_counted_is_a_fault_that_names_the_edge() {
        let (books, mut per_edge, per_service) = run();
        per_edge.rows[0].traffic = Some(v1::EdgeTraffic { successes: 3, ..v1::EdgeTraffic::default() });
        let report = Report::of(20.0, &books, &per_edge, &per_service, None);
        assert!(!report.agrees());
        assert!(report.faults[0].starts_with("traffic -> web: the mesh counted"), "{:?}", report.faults);
    }
}
