//! A writer as a client of the store would be one: one durable write at a time, sent again under its identity until it is known.

use api::v1::registration_client::RegistrationClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::asks::{registration, value};
use crate::cluster::Store;
use crate::etcd;

/// One writer with its own identity.
pub(crate) struct Writer {
    store: Store,
    client: String,
    sequence: u64,
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
                etcd::put(channel, key, value(self.sequence)).await
            }
            Store::Penstock => {
                let request = registration(&self.client, self.sequence, &self.client, self.sequence % 8);
                RegistrationClient::new(channel).register(request).await.map(drop)
            }
        }
    }
}
