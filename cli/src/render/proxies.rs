//! The answer of `proxies`.

use api::v1;
use serde::Serialize;

use super::table::{Cell, Column, Table};
use super::{Ink, json, revision};
use crate::args::{Form, Span};

/// The answer of `proxies`; `now_ms` (Unix) tells how long each is connected.
#[must_use]
pub fn proxies(response: &v1::ProxiesResponse, form: Form, ink: Ink, now_ms: u64) -> String {
    if form == Form::Json {
        let proxies: Vec<ProxyView<'_>> = response.proxies.iter().map(ProxyView::of).collect();
        return json(&serde_json::json!({ "proxies": proxies, "missing_nodes": response.missing_nodes }));
    }
    let mut columns = vec![Column::left("PROXY"), Column::left("CLIENT"), Column::right("NODE")];
    columns.push(Column::left("STATE"));
    columns.extend(["HOLDS", "NEWEST", "RESOURCES", "REFUSED"].map(Column::right));
    if form == Form::Wide {
        columns.extend([Column::right("CONNECTED"), Column::left("REFUSAL")]);
    }
    let mut table = Table::new(columns);
    for proxy in &response.proxies {
        let mut cells = vec![
            proxy.proxy.clone().into(),
            proxy.client.clone().into(),
            proxy.node.to_string().into(),
            state(proxy),
            revision(proxy.acknowledged.as_ref()).into(),
            revision(proxy.latest.as_ref()).into(),
            proxy.resources.to_string().into(),
            proxy.refused.to_string().into(),
        ];
        if form == Form::Wide {
            let connected = now_ms.saturating_sub(proxy.connected_ms) / 1000 * 1000;
            cells.push(Span(std::time::Duration::from_millis(connected)).to_string().into());
            cells.push(proxy.refusal.clone().into());
        }
        table.row(cells);
    }
    table.text(ink)
}

fn state(proxy: &v1::ProxyRow) -> Cell {
    match proxy.state.as_str() {
        "current" => Cell::good("current"),
        "refused" => Cell::bad("refused"),
        other => Cell::warning(other),
    }
}

#[derive(Serialize)]
struct ProxyView<'a> {
    proxy: &'a str,
    client: &'a str,
    node: u64,
    state: &'a str,
    holds: String,
    newest: String,
    resources: u32,
    refused: u32,
    refusal: &'a str,
    connected_ms: u64,
}

impl<'a> ProxyView<'a> {
    fn of(proxy: &'a v1::ProxyRow) -> Self {
        Self {
            proxy: &proxy.proxy,
            client: &proxy.client,
            node: proxy.node,
            state: &proxy.state,
            holds: revision(proxy.acknowledged.as_ref()),
            newest: revision(proxy.latest.as_ref()),
            resources: proxy.resources,
            refused: proxy.refused,
            refusal: &proxy.refusal,
            connected_ms: proxy.connected_ms,
        }
    }
}
