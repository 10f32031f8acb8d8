//! What must hold in every run, one file each. An invariant only watches: it is told what happened and says what broke.

mod acknowledged;
mod convergence;
mod leaders;
mod logs;
mod revisions;
mod rollups;

pub(crate) use acknowledged::{AcknowledgedWritesSurvive, WriteKey};
pub(crate) use convergence::converged;
pub(crate) use leaders::OneLeaderPerTerm;
pub(crate) use logs::{AppliedEntry, LogsAgree};
pub(crate) use revisions::RevisionsNeverFall;
pub(crate) use rollups::{ProxyLife, RollupsConserve};

/// What broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {story}")]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What happened against it.
    pub story: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, story: String) -> Self {
        Self { invariant, story }
    }
}
