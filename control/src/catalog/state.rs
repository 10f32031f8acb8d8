//! The catalog's state and the one way to change it, `apply`. Called by the replica for each committed entry, in log
//! order; must never read a clock, iterate a `HashMap`, fail by chance, or panic on any bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::log::v1::{Outcome, Refused, outcome, refused};
use mesh::{
    Authority, Endpoint, InstanceName, Revision, Route, RouteName, RouteRule, Service, ServiceName, Timestamp,
};

use super::change::{Applied, Change};

/// The replicated state of the mesh.
#[derive(Debug, Clone)]
pub struct Catalog {
    epoch: u32,
    applied: u64,
    routing: u64,
    now: Timestamp,
    hash: u64,
    services: BTreeMap<ServiceName, StoredService>,
    routes: BTreeMap<RouteName, StoredRoute>,
}

/// A service as the catalog holds it.
#[derive(Debug, Clone)]
pub struct StoredService {
    /// Every port: the declared ones, and those that came into being by registration.
    pub service: Arc<Service>,
    /// When `service` last changed.
    pub revision: Revision,
    /// What an operator declared, and when; `None` while it exists by registrations alone.
    pub declared: Option<(Arc<Service>, Revision)>,
}

/// A route as the catalog holds it.
#[derive(Debug, Clone)]
pub struct StoredRoute {
    /// As it was applied.
    pub route: Arc<Route>,
    /// When it last changed.
    pub revision: Revision,
}

/// One registered endpoint.
#[derive(Debug, Clone)]
pub struct StoredEndpoint {
    /// As callers see it.
    pub endpoint: Endpoint,
    /// When `endpoint` last changed.
    pub revision: Revision,
    /// How long it lives without a renewal.
    pub lease_seconds: u32,
    /// Log index of the last registration, also one that changed nothing. An expiry must name it.
    pub registered_index: u64,
}

/// A lease, for the leader's table of renewals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease<'a> {
    /// Where the endpoint is registered.
    pub authority: &'a Authority,
    /// Which one.
    pub instance: &'a InstanceName,
    /// How long it lives without a renewal.
    pub seconds: u32,
    /// What an expiry must name.
    pub registered_index: u64,
}

/// Bytes are not a snapshot that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by a newer version.
    #[error(
        "the snapshot has format {found}, this version reads up to {known}: start the newer version of penstock again"
    )]
    NewerFormat {
        /// In the snapshot.
        found: u32,
        /// The newest we read.
        known: u32,
    },
    /// Not a snapshot, or damaged.
    #[error(
        "the snapshot cannot be read: {0}; take it from another node by starting this one with an empty data directory"
    )]
    Malformed(String),
}

impl Catalog {
    /// An empty catalog in the given life of the cluster.
    #[must_use]
    pub fn new(epoch: u32) -> Self {
        Self {
            epoch,
            applied: 0,
            routing: 0,
            now: Timestamp(0),
            hash: 0,
            services: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }

    /// Applies the entry at `index`, a [`api::log::v1::Command`]. Empty entries (Raft's own) change nothing.
    ///
    /// Never fails: what has no meaning is refused in the outcome, the same on every node.
    pub fn apply(&mut self, index: u64, command: &[u8]) -> Applied {
        let _ = command;
        self.applied = index;
        let refused =
            Refused { reason: refused::Reason::Invalid.into(), message: "not built yet".to_owned() };
        let outcome = Outcome { result: Some(outcome::Result::Refused(refused)), index, epoch: self.epoch };
        Applied { outcome, changes: Vec::new() }
    }

    /// The newest applied entry.
    #[must_use]
    pub fn applied(&self) -> Revision {
        Revision::new(self.epoch, self.applied)
    }

    /// When any service or route last changed.
    #[must_use]
    pub fn routing(&self) -> Revision {
        Revision::new(self.epoch, self.routing)
    }

    /// The log's time: what the newest stamped command said.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Everything as changes, each with the revision stored for it: what a fresh mirror starts from.
    #[must_use]
    pub fn view(&self) -> Vec<Change> {
        Vec::new()
    }

    /// Rolling hash over all entries applied and what came of them; equal on all nodes at the same index.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.hash
    }

    /// The state as bytes: equal states give equal bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// If the bytes are damaged or of a newer format.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let _ = bytes;
        Ok(Self::new(1))
    }

    /// Every service, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &StoredService)> {
        self.services.iter()
    }

    /// One service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&StoredService> {
        self.services.get(name)
    }

    /// The endpoints of an authority, and when they last changed; `None` when no such service or port exists.
    #[must_use]
    pub fn endpoints(&self, authority: &Authority) -> Option<(Revision, Arc<[Endpoint]>)> {
        let _ = authority;
        None
    }

    /// The rules for requests to an authority, and when they last changed; `None` when it does not exist.
    #[must_use]
    pub fn rules(&self, authority: &Authority) -> Option<(Revision, Arc<[RouteRule]>)> {
        let _ = authority;
        None
    }

    /// The registrations at an authority, by instance.
    pub fn registrations(&self, authority: &Authority) -> impl Iterator<Item = &StoredEndpoint> {
        let _ = authority;
        std::iter::empty()
    }

    /// One registration, for instance to ask for its lease.
    #[must_use]
    pub fn registration(&self, authority: &Authority, instance: &InstanceName) -> Option<&StoredEndpoint> {
        let _ = (authority, instance);
        None
    }

    /// Every lease, by authority and instance: what a new leader starts its table from.
    pub fn leases(&self) -> impl Iterator<Item = Lease<'_>> {
        std::iter::empty()
    }

    /// Every route as it was applied.
    pub fn routes(&self) -> impl Iterator<Item = (&RouteName, &StoredRoute)> {
        self.routes.iter()
    }

    /// One route as it was applied.
    #[must_use]
    pub fn route(&self, name: &RouteName) -> Option<&StoredRoute> {
        self.routes.get(name)
    }

    /// The outcome of a write that was applied before, if it is still remembered: a retry need not be proposed.
    #[must_use]
    pub fn remembered(&self, client: &str, sequence: u64) -> Option<Outcome> {
        let _ = (client, sequence);
        None
    }
}
