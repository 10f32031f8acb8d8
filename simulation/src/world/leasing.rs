//! A node's table of leases, driven as `control/src/intake/actor.rs` drives it: begun anew with each leadership, brought up to date
//! before it is asked, what has lapsed is proposed.

use std::collections::BTreeSet;
use std::time::Duration;

use api::LeaseKey;
use api::log::v1::{Command, Expire, ExpiredLease, command};
use control::catalog::{Catalog, Change, StoredEndpoint};
use control::intake::leases::{Brake, Granted, Leases, Renewal};
use mesh::Authority;

use crate::sabotage::Sabotage;

/// How often the table is asked.
pub(super) const CHECK_EVERY: Duration = Duration::from_millis(500);

/// How mass expiry is held in the simulation: a short window, so that one run sees many.
pub(crate) const BRAKE: Brake = Brake { percent: 30, window: Duration::from_secs(8) };

/// The table, and what it has to look at again.
pub(super) struct Leasing {
    leases: Leases,
    leading: Option<u64>,
    stale: BTreeSet<Authority>,
    sabotage: Option<Sabotage>,
}

impl Leasing {
    pub(super) fn new(sabotage: Option<Sabotage>) -> Self {
        let brake = match sabotage {
            Some(Sabotage::Unbraked) => Brake { percent: 100, ..BRAKE },
            _ => BRAKE,
        };
        Self { leases: Leases::new(brake), leading: None, stale: BTreeSet::new(), sabotage }
    }

    /// Leadership came (in this term) or went, when the log ended at `log_end`.
    pub(super) fn leads(&mut self, term: Option<u64>, log_end: u64, catalog: &Catalog, now: Duration) {
        if term == self.leading {
            return;
        }
        self.leading = term;
        if self.sabotage != Some(Sabotage::EarlyExpiry) {
            self.leases.begin(log_end);
            self.stale.clear();
        }
        if term.is_some() {
            self.stale.extend(catalog.leases().map(|lease| lease.authority.clone()));
            self.refresh(catalog, now);
        }
    }

    /// Whether this node leads.
    pub(super) fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// The catalog changed.
    pub(super) fn changed(&mut self, changes: &[Change]) {
        // A table that outlives its leadership has to know all leases, or it would have nothing to expire too early.
        if self.leading.is_some() || self.sabotage == Some(Sabotage::EarlyExpiry) {
            self.stale.extend(changes.iter().filter_map(|change| match change {
                Change::Endpoints { authority, .. } => Some(authority.clone()),
                _ => None,
            }));
        }
    }

    fn refresh(&mut self, catalog: &Catalog, now: Duration) {
        for authority in std::mem::take(&mut self.stale) {
            let granted = catalog.registrations(&authority).map(granted);
            self.leases.observe(&authority, granted, now);
        }
    }

    /// A renewal; `None` where this node does not lead, or cannot say yet.
    pub(super) fn renew(&mut self, key: &LeaseKey, catalog: &Catalog, now: Duration) -> Option<bool> {
        self.leading?;
        let granted = catalog.registration(&key.authority, &key.instance).map(granted);
        match self.leases.renew(&key.authority, granted, catalog.applied().index, now) {
            Renewal::Renewed => Some(true),
            Renewal::Lost => Some(false),
            Renewal::NotYet => None,
        }
    }

    /// What is to be proposed because it has lapsed.
    pub(super) fn lapsed(&mut self, catalog: &Catalog, now: Duration) -> Option<Command> {
        if self.leading.is_none() {
            if self.sabotage == Some(Sabotage::EarlyExpiry) {
                self.refresh(catalog, now);
                self.leases.lapsed(now);
            }
            return None;
        }
        self.refresh(catalog, now);
        let lapsed = self.leases.lapsed(now);
        let leases = lapsed.expiries.iter().map(|expiry| ExpiredLease {
            lease: Some((&expiry.key).into()),
            registered_index: expiry.registered_index,
        });
        let body = Some(command::Body::Expire(Expire { leases: leases.collect() }));
        (!lapsed.expiries.is_empty()).then_some(Command { id: None, at_ms: 0, body })
    }
}

fn granted(registration: StoredEndpoint<'_>) -> Granted {
    Granted {
        instance: registration.endpoint.instance.clone(),
        seconds: registration.lease_seconds,
        registered_index: registration.registered_index,
    }
}
