//! Answers that the proxy itself gives: what went wrong, as status, header and body, for HTTP and for gRPC.
//! Each names what was asked and what stood in the way, so that a caller can tell the mesh from the service.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use mesh::Failure;

/// The header that says why the proxy answered instead of the service.
pub const ERROR_HEADER: http::HeaderName = http::HeaderName::from_static("penstock-error");

/// Why the proxy does not pass a request on, or has no answer to pass back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Two framings of one body: the mark of request smuggling.
    TwoLengths,
    /// The head or the body's framing cannot be read.
    Malformed(&'static str),
    /// The head is larger than 64 KiB, or has too many lines.
    HeadTooLarge,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The authority is not one that the mesh could know.
    ForeignAuthority,
    /// The control plane knows no such service.
    UnknownService,
    /// No word of the service came from the control plane in time.
    NoWordYet,
    /// Too many requests wait for word of their service.
    TooManyDemands,
    /// The route has no backend that takes requests.
    NoBackend,
    /// No endpoint can serve.
    NoEndpoint,
    /// No connection to any endpoint that was tried.
    ConnectFailed,
    /// The endpoint broke off before its answer began.
    BrokenOff,
    /// The endpoint's answer cannot be read.
    BadAnswer,
    /// The route's request timeout passed, or the caller's own deadline.
    TimedOut,
    /// Nothing passed for longer than the policy allows.
    StreamIdle,
    /// The policy's circuit breaker has as many requests under way as it allows.
    TooManyRequests,
    /// As many requests wait for a connection as the policy's circuit breaker allows.
    TooManyPending,
    /// The policy's rate limit lets no more through now.
    RateLimited,
    /// The application has as many requests as this proxy may give it.
    Overloaded,
    /// A policy's fault.
    Injected {
        /// For an HTTP caller.
        status: u16,
        /// For a gRPC caller.
        grpc_status: u8,
    },
    /// CONNECT and other things that the proxy does not do.
    Unsupported(&'static str),
    /// The worker has its most connections.
    TooManyConnections,
    /// The process is past its ceiling of memory.
    ShortOfMemory,
    /// The process has nearly as many files open as it may.
    OutOfFiles,
    /// The caller neither sent nor read what was waited for.
    CallerStalled,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TwoLengths | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTimeout | Self::CallerStalled => StatusCode::REQUEST_TIMEOUT,
            Self::ForeignAuthority | Self::UnknownService => StatusCode::NOT_FOUND,
            Self::NoBackend => StatusCode::INTERNAL_SERVER_ERROR,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::TooManyRequests | Self::TooManyPending | Self::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoWordYet | Self::TooManyDemands | Self::NoEndpoint | Self::TooManyConnections => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::ConnectFailed | Self::ShortOfMemory | Self::OutOfFiles => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenOff | Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::TimedOut | Self::StreamIdle => StatusCode::GATEWAY_TIMEOUT,
            Self::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Injected { status, .. } => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    /// The `grpc-status` of the answer, as gRPC's mapping of HTTP statuses has it
    /// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>), but more telling where we know more.
    #[must_use]
    pub fn grpc_status(self) -> u8 {
        match self {
            Self::TwoLengths | Self::Malformed(_) | Self::BadAnswer => 13,
            Self::HeadTooLarge | Self::RateLimited => 8,
            Self::HeadTimeout | Self::TimedOut | Self::StreamIdle | Self::CallerStalled => 4,
            Self::Injected { grpc_status, .. } => grpc_status,
            Self::ForeignAuthority | Self::UnknownService | Self::Unsupported(_) => 12,
            Self::NoWordYet
            | Self::TooManyRequests
            | Self::TooManyPending
            | Self::Overloaded
            | Self::TooManyDemands
            | Self::NoBackend
            | Self::NoEndpoint
            | Self::ConnectFailed
            | Self::BrokenOff
            | Self::TooManyConnections
            | Self::ShortOfMemory
            | Self::OutOfFiles => 14,
        }
    }

    /// What went wrong and what to do, for `penstock-error`, `grpc-message` and the body.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TwoLengths => {
                "the request states its length twice (content-length and transfer-encoding); send one of them"
            }
            Self::Malformed(reason) | Self::Unsupported(reason) => reason,
            Self::HeadTooLarge => {
                "the request head exceeds 64 KiB or 100 headers; send fewer or smaller headers"
            }
            Self::HeadTimeout => "the request head did not arrive in time (10 s)",
            Self::ForeignAuthority => {
                "not the name of a service in this mesh; ask for name, name.namespace or name.namespace.svc.cluster.local"
            }
            Self::UnknownService => "unknown service; see `penstock services` for those that are registered",
            Self::NoWordYet => "the control plane has not answered for this service yet; try again",
            Self::TooManyDemands => "too many requests wait for word of their service; try again",
            Self::NoBackend => "the route has no backend that takes requests; see `penstock get all`",
            Self::NoEndpoint => "the service has no endpoint that can serve; see `penstock endpoints`",
            Self::ConnectFailed => "no connection to any endpoint of the service; see `penstock endpoints`",
            Self::BrokenOff => "the endpoint closed the connection before it answered",
            Self::BadAnswer => "the endpoint's answer is not well-formed HTTP",
            Self::TimedOut => {
                "the route's request timeout, or the caller's deadline, passed before the answer"
            }
            Self::TooManyRequests => {
                "the service has as many requests of this caller as its policy allows; try later"
            }
            Self::TooManyPending => {
                "as many requests wait for a connection as the service's policy allows; try later"
            }
            Self::RateLimited => "the service's rate limit for this caller is reached; try later",
            Self::Overloaded => {
                "the application has as many requests as its proxy lets through; try elsewhere"
            }
            Self::Injected { .. } => "a fault that a TrafficPolicy injects; see `penstock get trafficpolicy`",
            Self::StreamIdle => "nothing passed for longer than the policy's streamIdle",
            Self::TooManyConnections => "this proxy has its most connections; try again",
            Self::ShortOfMemory => {
                "this proxy is short of memory (memory_max_mib) and sheds requests; try again"
            }
            Self::OutOfFiles => {
                "this proxy has as many files open as it may (nofile); raise the limit, or try again"
            }
            Self::CallerStalled => "the caller neither sent nor read for 300 s",
        }
    }

    /// What it counts as on the request's edge.
    #[must_use]
    pub fn failure(self) -> Failure {
        match self {
            Self::TimedOut | Self::StreamIdle => Failure::Timeout,
            Self::Injected { .. } => Failure::Server,
            Self::ConnectFailed => Failure::Connect,
            Self::BrokenOff | Self::BadAnswer => Failure::Reset,
            _ => Failure::Unavailable,
        }
    }

    /// The answer to a request that was read as far as its head.
    #[must_use]
    pub fn response(self, is_grpc: bool) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let reason = HeaderValue::from_static(self.reason());
        let headers = response.headers_mut();
        headers.insert(ERROR_HEADER, reason.clone());
        if is_grpc {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from(u16::from(self.grpc_status())));
            headers.insert("grpc-message", reason);
            return response;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        *response.status_mut() = self.status();
        *response.body_mut() = Bytes::from_static(self.reason().as_bytes());
        response
    }

    /// The answer, as bytes, to a connection whose request could not be read.
    #[must_use]
    pub fn raw_response(self) -> Vec<u8> {
        let (status, reason) = (self.status(), self.reason());
        format!(
            "HTTP/1.1 {} {}\r\n{ERROR_HEADER}: {reason}\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{reason}",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            reason.len()
        )
        .into_bytes()
    }
}

/// Whether a request speaks gRPC, by its content type.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_grpc_caller_gets_trailers_only_and_an_http_caller_a_status_with_a_reason() {
        let http = Refusal::UnknownService.response(false);
        assert_eq!(http.status(), 404);
        assert!(http.headers()[ERROR_HEADER].to_str().unwrap().contains("unknown service"));
        let grpc = Refusal::NoEndpoint.response(true);
        assert_eq!(grpc.status(), 200);
        assert_eq!(grpc.headers()["grpc-status"], "14");
        assert!(grpc.body().is_empty());
    }

    #[test]
    fn the_times_that_texts_name_are_those_that_callers_are_held_to() {
        let limits = crate::http::signs::Limits::default();
        let (head, idle) = (limits.head.as_secs(), limits.idle.as_secs());
        assert!(Refusal::HeadTimeout.reason().contains(&format!("({head} s)")));
        assert!(Refusal::CallerStalled.reason().contains(&format!("for {idle} s")));
    }

    #[test]
    fn a_raw_answer_states_its_length_and_closes() {
        let text = String::from_utf8(Refusal::HeadTooLarge.raw_response()).unwrap();
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())) && head.contains("connection: close")
        );
    }
}
