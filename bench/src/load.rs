//! Closed loops of one kind of call against a cluster, and what they came to: calls a second, latencies, and CPU time per call,
//! which is the figure that other work on the machine moves least.

use std::time::{Duration, Instant};

use crate::asks::Ask;
use crate::cluster::{Cluster, NODES};
use crate::process::{Failed, own_cpu};
use crate::table::quantile;
use crate::unary_loop::{CLIENTS_PER_CONNECTION, Calls, Requests, closed_loop};

/// To whom the clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// All to this node.
    One(usize),
    /// In turn to all but this one.
    AllBut(usize),
}

impl To {
    fn node(self, connection: usize) -> usize {
        match self {
            Self::One(node) => node,
            Self::AllBut(node) => (node + 1 + connection % (NODES - 1)) % NODES,
        }
    }
}

/// What a closed loop came to.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) failed: u64,
    /// CPU time of the three nodes per call.
    pub(crate) servers_us: f64,
    /// CPU time of this process per call.
    pub(crate) client_us: f64,
}

/// Runs `clients` clients for `duration`. `name` must be new for each run.
#[allow(clippy::cast_precision_loss)] // a count of some seconds' calls
pub(crate) fn run(
    cluster: &Cluster,
    to: To,
    ask: Ask,
    clients: usize,
    name: &str,
    duration: Duration,
) -> Result<Load, Failed> {
    let cpu =
        || -> Result<(f64, f64), Failed> { Ok((cluster.cpu()?.as_secs_f64(), own_cpu()?.as_secs_f64())) };
    let (before, start) = (cpu()?, Instant::now());
    let connections = (0..clients.div_ceil(CLIENTS_PER_CONNECTION)).map(|connection| {
        let here = CLIENTS_PER_CONNECTION.min(clients - connection * CLIENTS_PER_CONNECTION);
        let requests = ask.requests(cluster.store, &format!("{name}-{connection}"), here);
        (to.node(connection), here, requests)
    });
    let calls = on_threads(cluster, ask.path(cluster.store), connections, start + duration, u64::MAX)?;
    let (after, seconds) = (cpu()?, start.elapsed().as_secs_f64());
    let failed = calls.iter().map(|calls| calls.failed).sum();
    let mut latencies: Vec<f64> = calls.into_iter().flat_map(|calls| calls.latencies_ms).collect();
    let count = latencies.len() as f64;
    let (p50_ms, p99_ms) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
    Ok(Load {
        per_second: count / seconds,
        p50_ms,
        p99_ms,
        failed,
        servers_us: (after.0 - before.0) * 1e6 / count,
        client_us: (after.1 - before.1) * 1e6 / count,
    })
}

/// One thread per connection: to which node, with how many clients, asking what.
fn on_threads(
    cluster: &Cluster,
    path: &str,
    connections: impl Iterator<Item = (usize, usize, Requests)>,
    until: Instant,
    calls_max: u64,
) -> Result<Vec<Calls>, Failed> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = connections
            .map(|(node, clients, requests)| {
                let address = cluster.address(node);
                scope.spawn(move || closed_loop(address, path, clients, until, calls_max, requests))
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().expect("a closed loop does not panic"));
        Ok(ended.collect::<Result<Vec<_>, _>>()?)
    })
}

/// Writes `count` things that the store did not have, as fast as it takes them.
pub(crate) fn fill(cluster: &Cluster, leader: usize, count: u64, name: &str) -> Result<(), Failed> {
    const CONNECTIONS: u64 = 8;
    const LONGEST: Duration = Duration::from_secs(120);
    let connections = (0..CONNECTIONS).map(|connection| {
        let requests = Ask::growing(cluster.store, &format!("{name}-{connection}"));
        (leader, CLIENTS_PER_CONNECTION, requests)
    });
    let until = Instant::now() + LONGEST;
    let calls = on_threads(cluster, Ask::Write.path(cluster.store), connections, until, count / CONNECTIONS)?;
    let written: usize = calls.iter().map(|calls| calls.latencies_ms.len()).sum();
    if (written as u64) < count / CONNECTIONS * CONNECTIONS {
        return Err(Failed::Other(format!("only {written} of {count} entries were written")));
    }
    Ok(())
}

/// Writes what [`Ask::Read`] reads.
pub(crate) fn lay_out(cluster: &Cluster, leader: usize) -> Result<(), Failed> {
    let (path, bytes) = crate::asks::read_thing(cluster.store);
    let requests: Requests = Box::new(move |_| bytes.clone());
    let until = Instant::now() + Duration::from_secs(5);
    let calls = on_threads(cluster, path, std::iter::once((leader, 1, requests)), until, 1)?;
    match calls.iter().any(|calls| calls.failed == 0) {
        true => Ok(()),
        false => Err(Failed::Other("what the reads are to find could not be written".to_owned())),
    }
}
