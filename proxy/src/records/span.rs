//! A record as an OTLP span. Attributes are named by OpenTelemetry's semantic conventions for HTTP and RPC; what those
//! do not know begins with `penstock.`. Pure.

use std::time::Duration;

use api::otlp::any_value::Value;
use api::otlp::span::SpanKind;
use api::otlp::status::StatusCode;
use api::otlp::{AnyValue, KeyValue, Span, Status};
use mesh::Direction;

use super::line::{protocol, unix_nanoseconds};
use super::record::Record;

/// The span of `record`; `None` when its trace is not sampled.
pub(super) fn span(record: &Record) -> Option<Span> {
    let own = record.own_span?;
    let outbound = record.edge.direction == Direction::Outbound;
    let start = unix_nanoseconds(record.began);
    let lasted = u64::try_from(record.duration.max(Duration::from_nanos(1)).as_nanos()).unwrap_or(u64::MAX);
    let code = if record.failure.is_some() { StatusCode::Error } else { StatusCode::Unset };
    Some(Span {
        trace_id: own.context.trace.to_vec(),
        span_id: own.context.span.to_vec(),
        trace_state: record.trace_state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: own.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        // Low cardinality, as the conventions want it: paths are in an attribute.
        name: format!("{} {}", record.method, record.edge.authority.service),
        kind: if outbound { SpanKind::Client } else { SpanKind::Server }.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(lasted),
        attributes: attributes(record),
        status: Some(Status {
            message: record.failure.map(|failure| failure.as_str().to_owned()).unwrap_or_default(),
            code: code.into(),
        }),
    })
}

fn attributes(record: &Record) -> Vec<KeyValue> {
    let edge = &record.edge;
    // A query may hold what must not leave the host: only the path is told.
    let path = record.path.split('?').next().unwrap_or_default();
    let version = protocol(record.version).trim_start_matches("HTTP/");
    let mut all = vec![
        text("http.request.method", record.method.as_str()),
        text("url.path", path),
        text("network.protocol.version", version),
        text("server.address", &edge.authority.service.to_string()),
        number("server.port", u64::from(edge.authority.port)),
        number("http.request.body.size", record.request_bytes),
        number("http.response.body.size", record.response_bytes),
    ];
    let optional = [
        ("penstock.caller", edge.caller.as_ref().map(ToString::to_string)),
        ("penstock.callee", edge.callee.as_ref().map(ToString::to_string)),
        ("network.peer.address", record.endpoint.map(|endpoint| endpoint.to_string())),
        ("client.address", record.peer.map(|peer| peer.ip().to_string())),
        ("error.type", record.failure.map(|failure| failure.as_str().to_owned())),
    ];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some(text(key, &value?))));
    let status = record.status.map(|status| u64::from(status.as_u16()));
    let retries = (record.retries > 0).then_some(record.retries);
    let optional = [
        ("http.response.status_code", status),
        ("rpc.grpc.status_code", record.grpc_status.map(u64::from)),
        ("http.request.resend_count", retries),
    ];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some(number(key, value?))));
    all
}

/// An attribute of text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value }
}

fn number(key: &str, value: u64) -> KeyValue {
    let value = Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX));
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
