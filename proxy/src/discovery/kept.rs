//! What a subscriber keeps: one answer per resource, a root per authority that workers asked for, a cluster per
//! authority that the roots' rules send requests to.
//!
//! Held by `subscriber.rs` alone, which decides; these types only remember. Values are shared with the snapshot by
//! `Arc`, so keeping the last good one costs no copy.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::outcome::Resolution;
use crate::snapshot::EndpointSet;
use mesh::{Authority, Endpoint, Protocol, Revision, RouteRule, ServicePolicy, Timestamp};

/// What is known of one resource: no answer yet, one that is held, or that there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Answer {
    /// Subscribed; no answer yet.
    #[default]
    Asked,
    /// The last good answer is of this revision.
    Held(Revision),
    /// The control plane said that there is none, as of a revision if it told one.
    Gone(Option<Revision>),
}

impl Answer {
    /// The revision that a reconnecting subscriber shows for it.
    pub(super) fn revision(self) -> Option<Revision> {
        match self {
            Self::Asked => None,
            Self::Held(revision) => Some(revision),
            Self::Gone(revision) => revision,
        }
    }

    /// The control plane said, at `at` if it told one, that there is none.
    pub(super) fn gone(self, at: Option<Revision>) -> Self {
        Self::Gone(at.max(self.revision()))
    }

    pub(super) fn is_given(self) -> bool {
        !matches!(self, Self::Asked)
    }
}

/// An authority that workers want.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) routes: Answer,
    /// The rules of the answer that is held; empty when there is none.
    pub(super) rules: Vec<RouteRule>,
    /// Clusters followed for its sake.
    pub(super) mentions: BTreeSet<Authority>,
    pub(super) last_used: Timestamp,
    /// Since when it is known to be unknown.
    pub(super) unknown_since: Option<Timestamp>,
    /// What was last told: it stays in force until every cluster of newer rules is answered.
    pub(super) told: Option<Resolution>,
}

impl Root {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            routes: Answer::Asked,
            rules: Vec::new(),
            mentions: BTreeSet::new(),
            last_used: now,
            unknown_since: None,
            told: None,
        }
    }
}

/// An authority that some root's rules send requests to.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) cluster: Answer,
    pub(super) endpoints: Answer,
    /// The roots that mention it; when there is none it is dropped.
    pub(super) used_by: BTreeSet<Authority>,
    /// The same `Arc` until it changes, so that a balancer sees by the pointer whether it has to rebuild.
    pub(super) set: Arc<EndpointSet>,
}

impl Cluster {
    pub(super) fn new(authority: Authority) -> Self {
        let set = EndpointSet {
            authority,
            protocol: Protocol::default(),
            policy: Arc::default(),
            revision: Revision::default(),
            endpoints: Vec::new(),
        };
        Self {
            cluster: Answer::Asked,
            endpoints: Answer::Asked,
            used_by: BTreeSet::new(),
            set: Arc::new(set),
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.cluster.is_given() && self.endpoints.is_given()
    }

    /// Takes a new protocol and policy into use.
    pub(super) fn speak(&mut self, protocol: Protocol, policy: Arc<ServicePolicy>) {
        if self.set.protocol != protocol || self.set.policy != policy {
            let set = Arc::make_mut(&mut self.set);
            (set.protocol, set.policy) = (protocol, policy);
        }
    }

    /// Takes new endpoints into use.
    pub(super) fn serve_at(&mut self, revision: Revision, endpoints: Vec<Endpoint>) {
        let (authority, protocol) = (self.set.authority.clone(), self.set.protocol);
        let policy = Arc::clone(&self.set.policy);
        self.set = Arc::new(EndpointSet { authority, protocol, policy, revision, endpoints });
    }
}

/// The authorities that `rules` send requests, or copies of them, to.
pub(super) fn backends(rules: &[RouteRule]) -> impl Iterator<Item = &Authority> {
    rules.iter().flat_map(|rule| {
        let mirrors = rule.filters.mirrors.iter().map(|mirror| &mirror.authority);
        rule.backends.iter().map(|backend| &backend.authority).chain(mirrors)
    })
}
