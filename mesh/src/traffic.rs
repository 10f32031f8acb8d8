//! Traffic as it is counted, reported and added up: per edge and ten-second window.

use crate::name::{Authority, WorkloadName};
use crate::sketch::LatencySketch;
use crate::timestamp::Timestamp;

/// Length of a window in seconds.
///
/// Shorter windows cost more log per second of traffic, longer ones make a fresh failure visible later.
pub const WINDOW_SECONDS: u64 = 10;

/// Number of a window: Unix seconds divided by [`WINDOW_SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(pub u64);

impl Window {
    /// The window that holds `moment`.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self(moment.0 / (WINDOW_SECONDS * 1000))
    }

    /// When it begins.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(WINDOW_SECONDS * 1000))
    }
}

/// Which proxy counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyId {
    /// Its name: unique in the mesh, the same after a restart.
    pub name: String,
    /// Rises with every start of the proxy, so that windows of two lives are never taken for one.
    pub incarnation: u64,
}

/// Which side of a request a proxy stood on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Beside the callee.
    Inbound,
    /// Beside the caller.
    Outbound,
}

/// Who called whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Which side counted.
    pub direction: Direction,
    /// The caller; unknown for callers outside of the mesh.
    pub caller: Option<WorkloadName>,
    /// The service that was asked for.
    pub authority: Authority,
    /// The workload that answered; unknown when no endpoint was picked.
    pub callee: Option<WorkloadName>,
}

/// Why a request failed. A request fails once, for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The callee answered with a server error: HTTP 5xx, or a gRPC status that says the server failed.
    Server,
    /// No answer in time.
    Timeout,
    /// No connection to the endpoint.
    Connect,
    /// The connection or stream broke before the answer was whole.
    Reset,
    /// The service has no endpoint that can serve, or is not known.
    Unavailable,
}

impl Failure {
    /// Every reason, in the order of [`EdgeTraffic::failures`].
    pub const ALL: [Self; 5] = [Self::Server, Self::Timeout, Self::Connect, Self::Reset, Self::Unavailable];

    /// As it is shown and labelled.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What one edge carried in one window (or, added up, in several).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EdgeTraffic {
    /// Requests that ended well.
    pub successes: u64,
    /// Requests that failed, by reason, in the order of [`Failure::ALL`].
    pub failures: [u64; Failure::ALL.len()],
    /// Tries beyond the first of a request.
    pub retries: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that were carried as bytes (opaque, upgraded, CONNECT) and have ended.
    pub closes: u64,
    /// Bytes from caller to callee: of bodies, and all of connections that are carried as bytes.
    pub request_bytes: u64,
    /// Bytes from callee to caller, counted alike.
    pub response_bytes: u64,
    /// Time from the request's head to the end of the answer, of every request that was answered.
    pub latency: LatencySketch,
}

impl EdgeTraffic {
    /// All requests that ended, well or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.failures.iter().fold(self.successes, |sum, failures| sum.saturating_add(*failures))
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.successes, other.successes);
        for (sum, failures) in self.failures.iter_mut().zip(other.failures) {
            add(sum, failures);
        }
        add(&mut self.retries, other.retries);
        add(&mut self.connections, other.connections);
        add(&mut self.closes, other.closes);
        add(&mut self.request_bytes, other.request_bytes);
        add(&mut self.response_bytes, other.response_bytes);
        self.latency.merge(&other.latency);
    }
}

/// One closed window of one proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowTraffic {
    /// Which window.
    pub window: Window,
    /// Each edge at most once; idle ones are left out.
    pub edges: Vec<(Edge, EdgeTraffic)>,
}

/// What a proxy tells the control plane: its closed windows that were not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficReport {
    /// Who counted.
    pub proxy: ProxyId,
    /// Oldest first.
    pub windows: Vec<WindowTraffic>,
}
