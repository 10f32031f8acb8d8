//! What clients write and read, key by key, in a form that a checker of histories understands: each value that is ever written
//! is unlike all others of its key, so that a read says which write it saw.

use api::log::v1::{Command, DeleteConfig, Leave, Outcome, PutConfig, Register, command, outcome, refused};
use api::v1::{
    Authority, Backend, Endpoint, LeaseKey, Protocol, QualifiedName, Route, RouteParent, RouteRule, Service,
    ServicePort, WriteId,
};
use control::catalog::Catalog;
use mesh::{InstanceName, RouteKind, RouteName, ServiceName};

use crate::chance::Chance;
use crate::shape::Shape;

/// What one write or read is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The registration of an instance of a service.
    Instance { service: u64, instance: u64 },
    /// The route of a service.
    Route(u64),
    /// A service that is there because an operator applied it.
    Declared(u64),
}

/// What stands at a key: nothing, or the value that was written.
pub type Seen = Option<u64>;

/// What a client does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Makes this stand there.
    Put(u64),
    /// Takes away what stands there.
    Take,
    /// Looks.
    Read,
}

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The write was done.
    Done,
    /// It was done, and something (else) stood there, or (`false`) nothing.
    DoneOver(bool),
    /// It was done, and the same stood there already.
    Unchanged,
    /// Nothing stands there.
    NotFound,
    /// This stands there.
    Value(Seen),
}

/// Services that operators apply and delete.
pub(crate) const DECLARED: u64 = 2;

/// Values of one key begin anew after so many: as many as there are ports for an instance's address.
const VALUES: u64 = 60_000;

/// The first port of an address.
const FIRST_PORT: u64 = 1024;

/// Weights go up to this.
const WEIGHTS: u64 = 1000;

pub(crate) fn qualified(name: String) -> Option<QualifiedName> {
    Some(QualifiedName { name, namespace: "default".to_owned() })
}

pub(crate) fn authority(service: &str) -> Option<Authority> {
    Some(Authority { service: qualified(service.to_owned()), port: 80 })
}

/// The name of a service that clients register at.
pub(crate) fn service_name(service: u64) -> String {
    format!("service-{service}")
}

fn declared_name(service: u64) -> String {
    format!("declared-{service}")
}

/// The name of a service that a proxy may follow: registered, declared, or one that never comes to be.
pub(crate) fn any_service(shape: &Shape, chance: &mut Chance) -> String {
    let number = chance.below(shape.services + DECLARED + 1);
    if number < DECLARED { declared_name(number) } else { service_name(number - DECLARED) }
}

impl Key {
    /// Any key.
    pub(crate) fn drawn(shape: &Shape, chance: &mut Chance) -> Self {
        let service = chance.below(shape.services);
        match chance.below(20) {
            0..14 => Self::Instance { service, instance: chance.below(shape.instances) },
            14..18 => Self::Route(service),
            _ => Self::Declared(chance.below(DECLARED)),
        }
    }

    /// Every key that there is.
    pub(crate) fn all(shape: &Shape) -> Vec<Self> {
        let instances =
            |service| (0..shape.instances).map(move |instance| Self::Instance { service, instance });
        let routes = (0..shape.services).map(Self::Route);
        (0..shape.services)
            .flat_map(instances)
            .chain(routes)
            .chain((0..DECLARED).map(Self::Declared))
            .collect()
    }

    /// What the catalog holds there.
    pub(crate) fn seen(self, catalog: &Catalog) -> Seen {
        match self {
            Self::Instance { service, instance } => {
                let authority = service_name(service).parse().ok()?;
                let instance = InstanceName(format!("instance-{instance}"));
                let stored = catalog.registration(&authority, &instance)?;
                Some(u64::from(stored.endpoint.address.port()) - FIRST_PORT)
            }
            Self::Route(service) => {
                let name = RouteName {
                    namespace: "default".to_owned(),
                    name: format!("route-{service}"),
                    kind: RouteKind::Http,
                };
                let weights = &catalog.route(&name)?.route.rules.first()?.backends;
                let weight = |at: usize| {
                    weights.get(at).map_or(0, |backend: &mesh::Backend| u64::from(backend.weight))
                };
                Some(weight(0) + weight(1) * WEIGHTS)
            }
            Self::Declared(service) => {
                let name: ServiceName = declared_name(service).parse().ok()?;
                catalog.service(&name).map(|_| 1)
            }
        }
    }

    /// The value to write as the `number`th.
    pub(crate) fn value(self, number: u64) -> u64 {
        match self {
            // The same content each time: an operator applies the same file.
            Self::Declared(_) => 1,
            _ => number % VALUES,
        }
    }

    /// The command that does a deed; reads have none.
    pub(crate) fn command(self, deed: Deed, id: WriteId, shape: &Shape) -> Option<Command> {
        let body = match (self, deed) {
            (_, Deed::Read) => return None,
            (Self::Instance { service, instance }, Deed::Put(value)) => register(service, instance, value),
            (Self::Instance { service, instance }, Deed::Take) => {
                let authority = authority(&service_name(service));
                let lease = Some(LeaseKey { authority, instance: format!("instance-{instance}") });
                command::Body::Leave(Leave { lease })
            }
            (Self::Route(service), Deed::Put(value)) => {
                let routes = vec![route(service, value, shape)];
                command::Body::PutConfig(PutConfig { routes, ..PutConfig::default() })
            }
            (Self::Route(service), Deed::Take) => {
                let route = qualified(format!("route-{service}"));
                command::Body::DeleteConfig(DeleteConfig { route, ..DeleteConfig::default() })
            }
            (Self::Declared(service), Deed::Put(_)) => {
                let ports =
                    vec![ServicePort { name: String::new(), port: 80, protocol: Protocol::Http1.into() }];
                let services =
                    vec![Service { name: qualified(declared_name(service)), ports, ..Service::default() }];
                command::Body::PutConfig(PutConfig { services, ..PutConfig::default() })
            }
            (Self::Declared(service), Deed::Take) => {
                let service = qualified(declared_name(service));
                command::Body::DeleteConfig(DeleteConfig { service, ..DeleteConfig::default() })
            }
        };
        Some(Command { id: Some(id), at_ms: 0, body: Some(body) })
    }
}

fn register(service: u64, instance: u64, value: u64) -> command::Body {
    let endpoint = Endpoint {
        instance: format!("instance-{instance}"),
        address: format!("10.0.{service}.{instance}:{}", FIRST_PORT + value),
        workload: qualified(format!("workload-{service}")),
        weight: 100,
        ..Endpoint::default()
    };
    command::Body::Register(Register {
        authority: authority(&service_name(service)),
        protocol: Protocol::Http1.into(),
        endpoint: Some(endpoint),
        lease_seconds: 3600,
    })
}

fn route(service: u64, value: u64, shape: &Shape) -> Route {
    // To the next service, and to one that operators declare: so that rules lead to what comes and goes.
    let backends = [
        (service_name((service + 1) % shape.services), value % WEIGHTS),
        (declared_name(service % DECLARED), value / WEIGHTS),
    ];
    let backends = backends.map(|(name, weight)| Backend {
        authority: authority(&name),
        weight: u32::try_from(weight).expect("below a thousand"),
    });
    Route {
        name: qualified(format!("route-{service}")),
        parents: vec![RouteParent { service: qualified(service_name(service)), port: 80 }],
        rules: vec![RouteRule { backends: backends.into(), ..RouteRule::default() }],
        ..Route::default()
    }
}

/// What an outcome says to a client; `None` where it says nothing about the key (refused for another reason).
pub(crate) fn told(outcome: &Outcome) -> Option<Told> {
    match outcome.result.as_ref()? {
        outcome::Result::Done(done) => Some(match done.actions.first().map(String::as_str) {
            Some("created") => Told::DoneOver(false),
            Some("changed" | "deleted") => Told::DoneOver(true),
            Some("unchanged") => Told::Unchanged,
            _ => Told::Done,
        }),
        outcome::Result::Refused(refusal) if refusal.reason == i32::from(refused::Reason::NotFound) => {
            Some(Told::NotFound)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_is_written_at_a_key_is_what_a_read_sees_there() {
        let shape = Shape::default();
        let mut catalog = Catalog::new(1);
        let id = |sequence| WriteId { client: "a".to_owned(), sequence, since: None };
        let mut index = 0;
        for key in [Key::Instance { service: 1, instance: 2 }, Key::Route(3), Key::Declared(0)] {
            for number in [1, 59_999, 61_234] {
                let mut apply = |deed| {
                    index += 1;
                    let command = key.command(deed, id(index), &shape).unwrap();
                    told(&catalog.apply(index, &command.encode_to_vec()).outcome).unwrap()
                };
                let value = key.value(number);
                assert_ne!(apply(Deed::Put(value)), Told::NotFound);
                assert_eq!(key.seen(&catalog), Some(value), "{key:?} {number}");
            }
            index += 1;
            let command = key.command(Deed::Take, id(index), &shape).unwrap();
            catalog.apply(index, &command.encode_to_vec());
            assert_eq!(key.seen(&catalog), None, "{key:?}");
        }
    }
}
