//! Tells the rooms above what applying altered: once per round, to every recipient that `node.rs` wired.
//!
//! A recipient whose mailbox is full is not waited for and not queued for: it is marked, and gets the whole view instead once
//! it has room. So no change is ever lost, and a slow room costs no memory here. Nor does a long round: a node that starts applies
//! its whole log in one, and of each list of endpoints only the last is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Recipient;
use actix::dev::SendError;
use mesh::Authority;
use prometheus::IntCounter;
use tracing::warn;

use super::messages::CatalogChanged;
use crate::catalog::{Catalog, Change};

/// The recipients, and what they have not been told yet.
pub(super) struct Subscribers {
    recipients: Vec<Subscriber>,
    pending: Pending,
    replaced: bool,
    told: u64,
    overruns: IntCounter,
}

/// Changes that nobody was told yet, in order.
#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    /// Where the endpoints of an authority stand that were not taken away since.
    endpoints: BTreeMap<Authority, usize>,
}

impl Pending {
    /// Adds a change. A list of endpoints takes the place of the one before it: a service of ten thousand that registered in one
    /// round would otherwise hold ten thousand lists.
    fn push(&mut self, change: Change) {
        match &change {
            Change::Endpoints { authority, endpoints: Some(_), .. } => {
                if let Some(place) = self.endpoints.get(authority) {
                    self.changes[*place] = change;
                    return;
                }
                self.endpoints.insert(authority.clone(), self.changes.len());
            }
            Change::Endpoints { authority, endpoints: None, .. } => {
                self.endpoints.remove(authority);
            }
            _ => {}
        }
        self.changes.push(change);
    }
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
        Self { recipients, pending: Pending::default(), replaced: false, told: 0, overruns }
    }

    /// An entry altered this. Who is behind gets the whole view, and needs none of what led to it: so a start, which applies a
    /// long log before it tells anybody, keeps nothing.
    pub(super) fn changed(&mut self, changes: Vec<Change>) {
        if self.replaced || self.recipients.iter().all(|subscriber| subscriber.behind) {
            return;
        }
        changes.into_iter().for_each(|change| self.pending.push(change));
    }

    /// The whole catalog was replaced.
    pub(super) fn replaced(&mut self) {
        self.pending = Pending::default();
        self.replaced = true;
    }

    /// Tells what has altered since the last call, if anything did or a new entry was applied.
    pub(super) fn publish(&mut self, catalog: &Catalog) {
        if !self.replaced && self.told == catalog.applied().index {
            return;
        }
        self.told = catalog.applied().index;
        let changes = std::mem::take(&mut self.pending).changes.into();
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use actix::{Actor, Context, Handler};
    use api::log::v1::{Command, Register, command::Body};
    use mesh::Revision;
    use prost::Message as _;
    use tokio::task::LocalSet;

    use super::*;

    /// Keeps what it is told: whether it is the whole, and how many changes.
    #[derive(Clone, Default)]
    struct Ear(Rc<RefCell<Vec<(bool, usize)>>>);

    impl Actor for Ear {
        type Context = Context<Self>;
    }

    impl Handler<CatalogChanged> for Ear {
        type Result = ();

        fn handle(&mut self, told: CatalogChanged, _: &mut Self::Context) {
            self.0.borrow_mut().push((told.replaced, told.changes.len()));
        }
    }

    /// A registration of a service of its own: a service, its endpoints, its rules.
    fn register(name: &str) -> Vec<u8> {
        let service = Some(api::v1::QualifiedName { name: name.to_owned(), namespace: "shop".to_owned() });
        let authority = Some(api::v1::Authority { service: service.clone(), port: 80 });
        let address = "10.0.0.1:80".to_owned();
        let endpoint = api::v1::Endpoint {
            instance: name.to_owned(),
            address,
            workload: service,
            ..api::v1::Endpoint::default()
        };
        let register =
            Register { authority, endpoint: Some(endpoint), lease_seconds: 15, ..Register::default() };
        Command { id: None, at_ms: 1, body: Some(Body::Register(register)) }.encode_to_vec()
    }

    /// A start kept each change of a long log that it applied, although its readers are told the whole after it.
    #[tokio::test]
    async fn nothing_is_kept_for_who_is_to_be_told_the_whole_and_each_change_is_told_afterwards() {
        let set = LocalSet::new();
        set.run_until(async {
            let (ear, mut catalog) = (Ear::default(), Catalog::new(1));
            let overruns = IntCounter::new("overruns", "of this test").unwrap();
            let mut subscribers = Subscribers::new(vec![ear.clone().start().recipient()], overruns);
            for (index, name) in (1..).zip(["a", "b"]) {
                subscribers.changed(catalog.apply(index, &register(name)).changes);
            }
            assert!(subscribers.pending.changes.is_empty());
            subscribers.publish(&catalog);
            subscribers.changed(catalog.apply(3, &register("c")).changes);
            subscribers.publish(&catalog);
            while ear.0.borrow().len() < 2 {
                tokio::task::yield_now().await;
            }
            assert_eq!(*ear.0.borrow(), [(true, 6), (false, 3)]);
        })
        .await;
    }

    fn endpoints(name: &str, index: u64, known: bool) -> Change {
        let endpoints = known.then(|| Arc::from([]));
        let authority = format!("{name}.default:80").parse().unwrap();
        Change::Endpoints { authority, revision: Revision::new(1, index), endpoints }
    }

    /// Found by nodes that were killed twenty times: each register of a log that is applied again left a whole list behind, so
    /// that a start with 7,500 of them held 450 MB and took half a minute in which nobody reached the node.
    #[test]
    fn of_each_list_of_endpoints_only_the_last_is_kept_in_the_place_of_the_first() {
        let mut pending = Pending::default();
        for index in 1..=1000 {
            pending.push(endpoints("web", index, true));
            pending.push(endpoints("cart", index, true));
        }
        assert_eq!(pending.changes, [endpoints("web", 1000, true), endpoints("cart", 1000, true)]);
    }

    #[test]
    fn an_authority_that_went_and_came_again_in_between_is_told_as_both() {
        let mut pending = Pending::default();
        let story = [(1, true), (2, true), (3, false), (4, true), (5, true)];
        story.into_iter().for_each(|(index, known)| pending.push(endpoints("web", index, known)));
        let told = [(2, true), (3, false), (5, true)].map(|(index, known)| endpoints("web", index, known));
        assert_eq!(pending.changes, told);
    }
}
