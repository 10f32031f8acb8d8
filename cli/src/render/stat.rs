//! Traffic: `stat` per service or workload, `edges` per caller and callee.

use api::v1;
use mesh::Failure;
use serde::Serialize;

use super::table::{Cell, Column, Table};
use super::units::{bytes, latency, rate, share};
use super::{Ink, authority, json, name, name_or_unknown, revision};
use crate::args::{Form, ResourceKind};

/// Below this many successes in a hundred a row is shown in red, below a hundred in yellow.
const BAD_BELOW_PERCENT: u64 = 95;

/// The answer of `stat`.
#[must_use]
pub fn stat(response: &v1::StatResponse, kind: ResourceKind, form: Form, ink: Ink) -> String {
    match kind {
        ResourceKind::Service => {
            let head = [Column::left("SERVICE")];
            written(response, form, ink, &head, |row| vec![authority(row.authority.as_ref()).into()])
        }
        ResourceKind::Workload => {
            let head = [Column::left("WORKLOAD")];
            written(response, form, ink, &head, |row| vec![name_or_unknown(row.callee.as_ref()).into()])
        }
    }
}

/// The answer of `edges`.
#[must_use]
pub fn edges(response: &v1::StatResponse, form: Form, ink: Ink) -> String {
    let head = [Column::left("FROM"), Column::left("SERVICE"), Column::left("TO")];
    written(response, form, ink, &head, |row| {
        vec![
            name_or_unknown(row.caller.as_ref()).into(),
            authority(row.authority.as_ref()).into(),
            name_or_unknown(row.callee.as_ref()).into(),
        ]
    })
}

fn written(
    response: &v1::StatResponse,
    form: Form,
    ink: Ink,
    head: &[Column],
    names: impl Fn(&v1::StatRow) -> Vec<Cell>,
) -> String {
    if form == Form::Json {
        return json(&StatView::of(response));
    }
    let mut columns = head.to_vec();
    columns.extend(["SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99"].map(Column::right));
    if form == Form::Wide {
        columns.push(Column::right("REQUESTS"));
        columns.extend(["SERVER", "TIMEOUT", "CONNECT", "RESET", "UNAVAILABLE"].map(Column::right));
        columns.extend(["RETRIES", "CONNECTIONS", "IN", "OUT"].map(Column::right));
        columns.push(Column::left("COUNTED"));
    }
    let mut table = Table::new(columns);
    for row in &response.rows {
        let mut cells = names(row);
        cells.extend(golden_cells(row));
        if form == Form::Wide {
            cells.extend(wide_cells(row));
        }
        table.row(cells);
    }
    table.text(ink)
}

fn golden_cells(row: &v1::StatRow) -> [Cell; 5] {
    let traffic = row.traffic.clone().unwrap_or_default();
    let requests = requests(&traffic);
    let success = share(traffic.successes, requests);
    let success =
        if u128::from(traffic.successes) * 100 < u128::from(requests) * u128::from(BAD_BELOW_PERCENT) {
            Cell::bad(success)
        } else if traffic.successes < requests {
            Cell::warning(success)
        } else {
            success.into()
        };
    [
        success,
        rate(row.requests_per_second).into(),
        latency(row.p50_us).into(),
        latency(row.p95_us).into(),
        latency(row.p99_us).into(),
    ]
}

fn wide_cells(row: &v1::StatRow) -> Vec<Cell> {
    let traffic = row.traffic.clone().unwrap_or_default();
    let mut cells = vec![requests(&traffic).to_string().into()];
    for at in 0..Failure::ALL.len() {
        let failures = traffic.failures.get(at).copied().unwrap_or(0);
        cells.push(if failures > 0 { Cell::bad(failures.to_string()) } else { "0".into() });
    }
    cells.push(traffic.retries.to_string().into());
    cells.push(traffic.connections.to_string().into());
    cells.push(bytes(traffic.request_bytes).into());
    cells.push(bytes(traffic.response_bytes).into());
    cells.push(counted(row).into());
    cells
}

fn requests(traffic: &v1::EdgeTraffic) -> u64 {
    traffic.failures.iter().fold(traffic.successes, |sum, failures| sum.saturating_add(*failures))
}

/// On which side a row was counted.
fn counted(row: &v1::StatRow) -> &'static str {
    match row.counted() {
        v1::Direction::Inbound => "inbound",
        v1::Direction::Outbound => "outbound",
        v1::Direction::Unspecified => "-",
    }
}

#[derive(Serialize)]
struct StatView {
    from_ms: u64,
    to_ms: u64,
    revision: String,
    folded_edges: u64,
    stale_ms: u64,
    rows: Vec<RowView>,
}

#[derive(Serialize)]
struct RowView {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    counted: &'static str,
    requests: u64,
    successes: u64,
    failures: FailuresView,
    /// Null when there was no request.
    success_rate: Option<f64>,
    requests_per_second: f64,
    latency_us: LatencyView,
    retries: u64,
    connections: u64,
    request_bytes: u64,
    response_bytes: u64,
}

#[derive(Serialize)]
struct FailuresView {
    server: u64,
    timeout: u64,
    connect: u64,
    reset: u64,
    unavailable: u64,
}

#[derive(Serialize)]
struct LatencyView {
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

impl StatView {
    fn of(response: &v1::StatResponse) -> Self {
        Self {
            from_ms: response.from_ms,
            to_ms: response.to_ms,
            revision: revision(response.revision.as_ref()),
            folded_edges: response.folded_edges,
            stale_ms: response.stale_ms,
            rows: response.rows.iter().map(RowView::of).collect(),
        }
    }
}

impl RowView {
    fn of(row: &v1::StatRow) -> Self {
        let traffic = row.traffic.clone().unwrap_or_default();
        let requests = requests(&traffic);
        let failures = |at: usize| traffic.failures.get(at).copied().unwrap_or(0);
        let known = |micros: u64| (micros > 0).then_some(micros);
        #[allow(clippy::cast_precision_loss)] // a share
        let success_rate = (requests > 0).then(|| traffic.successes as f64 / requests as f64);
        Self {
            from: row.caller.as_ref().map(name),
            service: row.authority.as_ref().map(|given| authority(Some(given))),
            to: row.callee.as_ref().map(name),
            counted: counted(row),
            requests,
            successes: traffic.successes,
            failures: FailuresView {
                server: failures(0),
                timeout: failures(1),
                connect: failures(2),
                reset: failures(3),
                unavailable: failures(4),
            },
            success_rate,
            requests_per_second: row.requests_per_second,
            latency_us: LatencyView {
                p50: known(row.p50_us),
                p95: known(row.p95_us),
                p99: known(row.p99_us),
            },
            retries: traffic.retries,
            connections: traffic.connections,
            request_bytes: traffic.request_bytes,
            response_bytes: traffic.response_bytes,
        }
    }
}
