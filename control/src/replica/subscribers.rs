//! Tells the rooms above what applying altered: once per round, to every recipient that `node.rs` wired.
//!
//! A recipient whose mailbox is full is not waited for and not queued for: it is marked, and gets the whole view instead once
//! it has room. So no change is ever lost, and a slow room costs no memory here.

use std::sync::Arc;

use actix::Recipient;
use actix::dev::SendError;
use prometheus::IntCounter;
use tracing::warn;

use super::messages::CatalogChanged;
use crate::catalog::{Catalog, Change};

/// The recipients, and what they have not been told yet.
pub(super) struct Subscribers {
    recipients: Vec<Subscriber>,
    pending: Vec<Change>,
    replaced: bool,
    told: u64,
    overruns: IntCounter,
}

struct Subscriber {
    recipient: Recipient<CatalogChanged>,
    behind: bool,
}

impl Subscribers {
    /// Tells these, from now on; the first message to each is a whole view.
    pub(super) fn new(recipients: Vec<Recipient<CatalogChanged>>, overruns: IntCounter) -> Self {
        let recipients =
            recipients.into_iter().map(|recipient| Subscriber { recipient, behind: true }).collect();
        Self { recipients, pending: Vec::new(), replaced: false, told: 0, overruns }
    }

    /// An entry altered this.
    pub(super) fn changed(&mut self, changes: Vec<Change>) {
        self.pending.extend(changes);
    }

    /// The whole catalog was replaced.
    pub(super) fn replaced(&mut self) {
        self.pending.clear();
        self.replaced = true;
    }

    /// Tells what has altered since the last call, if anything did or a new entry was applied.
    pub(super) fn publish(&mut self, catalog: &Catalog) {
        if !self.replaced && self.told == catalog.applied().index {
            return;
        }
        self.told = catalog.applied().index;
        let changes = std::mem::take(&mut self.pending).into();
        if std::mem::take(&mut self.replaced) {
            self.recipients.iter_mut().for_each(|subscriber| subscriber.behind = true);
        }
        let message = event(catalog, changes, false);
        self.tell(catalog, &message);
    }

    /// Tries those that were behind.
    pub(super) fn retry(&mut self, catalog: &Catalog) {
        if self.recipients.iter().any(|subscriber| subscriber.behind) && self.told > 0 {
            self.tell_behind(catalog);
        }
    }

    fn tell(&mut self, catalog: &Catalog, message: &CatalogChanged) {
        self.recipients.retain_mut(|subscriber| {
            if subscriber.behind {
                return true;
            }
            match subscriber.recipient.try_send(message.clone()) {
                Ok(()) => true,
                Err(SendError::Full(_)) => {
                    self.overruns.inc();
                    warn!(
                        "a reader of the catalog's changes is slow; it gets the whole view once it has room"
                    );
                    subscriber.behind = true;
                    true
                }
                Err(SendError::Closed(_)) => false,
            }
        });
        self.tell_behind(catalog);
    }

    fn tell_behind(&mut self, catalog: &Catalog) {
        let mut view = None;
        for subscriber in self.recipients.iter_mut().filter(|subscriber| subscriber.behind) {
            let view = view.get_or_insert_with(|| event(catalog, catalog.view().into(), true));
            subscriber.behind = subscriber.recipient.try_send(view.clone()).is_err();
        }
    }
}

fn event(catalog: &Catalog, changes: Arc<[Change]>, replaced: bool) -> CatalogChanged {
    CatalogChanged { changes, applied: catalog.applied(), routing: catalog.routing(), replaced }
}
