//! The intake's actor: a thin ear before [`Leases`]. On the truth thread, one per node; it works while this node leads.
//! It reads the catalog, hears renewals, asks the table twice a second what has lapsed, and proposes that. It holds no rule.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, StreamHandler};
use api::LeaseKey;
use api::log::v1::{Command, Expire, ExpiredLease, command::Body};
use mesh::Authority;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tracing::{info, warn};

use super::leases::{Brake, Expiry, Granted, Leases, Renewal};
use super::messages::{NotLeader, Renew};
use crate::catalog::{Catalog, Change, StoredEndpoint};
use crate::metrics::IntakeMetrics;
use crate::replica::messages::CatalogChanged;
use crate::replica::{Door, Leadership};

/// How often the table is asked. Shorter costs a scan of all leases; longer keeps dead endpoints for longer.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Messages that wait. Renewals of some thousand proxies may come at once; more of them park their senders.
const MAILBOX_MAX: usize = 4096;

/// The actor that keeps the leader's leases.
pub struct IntakeActor {
    leases: Leases,
    catalog: Rc<RefCell<Catalog>>,
    door: Door,
    leadership: watch::Receiver<Leadership>,
    /// The term in which this node leads. Leases of another term, even its own, missed renewals in between.
    leading: Option<u64>,
    /// Authorities whose endpoints changed since the table was last brought up to date.
    stale: BTreeSet<Authority>,
    started: Instant,
    metrics: IntakeMetrics,
}

impl IntakeActor {
    /// An actor over this node's catalog, which proposes through `door`.
    #[must_use]
    pub fn new(
        catalog: Rc<RefCell<Catalog>>,
        leadership: watch::Receiver<Leadership>,
        door: Door,
        brake: Brake,
        metrics: IntakeMetrics,
    ) -> Self {
        Self {
            leases: Leases::new(brake),
            catalog,
            door,
            leadership,
            leading: None,
            stale: BTreeSet::new(),
            started: Instant::now(),
            metrics,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Brings the table up to date with the catalog, for the authorities that changed.
    fn refresh(&mut self) {
        let now = self.now();
        let catalog = self.catalog.borrow();
        for authority in std::mem::take(&mut self.stale) {
            let granted = catalog.registrations(&authority).map(granted);
            self.leases.observe(&authority, granted, now);
        }
    }

    fn check(&mut self, context: &mut Context<Self>) {
        if self.leading.is_none() {
            return;
        }
        self.refresh();
        let lapsed = self.leases.lapsed(self.now());
        self.metrics.leases.set(i64::try_from(self.leases.count()).unwrap_or(i64::MAX));
        let held_before = self.metrics.held.get();
        let held = i64::try_from(lapsed.held).unwrap_or(i64::MAX);
        self.metrics.held.set(held);
        if held > 0 && held_before == 0 {
            warn!(held, "many endpoints of a service fell silent at once; the brake holds them");
        }
        if !lapsed.expiries.is_empty() {
            self.propose(&lapsed.expiries, context);
        }
    }

    fn propose(&self, expiries: &[Expiry], context: &mut Context<Self>) {
        let door = self.door.clone();
        let count = expiries.len();
        let leases = expiries.iter().map(|expiry| ExpiredLease {
            lease: Some((&expiry.key).into()),
            registered_index: expiry.registered_index,
        });
        let body = Body::Expire(Expire { leases: leases.collect() });
        let metrics = self.metrics.clone();
        let proposing = async move {
            match door.propose(Command { id: None, at_ms: 0, body: Some(body) }).await {
                Ok(_) => {
                    metrics.expired.inc_by(count as u64);
                    info!(count, "leases expired");
                }
                Err(error) => warn!(count, %error, "expiry not proposed; it is tried again"),
            }
        };
        context.spawn(actix::fut::wrap_future(proposing));
    }
}

/// The lease of a registration.
fn granted(registration: StoredEndpoint<'_>) -> Granted {
    Granted {
        instance: registration.endpoint.instance.clone(),
        seconds: registration.lease_seconds,
        registered_index: registration.registered_index,
    }
}

impl Actor for IntakeActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MAX);
        context.add_stream(WatchStream::new(self.leadership.clone()));
        context.run_interval(CHECK_EVERY, Self::check);
    }
}

/// Leadership came or went.
impl StreamHandler<Leadership> for IntakeActor {
    fn handle(&mut self, leadership: Leadership, _: &mut Self::Context) {
        let leading = leadership.is_here().then_some(leadership.term);
        if leading == self.leading {
            return;
        }
        self.leading = leading;
        self.leases.begin(leadership.log_end);
        self.stale.clear();
        self.metrics.leases.set(0);
        self.metrics.held.set(0);
        if self.leading.is_some() {
            self.stale.extend(self.catalog.borrow().leases().map(|lease| lease.authority.clone()));
            self.refresh();
            info!(leases = self.leases.count(), "keeping leases; each starts anew");
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        info!("the replica has ended; no lease is kept any more");
    }
}

impl Handler<CatalogChanged> for IntakeActor {
    type Result = ();

    fn handle(&mut self, event: CatalogChanged, _: &mut Self::Context) {
        if self.leading.is_none() {
            return;
        }
        let touched = event.changes.iter().filter_map(|change| match change {
            Change::Endpoints { authority, .. } => Some(authority.clone()),
            _ => None,
        });
        self.stale.extend(touched);
    }
}

impl Handler<Renew> for IntakeActor {
    type Result = Result<Vec<LeaseKey>, NotLeader>;

    fn handle(&mut self, Renew(keys): Renew, _: &mut Self::Context) -> Self::Result {
        if self.leading.is_none() {
            return Err(NotLeader { leader: self.leadership.borrow().leader });
        }
        let now = self.now();
        let catalog = self.catalog.borrow();
        let mut lost = Vec::new();
        self.metrics.renewals.inc_by(keys.len() as u64);
        for key in keys {
            let granted = catalog.registration(&key.authority, &key.instance).map(granted);
            match self.leases.renew(&key.authority, granted, catalog.applied().index, now) {
                Renewal::Renewed => {}
                Renewal::Lost => lost.push(key),
                Renewal::NotYet => return Err(NotLeader { leader: None }),
            }
        }
        Ok(lost)
    }
}
