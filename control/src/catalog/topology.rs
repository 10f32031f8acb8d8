//! Services, the endpoints at their ports, and routes: what is stored, and the look-ups. Changed by `registering` (what
//! workloads do) and `declaring` (what operators do); read by discovery's mirrors, intake and query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::{
    Authority, Endpoint, InstanceName, PolicyName, PolicyTarget, Protocol, Revision, Route, RouteName,
    RouteRule, Service, ServiceName, Timestamp, TrafficPolicy, Window,
};

use super::change::Change;

/// A service as the catalog holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredService {
    /// Every port: the declared ones, and those that came into being by registration.
    pub service: Arc<Service>,
    /// When `service` last changed.
    pub revision: Revision,
    /// What an operator declared, and when; `None` while it exists by registrations alone.
    pub declared: Option<(Arc<Service>, Revision)>,
    /// What was registered at each port. A declared port speaks what was declared.
    pub(super) registered: BTreeMap<u16, Protocol>,
    /// When a policy on it last came, changed or went; kept when it goes, so that versions never fall.
    pub(super) policy_revision: Revision,
}

/// A policy as the catalog holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPolicy {
    /// As it was applied.
    pub policy: Arc<TrafficPolicy>,
    /// When it last changed.
    pub revision: Revision,
}

/// A route as the catalog holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRoute {
    /// As it was applied.
    pub route: Arc<Route>,
    /// When it last changed.
    pub revision: Revision,
    /// Log index of the command that brought it; kept when it changes, for Gateway API's precedence.
    pub created_index: u64,
}

/// One registered endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredEndpoint<'a> {
    /// As callers see it.
    pub endpoint: &'a Endpoint,
    /// When `endpoint` last changed.
    pub revision: Revision,
    /// How long it lives without a renewal.
    pub lease_seconds: u32,
    /// Log index of the last registration, also one that changed nothing. An expiry must name it.
    pub registered_index: u64,
}

/// A lease, for the leader's table of renewals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What is kept of a registration beside its endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Registered {
    pub(super) revision: Revision,
    pub(super) lease_seconds: u32,
    pub(super) registered_index: u64,
}

/// A service's port.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Port {
    pub(super) endpoints_revision: Revision,
    /// Ordered by instance.
    pub(super) endpoints: Arc<[Arc<Endpoint>]>,
    /// One for each of `endpoints`, in the same order.
    pub(super) registered: Vec<Registered>,
    /// When the last endpoint left, or the port came.
    pub(super) empty_since: Timestamp,
    pub(super) rules_revision: Revision,
    pub(super) rules: Arc<[RouteRule]>,
}

impl Port {
    pub(super) fn place(&self, instance: &InstanceName) -> Result<usize, usize> {
        self.endpoints.binary_search_by(|endpoint| endpoint.instance.cmp(instance))
    }

    pub(super) fn stored(&self, at: usize) -> Option<StoredEndpoint<'_>> {
        let (endpoint, registered) = (self.endpoints.get(at)?, self.registered.get(at)?);
        Some(StoredEndpoint {
            endpoint,
            revision: registered.revision,
            lease_seconds: registered.lease_seconds,
            registered_index: registered.registered_index,
        })
    }
}

/// When something is applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) revision: Revision,
    pub(super) now: Timestamp,
}

/// What a command has altered so far: each name once, whatever happened to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    pub(super) services: BTreeSet<ServiceName>,
    pub(super) endpoints: BTreeSet<Authority>,
    pub(super) rules: BTreeSet<Authority>,
    pub(super) policies: BTreeSet<ServiceName>,
    pub(super) windows: BTreeSet<Window>,
}

/// Services, ports with their endpoints, routes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Topology {
    pub(super) services: BTreeMap<ServiceName, StoredService>,
    pub(super) ports: BTreeMap<Authority, Port>,
    pub(super) routes: BTreeMap<RouteName, StoredRoute>,
    /// Routes by the services they rule. Follows from `routes`.
    pub(super) routes_on: BTreeMap<ServiceName, BTreeSet<RouteName>>,
    pub(super) policies: BTreeMap<PolicyName, StoredPolicy>,
    /// Policies by what they are attached to. Follows from `policies`.
    pub(super) policies_on: BTreeMap<PolicyTarget, PolicyName>,
    /// Sum over `ports`.
    pub(super) endpoint_count: usize,
    /// When any service, route or policy last changed.
    pub(super) routing: Revision,
}

impl Topology {
    /// What was touched, as it is now: services, then endpoints, then routes, then policies.
    pub(super) fn changes(&self, touched: Touched, revision: Revision) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in touched.services {
            changes.push(match self.services.get(&name) {
                Some(stored) => service_change(&name, stored),
                None => Change::Service { name, revision, service: None },
            });
        }
        for authority in touched.endpoints {
            changes.push(match self.ports.get(&authority) {
                Some(port) => endpoints_change(&authority, port),
                None => Change::Endpoints { authority, revision, endpoints: None },
            });
        }
        for authority in touched.rules {
            // Of an authority that is gone, its endpoints tell.
            if let Some(port) = self.ports.get(&authority) {
                changes.push(rules_change(&authority, port));
            }
        }
        // Of a service that is gone, it tells itself.
        let policies = touched.policies.iter().filter_map(|name| self.policy_change(name));
        changes.extend(policies);
        changes.extend(touched.windows.into_iter().map(|window| Change::Traffic { window }));
        changes
    }

    /// Everything, as changes.
    pub(super) fn view(&self) -> Vec<Change> {
        let services = self.services.iter().map(|(name, stored)| service_change(name, stored));
        let endpoints = self.ports.iter().map(|(authority, port)| endpoints_change(authority, port));
        let rules = self.ports.iter().map(|(authority, port)| rules_change(authority, port));
        let ruled = self.services.iter().filter(|(_, stored)| stored.policy_revision != Revision::default());
        let policies = ruled.filter_map(|(name, _)| self.policy_change(name));
        services.chain(endpoints).chain(rules).chain(policies).collect()
    }

    fn policy_change(&self, service: &ServiceName) -> Option<Change> {
        let revision = self.services.get(service)?.policy_revision;
        let policy = self.policy_on_service(service).cloned();
        Some(Change::Policy { service: service.clone(), revision, policy })
    }

    pub(super) fn registrations(&self, authority: &Authority) -> impl Iterator<Item = StoredEndpoint<'_>> {
        let port = self.ports.get(authority);
        port.into_iter().flat_map(|port| (0..port.endpoints.len()).filter_map(|at| port.stored(at)))
    }

    pub(super) fn registration(
        &self,
        authority: &Authority,
        instance: &InstanceName,
    ) -> Option<StoredEndpoint<'_>> {
        let port = self.ports.get(authority)?;
        port.stored(port.place(instance).ok()?)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = Lease<'_>> {
        self.ports.iter().flat_map(|(authority, port)| {
            port.endpoints.iter().zip(&port.registered).map(|(endpoint, registered)| Lease {
                authority,
                instance: &endpoint.instance,
                seconds: registered.lease_seconds,
                registered_index: registered.registered_index,
            })
        })
    }

    /// The authorities of a service, by port.
    pub(super) fn authorities_of(&self, service: &ServiceName) -> Vec<Authority> {
        let (first, last) = (Authority::new(service.clone(), 0), Authority::new(service.clone(), u16::MAX));
        self.ports.range(first..=last).map(|(authority, _)| authority.clone()).collect()
    }

    /// Endpoints at all ports of a service.
    pub(super) fn endpoints_of(&self, service: &ServiceName) -> usize {
        let (first, last) = (Authority::new(service.clone(), 0), Authority::new(service.clone(), u16::MAX));
        self.ports.range(first..=last).map(|(_, port)| port.endpoints.len()).sum()
    }
}

fn service_change(name: &ServiceName, stored: &StoredService) -> Change {
    Change::Service { name: name.clone(), revision: stored.revision, service: Some(stored.service.clone()) }
}

fn endpoints_change(authority: &Authority, port: &Port) -> Change {
    let endpoints = Some(port.endpoints.clone());
    Change::Endpoints { authority: authority.clone(), revision: port.endpoints_revision, endpoints }
}

fn rules_change(authority: &Authority, port: &Port) -> Change {
    Change::Routes { authority: authority.clone(), revision: port.rules_revision, rules: port.rules.clone() }
}
