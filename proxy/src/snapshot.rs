//! The configuration snapshot: what discovery knows of the services that this workload calls, as one immutable value.
//! Written by the discovery side on the control thread, read by every worker; it is the only thing they share.
//! Must never be changed in place: a new snapshot is published, and a worker notices by its version.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mesh::{Authority, Endpoint, Protocol, Revision, RouteRule, ServicePolicy};
use tokio::sync::{mpsc, watch};

/// How long a request waits for the first word about a service it is the first to ask for.
///
/// Shorter, and a cold proxy fails requests while the control plane fails over; longer, and callers give up first.
pub const DEMAND_WAIT: Duration = Duration::from_secs(3);

/// How many demands may wait for the discovery side; past it a request is refused at once, and counted.
pub const DEMAND_QUEUE: usize = 1024;

/// The endpoints of one service's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSet {
    /// Whose endpoints these are.
    pub authority: Authority,
    /// What is spoken to them.
    pub protocol: Protocol,
    /// What an operator asked for; nothing as a rule.
    pub policy: Arc<ServicePolicy>,
    /// When this set became true.
    pub revision: Revision,
    /// Draining ones included: they are not picked, but keep what runs.
    pub endpoints: Vec<Endpoint>,
}

/// All that a request to one authority needs: its rules and the endpoints they lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// What callers ask for.
    pub authority: Authority,
    /// Tried in order; where none matches, the request goes to `authority` itself.
    pub rules: Vec<RouteRule>,
    /// Every authority that `rules` name, and `authority` itself. One that is missing has no endpoint.
    pub clusters: BTreeMap<Authority, Arc<EndpointSet>>,
}

/// What is known about an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The mesh has this service.
    Service(Arc<ServiceView>),
    /// The control plane said that there is no such service.
    Unknown,
}

/// Whose an original destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A service's virtual address.
    Service(Authority),
    /// The control plane said that it is no service's.
    Nobody,
}

/// What discovery knew at one moment. An authority or address that is not in it was not asked for yet.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    version: u64,
    services: HashMap<Authority, Known>,
    addresses: HashMap<SocketAddr, Owner>,
}

impl Snapshot {
    /// A snapshot of these services; it gets its version when it is published.
    #[must_use]
    pub fn new(services: HashMap<Authority, Known>) -> Self {
        Self { version: 0, services, addresses: HashMap::new() }
    }

    /// The same, with what is known of original destinations.
    #[must_use]
    pub fn with_addresses(self, addresses: HashMap<SocketAddr, Owner>) -> Self {
        Self { addresses, ..self }
    }

    /// Whose `address` is, if it was asked for already.
    #[must_use]
    pub fn owner(&self, address: SocketAddr) -> Option<&Owner> {
        self.addresses.get(&address)
    }

    /// What is known about `authority`, if it was asked for already.
    #[must_use]
    pub fn service(&self, authority: &Authority) -> Option<&Known> {
        self.services.get(authority)
    }

    /// Every authority that was asked for.
    pub fn services(&self) -> impl Iterator<Item = (&Authority, &Known)> {
        self.services.iter()
    }

    /// Counts publications from 1; 0 is the empty snapshot that a proxy starts with.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// A request needs something that the snapshot does not hold: subscribe to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// A service.
    Service(Authority),
    /// Whose an original destination is.
    Address(SocketAddr),
}

/// Where workers leave demands. The same may come many times; discovery subscribes once.
pub type DemandSender = mpsc::Sender<Demand>;

/// Where snapshots are published: one writer (discovery), many readers (workers).
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
}

impl Published {
    /// Holds the empty snapshot, version 0.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::from_pointee(Snapshot::default()), version: watch::Sender::new(0) })
    }

    /// Makes `snapshot` what every later request sees, and wakes the requests that wait for it. Returns its version.
    /// Called by the discovery side alone: two writers could publish in another order than they count.
    pub fn publish(&self, mut snapshot: Snapshot) -> u64 {
        snapshot.version = self.current.load().version + 1;
        let version = snapshot.version;
        self.current.store(Arc::new(snapshot));
        self.version.send_replace(version);
        version
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A worker's own reader.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader {
            cache: arc_swap::Cache::new(SharedSwap(Arc::clone(self))),
            version: self.version.subscribe(),
        }
    }
}

/// Lets the cache of a reader own its share of [`Published`].
#[derive(Debug, Clone)]
struct SharedSwap(Arc<Published>);

impl std::ops::Deref for SharedSwap {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &ArcSwap<Snapshot> {
        &self.0.current
    }
}

/// One worker's view: the snapshot is kept here and looked at anew with one atomic load.
pub struct Reader {
    cache: arc_swap::Cache<SharedSwap, Arc<Snapshot>>,
    version: watch::Receiver<u64>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("version", &*self.version.borrow()).finish_non_exhaustive()
    }
}

impl Reader {
    /// The newest snapshot. Takes no lock.
    pub fn snapshot(&mut self) -> &Arc<Snapshot> {
        self.cache.load()
    }

    /// A receiver that changes with each publication, for a request that waits.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.version.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_reader_sees_what_was_published_last_and_versions_rise_by_one() {
        let published = Published::new();
        let mut reader = published.reader();
        assert_eq!(reader.snapshot().version(), 0);
        let web: Authority = "web".parse().unwrap();
        assert_eq!(published.publish(Snapshot::default()), 1);
        assert_eq!(published.publish(Snapshot::new(HashMap::from([(web.clone(), Known::Unknown)]))), 2);
        assert_eq!(reader.snapshot().version(), 2);
        assert_eq!(reader.snapshot().service(&web), Some(&Known::Unknown));
        assert_eq!(*reader.versions().borrow(), 2);
    }
}
