//! What is done to each proxy, and what is read off: CPU of its process per request, latencies, memory.

use std::time::Duration;

use super::peers::Peer;
use crate::http_load::{Http, closed_loop, kept, steady};
use crate::process::Failed;
use crate::table::quantile;
use crate::tcp_load;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// So many connections, each sending the next request when the one before is answered; so many requests in all.
    Closed(Http, usize, usize),
    /// So many requests a second over ten connections, on time.
    Steady(u32),
    /// A connection for each request; so many.
    Connections(usize),
    /// So many MiB from the endpoint over opaque connections.
    Opaque(usize),
}

/// Seconds of a run at a fixed rate. Shorter, and p99.9 is a handful of requests.
const STEADY_SECONDS: u32 = 6;

/// Every scenario, by the name that `--scenarios` takes, and what it is in words.
pub(super) const SCENARIOS: [(&str, &str, Load); 8] = [
    ("h1c1", "HTTP/1.1, 1 connection", Load::Closed(Http::One, 1, 3_000)),
    ("h1c32", "HTTP/1.1, 32 connections", Load::Closed(Http::One, 32, 16_000)),
    ("h1c256", "HTTP/1.1, 256 connections", Load::Closed(Http::One, 256, 16_000)),
    ("h2", "HTTP/2, 10 connections x 10 streams", Load::Closed(Http::Two(10), 10, 16_000)),
    ("grpc", "gRPC unary, 10 connections x 10 calls", Load::Closed(Http::Grpc(10), 10, 12_000)),
    ("rate", "HTTP/1.1 at 1,000 requests/s", Load::Steady(1_000)),
    ("connections", "a connection per request", Load::Connections(1_500)),
    ("tcp", "opaque TCP, per MiB", Load::Opaque(400)),
];

/// One run of one scenario.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// CPU of the proxy per request, connection or MiB, in microseconds.
    pub(super) cpu_us: f64,
    /// How many of them there were in a second.
    pub(super) per_second: f64,
    /// p50, p99 and p99.9 in milliseconds, where they were taken.
    pub(super) latency_ms: [f64; 3],
}

impl Load {
    /// Whether this peer can take it.
    pub(super) fn suits(self, peer: &Peer) -> bool {
        match self {
            Self::Closed(Http::Two(_) | Http::Grpc(_), ..) => peer.has_http2,
            Self::Opaque(_) => peer.tcp.is_some(),
            _ => true,
        }
    }

    /// Warms the proxy up, and measures.
    pub(super) async fn measure(self, peer: &Peer) -> Result<Measured, Failed> {
        self.apply(peer, 8).await?;
        let (begun, before) = (std::time::Instant::now(), peer.process.cpu()?);
        let (count, mut latencies) = self.apply(peer, 1).await?;
        let cpu = peer.process.cpu()?.saturating_sub(before);
        let latency_ms = [0.5, 0.99, 0.999].map(|share| quantile(&mut latencies, share));
        Ok(Measured { cpu_us: per(cpu, count), per_second: 1e6 / per(begun.elapsed(), count), latency_ms })
    }

    /// Puts the `part`th part of the load on the proxy: how many there were, and their latencies.
    async fn apply(self, peer: &Peer, part: usize) -> Result<(usize, Vec<f64>), Failed> {
        match self {
            Self::Closed(http, connections, requests) => {
                let requests = (requests / part).max(connections);
                let latencies = closed_loop(peer.address, http, connections, requests).await?;
                Ok((latencies.len(), latencies))
            }
            Self::Steady(rate) => {
                let seconds = if part == 1 { STEADY_SECONDS } else { 1 };
                let latencies = steady(peer.address, Http::One.authority(), rate, 10, seconds).await?;
                Ok((latencies.len(), latencies))
            }
            Self::Connections(count) => {
                let authority = [Http::One.authority().to_owned()];
                for _ in 0..count / part {
                    drop(kept(peer.address, &authority, 1).await?);
                }
                Ok((count / part, Vec::new()))
            }
            Self::Opaque(mebibytes) => {
                let (address, authority) =
                    peer.tcp.clone().ok_or_else(|| Failed::Other("no port".to_owned()))?;
                tcp_load::download(address, authority.as_deref(), mebibytes / part).await?;
                Ok((mebibytes / part, Vec::new()))
            }
        }
    }
}

/// Microseconds per one of `count`.
#[allow(clippy::cast_precision_loss)] // some thousand requests
pub(super) fn per(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}
