//! Clients that register endpoints, take them away and change routes, one write in flight each, sent again under the same
//! identity until it is answered: what proxies and operators do, in small.

use std::time::Duration;

use api::log::v1::{Command, DeleteConfig, Leave, PutConfig, Register, command};
use api::v1::{
    Authority, Backend, Endpoint, LeaseKey, Protocol, QualifiedName, Route, RouteParent, RouteRule, WriteId,
};

use super::node::NODES;
use crate::chance::Chance;

/// Services that clients write about; few, so that writes meet.
pub(crate) const SERVICES: u64 = 6;

/// Instances of each service.
const INSTANCES: u64 = 4;

/// How long a client waits for an answer before it asks another node.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Usual time from an answer to the next request.
pub(crate) const PAUSE: Duration = Duration::from_millis(15);

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    sequence: u64,
    /// The write that is not answered yet.
    pub(crate) writing: Option<Command>,
    /// Names the last request; answers to earlier ones are void.
    pub(crate) call: u64,
    /// Whether that request is not answered yet.
    pub(crate) waits: bool,
    /// Requests since its last write was applied.
    pub(crate) asks_since_answer: u64,
    /// Whom it asks.
    pub(crate) node: u64,
}

pub(crate) fn qualified(name: String) -> Option<QualifiedName> {
    Some(QualifiedName { name, namespace: "default".to_owned() })
}

pub(crate) fn authority(service: u64) -> Option<Authority> {
    Some(Authority { service: qualified(format!("service-{service}")), port: 80 })
}

impl Client {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            sequence: 0,
            writing: None,
            call: 0,
            waits: false,
            asks_since_answer: 0,
            node: id % NODES + 1,
        }
    }

    /// Who it says it is.
    pub(crate) fn name(&self) -> String {
        format!("client-{}", self.id)
    }

    /// Begins a new write.
    pub(crate) fn begin(&mut self, chance: &mut Chance) {
        self.sequence += 1;
        let id = Some(WriteId { client: self.name(), sequence: self.sequence });
        let service = chance.below(SERVICES);
        let body = match chance.below(20) {
            0..12 => register(service, chance),
            12..16 => {
                let instance = format!("instance-{}", chance.below(INSTANCES));
                command::Body::Leave(Leave {
                    lease: Some(LeaseKey { authority: authority(service), instance }),
                })
            }
            16..19 => put_route(service, chance),
            _ => {
                let route = qualified(format!("route-{service}"));
                command::Body::DeleteConfig(DeleteConfig { route, ..DeleteConfig::default() })
            }
        };
        self.writing = Some(Command { id, at_ms: 0, body: Some(body) });
    }

    /// Turns to the node that was named, or to the next one.
    pub(crate) fn turn(&mut self, named: Option<u64>) {
        self.node = named.unwrap_or(self.node % NODES + 1);
    }
}

fn register(service: u64, chance: &mut Chance) -> command::Body {
    let instance = chance.below(INSTANCES);
    let endpoint = Endpoint {
        instance: format!("instance-{instance}"),
        address: format!("10.0.{service}.{instance}:{}", 1000 + chance.below(50)),
        workload: qualified(format!("workload-{service}")),
        weight: 100,
        ..Endpoint::default()
    };
    command::Body::Register(Register {
        authority: authority(service),
        protocol: Protocol::Http1.into(),
        endpoint: Some(endpoint),
        lease_seconds: 3600,
    })
}

fn put_route(service: u64, chance: &mut Chance) -> command::Body {
    let backends = (0..2).map(|_| Backend {
        authority: authority(chance.below(SERVICES)),
        weight: u32::try_from(chance.below(10)).expect("below 10"),
    });
    let route = Route {
        name: qualified(format!("route-{service}")),
        parents: vec![RouteParent { service: qualified(format!("service-{service}")), port: 80 }],
        rules: vec![RouteRule { backends: backends.collect(), ..RouteRule::default() }],
    };
    command::Body::PutConfig(PutConfig { routes: vec![route], ..PutConfig::default() })
}
