//! One request of the application, from its head to the head of its answer: find the service, choose a backend, pick an
//! endpoint, send; another endpoint if the first does not take connections. Everything else is told to the caller.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use http::{Method, Request, Response, Version};
use mesh::{Authority, Direction};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::routing::{Choice, choose};
use super::ruled;
use super::target::{Target, Targets, outbound_edge};
use super::trying::Way;
use crate::http::body::AnswerBody;
use crate::http::connection::Serve;
use crate::http::deadline::grpc_timeout;
use crate::http::head_bounds::HeadBounds;
use crate::http::passing::{
    CALLER_HEADER, name_host, passed_back, prepare, refused, spelled_authority, unanswered,
};
use crate::http::refusal::{Refusal, is_grpc};
use crate::http::request_body::RequestBody;
use crate::http::send::{Answer, Outgoing, Unsent};
use crate::http::signs::Signs;
use crate::http::state::WorkerState;
use crate::http::tally::Tally;
use crate::metrics::pools::SetCounts;
use crate::report::edges::EdgeHandle;
use crate::snapshot::{Demand, DemandSender, Published};

/// The outbound half of a worker.
#[derive(Debug)]
pub struct Outbound {
    pub(super) state: Rc<WorkerState>,
    pub(super) targets: RefCell<Targets>,
    pub(super) demand: DemandSender,
    /// Whether a control plane is there to be asked whose an original destination is.
    pub(super) asks_for_owners: bool,
}

impl Outbound {
    /// Serves from what is `published`; what is missing there is demanded.
    #[must_use]
    pub fn new(
        state: &Rc<WorkerState>,
        published: &Arc<Published>,
        demand: DemandSender,
        asks_for_owners: bool,
    ) -> Rc<Self> {
        let targets = RefCell::new(Targets::new(published.reader()));
        Rc::new(Self { state: Rc::clone(state), targets, demand, asks_for_owners })
    }

    /// Called by the worker's sweep.
    pub fn sweep(&self, now: std::time::Instant) {
        self.targets.borrow_mut().sweep(now);
    }

    /// Each set of endpoints that is in use, as of now.
    #[must_use]
    pub fn sets(&self, now: std::time::Instant) -> Vec<(Authority, SetCounts)> {
        self.targets.borrow().sets(now)
    }

    /// Lets go of what counts under edges that were evicted.
    pub fn forget_evicted(&self) {
        self.targets.borrow_mut().forget_evicted(&self.state.edges.borrow());
    }

    /// The target of a request whose authority is not in use yet, or why there is none, and where that counts.
    pub(super) async fn target(&self, text: &[u8]) -> Result<Rc<Target>, (Refusal, EdgeHandle)> {
        let other = self.state.edges.borrow().folded(Direction::Outbound);
        let authority = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Authority>().ok());
        let authority = authority.ok_or((Refusal::ForeignAuthority, other))?;
        let mut versions = self.targets.borrow().versions();
        let deadline = Instant::now() + self.state.limits.demand;
        let mut is_demanded = false;
        let refusal = loop {
            versions.mark_unchanged();
            let found = self.targets.borrow_mut().look_up(text, &authority, &self.state);
            match found {
                Some(Some(target)) => return Ok(target),
                Some(None) => break Refusal::UnknownService,
                None => {}
            }
            if !is_demanded && self.demand.try_send(Demand::Service(authority.clone())).is_err() {
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

    /// Chooses by the target's rules, and does what the rule says.
    async fn route(
        &self,
        target: &Target,
        outgoing: &mut Outgoing,
        tally: &mut Tally,
        is_grpc: bool,
    ) -> Result<Answer, Unsent> {
        if let Some(own) = &target.own
            && !own.lets_through(tally.started())
        {
            return Err(Unsent::Lost(Refusal::RateLimited));
        }
        let choice = {
            let chance = &mut self.state.chance.borrow_mut();
            choose(&target.view.rules, &target.patterns, &outgoing.parts, chance)
        };
        let (cluster, rule) = match choice {
            Choice::Service => (&target.own, None),
            Choice::Backend { rule, backend } => (&target.backends[rule][backend], Some(rule)),
            Choice::Redirect { rule } => (&None, Some(rule)),
            Choice::Nowhere => return Err(Unsent::Lost(Refusal::NoBackend)),
        };
        let told = if is_grpc { grpc_timeout(&outgoing.parts.headers) } else { None };
        let is_plain = told.is_none() && rule.is_none_or(|rule| target.plain[rule]);
        if is_plain && let Some(cluster) = cluster {
            let way = Way { state: &self.state, cluster, target, key: None, pinned: None };
            return way.send(outgoing, tally).await;
        }
        // Boxed: every connection keeps room for its largest future, and most requests have no rule of their own.
        Box::pin(ruled::answer(&self.state, target, rule, cluster.as_deref(), told, outgoing, tally)).await
    }
}

impl Serve for Outbound {
    const HEADS: HeadBounds = HeadBounds::OF_APPLICATIONS;

    fn serve(
        self: Rc<Self>,
        signs: Rc<Signs>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<AnswerBody>> + 'static {
        self.answer(signs, request, None)
    }

    fn take_tls(
        self: Rc<Self>,
        stream: TcpStream,
        first: BytesMut,
        signs: Rc<Signs>,
    ) -> impl Future<Output = Option<(TcpStream, BytesMut)>> + 'static {
        self.carry_tls(stream, first, signs)
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
        let started = std::time::Instant::now();
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
                        let mut tally = Tally::open(&self.state, &signs, edge, started);
                        tally.observe(&mut parts);
                        return refused(refusal, is_grpc, tally);
                    }
                }
            }
        };
        if parts.method == Method::CONNECT && parts.version < Version::HTTP_2 {
            return Box::pin(self.connected(&target, &signs)).await;
        }
        let mut tally = Tally::open(&self.state, &signs, target.unpicked, started);
        tally.observe(&mut parts);
        if parts.method == Method::CONNECT {
            let refusal = Refusal::Unsupported("CONNECT is carried over HTTP/1.1 only");
            return refused(refusal, is_grpc, tally);
        }
        prepare(&mut parts);
        if let Some(toward) = toward {
            name_host(&mut parts, || toward.to_vec());
        }
        parts.headers.insert(CALLER_HEADER, self.state.caller_value.clone());
        let mut outgoing = Outgoing::new(parts, body);
        match self.route(&target, &mut outgoing, &mut tally, is_grpc).await {
            Ok(answer) => passed_back(answer, tally),
            Err(unsent) => unanswered(unsent, is_grpc, tally),
        }
    }
}
