//! Says whether an answer is a success: by HTTP status, or by the gRPC status in its headers or trailers. Pure.

use http::{HeaderMap, StatusCode};
use mesh::Failure;

use super::refusal::is_grpc;

/// gRPC statuses that blame the server: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
/// The others (NOT_FOUND, PERMISSION_DENIED...) are answers about the request, as 4xx are in HTTP.
const SERVER_FAULTS: [&[u8]; 5] = [b"2", b"4", b"13", b"14", b"15"];

/// What an answer's head says about it; gRPC says the rest in its trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Settled by the head.
    Settled(Option<Failure>),
    /// gRPC: the trailers tell.
    InTrailers,
}

impl Verdict {
    /// What the head says.
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if status.is_server_error() {
            return Self::Settled(Some(Failure::Server));
        }
        if !is_grpc(headers) {
            return Self::Settled(None);
        }
        if headers.contains_key("grpc-status") { Self::Settled(by_status(headers)) } else { Self::InTrailers }
    }

    /// Why the whole answer is a failure, if it is one. A gRPC answer that never states its status counts as UNKNOWN, as
    /// gRPC clients take it.
    #[must_use]
    pub fn failure(self, trailers: Option<&HeaderMap>) -> Option<Failure> {
        match (self, trailers) {
            (Self::Settled(failure), _) => failure,
            (Self::InTrailers, Some(trailers)) => by_status(trailers),
            (Self::InTrailers, None) => Some(Failure::Server),
        }
    }
}

/// The gRPC status that headers or trailers state, if it is a number.
#[must_use]
pub fn grpc_number(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn by_status(headers: &HeaderMap) -> Option<Failure> {
    let status = headers.get("grpc-status").map(http::HeaderValue::as_bytes);
    status.is_none_or(|status| SERVER_FAULTS.contains(&status)).then_some(Failure::Server)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn http_answers_fail_by_5xx_only() {
        for (status, failure) in [(200, None), (404, None), (429, None), (500, Some(Failure::Server))] {
            let verdict = Verdict::of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
            assert_eq!(verdict.failure(None), failure, "{status}");
        }
    }

    #[test]
    fn grpc_answers_fail_by_their_status_wherever_it_stands() {
        for (status, failure) in [
            ("0", None),
            ("5", None),
            ("7", None),
            ("2", Some(Failure::Server)),
            ("14", Some(Failure::Server)),
        ] {
            let only = map(&[("content-type", "application/grpc"), ("grpc-status", status)]);
            assert_eq!(Verdict::of(StatusCode::OK, &only).failure(None), failure, "trailers-only {status}");
            let head = Verdict::of(StatusCode::OK, &map(&[("content-type", "application/grpc+proto")]));
            assert_eq!(head.failure(Some(&map(&[("grpc-status", status)]))), failure, "trailers {status}");
        }
        let silent = Verdict::of(StatusCode::OK, &map(&[("content-type", "application/grpc")]));
        assert_eq!(silent.failure(None), Some(Failure::Server));
        assert_eq!(silent.failure(Some(&HeaderMap::new())), Some(Failure::Server));
    }
}
