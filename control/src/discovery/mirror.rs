//! What one shard knows of the mesh: the catalog's services, endpoints and rules, kept from its changes. Stands
//! between the catalog's thread and the sessions; holds values shared by `Arc`, never a lock, and encodes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh::{Authority, Endpoint, Protocol, Revision, RouteRule, Service, ServiceName, TrafficPolicy};

use crate::catalog::Change;

use super::kind::Kind;

/// Name of Envoy's one listener, and of the one set of routes behind it.
pub const OUTBOUND: &str = "penstock_outbound";

/// A resource that may have changed, for every shape of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Touch {
    /// Which kind.
    pub kind: Kind,
    /// An authority in full, or [`OUTBOUND`].
    pub name: Arc<str>,
}

/// What is known of one authority; served once its service is known.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name, parsed.
    pub authority: Authority,
    /// What is spoken there, and since when its service is as it is; `None` when the service has no such port.
    pub port: Option<(Revision, Protocol)>,
    /// Where it is served.
    pub endpoints: Option<(Revision, Arc<[Arc<Endpoint>]>)>,
    /// The rules for requests to it.
    pub rules: Option<(Revision, Arc<[RouteRule]>)>,
    /// The policy on its service, and since when it is so, also that there is none any more.
    pub policy: Option<(Revision, Option<Arc<TrafficPolicy>>)>,
}

impl Entry {
    fn of(authority: Authority) -> Self {
        Self { authority, port: None, endpoints: None, rules: None, policy: None }
    }

    /// When what a resource of this kind says last changed; `None` when there is no such resource.
    #[must_use]
    pub fn version(&self, kind: Kind) -> Option<Revision> {
        let (since, _) = self.port?;
        let ruled = self.policy.as_ref().map_or(since, |(revision, _)| since.max(*revision));
        Some(match kind {
            Kind::Listener => since,
            Kind::Cluster => ruled,
            Kind::Endpoints => self.endpoints.as_ref().map_or(since, |(revision, _)| *revision),
            Kind::Routes => self.rules.as_ref().map_or(ruled, |(revision, _)| ruled.max(*revision)),
        })
    }

    /// The policy on its service, if there is one.
    #[must_use]
    pub fn service_policy(&self) -> Option<&TrafficPolicy> {
        self.policy.as_ref()?.1.as_deref()
    }

    fn is_empty(&self) -> bool {
        self.port.is_none() && self.endpoints.is_none() && self.rules.is_none()
    }
}

/// The mesh as one shard knows it.
#[derive(Debug, Default)]
pub struct Mirror {
    entries: BTreeMap<Arc<str>, Entry>,
    services: BTreeMap<ServiceName, Arc<Service>>,
    policies: BTreeMap<ServiceName, (Revision, Option<Arc<TrafficPolicy>>)>,
    /// Whose each virtual address is.
    addresses: BTreeMap<IpAddr, ServiceName>,
    applied: Revision,
    routing: Revision,
}

impl Mirror {
    /// Takes a batch of changes over, and answers which resources they may have changed, each once.
    ///
    /// `replaced` says that the changes are the whole catalog (first start, or a snapshot came in): what they do not
    /// name is gone.
    pub fn changed(
        &mut self,
        changes: &[Change],
        applied: Revision,
        routing: Revision,
        replaced: bool,
    ) -> BTreeSet<Touch> {
        let mut touched = BTreeSet::new();
        if replaced {
            for service in std::mem::take(&mut self.services).into_values() {
                touch_addresses(&mut touched, &service);
            }
            self.addresses.clear();
            self.policies.clear();
            for name in std::mem::take(&mut self.entries).into_keys() {
                touch_all(&mut touched, &name);
            }
        }
        for change in changes {
            self.take(change, &mut touched);
        }
        self.entries.retain(|_, entry| !entry.is_empty());
        self.applied = applied;
        if self.routing != routing || replaced {
            self.routing = routing;
            touched.insert(Touch { kind: Kind::Routes, name: OUTBOUND.into() });
        }
        touched
    }

    /// What this node has applied.
    #[must_use]
    pub fn applied(&self) -> Revision {
        self.applied
    }

    /// When a service, a route or a policy last changed: the version of Envoy's one set of routes.
    #[must_use]
    pub fn routing(&self) -> Revision {
        self.routing
    }

    /// The authority of this name, if a service has that port.
    #[must_use]
    pub fn served(&self, name: &str) -> Option<(&Arc<str>, &Entry)> {
        self.entries.get_key_value(name).filter(|(_, entry)| entry.port.is_some())
    }

    /// Every authority that a service has, by name.
    pub fn all_served(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.port.is_some())
    }

    /// The authority that is meant by a virtual address and a port.
    #[must_use]
    pub fn served_at(&self, address: SocketAddr) -> Option<(&Arc<str>, &Entry)> {
        let service = self.addresses.get(&address.ip())?;
        self.served(&Authority::new(service.clone(), address.port()).to_string())
    }

    fn take(&mut self, change: &Change, touched: &mut BTreeSet<Touch>) {
        match change {
            Change::Service { name, revision, service } => {
                self.take_service(name, *revision, service.as_ref(), touched);
            }
            Change::Endpoints { authority, revision, endpoints } => {
                let (name, entry) = self.entry(authority);
                entry.endpoints = endpoints.clone().map(|endpoints| (*revision, endpoints));
                if endpoints.is_none() {
                    entry.rules = None;
                    touched.insert(Touch { kind: Kind::Routes, name: name.clone() });
                }
                touched.insert(Touch { kind: Kind::Endpoints, name });
            }
            Change::Routes { authority, revision, rules } => {
                let (name, entry) = self.entry(authority);
                entry.rules = Some((*revision, rules.clone()));
                touched.insert(Touch { kind: Kind::Routes, name });
            }
            Change::Policy { service, revision, policy } => {
                self.take_policy(service, *revision, policy.as_ref(), touched);
            }
            Change::Traffic { .. } => {}
        }
    }

    fn take_service(
        &mut self,
        name: &ServiceName,
        revision: Revision,
        service: Option<&Arc<Service>>,
        touched: &mut BTreeSet<Touch>,
    ) {
        let before = match service {
            Some(service) => self.services.insert(name.clone(), service.clone()),
            None => self.services.remove(name),
        };
        for service in before.iter().chain(service) {
            touch_addresses(touched, service);
        }
        for address in before.iter().flat_map(|service| &service.addresses) {
            // It may be another one's by now: what gives an address away and what takes it come in one batch.
            if self.addresses.get(address) == Some(name) {
                self.addresses.remove(address);
            }
        }
        for address in service.iter().flat_map(|service| &service.addresses) {
            self.addresses.insert(*address, name.clone());
        }
        for port in before.iter().flat_map(|service| &service.ports) {
            let (name, entry) = self.entry(&Authority::new(name.clone(), port.port));
            entry.port = None;
            touch_all(touched, &name);
        }
        if service.is_none() {
            self.policies.remove(name);
        }
        let policy = self.policies.get(name).cloned();
        for port in service.iter().flat_map(|service| &service.ports) {
            let (name, entry) = self.entry(&Authority::new(name.clone(), port.port));
            entry.port = Some((revision, port.protocol));
            entry.policy.clone_from(&policy);
            touch_all(touched, &name);
        }
    }

    fn take_policy(
        &mut self,
        service: &ServiceName,
        revision: Revision,
        policy: Option<&Arc<TrafficPolicy>>,
        touched: &mut BTreeSet<Touch>,
    ) {
        let stored = (revision, policy.cloned());
        self.policies.insert(service.clone(), stored.clone());
        let ports: Vec<u16> =
            self.services.get(service).iter().flat_map(|s| s.ports.iter().map(|port| port.port)).collect();
        for port in ports {
            let (name, entry) = self.entry(&Authority::new(service.clone(), port));
            entry.policy = Some(stored.clone());
            touched.extend([Kind::Cluster, Kind::Routes].map(|kind| Touch { kind, name: name.clone() }));
        }
    }

    fn entry(&mut self, authority: &Authority) -> (Arc<str>, &mut Entry) {
        let name: Arc<str> = authority.to_string().into();
        (name.clone(), self.entries.entry(name).or_insert_with(|| Entry::of(authority.clone())))
    }
}

/// A transparent proxy asks for the listener of an original destination.
fn touch_addresses(touched: &mut BTreeSet<Touch>, service: &Service) {
    for address in &service.addresses {
        touched.extend(service.ports.iter().map(|port| {
            let name = SocketAddr::new(*address, port.port).to_string().into();
            Touch { kind: Kind::Listener, name }
        }));
    }
}

fn touch_all(touched: &mut BTreeSet<Touch>, name: &Arc<str>) {
    touched.extend(Kind::ALL.map(|kind| Touch { kind, name: name.clone() }));
}
