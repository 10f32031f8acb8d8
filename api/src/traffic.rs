//! Traffic on the wire: what proxies report, and what partials in the log hold.

use mesh::{
    Direction, Edge, EdgeTraffic, Failure, LatencySketch, ProxyId, TrafficReport, Window, WindowTraffic,
};

use crate::field::{self, FieldError};
use crate::v1;

/// Longest name of a proxy: a pod's name and namespace.
pub const PROXY_NAME_BYTES_MAX: usize = 317;
/// Most windows of one message: more than are kept in ten-second windows can never be counted.
const WINDOWS_MAX: usize = 128;
/// Most edges of one window: five times what the catalog would tell apart.
const EDGES_MAX: usize = 100_000;

impl TryFrom<&v1::ProxyId> for ProxyId {
    type Error = FieldError;

    fn try_from(message: &v1::ProxyId) -> Result<Self, FieldError> {
        let name = field::text(&message.name, "name", 1, PROXY_NAME_BYTES_MAX)?;
        Ok(Self { name, incarnation: message.incarnation })
    }
}

impl From<&ProxyId> for v1::ProxyId {
    fn from(proxy: &ProxyId) -> Self {
        Self { name: proxy.name.clone(), incarnation: proxy.incarnation }
    }
}

impl From<Direction> for v1::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Inbound => Self::Inbound,
            Direction::Outbound => Self::Outbound,
        }
    }
}

impl TryFrom<&v1::Edge> for Edge {
    type Error = FieldError;

    fn try_from(message: &v1::Edge) -> Result<Self, FieldError> {
        let direction = match v1::Direction::try_from(message.direction) {
            Ok(v1::Direction::Inbound) => Direction::Inbound,
            Ok(v1::Direction::Outbound) => Direction::Outbound,
            _ => {
                return Err(FieldError::wrong(
                    "direction",
                    message.direction,
                    "must be 1 (inbound) or 2 (outbound)",
                ));
            }
        };
        Ok(Self {
            direction,
            caller: field::optional(message.caller.as_ref(), "caller")?,
            authority: field::required(message.authority.as_ref(), "authority")?,
            callee: field::optional(message.callee.as_ref(), "callee")?,
        })
    }
}

impl From<&Edge> for v1::Edge {
    fn from(edge: &Edge) -> Self {
        Self {
            direction: v1::Direction::from(edge.direction).into(),
            caller: edge.caller.as_ref().map(Into::into),
            authority: Some((&edge.authority).into()),
            callee: edge.callee.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&v1::EdgeTraffic> for EdgeTraffic {
    type Error = FieldError;

    fn try_from(message: &v1::EdgeTraffic) -> Result<Self, FieldError> {
        let mut failures = [0; Failure::ALL.len()];
        if message.failures.len() > failures.len() {
            let count = message.failures.len();
            let rule = format!("must be at most {}: one for each reason", failures.len());
            return Err(FieldError::wrong("failures", format_args!("{count} items"), rule));
        }
        failures.iter_mut().zip(&message.failures).for_each(|(to, from)| *to = *from);
        let latency = LatencySketch::decoded(&message.latency).map_err(|error| {
            FieldError::wrong("latency", format_args!("{} bytes", message.latency.len()), error.to_string())
        })?;
        Ok(Self {
            successes: message.successes,
            failures,
            retries: message.retries,
            connections: message.connections,
            closes: message.closes,
            request_bytes: message.request_bytes,
            response_bytes: message.response_bytes,
            latency,
        })
    }
}

impl From<&EdgeTraffic> for v1::EdgeTraffic {
    fn from(traffic: &EdgeTraffic) -> Self {
        let told = traffic.failures.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        Self {
            successes: traffic.successes,
            failures: traffic.failures[..told].to_vec(),
            retries: traffic.retries,
            connections: traffic.connections,
            closes: traffic.closes,
            request_bytes: traffic.request_bytes,
            response_bytes: traffic.response_bytes,
            latency: traffic.latency.encoded(),
        }
    }
}

/// One edge's record, as a repeated field holds it.
struct Record((Edge, EdgeTraffic));

impl TryFrom<&v1::EdgeRecord> for Record {
    type Error = FieldError;

    fn try_from(message: &v1::EdgeRecord) -> Result<Self, FieldError> {
        let edge = field::required(message.edge.as_ref(), "edge")?;
        Ok(Self((edge, field::required(message.traffic.as_ref(), "traffic")?)))
    }
}

impl TryFrom<&v1::WindowTraffic> for WindowTraffic {
    type Error = FieldError;

    fn try_from(message: &v1::WindowTraffic) -> Result<Self, FieldError> {
        let records: Vec<Record> = field::each(&message.edges, "edges", EDGES_MAX)?;
        Ok(Self {
            window: Window(message.window),
            edges: records.into_iter().map(|Record(record)| record).collect(),
        })
    }
}

impl From<&WindowTraffic> for v1::WindowTraffic {
    fn from(window: &WindowTraffic) -> Self {
        let record = |(edge, traffic): &(Edge, EdgeTraffic)| v1::EdgeRecord {
            edge: Some(edge.into()),
            traffic: Some(traffic.into()),
        };
        Self { window: window.window.0, edges: window.edges.iter().map(record).collect() }
    }
}

impl TryFrom<&v1::TrafficReport> for TrafficReport {
    type Error = FieldError;

    fn try_from(message: &v1::TrafficReport) -> Result<Self, FieldError> {
        Ok(Self {
            proxy: field::required(message.proxy.as_ref(), "proxy")?,
            windows: field::each(&message.windows, "windows", WINDOWS_MAX)?,
        })
    }
}

impl From<&TrafficReport> for v1::TrafficReport {
    fn from(report: &TrafficReport) -> Self {
        Self { proxy: Some((&report.proxy).into()), windows: report.windows.iter().map(Into::into).collect() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::time::Duration;

    use super::*;

    fn report() -> TrafficReport {
        let mut latency = LatencySketch::default();
        latency.record(Duration::from_millis(7));
        let edge = Edge {
            direction: Direction::Outbound,
            caller: Some("web.shop".parse().unwrap()),
            authority: "cart.shop:80".parse().unwrap(),
            callee: None,
        };
        let traffic =
            EdgeTraffic { successes: 1, failures: [0, 2, 0, 0, 0], latency, ..EdgeTraffic::default() };
        TrafficReport {
            proxy: ProxyId { name: "web-1".into(), incarnation: 3 },
            windows: vec![WindowTraffic { window: Window(9), edges: vec![(edge, traffic)] }],
        }
    }

    #[test]
    fn a_report_survives_the_wire_and_leaves_trailing_zeros_out() {
        let message = v1::TrafficReport::from(&report());
        assert_eq!(message.windows[0].edges[0].traffic.as_ref().unwrap().failures, [0, 2]);
        assert_eq!(TrafficReport::try_from(&message).unwrap(), report());
    }

    #[test]
    fn a_report_with_a_broken_record_is_refused_with_the_whole_path() {
        type Break = fn(&mut v1::EdgeRecord);
        let cases: [(Break, &str); 4] = [
            (|r| r.edge.as_mut().unwrap().direction = 0, "windows[0].edges[0].edge.direction = 0: must be 1"),
            (|r| r.edge = None, "windows[0].edges[0].edge: is missing"),
            (
                |r| r.traffic.as_mut().unwrap().failures = vec![0; 6],
                "windows[0].edges[0].traffic.failures = 6 items: must be at most 5",
            ),
            (
                |r| r.traffic.as_mut().unwrap().latency = vec![0xff],
                "windows[0].edges[0].traffic.latency = 1 bytes: malformed latency sketch at byte 0",
            ),
        ];
        for (break_it, told) in cases {
            let mut message = v1::TrafficReport::from(&report());
            break_it(&mut message.windows[0].edges[0]);
            let error = TrafficReport::try_from(&message).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
