//! Identities of this process' writes, so that one sent again after a failover is applied once.

use std::hash::{BuildHasher, RandomState};

use api::v1::WriteId;

/// Counts the writes of one client.
pub(crate) struct Writes {
    client: String,
    last: u64,
}

impl Writes {
    /// A client that was never seen before: its name carries 64 bits of the system's chance.
    pub(crate) fn begin(purpose: &str) -> Self {
        let chance = RandomState::new().hash_one(std::process::id());
        Self { client: format!("{purpose}-{chance:016x}"), last: 0 }
    }

    /// The identity of the next write.
    pub(crate) fn next(&mut self) -> WriteId {
        self.last += 1;
        WriteId { client: self.client.clone(), sequence: self.last }
    }
}
