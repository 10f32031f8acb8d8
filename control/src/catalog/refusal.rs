//! Why a command is refused: the same on every node, with nothing changed.

use std::fmt;

use api::log::v1::refused::Reason;
use api::{FieldError, WriteId};
use mesh::Revision;

/// A deterministic refusal; becomes the outcome's `Refused`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn invalid(message: impl fmt::Display) -> Self {
        Self { reason: Reason::Invalid, message: message.to_string() }
    }

    pub(super) fn limit(what: &str, max: usize, advice: &str) -> Self {
        Self { reason: Reason::Limit, message: format!("{what}: at most {max}; {advice}") }
    }

    pub(super) fn not_found(what: impl fmt::Display) -> Self {
        Self { reason: Reason::NotFound, message: format!("{what} does not exist") }
    }

    pub(super) fn in_use(message: impl fmt::Display) -> Self {
        Self { reason: Reason::InUse, message: message.to_string() }
    }

    /// A write whose outcome was pushed out by later ones of its client.
    pub(super) fn stale(id: &WriteId, forgotten: u64) -> Self {
        let message = format!(
            "write {} of client {} came after 64 later ones (up to {forgotten} is forgotten): it may have been applied; \
             look, and write again under a new sequence",
            id.sequence, id.client
        );
        Self { reason: Reason::Stale, message }
    }

    /// A write of a client that is not known, and may have been forgotten since the write was first sent.
    pub(super) fn expired(id: &WriteId, forgotten: Revision) -> Self {
        let message = format!(
            "client {} is not remembered any more (clients that last wrote up to {forgotten} were forgotten, this write was \
             first sent after {}): it may have been applied; look, and write again as a new client",
            id.client, id.since
        );
        Self { reason: Reason::Expired, message }
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::invalid(error)
    }
}
