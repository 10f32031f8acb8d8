//! What an invariant says that broke. Ends the run; told by `Failure`.

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
