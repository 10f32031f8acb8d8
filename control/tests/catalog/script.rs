//! Commands in short, and a catalog that counts its own log index.

use api::log::v1::command::Body;
use api::log::v1::outcome::Result as Answer;
use api::log::v1::refused::Reason;
use api::log::v1::{
    Command, Counted, DeleteConfig, Expire, ExpiredLease, Leave, Outcome, Partial, PutConfig, RaiseVersion,
    Register, Tick,
};
use api::v1;
use control::catalog::{Applied, Catalog, Change};
use mesh::{
    Authority, Backend, Direction, Edge, EdgeTraffic, GrpcMatch, PathMatch, PolicyName, PolicyTarget,
    Protocol, RequestPolicy, Retry, Route, RouteKind, RouteMatch, RouteName, RouteRule, Service,
    ServicePolicy, ServicePort, TrafficPolicy, Window, WindowTraffic,
};
use prost::Message;

/// A moment at the begin of a ten-second window, in milliseconds.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// A catalog and its log.
pub(crate) struct Script {
    pub(crate) catalog: Catalog,
    pub(crate) index: u64,
    pub(crate) at_ms: u64,
    pub(crate) log: Vec<Vec<u8>>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { catalog: Catalog::new(1), index: 0, at_ms: START_MS, log: Vec::new() }
    }

    pub(crate) fn bytes(&mut self, bytes: Vec<u8>) -> Applied {
        self.index += 1;
        let applied = self.catalog.apply(self.index, &bytes);
        self.log.push(bytes);
        applied
    }

    pub(crate) fn command(&mut self, id: Option<(&str, u64)>, body: Body) -> Applied {
        let id =
            id.map(|(client, sequence)| v1::WriteId { client: client.to_owned(), sequence, since: None });
        self.bytes(Command { id, at_ms: self.at_ms, body: Some(body) }.encode_to_vec())
    }

    /// A write of a client that says what a node had applied before it was first sent.
    pub(crate) fn since(&mut self, client: &str, sequence: u64, since: u64, body: Body) -> Applied {
        let since = Some(v1::Revision { epoch: 1, index: since });
        let id = Some(v1::WriteId { client: client.to_owned(), sequence, since });
        self.bytes(Command { id, at_ms: self.at_ms, body: Some(body) }.encode_to_vec())
    }

    pub(crate) fn run(&mut self, body: Body) -> Applied {
        self.command(None, body)
    }

    /// Runs what must be done, and gives its changes.
    pub(crate) fn done(&mut self, body: Body) -> Vec<Change> {
        let applied = self.run(body);
        assert!(matches!(applied.outcome.result, Some(Answer::Done(_))), "{:?}", applied.outcome);
        applied.changes
    }

    /// Runs what must be refused without a change, and gives reason and message.
    pub(crate) fn refused(&mut self, body: Body) -> (Reason, String) {
        let applied = self.run(body);
        assert_eq!(applied.changes, []);
        refusal(&applied.outcome)
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, seconds: u64) -> Vec<Change> {
        self.at_ms += seconds * 1000;
        self.done(Body::Tick(Tick {}))
    }
}

pub(crate) fn refusal(outcome: &Outcome) -> (Reason, String) {
    match &outcome.result {
        Some(Answer::Refused(refused)) => (refused.reason(), refused.message.clone()),
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn actions(applied: &Applied) -> Vec<String> {
    match &applied.outcome.result {
        Some(Answer::Done(done)) => done.actions.clone(),
        other => panic!("not done: {other:?}"),
    }
}

pub(crate) fn authority(text: &str) -> Authority {
    text.parse().unwrap()
}

pub(crate) fn endpoint(instance: &str, address: &str) -> v1::Endpoint {
    v1::Endpoint {
        instance: instance.to_owned(),
        address: address.to_owned(),
        workload: Some(v1::QualifiedName { name: "app".to_owned(), namespace: "default".to_owned() }),
        weight: 100,
        ..v1::Endpoint::default()
    }
}

pub(crate) fn register_as(at: &str, instance: &str, address: &str, protocol: Protocol) -> Body {
    Body::Register(Register {
        authority: Some((&authority(at)).into()),
        protocol: v1::Protocol::from(protocol).into(),
        endpoint: Some(endpoint(instance, address)),
        lease_seconds: 15,
    })
}

pub(crate) fn register(at: &str, instance: &str, address: &str) -> Body {
    register_as(at, instance, address, Protocol::Http1)
}

pub(crate) fn lease(at: &str, instance: &str) -> v1::LeaseKey {
    v1::LeaseKey { authority: Some((&authority(at)).into()), instance: instance.to_owned() }
}

pub(crate) fn leave(at: &str, instance: &str) -> Body {
    Body::Leave(Leave { lease: Some(lease(at, instance)) })
}

pub(crate) fn expire(leases: &[(&str, &str, u64)]) -> Body {
    let expired = |(at, instance, index): &(&str, &str, u64)| ExpiredLease {
        lease: Some(lease(at, instance)),
        registered_index: *index,
    };
    Body::Expire(Expire { leases: leases.iter().map(expired).collect() })
}

pub(crate) fn service(name: &str, ports: &[(u16, Protocol)]) -> Service {
    let port = |(port, protocol): &(u16, Protocol)| ServicePort {
        name: format!("p{port}"),
        port: *port,
        protocol: *protocol,
    };
    Service { name: name.parse().unwrap(), ports: ports.iter().map(port).collect(), addresses: Vec::new() }
}

/// A route with one rule: `prefix` goes to `backend`.
pub(crate) fn route(name: &str, parent: &str, port: Option<u16>, prefix: &str, backend: &str) -> Route {
    let path = Some(PathMatch::Prefix(prefix.to_owned()));
    Route {
        name: RouteName { namespace: "default".to_owned(), name: name.to_owned(), kind: RouteKind::Http },
        parents: vec![(parent.parse().unwrap(), port)],
        rules: vec![RouteRule {
            matches: vec![RouteMatch { path, ..RouteMatch::default() }],
            backends: vec![Backend { authority: authority(backend), weight: 1 }],
            ..RouteRule::default()
        }],
    }
}

pub(crate) fn put(services: &[Service], routes: &[Route]) -> Body {
    Body::PutConfig(PutConfig {
        services: services.iter().map(Into::into).collect(),
        routes: routes.iter().map(Into::into).collect(),
        policies: Vec::new(),
    })
}

/// A policy that sets how often requests to these targets are tried again.
pub(crate) fn policy(name: &str, targets: &[PolicyTarget], attempts: u32) -> TrafficPolicy {
    let retry = Retry { codes: vec![503], grpc_codes: Vec::new(), attempts, backoff: Retry::DEFAULT_BACKOFF };
    TrafficPolicy {
        name: PolicyName { namespace: "default".to_owned(), name: name.to_owned() },
        targets: targets.to_vec(),
        requests: RequestPolicy { retry: Some(retry), ..RequestPolicy::default() },
        service: ServicePolicy::default(),
    }
}

pub(crate) fn on_service(name: &str) -> PolicyTarget {
    PolicyTarget::Service(name.parse().unwrap())
}

pub(crate) fn on_route(name: &str) -> PolicyTarget {
    PolicyTarget::Route(RouteName {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        kind: RouteKind::Http,
    })
}

pub(crate) fn put_policies(policies: &[TrafficPolicy]) -> Body {
    let policies = policies.iter().map(Into::into).collect();
    Body::PutConfig(PutConfig { policies, ..PutConfig::default() })
}

pub(crate) fn delete_policy(name: &str) -> Body {
    let name = v1::QualifiedName { name: name.to_owned(), namespace: "default".to_owned() };
    Body::DeleteConfig(DeleteConfig { policy: Some(name), ..DeleteConfig::default() })
}

pub(crate) fn delete_service(name: &str) -> Body {
    let name = v1::QualifiedName::from(&name.parse::<mesh::ServiceName>().unwrap());
    Body::DeleteConfig(DeleteConfig { service: Some(name), ..DeleteConfig::default() })
}

pub(crate) fn delete_route(name: &str) -> Body {
    let name = v1::QualifiedName { name: name.to_owned(), namespace: "default".to_owned() };
    Body::DeleteConfig(DeleteConfig { route: Some(name), ..DeleteConfig::default() })
}

pub(crate) fn delete_grpc_route(name: &str) -> Body {
    let name = v1::QualifiedName { name: name.to_owned(), namespace: "default".to_owned() };
    Body::DeleteConfig(DeleteConfig { grpc_route: Some(name), ..DeleteConfig::default() })
}

/// A `GRPCRoute` with one rule: calls of `service` go to `backend`.
pub(crate) fn grpc_route(name: &str, parent: &str, service: &str, backend: &str) -> Route {
    let mut route = route(name, parent, None, "/", backend);
    route.name.kind = RouteKind::Grpc;
    let grpc = Some(GrpcMatch { service: Some(service.to_owned()), ..GrpcMatch::default() });
    route.rules[0].matches = vec![RouteMatch { grpc, ..RouteMatch::default() }];
    route
}

pub(crate) fn raise(version: u32) -> Body {
    Body::RaiseVersion(RaiseVersion { version })
}

pub(crate) fn edge(callee: &str) -> Edge {
    Edge {
        direction: Direction::Outbound,
        caller: Some("web".parse().unwrap()),
        authority: authority(callee),
        callee: None,
    }
}

pub(crate) fn successes(count: u64) -> EdgeTraffic {
    let mut traffic = EdgeTraffic { successes: count, ..EdgeTraffic::default() };
    (0..count).for_each(|at| traffic.latency.record(std::time::Duration::from_millis(at + 1)));
    traffic
}

pub(crate) fn window_of(at_ms: u64) -> u64 {
    Window::at(mesh::Timestamp(at_ms)).0
}

pub(crate) fn pair(proxy: &str, incarnation: u64, window: u64) -> Counted {
    Counted { proxy: Some(v1::ProxyId { name: proxy.to_owned(), incarnation }), window }
}

pub(crate) fn partial(counted: &[Counted], windows: &[(u64, Vec<(Edge, EdgeTraffic)>)]) -> Body {
    let traffic = |(window, edges): &(u64, Vec<(Edge, EdgeTraffic)>)| {
        v1::WindowTraffic::from(&WindowTraffic { window: Window(*window), edges: edges.clone() })
    };
    Body::Partial(Partial {
        node: 1,
        counted: counted.to_vec(),
        windows: windows.iter().map(traffic).collect(),
    })
}
