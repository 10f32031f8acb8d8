//! What must hold in every run, one file each. An invariant only watches: it is told what happened and says what broke.

mod acknowledged;
mod completeness;
mod convergence;
mod history;
mod leaders;
mod leases;
mod linearizable;
mod logs;
mod making;
mod memberships;
mod once;
mod programs;
mod refusals;
mod removals;
mod revisions;
mod rollups;
mod slow_readers;
mod terms;
mod votes;

pub(crate) use acknowledged::{ANONYMOUS, AcknowledgedWritesSurvive, WriteKey};
pub(crate) use completeness::LeadersAreComplete;
pub(crate) use convergence::converged;
pub(crate) use history::History;
pub(crate) use leaders::OneLeaderPerTerm;
pub(crate) use leases::LeasesHold;
pub use linearizable::{Operation, Verdict, linearizable};
pub(crate) use logs::{AppliedEntry, LogsAgree};
pub(crate) use making::MakeBeforeBreak;
pub(crate) use memberships::MembershipsAgree;
pub(crate) use once::AppliedOnce;
pub(crate) use programs::ProgramsKnow;
pub(crate) use refusals::{RefusalsStand, held};
pub(crate) use removals::no_removal_lost;
pub(crate) use revisions::RevisionsNeverFall;
pub(crate) use rollups::{ProxyLife, RollupsConserve};
pub(crate) use slow_readers::SlowReadersCost;
pub(crate) use terms::TermsDoNotInflate;
pub(crate) use votes::VotesAreKept;

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
