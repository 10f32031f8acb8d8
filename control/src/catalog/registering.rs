//! What workloads do to the topology: register, leave, and be expired when their lease was not renewed.
//!
//! A service and its port come into being with the first registration, and outlive the last endpoint for an hour, so
//! that callers of a service that restarts are told `no endpoint` and not `unknown service`. What an operator declared
//! about a port is decisive over what is registered there; a port that nobody declared speaks what its first endpoint
//! said, until all of its endpoints have left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{LeaseKey, PORTS_MAX, Registration};
use mesh::{Authority, Endpoint, InstanceName};

use super::limits::{EMPTY_PORT_KEPT, ENDPOINTS_MAX, ENDPOINTS_PER_AUTHORITY_MAX, SERVICES_MAX};
use super::refusal::Refusal;
use super::topology::{Moment, Port, Registered, Topology, Touched};

/// An expiry: the lease, and the registration that the leader saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expiry {
    pub(super) lease: LeaseKey,
    pub(super) registered_index: u64,
}

impl Topology {
    /// Adds an endpoint, or moves or changes the one of the same instance, in one change.
    pub(super) fn register(
        &mut self,
        at: Moment,
        registration: Registration,
        touched: &mut Touched,
    ) -> Result<(), Refusal> {
        let is_known = self.registration_fits(&registration)?;
        let Registration { authority, protocol, endpoint, lease_seconds } = registration;
        if !is_known {
            let stored = self.service_to_register_at(&authority, at.revision);
            stored.registered.insert(authority.port, protocol);
            self.refresh_service(&authority.service, at, touched);
        }
        let Some(port) = self.ports.get_mut(&authority) else {
            return Err(Refusal::invalid("a registered port has no endpoints to add to")); // refresh made it
        };
        let mut registered =
            Registered { revision: at.revision, lease_seconds, registered_index: at.revision.index };
        match port.place(&endpoint.instance) {
            Ok(place) if *port.endpoints[place] == endpoint => {
                registered.revision = port.registered[place].revision;
                port.registered[place] = registered;
                return Ok(());
            }
            Ok(place) => {
                port.endpoints = spliced(&port.endpoints, place, 1, endpoint);
                port.registered[place] = registered;
            }
            Err(place) => {
                port.endpoints = spliced(&port.endpoints, place, 0, endpoint);
                port.registered.insert(place, registered);
                self.endpoint_count += 1;
            }
        }
        port.endpoints_revision = at.revision;
        touched.endpoints.insert(authority);
        Ok(())
    }

    /// Whether its port is registered with this protocol already.
    fn registration_fits(&self, registration: &Registration) -> Result<bool, Refusal> {
        let Registration { authority, protocol, endpoint, .. } = registration;
        let service = &authority.service;
        let stored = self.services.get(service);
        match stored {
            None if self.services.len() >= SERVICES_MAX => {
                return Err(Refusal::limit("services", SERVICES_MAX, "delete some that are not used"));
            }
            Some(stored)
                if !stored.registered.contains_key(&authority.port)
                    && stored.registered.len() >= PORTS_MAX =>
            {
                let what = format!("registered ports of {service}");
                return Err(Refusal::limit(&what, PORTS_MAX, "use fewer ports"));
            }
            _ => {}
        }
        let spoken = stored.and_then(|stored| stored.registered.get(&authority.port));
        let is_known = spoken == Some(protocol);
        let Some(port) = self.ports.get(authority) else {
            return self.one_more_endpoint_fits().map(|()| is_known);
        };
        let known = port.place(&endpoint.instance).is_ok();
        let declared = stored.and_then(|stored| stored.declared.as_ref());
        let is_declared = declared.is_some_and(|(declared, _)| declared.port(authority.port).is_some());
        let others = port.endpoints.len() - usize::from(known);
        if let Some(spoken) = spoken
            && spoken != protocol
            && others > 0
            && !is_declared
        {
            return Err(Refusal::invalid(format_args!(
                "protocol = {}: the {others} other endpoints of {authority} speak {}; apply a Service that declares \
                 the port's protocol, or wait until they have left",
                protocol.as_str(),
                spoken.as_str()
            )));
        }
        if known {
            return Ok(is_known);
        }
        if port.endpoints.len() >= ENDPOINTS_PER_AUTHORITY_MAX {
            let what = format!("endpoints of {authority}");
            return Err(Refusal::limit(&what, ENDPOINTS_PER_AUTHORITY_MAX, "split the service"));
        }
        self.one_more_endpoint_fits().map(|()| is_known)
    }

    fn one_more_endpoint_fits(&self) -> Result<(), Refusal> {
        if self.endpoint_count >= ENDPOINTS_MAX {
            return Err(Refusal::limit("endpoints in all", ENDPOINTS_MAX, "let some leave"));
        }
        Ok(())
    }

    /// Takes an endpoint away. Leaving twice is no error.
    pub(super) fn leave(&mut self, at: Moment, lease: LeaseKey, touched: &mut Touched) {
        self.take_away(at, &lease.authority, &BTreeSet::from([lease.instance]), touched);
    }

    /// Takes away what the leader saw lapse; spares what has registered again since.
    pub(super) fn expire(&mut self, at: Moment, expiries: Vec<Expiry>, touched: &mut Touched) {
        let mut lapsed: BTreeMap<Authority, BTreeSet<InstanceName>> = BTreeMap::new();
        for Expiry { lease, registered_index } in expiries {
            let stored = self.registration(&lease.authority, &lease.instance);
            if stored.is_some_and(|stored| stored.registered_index == registered_index) {
                lapsed.entry(lease.authority).or_default().insert(lease.instance);
            }
        }
        for (authority, instances) in lapsed {
            self.take_away(at, &authority, &instances, touched);
        }
    }

    fn take_away(
        &mut self,
        at: Moment,
        authority: &Authority,
        instances: &BTreeSet<InstanceName>,
        touched: &mut Touched,
    ) {
        let Some(port) = self.ports.get_mut(authority) else { return };
        let stays: Vec<bool> =
            port.endpoints.iter().map(|endpoint| !instances.contains(&endpoint.instance)).collect();
        let gone = stays.iter().filter(|stays| !**stays).count();
        if gone == 0 {
            return;
        }
        let kept = port.endpoints.iter().zip(&stays).filter(|(_, stays)| **stays);
        port.endpoints = kept.map(|(endpoint, _)| endpoint.clone()).collect();
        let mut stays = stays.into_iter();
        port.registered.retain(|_| stays.next().unwrap_or(true));
        port.endpoints_revision = at.revision;
        if port.endpoints.is_empty() {
            port.empty_since = at.now;
        }
        self.endpoint_count -= gone;
        touched.endpoints.insert(authority.clone());
    }

    /// Forgets ports that came by registration, were never declared, and have been empty for long.
    pub(super) fn sweep(&mut self, at: Moment, touched: &mut Touched) {
        let long_empty =
            |port: &Port| port.endpoints.is_empty() && at.now.since(port.empty_since) >= EMPTY_PORT_KEPT;
        let mut forgotten = BTreeSet::new();
        for (name, stored) in &mut self.services {
            let before = stored.registered.len();
            stored.registered.retain(|number, _| {
                let port = self.ports.get(&Authority::new(name.clone(), *number));
                !port.is_none_or(long_empty)
            });
            if stored.registered.len() < before {
                forgotten.insert(name.clone());
            }
        }
        for name in forgotten {
            self.refresh_service(&name, at, touched);
        }
    }
}

/// `endpoints` with `endpoint` at `place`, instead of the `replaced` (0 or 1) that stand there.
fn spliced(
    endpoints: &[Arc<Endpoint>],
    place: usize,
    replaced: usize,
    endpoint: Endpoint,
) -> Arc<[Arc<Endpoint>]> {
    let (before, after) = (&endpoints[..place], &endpoints[place + replaced..]);
    before.iter().cloned().chain(std::iter::once(Arc::new(endpoint))).chain(after.iter().cloned()).collect()
}
