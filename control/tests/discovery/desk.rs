//! One session at one shelf, told in lines: `CDS 1 web@1.3 -shop` is the answer with nonce 1, holding the cluster of
//! `web` in version 1.3, and withdrawing that of `shop`. `web` stands for `web.default.svc.cluster.local:80`.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::catalog::Change;
use control::discovery::{Kind, Output, Push, Session, Shelf, Way};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;
use mesh::{
    Authority, Backend, Endpoint, Health, InstanceName, Locality, Protocol, Revision, RouteMatch, RouteRule,
    Service, ServicePort,
};

const SUFFIX: &str = ".default.svc.cluster.local:80";

pub fn full(name: &str) -> String {
    if name.contains('.') || name == "*" || name == control::discovery::OUTBOUND {
        name.to_owned()
    } else {
        format!("{name}{SUFFIX}")
    }
}

pub struct Desk {
    pub shelf: Shelf,
    pub session: Session,
    pub way: Way,
    pub user_agent: &'static str,
    pub index: u64,
    pub pushes: Vec<Push>,
    first: bool,
}

impl Desk {
    pub fn new(way: Way, user_agent: &'static str) -> Self {
        let (shelf, session) = (Shelf::default(), Session::new(way));
        Self { shelf, session, way, user_agent, index: 0, pushes: Vec::new(), first: true }
    }

    /// The client opens a new stream to the same node.
    pub fn reconnect(&mut self) {
        self.session = Session::new(self.way);
        self.first = true;
    }

    fn told(&mut self, out: Vec<Output>) -> Vec<String> {
        let mut lines = Vec::new();
        for output in out {
            match output {
                Output::Send(push) => {
                    let named = push.resources.iter().map(|r| format!(" {}@{}", short(&r.name), r.version));
                    let gone = push.removed.iter().map(|name| format!(" -{}", short(name)));
                    let what: String = named.chain(gone).collect();
                    lines.push(format!("{} {}{what}", push.kind.as_str(), push.nonce));
                    self.pushes.push(push);
                }
                Output::Close(status) => lines.push(format!("{:?}: {}", status.code(), status.message())),
                _ => {}
            }
        }
        lines
    }

    /// The next entries of the log are applied, all of them at one index.
    pub fn commit(&mut self, changes: &[Change]) -> Vec<String> {
        let applied = Revision::new(1, self.index);
        let touched = self.shelf.changed(changes, applied, applied, false);
        let mut out = Vec::new();
        touched.iter().for_each(|touch| self.session.touched(touch));
        self.session.flush(&mut self.shelf, &mut out);
        self.told(out)
    }

    pub fn service(&mut self, name: &str) -> Vec<String> {
        self.index += 1;
        let change = service(name, Some(Protocol::Http1), self.index);
        self.commit(&[change])
    }

    pub fn endpoints(&mut self, name: &str, addresses: &[&str]) -> Vec<String> {
        self.index += 1;
        let change = endpoints(name, addresses, self.index);
        self.commit(&[change])
    }

    pub fn delta(&mut self, request: DeltaDiscoveryRequest) -> Vec<String> {
        let node = std::mem::take(&mut self.first).then(|| node(self.user_agent));
        let mut out = Vec::new();
        let request = DeltaDiscoveryRequest { node, ..request };
        self.session.delta_request(&request, &mut self.shelf, &mut out);
        self.told(out)
    }

    /// Subscribes to names, showing versions.
    pub fn ask(&mut self, kind: Kind, names: &[&str], shown: &[(&str, &str)]) -> Vec<String> {
        self.delta(DeltaDiscoveryRequest {
            type_url: kind.type_url(),
            resource_names_subscribe: names.iter().map(|name| full(name)).collect(),
            initial_resource_versions: shown.iter().map(|(n, v)| (full(n), (*v).to_owned())).collect(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    pub fn drop_names(&mut self, kind: Kind, names: &[&str]) -> Vec<String> {
        self.delta(DeltaDiscoveryRequest {
            type_url: kind.type_url(),
            resource_names_unsubscribe: names.iter().map(|name| full(name)).collect(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    pub fn ack(&mut self, kind: Kind, nonce: &str) -> Vec<String> {
        self.delta(DeltaDiscoveryRequest {
            type_url: kind.type_url(),
            response_nonce: nonce.to_owned(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    pub fn nack(&mut self, kind: Kind, nonce: &str, reason: &str) -> Vec<String> {
        self.delta(DeltaDiscoveryRequest {
            type_url: kind.type_url(),
            response_nonce: nonce.to_owned(),
            error_detail: Some(Status { message: reason.to_owned(), ..Status::default() }),
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// A state-of-the-world request: all names, the nonce and version of the last answer, and a refusal if any.
    pub fn whole(&mut self, kind: Kind, names: &[&str], answers: (&str, &str), error: &str) -> Vec<String> {
        let node = std::mem::take(&mut self.first).then(|| node(self.user_agent));
        let request = DiscoveryRequest {
            node,
            type_url: kind.type_url(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            response_nonce: answers.0.to_owned(),
            version_info: answers.1.to_owned(),
            error_detail: (!error.is_empty())
                .then(|| Status { message: error.to_owned(), ..Status::default() }),
            ..DiscoveryRequest::default()
        };
        let mut out = Vec::new();
        self.session.whole_request(&request, &mut self.shelf, &mut out);
        self.told(out)
    }
}

fn short(name: &str) -> &str {
    name.strip_suffix(SUFFIX).unwrap_or(name)
}

pub fn node(user_agent: &str) -> Node {
    Node { id: "p1".to_owned(), user_agent_name: user_agent.to_owned(), ..Node::default() }
}

pub fn authority(name: &str) -> Authority {
    name.parse().unwrap()
}

pub fn service(name: &str, protocol: Option<Protocol>, index: u64) -> Change {
    let authority = authority(name);
    let service = protocol.map(|protocol| {
        let port = ServicePort { name: String::new(), port: authority.port, protocol };
        Arc::new(Service { name: authority.service.clone(), ports: vec![port], addresses: Vec::new() })
    });
    Change::Service { name: authority.service, revision: Revision::new(1, index), service }
}

pub fn endpoint(address: &str) -> Endpoint {
    Endpoint {
        instance: InstanceName(address.to_owned()),
        address: address.parse().unwrap(),
        workload: "web".parse().unwrap(),
        locality: Locality::default(),
        weight: Endpoint::DEFAULT_WEIGHT,
        health: Health::Ready,
    }
}

pub fn endpoints(name: &str, addresses: &[&str], index: u64) -> Change {
    let endpoints = addresses.iter().map(|address| Arc::new(endpoint(address))).collect();
    Change::Endpoints {
        authority: authority(name),
        revision: Revision::new(1, index),
        endpoints: Some(endpoints),
    }
}

pub fn split(name: &str, backends: &[(&str, u32)], index: u64) -> Change {
    let backends =
        backends.iter().map(|(name, weight)| Backend { authority: authority(name), weight: *weight });
    let rule = RouteRule {
        matches: vec![RouteMatch::default()],
        backends: backends.collect(),
        ..RouteRule::default()
    };
    Change::Routes { authority: authority(name), revision: Revision::new(1, index), rules: Arc::new([rule]) }
}

/// What a client would show after it took these pushes.
pub fn holdings(pushes: &[Push], kind: Kind) -> Vec<(String, String)> {
    let mut held = BTreeMap::new();
    for push in pushes.iter().filter(|push| push.kind == kind) {
        for resource in &push.resources {
            held.insert(short(&resource.name).to_owned(), resource.version.to_string());
        }
        for name in &push.removed {
            held.remove(short(name));
        }
    }
    held.into_iter().collect()
}
