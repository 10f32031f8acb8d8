//! A record as a line of the access log: Apache's `common` and `combined`, or JSON. Pure.
//!
//! A caller must not be able to forge a line: whatever it chose is escaped, as Apache does it.

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use http::Version;
use mesh::Direction;
use serde_json::{Map, Value, json};

use super::calendar::{apache, rfc3339};
use super::record::Record;
pub(super) use crate::settings::AccessLogFormat as Format;

impl Format {
    /// Whether the referer and the user agent are shown.
    pub(super) fn shows_agents(self) -> bool {
        self != Self::Common
    }

    /// Appends the line of `record`, its end included.
    pub(super) fn write(self, record: &Record, line: &mut String) {
        match self {
            Self::Common => apache_line(record, line),
            Self::Combined => {
                apache_line(record, line);
                for text in [&record.referer, &record.user_agent] {
                    line.push_str(" \"");
                    escape(text.as_deref().unwrap_or("-"), line);
                    line.push('"');
                }
            }
            Self::Json => line.push_str(&object(record).to_string()),
        }
        line.push('\n');
    }
}

/// `%h %l %u %t "%r" %>s %b`; the user is the calling workload.
fn apache_line(record: &Record, line: &mut String) {
    let caller = record.edge.caller.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let peer = record.peer.map_or_else(|| "-".to_owned(), |peer| peer.ip().to_string());
    // Writing to a string cannot fail.
    let _ = write!(line, "{peer} - {caller} [{}] \"{} ", apache(record.began), record.method);
    escape(&record.path, line);
    let status = record.status.map_or_else(|| "-".to_owned(), |status| status.as_u16().to_string());
    let _ = write!(line, " {:?}\" {status} ", record.version);
    match record.response_bytes {
        0 => line.push('-'),
        bytes => {
            let _ = write!(line, "{bytes}");
        }
    }
}

/// All that is known; what is not is left out.
fn object(record: &Record) -> Value {
    let edge = &record.edge;
    let outbound = edge.direction == Direction::Outbound;
    let mut fields = Map::new();
    let mut field = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    field("time", json!(rfc3339(record.began)));
    field("direction", json!(if outbound { "outbound" } else { "inbound" }));
    let optional = [
        ("caller", edge.caller.as_ref().map(ToString::to_string)),
        ("callee", edge.callee.as_ref().map(ToString::to_string)),
        ("peer", record.peer.map(|peer| peer.to_string())),
        ("endpoint", record.endpoint.map(|endpoint| endpoint.to_string())),
        ("failure", record.failure.map(|failure| failure.as_str().to_owned())),
        ("trace_id", record.trace.map(|trace| trace.trace_id())),
        ("referer", record.referer.as_deref().map(str::to_owned)),
        ("user_agent", record.user_agent.as_deref().map(str::to_owned)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            field(name, json!(value));
        }
    }
    if let Some(status) = record.status {
        field("status", json!(status.as_u16()));
    }
    if let Some(status) = record.grpc_status {
        field("grpc_status", json!(status));
    }
    field("service", json!(edge.authority.to_string()));
    field("method", json!(record.method.as_str()));
    field("path", json!(record.path));
    field("protocol", json!(protocol(record.version)));
    field("request_bytes", json!(record.request_bytes));
    field("response_bytes", json!(record.response_bytes));
    field("duration_ms", json!(record.duration.as_micros() as f64 / 1000.0));
    field("retries", json!(record.retries));
    field("tls", json!(false));
    Value::Object(fields)
}

/// The version of HTTP as OpenTelemetry's `network.protocol.version` spells it.
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/3",
    }
}

/// As Apache writes what a client chose: quotes and backslashes escaped, everything that is not visible as `\xhh`.
fn escape(text: &str, line: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => line.extend(['\\', char::from(byte)]),
            0x20..=0x7e => line.push(char::from(byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

/// Nanoseconds since the epoch, as OTLP counts.
pub(super) fn unix_nanoseconds(at: std::time::SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use http::StatusCode;
    use mesh::Failure;

    use super::super::record::fixtures::{edge, parts};
    use super::super::record::{Ending, Recorder, queue};
    use super::*;
    use crate::balance::Chance;

    fn record(uri: &str, headers: &[(&'static str, &str)]) -> Record {
        let (sender, _receiver) = queue();
        let recorder = Recorder::new(Some((Format::Combined, sender)), None).unwrap();
        let peer = Some("10.0.0.7:4711".parse().unwrap());
        let begun = recorder.begin(&mut parts(uri, headers), &edge(), peer, &mut Chance::seeded(1));
        let mut record = *begun.unwrap();
        record.began = UNIX_EPOCH + Duration::from_millis(951_782_400_250);
        record.sent_to("10.0.0.9:80".parse().unwrap());
        record.answered(StatusCode::NOT_FOUND, &http::HeaderMap::new());
        let duration = Duration::from_micros(1_500);
        let ending = Ending { duration, request_bytes: 3, response_bytes: 512, retries: 1, failure: None };
        record.end(edge(), ending);
        record
    }

    fn line(format: Format, record: &Record) -> String {
        let mut line = String::new();
        format.write(record, &mut line);
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        line.trim_end().to_owned()
    }

    #[test]
    fn lines_of_both_apache_formats_are_spelled_as_apache_does() {
        let record = record("/a?b=c", &[("referer", "http://a/"), ("user-agent", "curl/8")]);
        let common = "10.0.0.7 - shop.demo [29/Feb/2000:00:00:00 +0000] \"GET /a?b=c HTTP/1.1\" 404 512";
        assert_eq!(line(Format::Common, &record), common);
        assert_eq!(line(Format::Combined, &record), format!("{common} \"http://a/\" \"curl/8\""));
    }

    #[test]
    fn a_caller_cannot_forge_a_line() {
        let mut record = record("/", &[("user-agent", "a\" 200 5 \\")]);
        record.path = "/\n10.0.0.1 - - \u{7f}é".into();
        assert!(line(Format::Common, &record).contains("GET /\\x0a10.0.0.1 - - \\x7f\\xc3\\xa9 HTTP"));
        assert!(line(Format::Combined, &record).ends_with("\"-\" \"a\\\" 200 5 \\\\\""));
        let object: Value = serde_json::from_str(&line(Format::Json, &record)).unwrap();
        assert_eq!(object["path"], "/\n10.0.0.1 - - \u{7f}é");
    }

    #[test]
    fn json_has_every_field_that_is_known_and_none_that_is_not() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut record = record("/a", &[("traceparent", traceparent)]);
        record.grpc_status = Some(14);
        record.failure = Some(Failure::Server);
        let object: Value = serde_json::from_str(&line(Format::Json, &record)).unwrap();
        let expected = json!({
            "time": "2000-02-29T00:00:00.250Z", "direction": "outbound", "caller": "shop.demo",
            "callee": "web.default", "service": "web.default.svc.cluster.local:80", "peer": "10.0.0.7:4711",
            "endpoint": "10.0.0.9:80", "method": "GET", "path": "/a", "status": 404, "grpc_status": 14,
            "request_bytes": 3, "response_bytes": 512, "duration_ms": 1.5, "retries": 1, "failure": "server",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "protocol": "HTTP/1.1", "tls": false,
        });
        assert_eq!(object, expected);
        record.status = None;
        assert!(line(Format::Common, &record).ends_with("HTTP/1.1\" - 512"));
    }
}
