//! The answer of `endpoints`.

use api::v1;
use mesh::Endpoint;
use serde::Serialize;

use super::table::{Cell, Column, Table};
use super::{Ink, authority, json, name_or_unknown, revision};
use crate::args::Form;

/// The answer of `endpoints`.
#[must_use]
pub fn endpoints(response: &v1::EndpointsResponse, form: Form, ink: Ink) -> String {
    let rows: Vec<EndpointView> = response.endpoints.iter().map(EndpointView::of).collect();
    if form == Form::Json {
        return json(&serde_json::json!({ "endpoints": rows, "stale_ms": response.stale_ms }));
    }
    let mut columns = ["SERVICE", "INSTANCE", "ADDRESS", "WORKLOAD", "HEALTH"].map(Column::left).to_vec();
    columns.push(Column::right("WEIGHT"));
    if form == Form::Wide {
        columns.extend([Column::left("ZONE"), Column::right("LEASE"), Column::right("REVISION")]);
    }
    let mut table = Table::new(columns);
    for row in rows {
        let health = if row.health == READY { Cell::good(row.health) } else { Cell::warning(row.health) };
        let mut cells = vec![
            row.service.into(),
            row.instance.into(),
            row.address.into(),
            row.workload.into(),
            health,
            row.weight.to_string().into(),
        ];
        if form == Form::Wide {
            let zone = if row.zone.is_empty() { "-".to_owned() } else { row.zone };
            cells.extend([zone.into(), format!("{}s", row.lease_seconds).into(), row.revision.into()]);
        }
        table.row(cells);
    }
    table.text(ink)
}

const READY: &str = "ready";

#[derive(Serialize)]
struct EndpointView {
    service: String,
    instance: String,
    address: String,
    workload: String,
    health: &'static str,
    weight: u32,
    region: String,
    zone: String,
    lease_seconds: u32,
    revision: String,
}

impl EndpointView {
    fn of(row: &v1::EndpointRow) -> Self {
        let endpoint = row.endpoint.clone().unwrap_or_default();
        let locality = endpoint.locality.clone().unwrap_or_default();
        Self {
            service: authority(row.authority.as_ref()),
            health: match endpoint.health() {
                v1::Health::Unspecified | v1::Health::Ready => READY,
                v1::Health::Draining => "draining",
            },
            workload: name_or_unknown(endpoint.workload.as_ref()),
            instance: endpoint.instance,
            address: endpoint.address,
            weight: if endpoint.weight == 0 { Endpoint::DEFAULT_WEIGHT } else { endpoint.weight },
            region: locality.region,
            zone: locality.zone,
            lease_seconds: row.lease_seconds,
            revision: revision(row.revision.as_ref()),
        }
    }
}
