//! How the replica stands: its role, why it campaigned, how far the others are behind.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::Maker;

/// How the replica stands; told once a second.
#[derive(Debug, Clone)]
pub struct StandingMetrics {
    /// 1 at the role that the node has.
    pub role: IntGaugeVec,
    /// Campaigns of this node, by cause.
    pub campaigns: IntCounterVec,
    /// Entries that each other node lacks, as the leader sees it; no series elsewhere.
    pub lag: IntGaugeVec,
}

impl StandingMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            role: make.gauges("penstock_raft_role", "1 at the role that this node has", "role"),
            campaigns: make.counters(
                "penstock_raft_campaigns_total",
                "Times that this node asked to lead, by what made it",
                "cause",
            ),
            lag: make.gauges(
                "penstock_raft_peer_lag_entries",
                "On the leader, entries that another node has not confirmed, by node",
                "peer",
            ),
        }
    }
}
