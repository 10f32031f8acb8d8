//! Writes that go on while the leader is killed: registrations in a ledger, one after another, each with an identity,
//! so that one that is sent again is applied once; and every acknowledged one can be looked for afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, EndpointsRequest, LeaseKey, LeaveRequest, Protocol, RegisterRequest};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::mesh::named;
use crate::answer::Failure;
use crate::commands::{Writes, ask_endpoints};
use crate::connection::Connection;

/// The service under which writes are kept; nobody calls it.
const LEDGER: &str = "ledger";

/// Pause between an acknowledgement and the next write.
const PAUSE: Duration = Duration::from_millis(4);

/// Most writes of one run: the catalog takes 10,000 endpoints of an authority.
const WRITES_MAX: usize = 9_000;

/// What became of the writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    /// When each acknowledged write was acknowledged; the number of the write is its place, from 1.
    acknowledged: Vec<Instant>,
    /// When the first began.
    begun: Option<Instant>,
    /// Why the last write was given up, if it was.
    pub(super) given_up: Option<String>,
}

impl Written {
    /// How many were acknowledged.
    pub(super) fn count(&self) -> usize {
        self.acknowledged.len()
    }

    /// The longest time without an acknowledgement that ended after `moment`.
    pub(super) fn longest_gap_after(&self, moment: Instant) -> Option<Duration> {
        let before = self.begun.into_iter().chain(self.acknowledged.iter().copied());
        let gaps = before.zip(&self.acknowledged).filter(|(_, end)| **end > moment);
        gaps.map(|(start, end)| end.saturating_duration_since(start)).max()
    }

    /// Acknowledged writes that the mesh does not hold: there must be none.
    pub(super) async fn lost(&self, connection: &mut Connection) -> Result<Vec<String>, Failure> {
        if self.acknowledged.is_empty() {
            return Ok(Vec::new());
        }
        let request = EndpointsRequest { service: Some(named(LEDGER)), ..EndpointsRequest::default() };
        let held = ask_endpoints(connection, request).await?.endpoints;
        let held: BTreeSet<String> =
            held.into_iter().filter_map(|row| row.endpoint).map(|endpoint| endpoint.instance).collect();
        Ok((1..=self.count()).map(instance).filter(|name| !held.contains(name)).collect())
    }
}

/// Takes every write out of the ledger again, so that `endpoints` shows the shop and not the ledger.
pub(super) async fn clear(written: usize, mut connection: Connection) {
    let Ok(mut writes) = Writes::begin("demo-clear", &mut connection).await else { return };
    for number in 1..=written {
        let lease = LeaseKey { authority: Some(ledger()), instance: instance(number) };
        let request = LeaveRequest { id: Some(writes.next()), lease: Some(lease) };
        let call = |channel| {
            let request = request.clone();
            async move { RegistrationClient::new(channel).leave(request).await }
        };
        if connection.ask(call).await.is_err() {
            return; // the demo ends, and the ledger with it
        }
    }
}

/// A writer that runs until it is ended.
pub(super) struct Writer {
    stop: watch::Sender<bool>,
    task: JoinHandle<Written>,
}

impl Writer {
    /// Begins to write by `connection`.
    pub(super) fn begin(connection: Connection) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tokio::spawn(write(connection, stopped)) }
    }

    /// Begins no more writes, and tells of all.
    pub(super) async fn end(self) -> Written {
        let _ = self.stop.send(true); // fails only when the task is over already
        self.task.await.unwrap_or_default()
    }
}

async fn write(mut connection: Connection, stopped: watch::Receiver<bool>) -> Written {
    let mut written = Written { begun: Some(Instant::now()), ..Written::default() };
    let mut writes = match Writes::begin("demo", &mut connection).await {
        Ok(writes) => writes,
        Err(failure) => {
            written.given_up = Some(failure.to_string());
            return written;
        }
    };
    while !*stopped.borrow() && written.count() < WRITES_MAX {
        let request = RegisterRequest {
            id: Some(writes.next()),
            authority: Some(ledger()),
            protocol: Protocol::Http1.into(),
            endpoint: Some(Endpoint {
                instance: instance(written.count() + 1),
                address: "127.0.0.1:9".to_owned(), // the port of the discard service: nobody is there
                workload: Some(named(LEDGER)),
                ..Endpoint::default()
            }),
            lease_seconds: 3600,
        };
        let call = |channel| {
            let request = request.clone();
            async move { RegistrationClient::new(channel).register(request).await }
        };
        match connection.ask(call).await {
            Ok(_) => written.acknowledged.push(Instant::now()),
            Err(failure) => {
                written.given_up = Some(failure.to_string());
                break;
            }
        }
        sleep(PAUSE).await;
    }
    written
}

fn ledger() -> Authority {
    Authority { service: Some(named(LEDGER)), port: 80 }
}

fn instance(number: usize) -> String {
    format!("write-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_that_ended_after_the_kill() {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let written = Written {
            acknowledged: vec![at(300), at(305), at(310), at(395), at(400)],
            begun: Some(begun),
            given_up: None,
        };
        assert_eq!(written.longest_gap_after(at(311)), Some(Duration::from_millis(85)));
        assert_eq!(written.longest_gap_after(at(500)), None);
    }
}
