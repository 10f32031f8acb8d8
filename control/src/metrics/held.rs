//! What the catalog holds, and what its bounds cost.

use prometheus::IntGauge;

use super::Maker;

/// What the catalog holds: the same on every node at the same entry. Gauges all, because a snapshot may set them.
#[derive(Debug, Clone)]
pub struct HeldMetrics {
    /// Services.
    pub services: IntGauge,
    /// Registered endpoints.
    pub endpoints: IntGauge,
    /// Routes.
    pub routes: IntGauge,
    /// Policies in the catalog.
    pub policies: IntGauge,
    /// Clients whose outcomes are remembered.
    pub clients: IntGauge,
    /// Bytes of these outcomes.
    pub outcome_bytes: IntGauge,
    /// Clients forgotten since that is counted.
    pub forgotten_clients: IntGauge,
    /// Edges that are told apart.
    pub edges: IntGauge,
    /// Bytes of the rollup history.
    pub history_bytes: IntGauge,
    /// Records folded into `other` since the cluster began.
    pub folded: IntGauge,
    /// Windows and minutes that ended before their time since the cluster began.
    pub shortened: IntGauge,
}

impl HeldMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            services: make.gauge("penstock_catalog_services", "Services in the catalog"),
            endpoints: make.gauge("penstock_catalog_endpoints", "Registered endpoints"),
            routes: make.gauge("penstock_catalog_routes", "Routes in the catalog"),
            policies: make.gauge("penstock_catalog_policies", "Policies in the catalog"),
            clients: make.gauge("penstock_catalog_clients", "Clients whose writes' outcomes are remembered"),
            outcome_bytes: make.gauge("penstock_catalog_outcome_bytes", "Bytes of these outcomes"),
            forgotten_clients: make.gauge(
                "penstock_catalog_forgotten_clients",
                "Clients whose outcomes were forgotten, idle or for want of room, since the cluster began",
            ),
            edges: make.gauge("penstock_catalog_edges", "Edges of the rollups that are told apart"),
            history_bytes: make.gauge("penstock_catalog_history_bytes", "Bytes of the rollup history"),
            folded: make.gauge(
                "penstock_catalog_folded_records",
                "Records of edges past the bound, counted under other, since the cluster began",
            ),
            shortened: make.gauge(
                "penstock_catalog_shortened_spans",
                "Windows and minutes of the history that ended before their time, since the cluster began",
            ),
        }
    }
}
