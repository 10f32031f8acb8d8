//! Workloads that hold a short lease: they register, renew in time, and register again when they are told that they are unknown.
//! One that falls silent is expired; one that does not must never be.

use std::time::Duration;

use api::LeaseKey;
use api::log::v1::{Command, Register, command};
use api::v1::{Endpoint, Protocol, WriteId};
use mesh::{Authority, InstanceName};

use super::event::{Event, Reply, Request};
use super::run::World;
use super::writes::{authority, qualified};
use crate::network::Host;
use crate::shape::Shape;

/// The shortest lease that there is.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// How often a workload renews: three times in a lease.
const RENEW_EVERY: Duration = Duration::from_millis(1600);

/// How long a workload waits for an answer.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// The service where workloads register.
const SERVICE: &str = "leased";

/// One workload.
#[derive(Debug)]
pub(crate) struct Workload {
    id: u64,
    sequence: u64,
    registered: bool,
    call: u64,
    /// When the request that is not answered was first sent, and what it is.
    asked: Option<(Duration, Request)>,
    silent_until: Duration,
    node: u64,
    /// Whether that node was named as the leader, and is to be asked once.
    named: bool,
    nodes: u64,
}

impl Workload {
    pub(crate) fn new(id: u64, shape: &Shape) -> Self {
        Self {
            id,
            sequence: 0,
            registered: false,
            call: 0,
            asked: None,
            silent_until: Duration::ZERO,
            node: id % shape.nodes + 1,
            named: false,
            nodes: shape.nodes,
        }
    }

    pub(super) fn silence(&mut self, until: Duration) {
        self.silent_until = until;
    }

    fn key(&self) -> LeaseKey {
        let authority: Authority = SERVICE.parse().expect("a plain word is a service");
        LeaseKey { authority, instance: InstanceName(format!("workload-{}", self.id)) }
    }

    fn registration(&mut self) -> Request {
        self.sequence += 1;
        let endpoint = Endpoint {
            instance: format!("workload-{}", self.id),
            address: format!("10.1.0.{}:80", self.id),
            workload: qualified(format!("workload-{}", self.id)),
            weight: 100,
            ..Endpoint::default()
        };
        let body = command::Body::Register(Register {
            authority: authority(SERVICE),
            protocol: Protocol::Http1.into(),
            endpoint: Some(endpoint),
            lease_seconds: u32::try_from(LEASE.as_secs()).expect("a few seconds"),
        });
        let id =
            Some(WriteId { client: format!("workload-{}", self.id), sequence: self.sequence, since: None });
        Request::Propose(Box::new(Command { id, at_ms: 0, body: Some(body) }))
    }
}

impl World {
    pub(super) fn workload_wakes(&mut self, id: u64, call: u64) {
        let (now, from) = (self.heap.now(), Host::Workload(id));
        let workload = self.workloads.get_mut(&id).expect("every workload exists");
        if workload.call != call {
            return;
        }
        if workload.silent_until > now {
            workload.asked = None;
            self.heap.put(workload.silent_until, Event::WorkloadWake { workload: id, call });
            return;
        }
        if workload.asked.is_some() {
            if !std::mem::take(&mut workload.named) {
                workload.node = workload.node % workload.nodes + 1;
            }
        } else {
            let request =
                if workload.registered { Request::Renew(workload.key()) } else { workload.registration() };
            workload.asked = Some((now, request));
        }
        // What is asked again counts from now: the node that answers hears of it after this.
        let (asked_at, body) = workload.asked.as_mut().expect("something was just asked");
        if matches!(body, Request::Renew(_)) {
            *asked_at = now;
        }
        let body = body.clone();
        workload.call += 1;
        let (call, node) = (workload.call, workload.node);
        if let Some(at) = self.network.stream(from, Host::Node(node), now, &mut self.chance) {
            self.heap.put(at, Event::Request { from, signed: None, to: node, call, body });
        }
        self.heap.put_in(ASK_AGAIN, Event::WorkloadWake { workload: id, call });
    }

    pub(super) fn workload_answered(&mut self, id: u64, call: u64, reply: &Reply) {
        let workload = self.workloads.get_mut(&id).expect("every workload exists");
        if workload.call != call {
            return;
        }
        let Some((asked_at, _)) = workload.asked else { return };
        let mut pause = RENEW_EVERY;
        match reply {
            Reply::Outcome(_) => {
                workload.registered = true;
                workload.asked = None;
            }
            Reply::Renewed(known) => {
                workload.registered = *known;
                workload.asked = None;
                if *known {
                    self.leases.renewed(&format!("workload-{id}"), asked_at);
                } else {
                    pause = Duration::from_millis(1);
                }
            }
            Reply::NotLeader(Some(leader)) => {
                (workload.node, workload.named) = (leader.0, true);
                pause = Duration::from_millis(5);
            }
            _ => pause = Duration::from_millis(30),
        }
        workload.call += 1;
        let wake = Event::WorkloadWake { workload: id, call: workload.call };
        let pause = self.chance.between(pause / 2, pause);
        self.heap.put_in(pause, wake);
    }
}
