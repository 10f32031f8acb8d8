//! Identities of this process' writes, so that one sent again after a failover is applied once.

use std::hash::{BuildHasher, RandomState};

use api::v1::query_client::QueryClient;
use api::v1::{Revision, RevisionRequest, WriteId};

use crate::answer::Failure;
use crate::connection::Connection;

/// Counts the writes of one client.
pub(crate) struct Writes {
    client: String,
    last: u64,
    since: Option<Revision>,
}

impl Writes {
    /// A client that was never seen before: its name carries 64 bits of the system's chance. A node says what it has applied,
    /// so that a retry which comes when this client is forgotten is refused, not applied again.
    ///
    /// # Errors
    /// If no node answers.
    pub(crate) async fn begin(purpose: &str, connection: &mut Connection) -> Result<Self, Failure> {
        let call = |channel| async move { QueryClient::new(channel).revision(RevisionRequest {}).await };
        let since = match connection.ask(call).await {
            Ok(told) => told.revision,
            Err(Failure::Refused(_)) => None, // a node of an older version
            Err(failure) => return Err(failure),
        };
        let chance = RandomState::new().hash_one(std::process::id());
        Ok(Self { client: format!("{purpose}-{chance:016x}"), last: 0, since })
    }

    /// The identity of the next write.
    pub(crate) fn next(&mut self) -> WriteId {
        self.last += 1;
        WriteId { client: self.client.clone(), sequence: self.last, since: self.since }
    }
}
