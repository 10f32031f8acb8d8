//! The answer of `services`.

use api::v1;
use mesh::Protocol;
use serde::Serialize;

use super::table::{Cell, Column, Table};
use super::{Ink, json, name_or_unknown, revision};
use crate::args::Form;

/// The answer of `services`.
#[must_use]
pub fn services(response: &v1::ServicesResponse, form: Form, ink: Ink) -> String {
    if form == Form::Json {
        let services: Vec<ServiceView> = response.services.iter().map(ServiceView::of).collect();
        return json(&serde_json::json!({ "services": services, "stale_ms": response.stale_ms }));
    }
    let mut columns = vec![
        Column::left("SERVICE"),
        Column::left("PORTS"),
        Column::right("READY"),
        Column::right("ENDPOINTS"),
        Column::right("ROUTES"),
    ];
    if form == Form::Wide {
        columns.push(Column::right("REVISION"));
    }
    let mut table = Table::new(columns);
    for row in &response.services {
        let service = row.service.clone().unwrap_or_default();
        let ready = row.ready_endpoints.to_string();
        let mut cells = vec![
            name_or_unknown(service.name.as_ref()).into(),
            ports(&service).into(),
            if row.ready_endpoints == 0 { Cell::bad(ready) } else { ready.into() },
            row.endpoints.to_string().into(),
            row.routes.to_string().into(),
        ];
        if form == Form::Wide {
            cells.push(revision(row.revision.as_ref()).into());
        }
        table.row(cells);
    }
    table.text(ink)
}

/// `80/http,9000/grpc`, with a port's name before it where it has one: `admin:8080/http`.
fn ports(service: &v1::Service) -> String {
    let shown = service.ports.iter().map(|port| {
        let name = if port.name.is_empty() { String::new() } else { format!("{}:", port.name) };
        format!("{name}{}/{}", port.port, protocol(port.protocol()))
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(",") }
}

fn protocol(protocol: v1::Protocol) -> &'static str {
    match protocol {
        v1::Protocol::Unspecified | v1::Protocol::Http1 => Protocol::Http1.as_str(),
        v1::Protocol::Http2 => Protocol::Http2.as_str(),
        v1::Protocol::Grpc => Protocol::Grpc.as_str(),
        v1::Protocol::Opaque => Protocol::Opaque.as_str(),
    }
}

#[derive(Serialize)]
struct ServiceView {
    service: String,
    ports: Vec<PortView>,
    ready_endpoints: u32,
    endpoints: u32,
    routes: u32,
    revision: String,
}

#[derive(Serialize)]
struct PortView {
    name: String,
    port: u32,
    protocol: &'static str,
}

impl ServiceView {
    fn of(row: &v1::ServiceRow) -> Self {
        let service = row.service.clone().unwrap_or_default();
        let ports = service.ports.iter().map(|port| PortView {
            name: port.name.clone(),
            port: port.port,
            protocol: protocol(port.protocol()),
        });
        Self {
            service: name_or_unknown(service.name.as_ref()),
            ports: ports.collect(),
            ready_endpoints: row.ready_endpoints,
            endpoints: row.endpoints,
            routes: row.routes,
            revision: revision(row.revision.as_ref()),
        }
    }
}
