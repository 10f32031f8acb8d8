//! A client that registers endpoints one after another, each write sent again under its identity until it is acknowledged,
//! and what a node holds of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::v1::query_client::QueryClient;
use api::v1::registration_client::RegistrationClient;
use api::v1::{
    Authority, Endpoint, EndpointsRequest, MemberRow, MembersRequest, Protocol, QualifiedName,
    RegisterRequest, WriteId,
};
use tonic::Status;

use crate::stage::{NODES, Stage, channel, pause};

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(20);
/// After a write that failed.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// How long a question may take, over all tries.
const PATIENCE: Duration = Duration::from_secs(30);

/// A writer's book, read by the scenario.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Writes that were acknowledged: 1 to this.
    pub(crate) acknowledged: u64,
    /// Simulated time of the last acknowledgement.
    pub(crate) last: Duration,
    /// Longest time between two.
    pub(crate) longest_gap: Duration,
    /// Tries that failed, with the words of the last one.
    pub(crate) failures: u64,
    pub(crate) failure: String,
    /// Begins no new write any more.
    pub(crate) stop: bool,
}

/// A handle to a book.
pub(crate) type Shared = Arc<Mutex<Book>>;

/// Starts a writer on a host of its own; it writes to `service`.
pub(crate) fn begin(stage: &mut Stage, service: &'static str) -> Shared {
    let book = Shared::default();
    let handed = Arc::clone(&book);
    stage.sim.host(service, move || write(service, Arc::clone(&handed)));
    book
}

async fn write(service: &'static str, book: Shared) -> turmoil::Result {
    let mut node = 1;
    loop {
        let sequence = {
            let book = book.lock().unwrap();
            if book.stop { None } else { Some(book.acknowledged + 1) }
        };
        let Some(sequence) = sequence else {
            std::future::pending::<()>().await;
            continue;
        };
        match RegistrationClient::new(channel(node)).register(request(service, sequence)).await {
            Ok(_) => {
                acknowledged(&book, sequence);
                pause(PAUSE).await;
            }
            Err(status) => {
                {
                    let mut book = book.lock().unwrap();
                    book.failures += 1;
                    book.failure = status.message().to_owned();
                }
                node = node % NODES + 1;
                pause(TRY_AGAIN).await;
            }
        }
    }
}

fn acknowledged(book: &Shared, sequence: u64) {
    let now = turmoil::sim_elapsed().unwrap_or_default();
    let mut book = book.lock().unwrap();
    if sequence > 1 {
        book.longest_gap = book.longest_gap.max(now.saturating_sub(book.last));
    }
    book.acknowledged = sequence;
    book.last = now;
}

fn request(service: &str, sequence: u64) -> RegisterRequest {
    let name = QualifiedName { name: service.to_owned(), namespace: "default".to_owned() };
    RegisterRequest {
        id: Some(WriteId { client: service.to_owned(), sequence, since: None }),
        authority: Some(Authority { service: Some(name.clone()), port: 80 }),
        protocol: Protocol::Http1.into(),
        endpoint: Some(Endpoint {
            instance: format!("write-{sequence}"),
            address: "10.0.0.1:9".to_owned(),
            workload: Some(name),
            ..Endpoint::default()
        }),
        lease_seconds: 3600,
    }
}

/// Asks a node, on a host made for it, until it answers.
///
/// # Panics
/// If it does not.
pub(crate) fn asked<T: Send + 'static, F>(stage: &mut Stage, name: &str, ask: impl Fn() -> F + 'static) -> T
where
    F: Future<Output = Result<T, Status>> + 'static,
{
    let answer: Arc<Mutex<Option<T>>> = Arc::default();
    let (slot, ask) = (Arc::clone(&answer), std::rc::Rc::new(ask));
    stage.sim.client(format!("{name}-{}", stage.sim.elapsed().as_nanos()), async move {
        loop {
            if let Ok(told) = ask().await {
                *slot.lock().unwrap() = Some(told);
                return Ok(());
            }
            pause(TRY_AGAIN).await;
        }
    });
    let told = stage.until(PATIENCE, || answer.lock().unwrap().is_some());
    assert!(told, "{name}: no answer within {PATIENCE:?}");
    answer.lock().unwrap().take().unwrap()
}

/// The writes to `service` that a node holds, by a linearizable question to it.
pub(crate) fn held(stage: &mut Stage, node: u64, service: &'static str) -> BTreeSet<String> {
    let rows = asked(stage, "held", move || async move {
        let service = QualifiedName { name: service.to_owned(), namespace: "default".to_owned() };
        let request = EndpointsRequest { service: Some(service), ..EndpointsRequest::default() };
        let answer = QueryClient::new(channel(node)).endpoints(request).await?;
        Ok(answer.into_inner().endpoints)
    });
    rows.into_iter().map(|row| row.endpoint.unwrap().instance).collect()
}

/// How a node sees the group.
pub(crate) fn members(stage: &mut Stage, node: u64) -> Vec<MemberRow> {
    asked(stage, "members", move || async move {
        Ok(QueryClient::new(channel(node)).members(MembersRequest {}).await?.into_inner().members)
    })
}

/// The node that leads, as the nodes see it themselves.
pub(crate) fn leader(stage: &mut Stage, asked_node: u64) -> u64 {
    for _ in 0..100 {
        let rows = members(stage, asked_node);
        if let Some(row) = rows.iter().find(|row| row.role == "leader") {
            return row.node;
        }
        stage.pass(Duration::from_millis(50));
    }
    panic!("no leader within 5 s");
}

/// Ends the writer and holds every node to all that was acknowledged.
///
/// # Panics
/// If a node holds less, or something that was never written.
pub(crate) fn nothing_lost(stage: &mut Stage, service: &'static str, book: &Shared) -> u64 {
    book.lock().unwrap().stop = true;
    stage.pass(Duration::from_secs(3));
    let acknowledged = book.lock().unwrap().acknowledged;
    for node in 1..=NODES {
        let held = held(stage, node, service);
        let wanted: BTreeSet<String> = (1..=acknowledged).map(|write| format!("write-{write}")).collect();
        let lost: Vec<_> = wanted.difference(&held).collect();
        assert!(lost.is_empty(), "node {node} lost {lost:?} of {acknowledged} acknowledged writes");
        // One write may have been under way when it stopped.
        assert!(held.len() as u64 <= acknowledged + 1, "node {node} holds {} of {acknowledged}", held.len());
    }
    acknowledged
}
