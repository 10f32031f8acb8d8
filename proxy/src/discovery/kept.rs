//! What a subscriber keeps: one slot per resource, a root per authority that workers asked for, a cluster per
//! authority that the roots' rules send requests to.
//!
//! Held by `subscriber.rs` alone, which decides; these types only remember. Values are shared with the snapshot by
//! `Arc`, so keeping the last good one costs no copy.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::outcome::{Resolution, ResolvedSet};
use mesh::{Authority, Endpoint, Protocol, Revision, RouteRule, Timestamp};

/// One resource: not answered yet, held, or known not to be there.
#[derive(Debug, Clone, Default)]
pub(super) enum Slot<T> {
    /// Subscribed; no answer yet.
    #[default]
    Asked,
    /// The last good answer.
    Held { revision: Revision, value: T },
    /// The control plane said that there is none, as of a revision if it told one.
    Gone { revision: Option<Revision> },
}

impl<T> Slot<T> {
    /// The revision that a reconnecting subscriber shows for it.
    pub(super) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Asked => None,
            Self::Held { revision, .. } => Some(*revision),
            Self::Gone { revision } => *revision,
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        !matches!(self, Self::Asked)
    }

    pub(super) fn value(&self) -> Option<&T> {
        match self {
            Self::Held { value, .. } => Some(value),
            _ => None,
        }
    }
}

/// An authority that workers want.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) rules: Slot<Arc<[RouteRule]>>,
    /// The rules of the last resolution; they stay in use until every cluster of newer ones is answered.
    pub(super) in_force: Option<Arc<[RouteRule]>>,
    /// Clusters followed for its sake.
    pub(super) mentions: BTreeSet<Authority>,
    pub(super) last_used: Timestamp,
    /// Since when it is known to be unknown.
    pub(super) unknown_since: Option<Timestamp>,
    /// What was last told.
    pub(super) told: Option<Resolution>,
}

impl Root {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            rules: Slot::Asked,
            in_force: None,
            mentions: BTreeSet::new(),
            last_used: now,
            unknown_since: None,
            told: None,
        }
    }
}

/// An authority that some root's rules send requests to.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) protocol: Slot<Protocol>,
    pub(super) endpoints: Slot<Arc<[Endpoint]>>,
    /// The roots that mention it; when there is none it is dropped.
    pub(super) used_by: BTreeSet<Authority>,
    /// Built from the two slots when first needed after a change.
    pub(super) set: Option<Arc<ResolvedSet>>,
}

impl Cluster {
    pub(super) fn is_answered(&self) -> bool {
        self.protocol.is_answered() && self.endpoints.is_answered()
    }

    /// Its endpoint set, the same `Arc` until a resource of it changes.
    pub(super) fn set(&mut self, authority: &Authority) -> Arc<ResolvedSet> {
        let built = self.set.get_or_insert_with(|| {
            Arc::new(ResolvedSet {
                authority: authority.clone(),
                protocol: self.protocol.value().copied().unwrap_or_default(),
                revision: self.protocol.revision().max(self.endpoints.revision()).unwrap_or_default(),
                endpoints: self.endpoints.value().cloned().unwrap_or_else(|| Arc::from([])),
            })
        });
        Arc::clone(built)
    }
}

/// The authorities that `rules` send requests to.
pub(super) fn backends(rules: &[RouteRule]) -> impl Iterator<Item = &Authority> {
    rules.iter().flat_map(|rule| rule.backends.iter().map(|backend| &backend.authority))
}
