//! The application's own counts: what callers heard, and what callees told. Kept apart from all that the mesh counts,
//! and shared by all instances of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh::LatencySketch;

/// Most different reasons of the mesh that are kept; there are about ten.
const REASONS_MAX: usize = 100;

/// How a call ended, as its caller heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A good answer.
    Good,
    /// The callee said that it failed.
    Failure,
    /// The mesh answered in the callee's place (`penstock-error`), or the connection broke.
    Mesh(String),
}

/// Calls of one caller to one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CallerBook {
    /// Good answers.
    pub(crate) good: u64,
    /// Failures of the callee.
    pub(crate) failures: u64,
    /// Failures of the mesh.
    pub(crate) mesh: u64,
    /// From the call to the end of the answer.
    pub(crate) latency: LatencySketch,
}

/// What the instances of one service told one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// Good answers.
    pub(crate) good: u64,
    /// Failures.
    pub(crate) failures: u64,
}

/// All counts at one moment, keyed by caller and callee.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Books {
    /// What callers heard.
    pub(crate) callers: BTreeMap<(String, String), CallerBook>,
    /// What callees told, all instances of a service together.
    pub(crate) callees: BTreeMap<(String, String), Told>,
    /// How often each instance was called.
    pub(crate) instances: BTreeMap<String, u64>,
    /// Why the mesh failed, and how often.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl Books {
    /// Calls that failed because of the mesh.
    #[must_use]
    pub(crate) fn mesh_failures(&self) -> u64 {
        self.callers.values().map(|book| book.mesh).sum()
    }
}

/// A hand on the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Books>>);

impl Tally {
    fn with<R>(&self, write: impl FnOnce(&mut Books) -> R) -> R {
        // Each write below is one step: a book that a panicking task left is whole.
        write(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A caller heard how its call ended.
    pub(crate) fn heard(&self, caller: &str, callee: &str, heard: &Heard, latency: std::time::Duration) {
        self.with(|books| {
            let book = books.callers.entry((caller.to_owned(), callee.to_owned())).or_default();
            book.latency.record(latency);
            match heard {
                Heard::Good => book.good += 1,
                Heard::Failure => book.failures += 1,
                Heard::Mesh(reason) => {
                    book.mesh += 1;
                    let reason = format!("{caller} -> {callee}: {reason}");
                    let full = books.reasons.len() >= REASONS_MAX;
                    let reason = if full && !books.reasons.contains_key(&reason) {
                        "other".to_owned()
                    } else {
                        reason
                    };
                    *books.reasons.entry(reason).or_default() += 1;
                }
            }
        });
    }

    /// An instance told a caller how its call ended.
    pub(crate) fn told(&self, caller: &str, callee: &str, instance: &str, good: bool) {
        self.with(|books| {
            let told = books.callees.entry((caller.to_owned(), callee.to_owned())).or_default();
            if good {
                told.good += 1;
            } else {
                told.failures += 1;
            }
            *books.instances.entry(instance.to_owned()).or_default() += 1;
        });
    }

    /// All counts now.
    #[must_use]
    pub(crate) fn books(&self) -> Books {
        self.with(|books| books.clone())
    }
}
