//! Bounds on what a caller's proxy sends to a service, so that a service in trouble is not given more of it.

use std::time::Duration;

/// Most that one worker of one caller's proxy has under way to a service. What exceeds it is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CircuitBreaker {
    /// HTTP/1 connections to all endpoints; each endpoint may have one in any case.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection, where those are bounded.
    pub max_pending: Option<u32>,
    /// Requests that are not answered to their end.
    pub max_requests: Option<u32>,
}

/// Most requests in a time: a bucket that is filled again steadily.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// So many, at least 1,
    pub requests: u32,
    /// in this time,
    pub interval: Duration,
    /// and at most so many at once, at least 1.
    pub burst: u32,
}
