//! Carries out what the registrar asks: tries the application's port, calls the control node that the proxy follows.
//!
//! One task on the control thread. It holds no rule: each call becomes one event, and a call that could not be sent ends
//! like one that nobody answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use api::v1;
use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use mesh::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::registrar::{Call, Event, Place, Registrar, Written};
use crate::metrics::RegisterMetrics;

/// How long the application may take to accept a connection. Longer: a stuck one is noticed later.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node may take to answer. An election fits in; longer would eat up the lease.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Writes whose beginning is remembered: more than may be in flight, so that those which are tried again are among them.
const BEGINNINGS_MAX: usize = 128;
/// A node that grants less is taken to have granted this: renewing without a pause helps nobody.
const LEASE_MIN: Duration = Duration::from_secs(1);

/// What is registered, by whom.
#[derive(Debug, Clone)]
pub struct Registrations {
    /// Client id of the writes: unique per process.
    pub client: String,
    /// The application's own port.
    pub application: SocketAddr,
    /// One per service, without an id.
    pub requests: Vec<v1::RegisterRequest>,
}

/// Keeps the workload registered until `drain`; returns when it has left.
pub async fn carry(
    registrations: Registrations,
    mut uplink: watch::Receiver<Option<Channel>>,
    drain: CancellationToken,
    metrics: RegisterMetrics,
    mut chance: impl FnMut() -> f64,
) {
    let origin = Instant::now();
    let now = || Timestamp(0).plus(origin.elapsed());
    let mut registrar = Registrar::new(registrations.requests.len(), now());
    let beginnings = Beginnings::default();
    let mut calls: FuturesUnordered<LocalBoxFuture<'_, Event>> = FuturesUnordered::new();
    let mut event = Event::Tick;
    let mut was_in = false;
    loop {
        for call in registrar.event(event, now(), chance()) {
            let channel = uplink.borrow().clone();
            calls.push(Box::pin(carried_out(call, &registrations, &beginnings, channel, &metrics)));
        }
        metrics.registered.set(i64::from(registrar.is_in()));
        if std::mem::replace(&mut was_in, registrar.is_in()) != registrar.is_in() {
            info!(registered = registrar.is_in(), answers = registrar.application_answers(), "registration");
        }
        if drain.is_cancelled() && registrar.is_out() {
            return;
        }
        // Without anything due, a far moment: the other branches wake the loop.
        let far = Timestamp(0).plus(origin.elapsed() + Duration::from_secs(3600));
        let due = origin + registrar.due().unwrap_or(far).since(Timestamp(0));
        event = tokio::select! {
            biased;
            () = drain.cancelled(), if !registrar.is_draining() => Event::Drain,
            Some(answer) = calls.next() => answer,
            Ok(()) = uplink.changed() => if uplink.borrow().is_some() { Event::Reachable } else { Event::Tick },
            () = sleep_until(due) => Event::Tick,
        };
    }
}

async fn carried_out(
    call: Call,
    registrations: &Registrations,
    beginnings: &Beginnings,
    channel: Option<Channel>,
    metrics: &RegisterMetrics,
) -> Event {
    match call {
        Call::Probe => {
            let connected = timeout(PROBE_TIMEOUT, tokio::net::TcpStream::connect(registrations.application));
            Event::Probed { answers: connected.await.is_ok_and(|connected| connected.is_ok()) }
        }
        Call::Register { place, sequence } => {
            let mut request = registrations.requests[place].clone();
            let answered = match beginnings.id(&registrations.client, sequence, channel.clone()).await {
                Ok(id) => {
                    request.id = Some(id);
                    call_node(channel, |mut node| async move { node.register(request).await }).await
                }
                Err(status) => Err(status),
            };
            let done =
                answered.map(|answer| Duration::from_secs(u64::from(answer.lease_seconds)).max(LEASE_MIN));
            Event::Wrote { place, written: written(done, "registration", metrics) }
        }
        Call::Leave { place, sequence } => {
            let lease = Some(key(registrations, place));
            let answered = match beginnings.id(&registrations.client, sequence, channel.clone()).await {
                Ok(id) => {
                    let request = v1::LeaveRequest { id: Some(id), lease };
                    call_node(channel, |mut node| async move { node.leave(request).await }).await
                }
                Err(status) => Err(status),
            };
            Event::Wrote { place, written: written(answered.map(|_| Duration::ZERO), "leave", metrics) }
        }
        Call::Renew { places } => {
            let leases = places.iter().map(|place| key(registrations, *place)).collect();
            let request = v1::RenewRequest { leases };
            let answered = call_node(channel, |mut node| async move { node.renew(request).await }).await;
            Event::Renewed { lost: lost(answered, &places, registrations, metrics) }
        }
    }
}

/// What a node had applied before each write was first sent: said again with each retry, so that one whose outcome was
/// forgotten is refused, not applied again.
#[derive(Debug, Default)]
struct Beginnings(RefCell<BTreeMap<u64, Option<v1::Revision>>>);

impl Beginnings {
    /// The identity of a write. Asks the node once per write; an error means that nothing was sent.
    async fn id(&self, client: &str, sequence: u64, channel: Option<Channel>) -> Result<v1::WriteId, Status> {
        let known = self.0.borrow().get(&sequence).copied();
        let since = match known {
            Some(since) => since,
            None => told_revision(channel).await?,
        };
        let mut beginnings = self.0.borrow_mut();
        beginnings.insert(sequence, since);
        while beginnings.len() > BEGINNINGS_MAX {
            beginnings.pop_first();
        }
        Ok(v1::WriteId { client: client.to_owned(), sequence, since })
    }
}

/// What the node has applied; `None` from one of an older version, which cannot tell.
async fn told_revision(channel: Option<Channel>) -> Result<Option<v1::Revision>, Status> {
    let channel = channel.ok_or_else(|| Status::unavailable("no control node is connected"))?;
    let mut node = QueryClient::new(channel);
    match timeout(CALL_TIMEOUT, node.revision(v1::RevisionRequest {})).await {
        Ok(Ok(told)) => Ok(told.into_inner().revision),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(None),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {CALL_TIMEOUT:?}"))),
    }
}

fn key(registrations: &Registrations, place: Place) -> v1::LeaseKey {
    let request = &registrations.requests[place];
    let instance = request.endpoint.as_ref().map(|endpoint| endpoint.instance.clone());
    v1::LeaseKey { authority: request.authority.clone(), instance: instance.unwrap_or_default() }
}

fn lost(
    answered: Result<v1::RenewResponse, Status>,
    places: &[Place],
    registrations: &Registrations,
    metrics: &RegisterMetrics,
) -> Option<Vec<Place>> {
    match answered {
        Ok(answer) => {
            let is_lost = |place: &Place| answer.lost.contains(&key(registrations, *place));
            let lost: Vec<Place> = places.iter().copied().filter(is_lost).collect();
            metrics.lost.inc_by(lost.len() as u64);
            Some(lost)
        }
        Err(status) => {
            metrics.unanswered.inc();
            debug!(%status, "renewal failed; trying again");
            None
        }
    }
}

/// Sorts an answer into what the registrar may do next.
fn written(answered: Result<Duration, Status>, what: &str, metrics: &RegisterMetrics) -> Written {
    match answered {
        Ok(lease) => Written::Done { lease },
        Err(status) if is_refusal(status.code()) => {
            metrics.refused.inc();
            warn!(what, reason = status.message(), "refused by the control plane; trying again later");
            Written::Refused
        }
        Err(status) => {
            metrics.unanswered.inc();
            debug!(what, %status, "no outcome; trying again");
            Written::Unknown
        }
    }
}

/// Whether the same request would be refused again. Everything else may have been applied.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
    )
}

async fn call_node<T, F>(
    channel: Option<Channel>,
    call: impl FnOnce(RegistrationClient<Channel>) -> F,
) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let channel = channel.ok_or_else(|| Status::unavailable("no control node is connected"))?;
    match timeout(CALL_TIMEOUT, call(RegistrationClient::new(channel))).await {
        Ok(answered) => answered.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {CALL_TIMEOUT:?}"))),
    }
}

#[cfg(test)]
#[path = "carrier_tests.rs"]
mod tests;
