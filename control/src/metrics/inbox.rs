//! What waits for the truth thread, and what was refused because too much did.

use prometheus::{IntCounterVec, IntGauge};

use super::Maker;

/// What waits for the truth thread, and what found no room there.
#[derive(Debug, Clone)]
pub struct InboxMetrics {
    /// Registrations and config that wait.
    pub discovery: IntGauge,
    /// Reads that wait.
    pub reads: IntGauge,
    /// Traffic partials that wait.
    pub rollups: IntGauge,
    /// The same family as [`super::ReplicaMetrics::refused`].
    pub refused: IntCounterVec,
}

impl InboxMetrics {
    pub(super) fn new(make: &Maker<'_>, refused: &IntCounterVec) -> Self {
        const CLASSES: [&str; 3] = ["discovery", "read", "rollup"];
        let waiting =
            make.gauges("penstock_inbox_waiting", "What waits for the truth thread, by class", "class");
        for class in CLASSES {
            refused.with_label_values(&[class]); // shown as zero from the start
        }
        let [discovery, reads, rollups] = CLASSES.map(|class| waiting.with_label_values(&[class]));
        Self { discovery, reads, rollups, refused: refused.clone() }
    }
}
