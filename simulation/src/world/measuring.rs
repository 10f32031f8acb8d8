//! Gathers what a run was like, for runs that people ask for. Draws nothing by chance and changes nothing: a measured run has
//! the same story as one that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use control::catalog::Catalog;
use mesh::{Authority, InstanceName, Revision};
use proxy::discovery::{Kind, Resolution, Subscriber};
use proxy::snapshot::Known;

use super::event::Event;
use super::run::World;
use crate::measured::{Measured, Requests, Stretch};

/// How often callers are looked at. Each sends one request to each service that its proxy follows, so ten a second.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long an endpoint that has left still takes requests: the product's `leave_grace_ms`.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// How long a request waits for the first word about a service, as the product's `DEMAND_WAIT`.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// One endpoint, wherever it is held.
type Place = (InstanceName, SocketAddr);

/// The measures of a run that is under way; off, it keeps nothing.
#[derive(Debug, Default)]
pub(super) struct Measures {
    on: bool,
    measured: Measured,
    /// When each index was applied first, by any node.
    committed: BTreeMap<u64, Duration>,
    /// What each proxy has been told and still holds, with its index: a first word is no change, and neither is the same again.
    told: BTreeMap<u64, BTreeMap<(Kind, String), u64>>,
    /// Since when proxies wait for the first word about a service.
    waiting: BTreeMap<(u64, Authority), Duration>,
    /// The newest catalog that was looked at, and what it holds.
    seen: Revision,
    there: BTreeMap<Authority, BTreeSet<Place>>,
    /// Since when a service has had an endpoint all the time.
    served_since: BTreeMap<Authority, Duration>,
    /// When what is not there any more left.
    left: BTreeMap<(Authority, Place), Duration>,
    dead_since: BTreeMap<u64, Duration>,
}

impl Measures {
    pub(super) fn acknowledged(&mut self, at: Duration) {
        if self.on {
            self.measured.acknowledged.push(at);
        }
    }

    pub(super) fn leads(&mut self, at: Duration, node: u64, term: u64) {
        if self.on {
            self.measured.leaders.push((at, node, term));
        }
    }

    pub(super) fn act(&mut self, at: Duration, sentence: String) {
        if self.on {
            self.measured.acts.push((at, sentence));
        }
    }

    pub(super) fn died(&mut self, at: Duration, node: u64) {
        if self.on {
            self.dead_since.entry(node).or_insert(at);
        }
    }

    pub(super) fn started(&mut self, at: Duration, node: u64) {
        if let Some(from) = self.dead_since.remove(&node) {
            self.measured.down.push((node, Stretch { from, to: at }));
        }
    }

    pub(super) fn applied(&mut self, at: Duration, index: u64) {
        if self.on {
            self.committed.entry(index).or_insert(at);
        }
    }

    /// Every node went back to a backup: what is committed from now on stands at indexes that were told before.
    pub(super) fn restored(&mut self) {
        self.committed.clear();
        self.told.clear();
    }

    /// A proxy is told this.
    pub(super) fn told(&mut self, at: Duration, proxy: u64, response: &DeltaDiscoveryResponse) {
        let Some(kind) = Kind::of(&response.type_url).filter(|_| self.on) else { return };
        let told = self.told.entry(proxy).or_default();
        for resource in &response.resources {
            let index = resource.version.parse().map_or(0, |revision: Revision| revision.index);
            let before = told.insert((kind, resource.name.clone()), index);
            let committed =
                self.committed.get(&index).filter(|_| before.is_some_and(|before| before < index));
            if let Some(committed) = committed {
                self.measured.propagation.push((at, at.saturating_sub(*committed)));
            }
        }
    }

    /// A proxy may have let go of something: what it is told of that later is a first word again.
    pub(super) fn holds(&mut self, proxy: u64, subscriber: &Subscriber) {
        if let Some(told) = self.told.get_mut(&proxy).filter(|_| self.on) {
            let held: BTreeSet<_> =
                subscriber.held().map(|(kind, name, _)| (kind, name.to_string())).collect();
            told.retain(|one, _| held.contains(one));
        }
    }

    /// A proxy starts anew, and holds nothing.
    pub(super) fn restarted(&mut self, proxy: u64) {
        self.told.remove(&proxy);
        self.waiting.retain(|(of, _), _| *of != proxy);
    }

    /// Brings what is there up to date with the newest catalog.
    fn look_at(&mut self, catalog: &Catalog, now: Duration) {
        if catalog.applied() <= self.seen {
            return;
        }
        self.seen = catalog.applied();
        let mut there = BTreeMap::new();
        for (name, stored) in catalog.services() {
            for port in &stored.service.ports {
                let authority = Authority { service: name.clone(), port: port.port };
                let endpoints = catalog.endpoints(&authority);
                let places: BTreeSet<Place> = endpoints
                    .iter()
                    .flat_map(|(_, endpoints)| endpoints.iter())
                    .map(|endpoint| (endpoint.instance.clone(), endpoint.address))
                    .collect();
                there.insert(authority, places);
            }
        }
        for (authority, before) in std::mem::take(&mut self.there) {
            let still: BTreeSet<Place> = there.get(&authority).cloned().unwrap_or_default();
            for place in before.difference(&still) {
                self.left.insert((authority.clone(), place.clone()), now);
            }
        }
        let came_back = |(authority, place): &(Authority, Place)| {
            there.get(authority).is_some_and(|places| places.contains(place))
        };
        self.left.retain(|gone, _| !came_back(gone));
        let is_served = |authority: &Authority| there.get(authority).is_some_and(|places| !places.is_empty());
        self.served_since.retain(|authority, _| is_served(authority));
        for authority in there.keys().filter(|authority| is_served(authority)) {
            self.served_since.entry(authority.clone()).or_insert(now);
        }
        self.there = there;
    }

    /// What becomes of a request of this proxy's caller to `authority`.
    fn request(&mut self, proxy: u64, authority: &Authority, told: Option<&Resolution>, look: &mut Requests) {
        // A first endpoint is on its way to the proxies for a moment, as before it nobody could be served.
        let since = self.served_since.get(authority);
        if since.is_none_or(|since| look.at.saturating_sub(*since) < LOOK_EVERY) {
            return;
        }
        look.sent += 1;
        let Some(Resolution::Known(known)) = told else {
            let since = *self.waiting.entry((proxy, authority.clone())).or_insert(look.at);
            look.failed += u64::from(look.at.saturating_sub(since) >= FIRST_WORD);
            return;
        };
        self.waiting.remove(&(proxy, authority.clone()));
        let Known::Service(view) = known else {
            look.failed += 1;
            return;
        };
        let held: Vec<Place> = view
            .clusters
            .get(authority)
            .iter()
            .flat_map(|set| &set.endpoints)
            .map(|endpoint| (endpoint.instance.clone(), endpoint.address))
            .collect();
        let is_gone = |place: &&Place| {
            let left = self.left.get(&(authority.clone(), (*place).clone()));
            left.is_some_and(|left| look.at.saturating_sub(*left) >= LEAVE_GRACE)
        };
        let gone = held.iter().filter(is_gone).count();
        if gone == held.len() {
            look.failed += 1;
        } else {
            #[allow(clippy::cast_precision_loss)] // a handful of endpoints
            let share = gone as f64 / held.len() as f64;
            look.tried_again += share;
        }
    }
}

impl World {
    /// Begins to measure.
    pub(super) fn begin_to_measure(&mut self) {
        self.measures.on = true;
        self.heap.put(LOOK_EVERY, Event::Look);
    }

    /// What was measured.
    pub(super) fn measured(&mut self) -> Measured {
        let (now, mut measures) = (self.heap.now(), std::mem::take(&mut self.measures));
        let dead: Vec<u64> = measures.dead_since.keys().copied().collect();
        dead.into_iter().for_each(|node| measures.started(now, node));
        Measured { end: now, ..measures.measured }
    }

    /// Looks at what callers meet now.
    pub(super) fn look(&mut self) {
        let Self { measures, nodes, proxies, heap, .. } = self;
        let now = heap.now();
        let catalogs = nodes.values().filter_map(|node| Some(&node.running.as_ref()?.catalog));
        if let Some(newest) = catalogs.max_by_key(|catalog| catalog.applied()) {
            measures.look_at(newest, now);
        }
        let mut look = Requests { at: now, sent: 0, failed: 0, tried_again: 0.0 };
        for (id, proxy) in proxies {
            for (authority, told) in proxy.subscriber.wanted() {
                measures.request(*id, authority, told, &mut look);
            }
        }
        measures.measured.requests.push(look);
        heap.put_in(LOOK_EVERY, Event::Look);
    }
}
