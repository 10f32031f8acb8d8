//! Why a command is refused: the same on every node, with nothing changed.

use std::fmt;

use api::FieldError;
use api::log::v1::refused::Reason;

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
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::invalid(error)
    }
}
