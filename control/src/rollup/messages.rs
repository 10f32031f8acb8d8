//! What may be said to the rollup actor.

use actix::Message;
use mesh::{TrafficReport, Window};

/// A proxy's report, to be counted. Sent by the reports' service, once per report; answered after the commit.
#[derive(Debug, Message)]
#[rtype(result = "Result<Acknowledged, ReportError>")]
pub struct Report(pub TrafficReport);

/// The windows of a report that its proxy may forget.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledged {
    /// Counted now or before, or too old to be counted.
    pub windows: Vec<Window>,
    /// Those of them that were too old.
    pub too_old: Vec<Window>,
}

/// Why a report was not counted. Its proxy keeps it and sends it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A bound is reached: later.
    #[error("{0}")]
    Full(String),
    /// It could not be committed: again, here or elsewhere.
    #[error("the report was not committed: {0}; send it again, it is counted once")]
    NotCommitted(String),
}
