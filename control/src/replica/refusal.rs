//! Refusals on the wire: what a proposer or reader is told as a gRPC status, and how a peer's status is read back.
//! Each status names what stood in the way and what to do; a wait is also told as `grpc-retry-pushback-ms` (gRPC A6).

use api::log::v1::{Outcome, Refused, outcome, refused};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::messages::{ProposeError, ReadError};

const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// Shortest message that a client is asked to wait when a peer said none.
const PUSHBACK_DEFAULT_MS: u64 = 100;

/// What a client is told.
#[must_use]
pub fn for_client(error: &ProposeError) -> Status {
    match error {
        ProposeError::Busy { retry_after_ms, .. } => busy(error.to_string(), *retry_after_ms),
        ProposeError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        ProposeError::NotYet { .. } => Status::failed_precondition(error.to_string()),
        ProposeError::NotLeader { .. }
        | ProposeError::OutcomeUnknown { .. }
        | ProposeError::NoLeader { .. } => Status::unavailable(error.to_string()),
    }
}

/// What the client of a read is told.
#[must_use]
pub fn of_read(error: &ReadError) -> Status {
    match error {
        ReadError::Unconfirmed { .. } => Status::unavailable(error.to_string()),
        ReadError::Busy { retry_after_ms, .. } => busy(error.to_string(), *retry_after_ms),
    }
}

/// What a client is told of a command that was refused deterministically.
#[must_use]
pub fn of_command(refused: &Refused) -> Status {
    let code = match refused.reason() {
        refused::Reason::NotFound => Code::NotFound,
        refused::Reason::Invalid | refused::Reason::Unspecified => Code::InvalidArgument,
        refused::Reason::Limit => Code::ResourceExhausted,
        refused::Reason::InUse | refused::Reason::Stale | refused::Reason::Expired => {
            Code::FailedPrecondition
        }
    };
    Status::new(code, refused.message.clone())
}

/// The outcome of a command that cannot have been an `AlreadyCounted`: its revision and actions.
///
/// # Errors
/// The refusal, as a status.
pub fn done(outcome: Outcome) -> Result<(api::v1::Revision, Vec<String>), Status> {
    let revision = api::v1::Revision { epoch: outcome.epoch, index: outcome.index };
    match outcome.result {
        Some(outcome::Result::Done(done)) => Ok((revision, done.actions)),
        Some(outcome::Result::Refused(refused)) => Err(of_command(&refused)),
        Some(outcome::Result::AlreadyCounted(_) | outcome::Result::OutsideHistory(_)) | None => {
            Err(Status::internal("the command was answered with what only a traffic partial can be"))
        }
    }
}

/// What a forwarding node is told.
pub(super) fn for_peer(error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeader { .. } => Status::failed_precondition(error.to_string()),
        ProposeError::Busy { retry_after_ms, .. } => busy(error.to_string(), *retry_after_ms),
        ProposeError::TooLarge { .. } => Status::out_of_range(error.to_string()),
        ProposeError::NotYet { reason } => Status::unimplemented(reason.clone()),
        ProposeError::OutcomeUnknown { .. } | ProposeError::NoLeader { .. } => {
            Status::aborted(error.to_string())
        }
    }
}

/// Whether a peer says that it does not lead, so that it did nothing.
pub(super) fn is_not_leader(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition
}

/// What a forwarding node makes of the leader's status; `None`: try again, here or with the next leader.
pub(super) fn from_peer(status: &Status) -> Option<ProposeError> {
    match status.code() {
        Code::ResourceExhausted => Some(ProposeError::Busy {
            reason: status.message().to_owned(),
            retry_after_ms: pushback(status).unwrap_or(PUSHBACK_DEFAULT_MS),
        }),
        Code::Unimplemented => Some(ProposeError::NotYet { reason: status.message().to_owned() }),
        Code::OutOfRange | Code::InvalidArgument | Code::PermissionDenied => {
            Some(ProposeError::OutcomeUnknown {
                reason: format!("the leader refused it: {}", status.message()),
            })
        }
        _ => None,
    }
}

fn busy(reason: String, retry_after_ms: u64) -> Status {
    let mut status = Status::resource_exhausted(reason);
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from(retry_after_ms));
    status
}

fn pushback(status: &Status) -> Option<u64> {
    status.metadata().get(PUSHBACK)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_leader_is_told_through_a_follower_with_its_wait() {
        let busy = ProposeError::Busy { reason: "8192 writes wait".to_owned(), retry_after_ms: 250 };
        let read = from_peer(&for_peer(&busy));
        assert!(matches!(read, Some(ProposeError::Busy { retry_after_ms: 250, .. })), "{read:?}");
        let status = for_client(&busy);
        assert_eq!((status.code(), pushback(&status)), (Code::ResourceExhausted, Some(250)));
    }

    #[test]
    fn what_the_next_leader_may_take_is_tried_again() {
        for error in
            [ProposeError::NotLeader { leader: None }, ProposeError::OutcomeUnknown { reason: String::new() }]
        {
            assert_eq!(from_peer(&for_peer(&error)), None);
        }
        assert_eq!(from_peer(&Status::unavailable("connection refused")), None);
    }
}
