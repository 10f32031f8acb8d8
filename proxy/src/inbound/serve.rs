//! One request for the application, from its head to the head of its answer: who calls is read and taken away, the
//! application gets the rest as it came.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderValue, Method, Request, Response};
use mesh::{Authority, Direction, Edge, Protocol, WorkloadName};

use super::clients::Clients;
use crate::balance::{ASSUMED_LATENCY, PeakEwma};
use crate::detect::Learned;
use crate::http::body::AnswerBody;
use crate::http::connection::Serve;
use crate::http::deadline::grpc_timeout;
use crate::http::head_bounds::HeadBounds;
use crate::http::passing::{
    CALLER_HEADER, name_host, passed_back, prepare, refused, spelled_authority, unanswered,
};
use crate::http::refusal::{Refusal, is_grpc};
use crate::http::request_body::RequestBody;
use crate::http::send::{Answer, Outgoing, Unsent, send};
use crate::http::signs::Signs;
use crate::http::state::WorkerState;
use crate::http::tally::Tally;
use crate::http::upstream::Upstream;
use crate::http::watch::Watch;
use crate::report::edges::{EDGES_MAX, EdgeHandle};
use crate::settings::InboundMode;
use crate::transparent;

/// The inbound half of a worker.
#[derive(Debug)]
pub struct Inbound {
    pub(super) state: Rc<WorkerState>,
    pub(super) application: Rc<Upstream>,
    /// The same in its callers' names, where it is to see them.
    clients: Option<Clients>,
    /// What was learned of connections that are looked at. The application may be replaced by another behind the same
    /// port: then what was learned of its servers' first word holds until the proxy starts anew.
    pub(super) learned: Cell<Option<Learned>>,
    serves: Vec<Authority>,
    /// Most requests of the application at a time.
    requests_max: Option<u32>,
    /// Which of `serves` a spelling means.
    spellings: RefCell<HashMap<Box<[u8]>, usize>>,
    /// Per service, the edge from each caller.
    edges: RefCell<Vec<HashMap<Box<[u8]>, EdgeHandle>>>,
}

impl Inbound {
    /// Forwards to the application, which speaks `protocol`. Without a service it `serves`, requests count under the
    /// workload's own name.
    #[must_use]
    pub fn new(
        state: &Rc<WorkerState>,
        application: SocketAddr,
        protocol: Protocol,
        mode: InboundMode,
        serves: &[Authority],
        requests_max: Option<u32>,
    ) -> Rc<Self> {
        let mut serves = serves.to_vec();
        if serves.is_empty() {
            let name = state.workload.to_string().parse().expect("a workload's name is a service's name too");
            serves.push(Authority::new(name, application.port().max(1)));
        }
        Rc::new(Self {
            state: Rc::clone(state),
            learned: Cell::new(None),
            application: Rc::new(Upstream::of_application(
                application,
                protocol,
                PeakEwma::assumed(ASSUMED_LATENCY),
            )),
            spellings: RefCell::default(),
            clients: (mode == InboundMode::Tproxy).then(Clients::default),
            edges: RefCell::new(vec![HashMap::new(); serves.len()]),
            serves,
            requests_max,
        })
    }

    /// Called by the worker's sweep.
    pub fn sweep(&self, now: Instant) {
        self.application.sweep(now);
        if let Some(clients) = &self.clients {
            clients.sweep(now);
        }
    }

    /// The application for a caller at `peer`: in its name, where the application is to see that.
    pub(super) fn application_for(&self, peer: Option<SocketAddr>, now: Instant) -> Rc<Upstream> {
        let (Some(clients), Some(client)) = (&self.clients, transparent::client(peer)) else {
            return Rc::clone(&self.application);
        };
        let named = clients.upstream(client, &self.application, now, &self.state);
        if self.is_beside(&named) && named.is_avoided(now) { Rc::clone(&self.application) } else { named }
    }

    /// Whether this is not where the settings say that the application is, but the same port of the caller's family.
    pub(super) fn is_beside(&self, application: &Upstream) -> bool {
        application.address != self.application.address
    }

    /// Something of the caller at `peer` goes to `application`: counted if that was to see its caller, and does not.
    pub(super) fn carried_to(&self, application: &Upstream, peer: Option<SocketAddr>) {
        if self.clients.is_some() && application.client.is_none() && transparent::client(peer).is_some() {
            self.state.count(|counters| counters.client_address_lost_total += 1);
        }
    }

    /// Lets go of edges that were evicted.
    pub fn forget_evicted(&self) {
        let table = self.state.edges.borrow();
        for edges in &mut *self.edges.borrow_mut() {
            edges.retain(|_, edge| table.is_live(*edge));
        }
    }

    /// Which of the services a request means; the first when it names none of them.
    fn service(&self, text: &[u8]) -> usize {
        if self.serves.len() == 1 {
            return 0;
        }
        if let Some(service) = self.spellings.borrow().get(text) {
            return *service;
        }
        let authority = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Authority>().ok());
        let service =
            authority.and_then(|asked| self.serves.iter().position(|serves| *serves == asked)).unwrap_or(0);
        let mut spellings = self.spellings.borrow_mut();
        if spellings.len() < EDGES_MAX {
            spellings.insert(text.into(), service);
        }
        service
    }

    /// The edge from `caller`, as the header spells it, to one of the services.
    pub(super) fn edge(&self, service: usize, caller: Option<&HeaderValue>) -> EdgeHandle {
        let text = caller.map_or(&[][..], HeaderValue::as_bytes);
        let mut edges = self.edges.borrow_mut();
        if let Some(edge) = edges[service].get(text) {
            return *edge;
        }
        let mut table = self.state.edges.borrow_mut();
        if edges[service].len() >= EDGES_MAX {
            return table.folded(Direction::Inbound);
        }
        let edge = table.intern(Edge {
            direction: Direction::Inbound,
            caller: std::str::from_utf8(text).ok().and_then(|text| text.parse::<WorkloadName>().ok()),
            authority: self.serves[service].clone(),
            callee: Some(self.state.workload.clone()),
        });
        edges[service].insert(text.into(), edge);
        edge
    }
}

impl Inbound {
    /// Sends to the application, in its caller's name where that is wanted and can be.
    async fn send(
        &self,
        application: &Rc<Upstream>,
        outgoing: &mut Outgoing,
        tally: &mut Tally,
    ) -> Result<Answer, Unsent> {
        self.carried_to(application, tally.signs().peer.get());
        match send(application, outgoing, tally).await {
            Err(Unsent::NotConnected) if self.is_beside(application) => {
                self.carried_to(&self.application, tally.signs().peer.get());
                tally.picked(&self.application, tally.edge());
                Box::pin(send(&self.application, outgoing, tally)).await
            }
            sent => sent,
        }
    }

    /// Sends to the application; the whole call ends at `deadline`.
    async fn send_until(
        &self,
        deadline: tokio::time::Instant,
        application: &Rc<Upstream>,
        outgoing: &mut Outgoing,
        tally: &mut Tally,
    ) -> Result<Answer, Unsent> {
        let sending = self.send(application, outgoing, tally);
        let sent = tokio::time::timeout_at(deadline, sending).await;
        let mut answer = sent.unwrap_or(Err(Unsent::Lost(Refusal::TimedOut)))?;
        answer.watch = Watch::within(Some(deadline), None, true);
        Ok(answer)
    }
}

impl Serve for Inbound {
    const HEADS: HeadBounds = HeadBounds::OF_PROXIES;

    async fn serve(self: Rc<Self>, signs: Rc<Signs>, request: Request<RequestBody>) -> Response<AnswerBody> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let is_grpc = is_grpc(&parts.headers);
        let caller = parts.headers.remove(CALLER_HEADER);
        let edge = self.edge(self.service(spelled_authority(&parts)), caller.as_ref());
        let mut tally = Tally::open(&self.state, &signs, edge, started);
        tally.observe(&mut parts);
        if parts.method == Method::CONNECT {
            let refusal = Refusal::Unsupported("CONNECT is not carried; send the request itself");
            return refused(refusal, is_grpc, tally);
        }
        if self.requests_max.is_some_and(|most| self.application.in_flight.get() >= most) {
            return refused(Refusal::Overloaded, is_grpc, tally);
        }
        prepare(&mut parts);
        name_host(&mut parts, || self.application.address.to_string().into_bytes());
        let application = self.application_for(signs.peer.get(), started);
        tally.picked(&application, edge);
        let mut outgoing = Outgoing::new(parts, body);
        // The caller's deadline holds here too: nobody waits for what the application does after it.
        let told = if is_grpc { grpc_timeout(&outgoing.parts.headers) } else { None };
        let deadline = told.and_then(|time| started.checked_add(time)).map(tokio::time::Instant::from_std);
        let sent = match deadline {
            None => self.send(&application, &mut outgoing, &mut tally).await,
            Some(deadline) => {
                Box::pin(self.send_until(deadline, &application, &mut outgoing, &mut tally)).await
            }
        };
        match sent {
            Ok(answer) => passed_back(answer, tally),
            Err(unsent) => unanswered(unsent, is_grpc, tally),
        }
    }
}
