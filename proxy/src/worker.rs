//! Starts the workers and speaks to them: each is one thread with a current-thread runtime, its own listeners, pools,
//! balancers and counters. Called by `proxy.rs` on the control thread. A worker shares nothing but the snapshot, so
//! this must never hand one worker's state to another.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh::{Authority, Edge, EdgeTraffic, Protocol, WorkloadName};

use crate::snapshot::{DemandSender, Published};

/// How the data path is started; `proxy.rs` makes it from the settings.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Number of threads, at least 1. Several share each address by `SO_REUSEPORT`.
    pub workers: usize,
    /// Where the application sends its requests. Port 0 lets the kernel choose.
    pub outbound: SocketAddr,
    /// What is forwarded to the application, if it serves anything.
    pub inbound: Option<InboundSettings>,
    /// What this proxy stands beside.
    pub workload: WorkloadName,
    /// Seeds the balancers' choices; each worker derives its own.
    pub seed: u64,
}

/// How requests for the application arrive.
#[derive(Debug, Clone)]
pub struct InboundSettings {
    /// Where callers' proxies connect. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where the application listens.
    pub application: SocketAddr,
    /// What the application speaks.
    pub protocol: Protocol,
    /// The services that the application serves; requests that name none of them count under the first.
    pub serves: Vec<Authority>,
}

/// How a drain goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    /// How long new connections are still taken (and answered with `connection: close`): until callers know that this
    /// proxy leaves.
    pub accept_for: Duration,
    /// When, counted from the start of the drain, what still runs is cut off.
    pub finish_within: Duration,
}

/// What workers count beside edges. Totals only rise; the others are as of now. Added up over the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Open connections from the application.
    pub outbound_connections: u64,
    /// Open connections from callers.
    pub inbound_connections: u64,
    /// Requests that run now.
    pub requests_running: u64,
    /// Connections accepted so far.
    pub accepted_total: u64,
    /// Connections refused because a worker had its most.
    pub connections_refused_total: u64,
    /// Requests refused as malformed (two lengths, a bad head): 400.
    pub malformed_total: u64,
    /// Requests refused because their head was too large: 431.
    pub head_too_large_total: u64,
    /// Connections closed because a head did not arrive in time: 408.
    pub head_timeout_total: u64,
    /// Requests for a service that the mesh does not have: 404.
    pub unknown_service_total: u64,
    /// Requests for which no word of their service came in time: 503.
    pub demand_timeout_total: u64,
    /// Demands that found the queue full.
    pub demand_refused_total: u64,
    /// Requests cut off at the end of a drain.
    pub cut_off_total: u64,
    /// Idle connections to endpoints that were closed because the pool was full.
    pub pool_overflow_total: u64,
    /// Edges counted under `other` because the table was full.
    pub edges_folded_total: u64,
}

/// What one call of [`Workers::take`] collects.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// What each edge carried since the last call, over all workers; an edge may appear once per worker.
    pub edges: Vec<(Edge, EdgeTraffic)>,
    /// As of now.
    pub counters: Counters,
}

/// The running workers. Dropping it leaves them running; end them with [`Self::drain`] and [`Self::finished`].
#[derive(Debug)]
pub struct Workers {
    /// Where outbound listens.
    pub outbound_address: SocketAddr,
    /// Where inbound listens, if it does.
    pub inbound_address: Option<SocketAddr>,
}

/// Binds the listeners and starts the threads.
///
/// # Errors
/// If an address cannot be bound or a thread cannot be started; the message names the address.
pub fn start(
    _settings: &WorkerSettings,
    _published: &Arc<Published>,
    _demand: &DemandSender,
) -> io::Result<Workers> {
    Err(io::Error::other("the workers are being written"))
}

impl Workers {
    /// What was counted since the last call. Called at the end of each window and for each scrape, by one task.
    #[allow(clippy::unused_async)] // skeleton
    pub async fn take(&self) -> Taken {
        Taken::default()
    }

    /// Begins the drain; a second call changes nothing.
    pub fn drain(&self, _plan: DrainPlan) {}

    /// Waits until every worker has ended, which they do only after [`Self::drain`]; what they counted last is returned.
    #[allow(clippy::unused_async)] // skeleton
    pub async fn finished(self) -> Taken {
        Taken::default()
    }
}
