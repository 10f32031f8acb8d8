//! Whose the original destinations of intercepted connections are, as a value: one subscription by `ip:port` for each, to
//! the listener of that name, whose routes' name is the service. Part of `subscriber.rs`, which carries its requests.
//!
//! A workload may call any number of addresses that are nobody's: those have few places and a short life.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::xds::pb::envoy::config::listener::v3::Listener;
use api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use mesh::{Authority, Revision, Timestamp};
use prost::Message;

use super::bounds::Bounds;
use super::kept::Answer;
use crate::snapshot::Owner;

/// The type URL of listeners.
pub(super) const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// What is told of an address; `None`: no longer followed, whoever needs it must want it again.
pub(super) type Told = BTreeMap<SocketAddr, Option<Owner>>;

/// One address that workers asked for.
#[derive(Debug)]
struct Asked {
    answer: Answer,
    owner: Option<Owner>,
    last_used: Timestamp,
}

/// The addresses that are followed.
#[derive(Debug, Default)]
pub(super) struct Owners {
    asked: BTreeMap<SocketAddr, Asked>,
    subscribe: BTreeSet<SocketAddr>,
    unsubscribe: BTreeSet<SocketAddr>,
}

impl Owners {
    /// A worker needs to know whose `address` is. `false`: there is no room for it.
    pub(super) fn want(
        &mut self,
        address: SocketAddr,
        bounds: &Bounds,
        now: Timestamp,
        told: &mut Told,
    ) -> bool {
        if let Some(asked) = self.asked.get_mut(&address) {
            asked.last_used = asked.last_used.max(now);
            if let Some(owner) = &asked.owner {
                told.insert(address, Some(owner.clone()));
            }
            return true;
        }
        if self.asked.len() >= bounds.addresses_max && !self.make_room(told) {
            return false;
        }
        self.asked.insert(address, Asked { answer: Answer::Asked, owner: None, last_used: now });
        self.subscribe.insert(address);
        true
    }

    /// The addresses of `authority` are in use.
    pub(super) fn used(&mut self, authority: &Authority, now: Timestamp) {
        for asked in self.asked.values_mut() {
            if matches!(&asked.owner, Some(Owner::Service(owner)) if owner == authority) {
                asked.last_used = asked.last_used.max(now);
            }
        }
    }

    /// Drops what is nobody's or idle for long enough. `connected`: it could be asked for again.
    pub(super) fn evict(&mut self, bounds: &Bounds, connected: bool, now: Timestamp, told: &mut Told) -> u64 {
        let lapsed = |asked: &Asked| match &asked.owner {
            Some(Owner::Nobody) => now.since(asked.last_used) >= bounds.unknown,
            _ => connected && now.since(asked.last_used) >= bounds.idle,
        };
        let due: Vec<_> =
            self.asked.iter().filter(|(_, asked)| lapsed(asked)).map(|(address, _)| *address).collect();
        due.iter().for_each(|address| self.forget(*address, told));
        due.len() as u64
    }

    /// One resource of a response. `Err` is the reason of a refusal.
    pub(super) fn take(
        &mut self,
        resource: &Resource,
        told: &mut Told,
    ) -> Result<Option<(Authority, Revision)>, String> {
        let revision: Revision =
            resource.version.parse().map_err(|error: mesh::RevisionError| error.to_string())?;
        let address: SocketAddr = resource.name.parse().map_err(|_| "its name is no ip:port".to_owned())?;
        let authority = authority(resource)?;
        let Some(asked) = self.asked.get_mut(&address) else { return Ok(None) };
        if asked.answer.revision().is_some_and(|held| revision < held) {
            return Err(format!("revision {revision} is older than what is held"));
        }
        asked.answer = Answer::Held(revision);
        let owner = Owner::Service(authority.clone());
        if asked.owner.as_ref() != Some(&owner) {
            asked.owner = Some(owner.clone());
            told.insert(address, Some(owner));
        }
        Ok(Some((authority, revision)))
    }

    /// The control plane has no listener of this name (any more).
    pub(super) fn remove(&mut self, name: &str, at: Option<Revision>, told: &mut Told) {
        let Ok(address) = name.parse::<SocketAddr>() else { return };
        let Some(asked) = self.asked.get_mut(&address) else { return };
        asked.answer = asked.answer.gone(at);
        asked.owner = Some(Owner::Nobody);
        told.insert(address, Some(Owner::Nobody));
    }

    /// The first request on a new stream: everything that is followed, with what is held. `None` when that is nothing,
    /// since a request without names would ask for every listener.
    pub(super) fn connected(&mut self) -> Option<DeltaDiscoveryRequest> {
        (self.subscribe, self.unsubscribe) = (BTreeSet::new(), BTreeSet::new());
        let held = self.asked.iter().filter_map(|(address, asked)| match asked.answer {
            Answer::Held(revision) => Some((address.to_string(), revision.to_string())),
            _ => None,
        });
        (!self.asked.is_empty()).then(|| DeltaDiscoveryRequest {
            type_url: LISTENER.to_owned(),
            resource_names_subscribe: self.asked.keys().map(ToString::to_string).collect(),
            initial_resource_versions: held.collect(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// What changed in the subscription since the last call.
    pub(super) fn flush(&mut self) -> Option<DeltaDiscoveryRequest> {
        let names = |set: BTreeSet<SocketAddr>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
        let request = DeltaDiscoveryRequest {
            type_url: LISTENER.to_owned(),
            resource_names_subscribe: names(std::mem::take(&mut self.subscribe)),
            resource_names_unsubscribe: names(std::mem::take(&mut self.unsubscribe)),
            ..DeltaDiscoveryRequest::default()
        };
        let says =
            !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty();
        says.then_some(request)
    }

    /// Every name that is followed and held, for what is kept on disk.
    pub(super) fn holds(&self, name: &str, version: &str) -> bool {
        let asked = name.parse().ok().and_then(|address: SocketAddr| self.asked.get(&address));
        asked.and_then(|asked| asked.answer.revision()).is_some_and(|held| held.to_string() == version)
    }

    /// One that is nobody's gives its place up; what is a service's is never pushed out by strangers.
    fn make_room(&mut self, told: &mut Told) -> bool {
        let strangers = self.asked.iter().filter(|(_, asked)| asked.owner == Some(Owner::Nobody));
        let oldest = strangers.min_by_key(|(_, asked)| asked.last_used).map(|(address, _)| *address);
        oldest.map(|address| self.forget(address, told)).is_some()
    }

    fn forget(&mut self, address: SocketAddr, told: &mut Told) {
        self.asked.remove(&address);
        told.insert(address, None);
        // One that was never asked for on this stream needs no farewell.
        if !self.subscribe.remove(&address) {
            self.unsubscribe.insert(address);
        }
    }
}

/// The service whose routes a listener names.
fn authority(resource: &Resource) -> Result<Authority, String> {
    let body = resource.resource.as_ref().ok_or("it has no body")?;
    if body.type_url != LISTENER {
        return Err(format!("its body is a {:?} in a response of listeners", body.type_url));
    }
    let listener = Listener::decode(&*body.value).map_err(|error| format!("it is no Listener: {error}"))?;
    if listener.name != resource.name {
        return Err(format!("its body is named {:?}", listener.name));
    }
    let any = listener.api_listener.and_then(|api| api.api_listener).ok_or("it is no API listener")?;
    let connections = HttpConnectionManager::decode(&*any.value)
        .map_err(|error| format!("it holds no HttpConnectionManager: {error}"))?;
    match connections.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            rds.route_config_name.parse().map_err(|error: mesh::NameError| error.to_string())
        }
        _ => Err("it names no routes".to_owned()),
    }
}

/// A response of listeners, told apart from those of the kinds that `decode.rs` knows.
pub(super) fn is_of_listeners(response: &DeltaDiscoveryResponse) -> bool {
    response.type_url == LISTENER
}
