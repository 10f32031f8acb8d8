//! What operators do to the topology: declare services, routes and policies, all of one command or none, and delete them.
//!
//! - Deleting a service that a route names keeps the route, as Gateway API does: requests that it sends there are
//!   answered by the caller's proxy (no such service), and it rules again once the service is back.
//! - Deleting a service while endpoints are registered takes the declaration only: their ports live on by registration.
//!   One that nobody declared cannot be deleted while endpoints are registered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh::{
    Authority, Protocol, Revision, Route, RouteName, Service, ServiceName, ServicePort, TrafficPolicy,
};

use super::limits::{DOCUMENTS_MAX, ROUTES_MAX, ROUTES_PER_SERVICE_MAX, SERVICES_MAX};
use super::precedence::merged_rules;
use super::refusal::Refusal;
use super::topology::{Moment, Port, StoredRoute, StoredService, Topology, Touched};

pub(super) const CREATED: &str = "created";
pub(super) const CHANGED: &str = "changed";
pub(super) const UNCHANGED: &str = "unchanged";
pub(super) const DELETED: &str = "deleted";

impl Topology {
    /// Declares all or nothing. Answers what became of each document: services, then routes, then policies.
    pub(super) fn put(
        &mut self,
        at: Moment,
        services: Vec<Service>,
        routes: Vec<Route>,
        policies: Vec<TrafficPolicy>,
        touched: &mut Touched,
    ) -> Result<Vec<String>, Refusal> {
        if services.len() + routes.len() + policies.len() > DOCUMENTS_MAX {
            return Err(Refusal::limit("documents of one command", DOCUMENTS_MAX, "apply them in parts"));
        }
        self.documents_fit(&services, &routes)?;
        self.policies_fit(&policies)?;
        let mut actions = Vec::with_capacity(services.len() + routes.len());
        for service in services {
            actions.push(self.put_service(at, service, touched).to_owned());
        }
        let mut ruled = BTreeSet::new();
        for route in routes {
            actions.push(self.put_route(at, route, &mut ruled).to_owned());
        }
        self.refresh_rules(&ruled, at, touched);
        actions.extend(self.put_policies(at, policies, touched));
        Ok(actions)
    }

    fn documents_fit(&self, services: &[Service], routes: &[Route]) -> Result<(), Refusal> {
        let (mut service_names, mut route_names) = (BTreeSet::new(), BTreeSet::new());
        if let Some(twice) = services.iter().find(|service| !service_names.insert(&service.name)) {
            return Err(Refusal::invalid(format_args!("Service {} is there twice", twice.name)));
        }
        if let Some(twice) = routes.iter().find(|route| !route_names.insert(&route.name)) {
            return Err(Refusal::invalid(format_args!("{} is there twice", twice.name)));
        }
        self.addresses_are_free(services)?;
        let fresh = service_names.iter().filter(|name| !self.services.contains_key(name)).count();
        if self.services.len() + fresh > SERVICES_MAX {
            return Err(Refusal::limit("services", SERVICES_MAX, "delete some that are not used"));
        }
        let fresh = route_names.iter().filter(|name| !self.routes.contains_key(name)).count();
        if self.routes.len() + fresh > ROUTES_MAX {
            return Err(Refusal::limit("routes", ROUTES_MAX, "delete some that are not used"));
        }
        let mut on: BTreeMap<&ServiceName, BTreeSet<&RouteName>> = BTreeMap::new();
        for route in routes {
            for (service, _) in &route.parents {
                on.entry(service).or_default().insert(&route.name);
            }
        }
        for (service, names) in on {
            let stored = self.routes_on.get(service).into_iter().flatten();
            let stay = stored.filter(|name| !route_names.contains(name)).count();
            if stay + names.len() > ROUTES_PER_SERVICE_MAX {
                let what = format!("routes on {service}");
                return Err(Refusal::limit(
                    &what,
                    ROUTES_PER_SERVICE_MAX,
                    "put their rules into fewer routes",
                ));
            }
        }
        Ok(())
    }

    /// Each virtual address means one service. What a command takes from one service it may give to another.
    fn addresses_are_free(&self, services: &[Service]) -> Result<(), Refusal> {
        let mut wanted: BTreeMap<IpAddr, &ServiceName> = BTreeMap::new();
        for service in services {
            for address in &service.addresses {
                if let Some(other) = wanted.insert(*address, &service.name) {
                    return Err(address_taken(*address, &service.name, other));
                }
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let stay =
            self.services.values().filter(|stored| services.iter().all(|s| s.name != stored.service.name));
        for stored in stay {
            let address = stored.service.addresses.iter().find(|address| wanted.contains_key(address));
            if let Some(address) = address {
                return Err(address_taken(*address, wanted[address], &stored.service.name));
            }
        }
        Ok(())
    }

    fn put_service(&mut self, at: Moment, service: Service, touched: &mut Touched) -> &'static str {
        let name = service.name.clone();
        let stored = self.service_entry(&name, at.revision);
        let action = match &stored.declared {
            Some((declared, _)) if **declared == service => return UNCHANGED,
            Some(_) => CHANGED,
            None => CREATED,
        };
        stored.declared = Some((Arc::new(service), at.revision));
        self.refresh_service(&name, at, touched);
        action
    }

    fn put_route(&mut self, at: Moment, route: Route, ruled: &mut BTreeSet<ServiceName>) -> &'static str {
        let before = self.routes.get(&route.name);
        if before.is_some_and(|stored| *stored.route == route) {
            return UNCHANGED;
        }
        let created_index = before.map_or(at.revision.index, |stored| stored.created_index);
        let action = if before.is_some() { CHANGED } else { CREATED };
        self.forget_route(&route.name, ruled);
        for (service, _) in &route.parents {
            self.routes_on.entry(service.clone()).or_default().insert(route.name.clone());
            ruled.insert(service.clone());
        }
        let name = route.name.clone();
        self.routes
            .insert(name, StoredRoute { route: Arc::new(route), revision: at.revision, created_index });
        self.routing = at.revision;
        action
    }

    fn forget_route(&mut self, name: &RouteName, ruled: &mut BTreeSet<ServiceName>) -> bool {
        let Some(stored) = self.routes.remove(name) else { return false };
        for (service, _) in &stored.route.parents {
            if let Some(names) = self.routes_on.get_mut(service) {
                names.remove(name);
                if names.is_empty() {
                    self.routes_on.remove(service);
                }
            }
            ruled.insert(service.clone());
        }
        true
    }

    /// Takes a route away.
    pub(super) fn delete_route(
        &mut self,
        at: Moment,
        name: &RouteName,
        touched: &mut Touched,
    ) -> Result<Vec<String>, Refusal> {
        let mut ruled = BTreeSet::new();
        if !self.forget_route(name, &mut ruled) {
            return Err(Refusal::not_found(name));
        }
        self.routing = at.revision;
        self.refresh_rules(&ruled, at, touched);
        Ok(vec![DELETED.to_owned()])
    }

    /// Takes a service's declaration away, and all of its ports that have no endpoint.
    pub(super) fn delete_service(
        &mut self,
        at: Moment,
        name: &ServiceName,
        touched: &mut Touched,
    ) -> Result<Vec<String>, Refusal> {
        let endpoints = self.endpoints_of(name);
        let Some(stored) = self.services.get_mut(name) else {
            return Err(Refusal::not_found(format_args!("Service {name}")));
        };
        if stored.declared.is_none() && endpoints > 0 {
            return Err(Refusal::in_use(format_args!(
                "Service {name} was never applied: it is there because {endpoints} endpoints are registered, and goes \
                 an hour after they have left"
            )));
        }
        stored.declared = None;
        stored.registered.retain(|number, _| {
            let port = self.ports.get(&Authority::new(name.clone(), *number));
            port.is_some_and(|port| !port.endpoints.is_empty())
        });
        self.refresh_service(name, at, touched);
        Ok(vec![DELETED.to_owned()])
    }

    fn service_entry(&mut self, name: &ServiceName, revision: Revision) -> &mut StoredService {
        let has_policy = self.policy_on_service(name).is_some();
        self.services.entry(name.clone()).or_insert_with(|| StoredService {
            service: Arc::new(Service { name: name.clone(), ports: Vec::new(), addresses: Vec::new() }),
            revision,
            declared: None,
            registered: BTreeMap::new(),
            policy_revision: if has_policy { revision } else { Revision::default() },
        })
    }

    pub(super) fn service_to_register_at(
        &mut self,
        authority: &Authority,
        revision: Revision,
    ) -> &mut StoredService {
        self.service_entry(&authority.service, revision)
    }

    /// Brings the service's ports, and their authorities, in line with what is declared and registered.
    pub(super) fn refresh_service(&mut self, name: &ServiceName, at: Moment, touched: &mut Touched) {
        let Some(stored) = self.services.get_mut(name) else { return };
        let ports = effective_ports(stored);
        let addresses = declared_addresses(stored);
        if ports != stored.service.ports || addresses != stored.service.addresses {
            stored.service = Arc::new(Service { name: name.clone(), ports: ports.clone(), addresses });
            stored.revision = at.revision;
            self.routing = at.revision;
            touched.services.insert(name.clone());
            if stored.policy_revision != Revision::default() {
                touched.policies.insert(name.clone());
            }
        }
        if ports.is_empty() {
            self.services.remove(name);
        }
        for authority in self.authorities_of(name) {
            if !ports.iter().any(|port| port.port == authority.port) {
                let gone = self.ports.remove(&authority).map_or(0, |port| port.endpoints.len());
                self.endpoint_count -= gone;
                touched.endpoints.insert(authority);
            }
        }
        for port in &ports {
            let authority = Authority::new(name.clone(), port.port);
            if !self.ports.contains_key(&authority) {
                let rules = self.rules_for(&authority);
                self.ports.insert(
                    authority.clone(),
                    Port {
                        endpoints_revision: at.revision,
                        endpoints: Arc::new([]),
                        registered: Vec::new(),
                        empty_since: at.now,
                        rules_revision: at.revision,
                        rules: rules.into(),
                    },
                );
                touched.endpoints.insert(authority.clone());
                touched.rules.insert(authority);
            }
        }
    }

    pub(super) fn refresh_rules(
        &mut self,
        services: &BTreeSet<ServiceName>,
        at: Moment,
        touched: &mut Touched,
    ) {
        for service in services {
            for authority in self.authorities_of(service) {
                let rules = self.rules_for(&authority);
                if let Some(port) = self.ports.get_mut(&authority)
                    && *port.rules != *rules
                {
                    port.rules = rules.into();
                    port.rules_revision = at.revision;
                    touched.rules.insert(authority);
                }
            }
        }
    }

    /// The rules of all routes on an authority, in the order in which they are tried.
    pub(super) fn rules_for(&self, authority: &Authority) -> Vec<mesh::RouteRule> {
        let names = self.routes_on.get(&authority.service).into_iter().flatten();
        let routes = names.filter_map(|name| self.routes.get(name));
        let on_it = routes.filter(|stored| {
            let mut parents = stored.route.parents.iter();
            parents.any(|(service, port)| {
                *service == authority.service && port.is_none_or(|port| port == authority.port)
            })
        });
        merged_rules(on_it.map(|stored| (stored, self.policy_on_route(&stored.route.name))))
    }
}

fn address_taken(address: IpAddr, wanted: &ServiceName, owner: &ServiceName) -> Refusal {
    Refusal::invalid(format_args!(
        "address {address} of Service {wanted} is Service {owner}'s: choose another"
    ))
}

/// Virtual addresses come by declaration alone.
pub(super) fn declared_addresses(stored: &StoredService) -> Vec<IpAddr> {
    stored.declared.as_ref().map(|(service, _)| service.addresses.clone()).unwrap_or_default()
}

/// The declared ports, and those that were registered beside them.
pub(super) fn effective_ports(stored: &StoredService) -> Vec<ServicePort> {
    let declared = stored.declared.as_ref().map(|(service, _)| service.ports.clone()).unwrap_or_default();
    let mut ports: BTreeMap<u16, ServicePort> = declared.into_iter().map(|port| (port.port, port)).collect();
    for (number, protocol) in &stored.registered {
        ports.entry(*number).or_insert_with(|| registered_port(*number, *protocol));
    }
    ports.into_values().collect()
}

fn registered_port(port: u16, protocol: Protocol) -> ServicePort {
    ServicePort { name: format!("{}-{port}", protocol.as_str()), port, protocol }
}
