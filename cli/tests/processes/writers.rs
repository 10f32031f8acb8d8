//! Write load: clients that register one endpoint after another, each write with an identity, sent again until it is
//! acknowledged, and looked for at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, EndpointsRequest, Protocol, QualifiedName, RegisterRequest, WriteId};
use cli::connection::{ANSWER_BYTES_MAX, Connection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Pause between two writes of one client: a few hundred writes a second in all, and fewer than the 10,000 endpoints
/// that an authority may have.
const PAUSE: Duration = Duration::from_millis(8);

/// Most writes of one client.
const WRITES_MAX: usize = 9_500;

/// Several clients that write until they are ended.
pub(crate) struct Writers {
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<Vec<Instant>>>,
}

/// When each write was acknowledged, per client in order.
pub(crate) struct Acknowledged(Vec<Vec<Instant>>);

impl Writers {
    /// Begins with a client for each of `connections`.
    pub(crate) fn begin(connections: Vec<Connection>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let begin = |(number, connection)| tokio::spawn(write(number, connection, stopped.clone()));
        Self { stop, clients: connections.into_iter().enumerate().map(begin).collect() }
    }

    /// Ends all, each after its write is acknowledged.
    pub(crate) async fn end(self) -> Acknowledged {
        self.stop.send(true).unwrap();
        let mut all = Vec::new();
        for client in self.clients {
            all.push(client.await.unwrap());
        }
        Acknowledged(all)
    }
}

impl Acknowledged {
    /// How many in all.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// The longest time between `from` and `to` in which no client was acknowledged anything.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut moments: Vec<Instant> = self.0.iter().flatten().copied().collect();
        moments.sort_unstable();
        let gaps = moments.windows(2).filter(|pair| pair[1] > from && pair[0] < to);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap()
    }

    /// Every acknowledged write that the asked node does not hold.
    pub(crate) async fn lost(&self, connection: &mut Connection) -> Vec<String> {
        let mut lost = Vec::new();
        for (client, moments) in self.0.iter().enumerate() {
            let request = EndpointsRequest { service: Some(ledger(client)), ..EndpointsRequest::default() };
            let call = |channel| {
                let request = request.clone();
                let mut client = QueryClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
                async move { client.endpoints(request).await }
            };
            let held = connection.ask(call).await.unwrap().endpoints;
            let held: BTreeSet<String> = held.into_iter().map(|row| row.endpoint.unwrap().instance).collect();
            let missing = (1..=moments.len()).map(instance).filter(|name| !held.contains(name));
            lost.extend(missing.map(|name| format!("{}/{name}", ledger(client).name)));
        }
        lost
    }
}

async fn write(number: usize, mut connection: Connection, stopped: watch::Receiver<bool>) -> Vec<Instant> {
    let mut acknowledged = Vec::new();
    let mut turns = interval(PAUSE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() && acknowledged.len() < WRITES_MAX {
        turns.tick().await;
        let sequence = acknowledged.len() + 1;
        let request = RegisterRequest {
            id: Some(WriteId { client: format!("writer-{number}"), sequence: sequence as u64, since: None }),
            authority: Some(Authority { service: Some(ledger(number)), port: 80 }),
            protocol: Protocol::Http1.into(),
            endpoint: Some(Endpoint {
                instance: instance(sequence),
                address: "10.0.0.1:9".to_owned(),
                workload: Some(ledger(number)),
                ..Endpoint::default()
            }),
            lease_seconds: 3600,
        };
        let call = |channel| {
            let request = request.clone();
            async move { RegistrationClient::new(channel).register(request).await }
        };
        connection.ask(call).await.unwrap();
        acknowledged.push(Instant::now());
    }
    acknowledged
}

fn ledger(number: usize) -> QualifiedName {
    QualifiedName { name: format!("ledger-{number}"), namespace: "default".to_owned() }
}

fn instance(sequence: usize) -> String {
    format!("write-{sequence}")
}
