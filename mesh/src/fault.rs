//! Faults that a policy injects, to see what becomes of callers: a delay, an abort, or both in this order.

use std::time::Duration;

/// What happens to requests before they are sent. Each share is drawn for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// So many of 100 requests wait so long.
    pub delay: Option<(u32, Duration)>,
    /// So many of 100 requests are answered so, and go nowhere.
    pub abort: Option<(u32, Abort)>,
}

/// How an aborted request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// By this HTTP status, 200 to 599; a gRPC caller gets the status that it maps to.
    Http(u16),
    /// By this gRPC status, 0 to 16; an HTTP caller gets 503.
    Grpc(u8),
}
