//! Durable writes in closed loops: each client has one write in flight.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, QualifiedName, RegisterRequest, WriteId};
use tonic::Status;
use tonic::transport::Channel;

use crate::cluster::{Cluster, Store};
use crate::etcd;
use crate::table::quantile;

/// Bytes of an etcd value: about what a registration of ours weighs in the log.
const VALUE_BYTES: usize = 128;

/// One writer with its own identity.
pub(crate) struct Writer {
    store: Store,
    client: String,
    sequence: u64,
}

fn qualified(name: String) -> Option<QualifiedName> {
    Some(QualifiedName { name, namespace: "bench".to_owned() })
}

impl Writer {
    pub(crate) fn new(store: Store, client: String) -> Self {
        Self { store, client, sequence: 0 }
    }

    /// One durable write; every one changes something.
    pub(crate) async fn write(&mut self, channel: Channel) -> Result<(), Status> {
        self.sequence += 1;
        self.again(channel).await
    }

    /// The last write once more, under the same identity.
    pub(crate) async fn again(&mut self, channel: Channel) -> Result<(), Status> {
        match self.store {
            Store::Etcd => {
                let key = format!("{}/{}", self.client, self.sequence % 8);
                let value = format!("{:0VALUE_BYTES$}", self.sequence);
                etcd::put(channel, key, value.into()).await
            }
            Store::Penstock => RegistrationClient::new(channel).register(self.registration()).await.map(drop),
        }
    }

    fn registration(&self) -> RegisterRequest {
        let port = 1024 + self.sequence % 60_000;
        RegisterRequest {
            id: Some(WriteId { client: self.client.clone(), sequence: self.sequence }),
            authority: Some(Authority { service: qualified(self.client.clone()), port: 80 }),
            endpoint: Some(Endpoint {
                instance: format!("instance-{}", self.sequence % 8),
                address: format!("127.0.0.1:{port}"),
                workload: qualified(self.client.clone()),
                ..Endpoint::default()
            }),
            lease_seconds: 3600,
            ..RegisterRequest::default()
        }
    }
}

/// What a closed loop came to.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) errors: u64,
}

/// Writes to the leader with `clients` writers for `duration`.
pub(crate) async fn closed_loop(
    cluster: &Cluster,
    leader: usize,
    clients: usize,
    round: usize,
    duration: Duration,
) -> Load {
    let errors = Rc::new(Cell::new(0));
    let start = Instant::now();
    let loops = (0..clients).map(|client| {
        let channel = cluster.channel(leader);
        let mut writer = Writer::new(cluster.store, format!("c{clients}-{client}-{round}"));
        let errors = Rc::clone(&errors);
        async move {
            let mut latencies = Vec::new();
            while start.elapsed() < duration {
                let begun = Instant::now();
                match writer.write(channel.clone()).await {
                    Ok(()) => latencies.push(begun.elapsed().as_secs_f64() * 1000.0),
                    Err(_) => errors.set(errors.get() + 1),
                }
            }
            latencies
        }
    });
    let mut latencies = futures_util::future::join_all(loops).await.concat();
    #[allow(clippy::cast_precision_loss)] // a count of seconds' writes
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    let (p50_ms, p99_ms) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
    Load { per_second, p50_ms, p99_ms, errors: errors.get() }
}
