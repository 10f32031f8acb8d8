//! One request by a rule that asks for more than sending it on: faults, redirect, changes of its head, copies for a mirror, the
//! time it may take, and where it belongs on a ring. Must never choose the rule.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::SET_COOKIE;
use mesh::RouteRule;
use tokio::time::Instant;

use super::affinity::Affinity;
use super::cluster::Cluster;
use super::faults::suffer;
use super::filters::{change_headers, change_request, redirected};
use super::mirroring::mirror;
use super::sessions;
use super::target::Target;
use super::trying::Way;
use crate::http::body::Source;
use crate::http::deadline::{GRPC_TIMEOUT, grpc_timeout_value};
use crate::http::head_bounds::can_go_on;
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
    let number = rule;
    let (rule, mirrors) = match rule {
        Some(number) => (&target.view.rules[number], target.mirrors[number].as_slice()),
        None => (&none, &[][..]),
    };
    let deadline = deadline(rule, told, tally);
    if let Some(fault) = &rule.policy.fault {
        within(deadline, suffer(fault, state))
            .await
            .unwrap_or(Err(Refusal::TimedOut))
            .map_err(Unsent::Lost)?;
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
    let session = rule.policy.session.as_ref();
    let asked = session.and_then(|session| sessions::asked(session, &outgoing.parts.headers, seconds_now()));
    let (cluster, pinned) = match asked.and_then(|mark| with_session(target, number, cluster, mark)) {
        Some((cluster, member)) => (Some(cluster), Some(member)),
        None => (cluster, None),
    };
    let Some(cluster) = cluster else { return Err(Unsent::Lost(Refusal::NoEndpoint)) };
    let affinity = match &rule.policy.hash {
        Some(hash) => Affinity::of(hash, &outgoing.parts.headers, &mut state.chance.borrow_mut()),
        None => Affinity::default(),
    };
    let has_filters = !rule.filters.is_empty();
    if has_filters {
        change_request(rule, &mut outgoing.parts);
        if !can_go_on(&outgoing.parts) {
            return Err(Unsent::Lost(Refusal::HeadTooLarge));
        }
        mirror(rule, mirrors, outgoing, state);
    }
    let way = Way { state, cluster, target, key: affinity.key, pinned };
    let mut answer = in_time(way, rule, deadline, told.is_some(), outgoing, tally).await?;
    if has_filters {
        change_headers(&rule.filters.response_headers, &mut answer.headers);
    }
    if let Some(cookie) = affinity.cookie {
        answer.headers.append(SET_COOKIE, cookie);
    }
    let is_kept =
        |endpoint| pinned.is_some_and(|pinned| Rc::ptr_eq(&cluster.member(pinned).upstream, endpoint));
    if let Some(session) = session
        && let Some(mark) = tally
            .endpoint()
            .filter(|endpoint| !is_kept(*endpoint))
            .and_then(|endpoint| cluster.mark_of(endpoint))
    {
        sessions::give(session, rule.matches.first(), mark, seconds_now(), &mut answer.headers);
    }
    Ok(answer)
}

/// Where the endpoint of a session is: in the cluster that was drawn or, of a rule that shares its requests out, in another one
/// that takes any.
fn with_session<'t>(
    target: &'t Target,
    rule: Option<usize>,
    drawn: Option<&'t Cluster>,
    mark: u64,
) -> Option<(&'t Cluster, usize)> {
    let others = rule.map(|rule| {
        let taking = target.view.rules[rule].backends.iter().zip(&target.backends[rule]);
        taking.filter(|(backend, _)| backend.weight > 0).filter_map(|(_, cluster)| cluster.as_deref())
    });
    let mut clusters = drawn.into_iter().chain(others.into_iter().flatten());
    clusters.find_map(|cluster| Some((cluster, cluster.marked(mark)?)))
}

/// Seconds since 1970, in which sessions end.
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// When the request must be answered, by the rule and by what a gRPC caller told. One that lies beyond all time is none.
fn deadline(rule: &RouteRule, told: Option<Duration>, tally: &Tally) -> Option<Instant> {
    let time = told.into_iter().chain(rule.request_timeout).min();
    time.and_then(|time| tally.started().checked_add(time)).map(Instant::from_std)
}

/// What `future` comes to; `None` if that is not before the deadline.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
    }
}

/// Sends as the rule says, within its time and the caller's; the endpoint is told what is left of it.
async fn in_time(
    way: Way<'_>,
    rule: &RouteRule,
    deadline: Option<Instant>,
    is_told: bool,
    outgoing: &mut Outgoing,
    tally: &mut Tally,
) -> Result<Answer, Unsent> {
    let is_grpc = is_grpc(&outgoing.parts.headers);
    if let Some(deadline) = deadline.filter(|_| is_grpc) {
        let left = deadline.saturating_duration_since(Instant::now());
        outgoing.parts.headers.insert(GRPC_TIMEOUT, grpc_timeout_value(left));
    }
    let sending = way.send_by(rule, outgoing, tally);
    let mut answer = within(deadline, sending).await.unwrap_or(Err(Unsent::Lost(Refusal::TimedOut)))?;
    // A route's timeout ends with the head of the answer; a caller's deadline holds for the whole call.
    let call_ends = deadline.filter(|_| is_told);
    answer.watch = Watch::within(call_ends, rule.policy.stream_idle, is_grpc);
    Ok(answer)
}
