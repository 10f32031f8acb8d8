//! What applying an entry altered: goes from the catalog to every reader that keeps a mirror (discovery's shards, the
//! lease table). Carries new values, shared by `Arc`, so that a mirror on another thread needs no lock.

use std::sync::Arc;

use api::log::v1::Outcome;
use mesh::{Authority, Endpoint, Revision, RouteRule, Service, ServiceName, TrafficPolicy, Window};

/// One fact that became true at a revision.
///
/// In one batch a service comes before its authorities' endpoints and routes, and these before its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A service came, changed its ports, or went.
    Service {
        /// Which.
        name: ServiceName,
        /// Since when it is so.
        revision: Revision,
        /// As it is now; `None` when it was removed.
        service: Option<Arc<Service>>,
    },
    /// The endpoints of a service's port.
    Endpoints {
        /// Which port of which service.
        authority: Authority,
        /// Since when it is so.
        revision: Revision,
        /// Ordered by instance. `None`: the authority is gone, and its routes with it. Empty: known, no endpoint.
        endpoints: Option<Arc<[Arc<Endpoint>]>>,
    },
    /// The rules for requests to a service's port, of all routes on it together.
    Routes {
        /// Which port of which service.
        authority: Authority,
        /// Since when it is so.
        revision: Revision,
        /// Tried in order, the first match rules. Empty: straight to the authority.
        rules: Arc<[RouteRule]>,
    },
    /// The policy on a service, for all of its ports.
    Policy {
        /// Which service.
        service: ServiceName,
        /// Since when it is so.
        revision: Revision,
        /// As it is now; `None` when there is none any more.
        policy: Option<Arc<TrafficPolicy>>,
    },
    /// The history of a window was added to.
    Traffic {
        /// Which.
        window: Window,
    },
}

/// What came of one entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The answer for whoever proposed it; a retry of an applied write gets the first answer.
    pub outcome: Outcome,
    /// What it altered; empty when it was refused or said nothing new.
    pub changes: Vec<Change>,
}
