//! What the load asks of a store: a durable write, or a linearizable read of one small thing, as the path and bytes of a call.

use api::v1::{Authority, Endpoint, EndpointsRequest, QualifiedName, RegisterRequest, WriteId};
use prost::Message as _;

use crate::cluster::Store;
use crate::etcd;
use crate::unary_loop::Requests;

/// Bytes of an etcd value: about what a registration of ours weighs in the log.
const VALUE_BYTES: usize = 128;
/// Things that one writer writes in turn.
const THINGS_PER_WRITER: u64 = 8;

/// One kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A durable write of about 128 bytes; every one changes something.
    Write,
    /// A linearizable read of one small thing: the endpoints of a service that has one; a key.
    Read,
}

/// What all reads ask for.
const READ_THING: &str = "read-by-all";

fn qualified(name: &str) -> Option<QualifiedName> {
    Some(QualifiedName { name: name.to_owned(), namespace: "bench".to_owned() })
}

/// A registration of instance `instance` at service `service`; `sequence` makes it a change.
pub(crate) fn registration(client: &str, sequence: u64, service: &str, instance: u64) -> RegisterRequest {
    let port = 1024 + sequence % 60_000;
    RegisterRequest {
        id: Some(WriteId { client: client.to_owned(), sequence, since: None }),
        authority: Some(Authority { service: qualified(service), port: 80 }),
        endpoint: Some(Endpoint {
            instance: format!("instance-{instance}"),
            address: format!("127.0.0.1:{port}"),
            workload: qualified(service),
            ..Endpoint::default()
        }),
        lease_seconds: 3600,
        ..RegisterRequest::default()
    }
}

/// A value of etcd.
pub(crate) fn value(sequence: u64) -> bytes::Bytes {
    format!("{sequence:0VALUE_BYTES$}").into()
}

/// What every read will find.
pub(crate) fn read_thing(store: Store) -> (&'static str, Vec<u8>) {
    match store {
        Store::Penstock => (REGISTER, registration("reader", 1, READ_THING, 1).encode_to_vec()),
        Store::Etcd => {
            let put = etcd::PutRequest { key: READ_THING.into(), value: value(1) };
            (etcd::PUT, put.encode_to_vec())
        }
    }
}

const REGISTER: &str = "/penstock.v1.Registration/Register";
const ENDPOINTS: &str = "/penstock.v1.Query/Endpoints";

impl Ask {
    /// Where it is asked.
    pub(crate) fn path(self, store: Store) -> &'static str {
        match (store, self) {
            (Store::Penstock, Self::Write) => REGISTER,
            (Store::Penstock, Self::Read) => ENDPOINTS,
            (Store::Etcd, Self::Write) => etcd::PUT,
            (Store::Etcd, Self::Read) => etcd::RANGE,
        }
    }

    /// The messages of the clients of one connection; `name` tells them from all others.
    pub(crate) fn requests(self, store: Store, name: &str, clients: usize) -> Requests {
        let names: Vec<String> = (0..clients).map(|client| format!("{name}-{client}")).collect();
        let mut sequences = vec![0; clients];
        match (store, self) {
            (Store::Penstock, Self::Write) => Box::new(move |client| {
                sequences[client] += 1;
                let (name, sequence) = (&names[client], sequences[client]);
                registration(name, sequence, name, sequence % THINGS_PER_WRITER).encode_to_vec()
            }),
            (Store::Etcd, Self::Write) => Box::new(move |client| {
                sequences[client] += 1;
                let key = format!("{}/{}", names[client], sequences[client] % THINGS_PER_WRITER);
                etcd::PutRequest { key: key.into(), value: value(sequences[client]) }.encode_to_vec()
            }),
            (Store::Penstock, Self::Read) => {
                let request =
                    EndpointsRequest { service: qualified(READ_THING), ..EndpointsRequest::default() };
                let bytes = request.encode_to_vec();
                Box::new(move |_| bytes.clone())
            }
            (Store::Etcd, Self::Read) => {
                let bytes = etcd::RangeRequest { key: READ_THING.into() }.encode_to_vec();
                Box::new(move |_| bytes.clone())
            }
        }
    }

    /// Writes of things that were never written before, so that the store grows with each: two thousand services of fifty
    /// endpoints per hundred thousand.
    pub(crate) fn growing(store: Store, name: &str) -> Requests {
        let name = name.to_owned();
        let mut sequence = 0;
        Box::new(move |_| {
            sequence += 1;
            let service = format!("{name}-{}", sequence / 50);
            match store {
                Store::Penstock => registration(&name, sequence, &service, sequence).encode_to_vec(),
                Store::Etcd => {
                    let key = format!("{service}/instance-{sequence}");
                    etcd::PutRequest { key: key.into(), value: value(sequence) }.encode_to_vec()
                }
            }
        })
    }
}
