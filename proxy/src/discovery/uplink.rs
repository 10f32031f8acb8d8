//! The way up: which control node is tried next, and the connection to it that discovery, registration and reports share.
//!
//! Sharing one connection means that whatever node a proxy follows is the one that hears its reports, and that a lost
//! node is noticed once. It holds no retry rule; `stream.rs` does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use runtime::dial::Dialler;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint, Error};

/// How long a dial may take. Shorter: a busy node looks dead. Longer: one that is gone without a word (no RST) holds
/// up the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// After so long without a frame a ping is sent. Shorter costs a node with 10,000 proxies more pings than pushes; longer
/// leaves a frozen node unnoticed: it is given up after this and [`PING_TIMEOUT`].
const PING_AFTER: Duration = Duration::from_secs(2);
/// How long the answer to a ping may take. Shorter: a node under overload loses its proxies to the next one.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection to the control node that is followed now; `None` while there is none.
///
/// Written by the stream's carrier alone; read by whoever calls a control node.
pub type Uplink = watch::Receiver<Option<Channel>>;

/// The control nodes in this proxy's own order, so that proxies spread over nodes and stay where they were.
#[derive(Debug, Clone)]
pub struct Addresses {
    ordered: Vec<String>,
    next: usize,
    dialler: Dialler,
}

impl Addresses {
    /// The order of `addresses` (`host:port`) for the proxy of this name: by a hash of both (rendezvous hashing).
    #[must_use]
    pub fn new(mut addresses: Vec<String>, proxy: &str) -> Self {
        let rank = |address: &String| {
            let mut hasher = DefaultHasher::new();
            (proxy, address).hash(&mut hasher);
            hasher.finish()
        };
        addresses.sort_by_cached_key(rank);
        addresses.dedup();
        Self { ordered: addresses, next: 0, dialler: Dialler::System }
    }

    /// The same addresses, reached by `dialler` instead of the system's network.
    #[must_use]
    pub fn over(self, dialler: Dialler) -> Self {
        Self { dialler, ..self }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ordered.len()
    }

    /// The one to try now; the one after it is next. `None` when there is none at all.
    pub fn advance(&mut self) -> Option<String> {
        let address = self.ordered.get(self.next)?.clone();
        self.next = (self.next + 1) % self.ordered.len();
        Some(address)
    }

    /// Opens a connection that notices a dead node by itself.
    pub(super) async fn dial(&self, address: &str) -> Result<Channel, Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        match &self.dialler {
            Dialler::System => endpoint.connect().await,
            Dialler::Given(dial) => {
                let dial = Arc::clone(dial);
                endpoint.connect_with_connector(tower::service_fn(move |address| dial(address))).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::collections::BTreeMap;

    use super::*;

    fn addresses() -> Vec<String> {
        ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec()
    }

    #[test]
    fn every_address_is_tried_before_one_is_tried_again() {
        let mut order = Addresses::new(addresses(), "web-1");
        let mut first: Vec<_> = (0..3).map(|_| order.advance().unwrap()).collect();
        let second: Vec<_> = (0..3).map(|_| order.advance().unwrap()).collect();
        assert_eq!(first, second);
        first.sort();
        assert_eq!(first, addresses());
        assert_eq!(Addresses::new(Vec::new(), "web-1").advance(), None);
    }

    #[test]
    fn proxies_spread_over_the_nodes_and_each_keeps_its_order() {
        let mut firsts: BTreeMap<String, usize> = BTreeMap::new();
        for number in 0..300 {
            let name = format!("web-{number}");
            let first = Addresses::new(addresses(), &name).advance().unwrap();
            assert_eq!(Addresses::new(addresses(), &name).advance().unwrap(), first);
            *firsts.entry(first).or_default() += 1;
        }
        assert!(firsts.len() == 3 && firsts.values().all(|count| *count > 60), "{firsts:?}");
    }
}
