//! One request of the application, from its head to the head of its answer: find the service, choose a backend, pick an
//! endpoint, send; another endpoint if the first does not take connections. Everything else is told to the caller.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, Version};
use mesh::{Authority, Direction};

use super::cluster::Cluster;
use super::routing::{Choice, choose};
use super::target::{Target, Targets, outbound_edge};
use crate::http::body::AnswerBody;
use crate::http::connection::Serve;
use crate::http::passing::{CALLER_HEADER, passed_back, prepare, refused, spelled_authority};
use crate::http::refusal::{Refusal, is_grpc};
use crate::http::request_body::RequestBody;
use crate::http::send::{Answer, Outgoing, Unsent, send};
use crate::http::state::{Signs, WorkerState};
use crate::http::tally::Tally;
use crate::report::edges::EdgeHandle;
use crate::snapshot::{Demand, DemandSender, Published};

/// Most endpoints that one request tries: the first, and two more when connecting fails. More would only make a broken
/// service slower to say so.
pub(super) const TRIES_MAX: usize = 3;

/// The outbound half of a worker.
#[derive(Debug)]
pub struct Outbound {
    pub(super) state: Rc<WorkerState>,
    pub(super) targets: RefCell<Targets>,
    demand: DemandSender,
}

impl Outbound {
    /// Serves from what is `published`; what is missing there is demanded.
    #[must_use]
    pub fn new(state: &Rc<WorkerState>, published: &Arc<Published>, demand: DemandSender) -> Rc<Self> {
        let targets = RefCell::new(Targets::new(published.reader()));
        Rc::new(Self { state: Rc::clone(state), targets, demand })
    }

    /// Called by the worker's sweep.
    pub fn sweep(&self, now: Instant) {
        self.targets.borrow_mut().sweep(now);
    }

    /// The target of a request whose authority is not in use yet, or why there is none, and where that counts.
    pub(super) async fn target(&self, text: &[u8]) -> Result<Rc<Target>, (Refusal, EdgeHandle)> {
        let other = self.state.edges.borrow().folded(Direction::Outbound);
        let authority = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Authority>().ok());
        let authority = authority.ok_or((Refusal::ForeignAuthority, other))?;
        let mut versions = self.targets.borrow().versions();
        let deadline = tokio::time::Instant::now() + self.state.limits.demand;
        let mut is_demanded = false;
        let refusal = loop {
            versions.mark_unchanged();
            let found = self.targets.borrow_mut().look_up(text, &authority, &self.state);
            match found {
                Some(Some(target)) => return Ok(target),
                Some(None) => break Refusal::UnknownService,
                None => {}
            }
            if !is_demanded && self.demand.try_send(Demand { authority: authority.clone() }).is_err() {
                break Refusal::TooManyDemands;
            }
            is_demanded = true;
            match tokio::time::timeout_at(deadline, versions.changed()).await {
                Ok(Ok(())) => {}
                _ => break Refusal::NoWordYet,
            }
        };
        Err((refusal, outbound_edge(&authority, None, &self.state)))
    }

    /// Sends to one endpoint after the other until one takes it.
    async fn send_to(
        &self,
        cluster: &Cluster,
        target: &Target,
        outgoing: &mut Outgoing,
        tally: &mut Tally,
    ) -> Result<Answer, Unsent> {
        let mut tried = [usize::MAX; TRIES_MAX];
        for attempt in 0..TRIES_MAX {
            let now = if attempt == 0 { tally.started() } else { Instant::now() };
            let picked = cluster.pick(&tried[..attempt], now, &mut self.state.chance.borrow_mut());
            let Some(picked) = picked else {
                let refusal = if attempt == 0 { Refusal::NoEndpoint } else { Refusal::ConnectFailed };
                return Err(Unsent::Lost(refusal));
            };
            tried[attempt] = picked;
            tally.retries += u64::from(attempt > 0);
            let member = cluster.member(picked);
            tally.picked(&member.upstream, target.edge(&member.workload, &self.state));
            match send(&member.upstream, outgoing, tally).await {
                Err(Unsent::NotConnected) => {}
                done => return done,
            }
        }
        Err(Unsent::Lost(Refusal::ConnectFailed))
    }

    /// Chooses by the target's rules, and sends within the rule's time.
    async fn route(
        &self,
        target: &Target,
        outgoing: &mut Outgoing,
        tally: &mut Tally,
    ) -> Result<Answer, Unsent> {
        let choice = choose(&target.view.rules, &outgoing.parts, &mut self.state.chance.borrow_mut());
        let (cluster, timeout) = match choice {
            Choice::Service => (&target.own, None),
            Choice::Backend { rule, backend } => {
                (&target.backends[rule][backend], target.view.rules[rule].request_timeout)
            }
            Choice::Nowhere => return Err(Unsent::Lost(Refusal::NoBackend)),
        };
        let Some(cluster) = cluster else { return Err(Unsent::Lost(Refusal::NoEndpoint)) };
        let sending = self.send_to(cluster, target, outgoing, tally);
        match timeout.filter(|timeout| *timeout > Duration::ZERO) {
            None => sending.await,
            Some(timeout) => match tokio::time::timeout(timeout, Box::pin(sending)).await {
                Ok(sent) => sent,
                Err(_) => Err(Unsent::Lost(Refusal::TimedOut)),
            },
        }
    }
}

impl Serve for Outbound {
    fn serve(
        self: Rc<Self>,
        signs: Rc<Signs>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + 'static {
        self.answer(signs, request, None)
    }
}

impl Outbound {
    /// Answers one request: of the service that it names or, where the connection itself says it, of `toward`.
    pub(super) async fn answer(
        self: Rc<Self>,
        signs: Rc<Signs>,
        request: Request<RequestBody>,
        toward: Option<Rc<[u8]>>,
    ) -> Response<AnswerBody> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let is_grpc = is_grpc(&parts.headers);
        let asked = toward.as_deref().unwrap_or_else(|| spelled_authority(&parts));
        let known = self.targets.borrow_mut().known(asked);
        let target = match known {
            Some(target) => target,
            None => {
                let text = asked.to_vec();
                // Boxed: every connection keeps room for its largest future, and this one is rare.
                match Box::pin(self.target(&text)).await {
                    Ok(target) => target,
                    Err((refusal, edge)) => {
                        return refused(refusal, is_grpc, Tally::open(&self.state, &signs, edge, started));
                    }
                }
            }
        };
        if parts.method == Method::CONNECT && parts.version < Version::HTTP_2 {
            return Box::pin(self.connected(&target, &signs)).await;
        }
        let mut tally = Tally::open(&self.state, &signs, target.unpicked, started);
        if parts.method == Method::CONNECT {
            let refusal = Refusal::Unsupported("CONNECT is carried over HTTP/1.1 only");
            return refused(refusal, is_grpc, tally);
        }
        prepare(&mut parts);
        parts.headers.insert(CALLER_HEADER, self.state.caller_value.clone());
        let mut outgoing = Outgoing::new(parts, body);
        match self.route(&target, &mut outgoing, &mut tally).await {
            Ok(answer) => passed_back(answer, tally),
            Err(Unsent::Lost(refusal)) => refused(refusal, is_grpc, tally),
            Err(Unsent::NotConnected) => refused(Refusal::ConnectFailed, is_grpc, tally),
            // The answer reaches nobody; dropping the account counts the request as broken off.
            Err(Unsent::CallerGone) => refused(Refusal::BrokenOff, is_grpc, tally),
        }
    }
}
