//! Sends one request until an endpoint takes it: the plain way, which passes over endpoints that do not connect, and the
//! way of a route that bounds each try or allows more of them. Must never choose the service.

use std::rc::Rc;
use std::time::{Duration, Instant};

use mesh::RouteRule;

use super::again::{Asked, allows};
use super::cluster::Cluster;
use super::target::Target;
use crate::balance::backoff;
use crate::http::refusal::{Refusal, is_grpc};
use crate::http::send::{Answer, Outgoing, Unsent, send};
use crate::http::state::WorkerState;
use crate::http::tally::Tally;

/// Most endpoints that one try goes to: the first, and two more when connecting fails or a request was left unbegun. More would
/// only make a broken service slower to say so.
pub(super) const TRIES_MAX: usize = 3;

/// Where a request goes, and who sends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) state: &'a Rc<WorkerState>,
    pub(super) cluster: &'a Cluster,
    pub(super) target: &'a Target,
    /// Where on a ring the request belongs, where a policy says so.
    pub(super) key: Option<u64>,
    /// The endpoint that its session is with, if it has one.
    pub(super) pinned: Option<usize>,
}

impl Way<'_> {
    /// Sends to one endpoint after the other until one takes it.
    pub(super) async fn send(self, outgoing: &mut Outgoing, tally: &mut Tally) -> Result<Answer, Unsent> {
        self.send_past(&[], outgoing, tally).await.1
    }

    /// Sends to an endpoint that is not among `past` while there are others; says which one it was in the end.
    async fn send_past(
        self,
        past: &[usize],
        outgoing: &mut Outgoing,
        tally: &mut Tally,
    ) -> (Option<usize>, Result<Answer, Unsent>) {
        if !self.cluster.admits_request() {
            return (None, Err(Unsent::Lost(Refusal::TooManyRequests)));
        }
        let mut tried = [usize::MAX; TRIES_MAX];
        // One that said goodbye takes requests over its next connection, where there is no other.
        let (mut left_by, mut last) = (None, Unsent::NotConnected);
        for attempt in 0..TRIES_MAX {
            let now = if attempt == 0 { tally.sent() } else { Instant::now() };
            let tried_now = &tried[..attempt];
            let pick = |past: &[usize]| {
                let untried = |index: usize| !(tried_now.contains(&index) || past.contains(&index));
                let pinned = self.pinned.filter(|index| untried(*index) && self.cluster.admits(*index, now));
                pinned.or_else(|| self.cluster.pick(untried, self.key, now, self.state))
            };
            let picked = pick(past).or_else(|| if past.is_empty() { None } else { pick(&[]) }).or(left_by);
            let Some(picked) = picked else {
                let refusal = if attempt == 0 { Refusal::NoEndpoint } else { Refusal::ConnectFailed };
                return (None, Err(Unsent::Lost(refusal)));
            };
            tried[attempt] = picked;
            tally.retries += u64::from(attempt > 0);
            let member = self.cluster.member(picked);
            tally.picked(&member.upstream, self.target.edge(&member.workload, self.state));
            match send(&member.upstream, outgoing, tally).await {
                Err(Unsent::NotConnected) => last = Unsent::NotConnected,
                Err(Unsent::Unbegun) => (left_by, last) = (Some(picked), Unsent::Unbegun),
                done => return (Some(picked), done),
            }
        }
        (None, Err(last))
    }

    /// Sends as often as `rule` allows, each try within its time.
    pub(super) async fn send_by(
        self,
        rule: &RouteRule,
        outgoing: &mut Outgoing,
        tally: &mut Tally,
    ) -> Result<Answer, Unsent> {
        let Some(retry) = &rule.policy.retry else {
            return self.send_within(rule.try_timeout, &[], outgoing, tally).await.1;
        };
        let asked = Asked {
            is_idempotent: outgoing.parts.method.is_idempotent(),
            is_grpc: is_grpc(&outgoing.parts.headers),
        };
        let replay = outgoing.keep_body();
        let head = outgoing.parts.clone();
        self.cluster.may_return(tally.started());
        let (mut past, mut number) = (Vec::new(), 0);
        loop {
            let (picked, sent) = self.send_within(rule.try_timeout, &past, outgoing, tally).await;
            let is_wanted = allows(retry, asked, &sent);
            if number == retry.attempts || !is_wanted {
                let is_kept = number > 0 && !is_wanted;
                tally.saved_unless = is_kept.then(|| retry.grpc_codes.as_slice().into());
                return sent;
            }
            let Some(body) = replay.body() else {
                self.state.count(|counters| counters.retries_too_large_total += 1);
                return sent;
            };
            if !self.cluster.spend_retry(Instant::now()) {
                self.state.count(|counters| counters.retries_over_budget_total += 1);
                return sent;
            }
            tally.tried_in_vain(sent.is_ok());
            if let Ok(answer) = sent {
                answer.source.set_aside(self.state);
            }
            past.extend(picked);
            let wait = backoff(retry, number, &mut self.state.chance.borrow_mut());
            tokio::time::sleep(wait).await;
            tally.again();
            self.state.count(|counters| counters.retries_made_total += 1);
            *outgoing = Outgoing::new(head.clone(), body);
            number += 1;
        }
    }

    /// One try, within `time` if that is bounded.
    async fn send_within(
        self,
        time: Option<Duration>,
        past: &[usize],
        outgoing: &mut Outgoing,
        tally: &mut Tally,
    ) -> (Option<usize>, Result<Answer, Unsent>) {
        let sending = self.send_past(past, outgoing, tally);
        match time {
            None => sending.await,
            Some(time) => match tokio::time::timeout(time, sending).await {
                Ok(sent) => sent,
                Err(_) => {
                    let picked = tally.endpoint().and_then(|endpoint| self.cluster.position(endpoint));
                    (picked, Err(Unsent::Lost(Refusal::TimedOut)))
                }
            },
        }
    }
}
