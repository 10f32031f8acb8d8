//! One request by a rule that asks for more than sending it on: faults, redirect, changes of its head, copies for a mirror, the
//! time it may take, and where it belongs on a ring. Must never choose the rule.

use std::rc::Rc;
use std::time::Duration;

use http::header::SET_COOKIE;
use mesh::RouteRule;
use tokio::time::Instant;

use super::affinity::Affinity;
use super::cluster::Cluster;
use super::faults::suffer;
use super::filters::{change_headers, change_request, redirected};
use super::mirroring::mirror;
use super::target::Target;
use super::trying::Way;
use crate::http::body::Source;
use crate::http::deadline::{GRPC_TIMEOUT, grpc_timeout_value};
use crate::http::refusal::{Refusal, is_grpc};
use crate::http::send::{Answer, Outgoing, Unsent};
use crate::http::state::WorkerState;
use crate::http::tally::Tally;
use crate::http::watch::Watch;

/// Answers by the rule of this number, or by none; `told` is what a gRPC caller told of its deadline.
pub(super) async fn answer(
    state: &Rc<WorkerState>,
    target: &Target,
    rule: Option<usize>,
    cluster: Option<&Cluster>,
    told: Option<Duration>,
    outgoing: &mut Outgoing,
    tally: &mut Tally,
) -> Result<Answer, Unsent> {
    let none = RouteRule::default();
    let (rule, mirrors) = match rule {
        Some(number) => (&target.view.rules[number], target.mirrors[number].as_slice()),
        None => (&none, &[][..]),
    };
    if let Some(fault) = &rule.policy.fault {
        suffer(fault, state).await.map_err(Unsent::Lost)?;
    }
    if let Some(redirect) = &rule.filters.redirect {
        let (parts, _) = redirected(redirect, rule, &outgoing.parts).into_parts();
        return Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            source: Source::Empty,
            watch: None,
        });
    }
    let Some(cluster) = cluster else { return Err(Unsent::Lost(Refusal::NoEndpoint)) };
    let affinity = match &rule.policy.hash {
        Some(hash) => Affinity::of(hash, &outgoing.parts.headers, &mut state.chance.borrow_mut()),
        None => Affinity::default(),
    };
    let has_filters = !rule.filters.is_empty();
    if has_filters {
        change_request(rule, &mut outgoing.parts);
        mirror(rule, mirrors, outgoing, state);
    }
    let way = Way { state, cluster, target, key: affinity.key };
    let mut answer = in_time(way, rule, told, outgoing, tally).await?;
    if has_filters {
        change_headers(&rule.filters.response_headers, &mut answer.headers);
    }
    if let Some(cookie) = affinity.cookie {
        answer.headers.append(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// Sends as the rule says, within its time and the caller's; the endpoint is told what is left of it.
async fn in_time(
    way: Way<'_>,
    rule: &RouteRule,
    told: Option<Duration>,
    outgoing: &mut Outgoing,
    tally: &mut Tally,
) -> Result<Answer, Unsent> {
    let is_grpc = is_grpc(&outgoing.parts.headers);
    let time = told.into_iter().chain(rule.request_timeout).min();
    // One that lies beyond all time is none.
    let deadline = time.and_then(|time| tally.started().checked_add(time)).map(Instant::from_std);
    if let Some(deadline) = deadline.filter(|_| is_grpc) {
        let left = deadline.saturating_duration_since(Instant::now());
        outgoing.parts.headers.insert(GRPC_TIMEOUT, grpc_timeout_value(left));
    }
    let sending = way.send_by(rule, outgoing, tally);
    let mut answer = match deadline {
        None => sending.await?,
        Some(deadline) => tokio::time::timeout_at(deadline, sending)
            .await
            .unwrap_or(Err(Unsent::Lost(Refusal::TimedOut)))?,
    };
    // A route's timeout ends with the head of the answer; a caller's deadline holds for the whole call.
    let call_ends = deadline.filter(|_| told.is_some());
    answer.watch = Watch::within(call_ends, rule.policy.stream_idle, is_grpc);
    Ok(answer)
}
