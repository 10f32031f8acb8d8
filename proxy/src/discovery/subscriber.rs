//! The client end of one incremental xDS stream, as a value: what workers want and what the control plane answers go
//! in, requests and resolutions come out. Step 6 of the way of the data (ARCHITECTURE.md).
//!
//! For each wanted authority it follows the routes, and for each authority that those mention the cluster and the
//! endpoints. It holds these rules: a bad resource is refused and the last good one stays; nothing goes back to an
//! older revision; new rules come into force when every cluster they mention is answered (make before break); what is
//! held is shown on reconnect, so that any node resumes. It never sleeps, dials or reads a clock; `stream.rs` and the
//! simulator carry it. Rules: <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>, incremental xDS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::xds::pb::envoy::config::core::v3::Node;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use mesh::{Authority, Revision, RouteRule, Timestamp};

use super::bounds::Bounds;
use super::decode::{self, Decoded, Kind};
use super::digest::digests;
use super::kept::{Answer, Cluster, Root, backends};
use super::outcome::{Outputs, Resolution, Tally, refusal};
use super::owners::{Owners, is_of_listeners};
use crate::snapshot::{Known, ServiceView};

/// Names to add to and take from one kind's subscription in the next request.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) subscribe: BTreeSet<Authority>,
    pub(super) unsubscribe: BTreeSet<Authority>,
}

/// The client end of one incremental ADS stream.
#[derive(Debug)]
pub struct Subscriber {
    pub(super) node: Node,
    pub(super) bounds: Bounds,
    pub(super) roots: BTreeMap<Authority, Root>,
    pub(super) clusters: BTreeMap<Authority, Cluster>,
    pub(super) pending: [Pending; Kind::ALL.len()],
    pub(super) owners: Owners,
    pub(super) connected: bool,
    /// The newest revision that any node showed: a node that is behind it must not answer.
    pub(super) seen: Option<Revision>,
    /// When the next digests go out.
    pub(super) digest_due: Option<Timestamp>,
    pub(super) tally: Tally,
}

impl Subscriber {
    /// One that follows nothing yet and introduces itself as `node`.
    #[must_use]
    pub fn new(node: Node, bounds: Bounds) -> Self {
        Self {
            node,
            bounds,
            roots: BTreeMap::new(),
            clusters: BTreeMap::new(),
            pending: Default::default(),
            owners: Owners::default(),
            connected: false,
            seen: None,
            digest_due: None,
            tally: Tally::default(),
        }
    }

    /// A worker needs `authority`. What is known is told again; what is not is asked for.
    pub fn want(&mut self, authority: &Authority, now: Timestamp) -> Outputs {
        let mut outputs = Outputs::default();
        if let Some(root) = self.roots.get_mut(authority) {
            root.last_used = root.last_used.max(now);
            if let Some(told) = &root.told {
                outputs.resolutions.insert(authority.clone(), told.clone());
            }
            return outputs;
        }
        if self.roots.len() >= self.bounds.authorities_max && !self.make_room(now, &mut outputs) {
            self.tally.turned_away += 1;
            return outputs;
        }
        self.roots.insert(authority.clone(), Root::new(now));
        self.pending(Kind::Routes).subscribe.insert(authority.clone());
        // The last rule always sends to the authority itself: asking for all three at once saves a round trip.
        self.set_mentions(authority, BTreeSet::from([authority.clone()]));
        self.sweep_and_flush(&mut outputs);
        outputs
    }

    /// Requests for `authority` were seen up to `now`: it is not idle. Names not followed are ignored.
    pub fn used(&mut self, authority: &Authority, now: Timestamp) {
        self.owners.used(authority, now);
        if let Some(root) = self.roots.get_mut(authority) {
            root.last_used = root.last_used.max(now);
        }
    }

    /// Stops following `authority`.
    pub fn forget(&mut self, authority: &Authority) -> Outputs {
        let mut outputs = Outputs::default();
        self.drop_root(authority, &mut outputs);
        self.sweep_and_flush(&mut outputs);
        outputs
    }

    /// Drops what is idle or was unknown for long enough, and tells digests when they are due; called about once a second.
    pub fn evict(&mut self, now: Timestamp) -> Outputs {
        let (idle, unknown, connected) = (self.bounds.idle, self.bounds.unknown, self.connected);
        let lapsed = |root: &Root| match root.unknown_since {
            Some(since) => now.since(since) >= unknown,
            // Without the control plane nothing could be fetched again: what is held stays.
            None => connected && now.since(root.last_used) >= idle,
        };
        let due: Vec<Authority> =
            self.roots.iter().filter(|(_, root)| lapsed(root)).map(|(name, _)| name.clone()).collect();
        let mut outputs = Outputs::default();
        for authority in due {
            self.drop_root(&authority, &mut outputs);
            self.tally.evicted += 1;
        }
        self.tally.evicted += self.owners.evict(&self.bounds, connected, now, &mut outputs.owners);
        self.sweep_and_flush(&mut outputs);
        self.tell_digests(now, &mut outputs);
        outputs
    }

    /// The stream ended. What is held stays in use.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.pending = Default::default();
    }

    /// The control plane answered: takes what is good, refuses what is not, and says so.
    pub fn response(&mut self, response: DeltaDiscoveryResponse, now: Timestamp) -> Outputs {
        self.tally.responses += 1;
        let mut refusals = Vec::new();
        let mut touched = BTreeSet::new();
        let gone_at = response.system_version_info.parse().ok();
        self.seen = self.seen.max(gone_at);
        let mut outputs = Outputs::default();
        let mut meant = BTreeSet::new();
        match Kind::of(&response.type_url) {
            None if is_of_listeners(&response) => {
                meant = self.owners_told(&response, gone_at, &mut refusals, &mut outputs);
            }
            None => refusals.push((response.type_url.clone(), "was not subscribed to".to_owned())),
            Some(kind) => {
                for resource in response.resources {
                    let name = resource.name.clone();
                    if let Err(reason) = self.take(kind, resource, &mut touched) {
                        self.tally.refused += 1;
                        refusals.push((name, reason));
                    }
                }
                for name in response.removed_resources {
                    self.remove(kind, &name, gone_at, &mut touched);
                }
            }
        }
        outputs.requests.push(DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            error_detail: refusal(&refusals),
            ..DeltaDiscoveryRequest::default()
        });
        for authority in touched {
            self.settle(&authority, now, &mut outputs);
        }
        for authority in meant {
            // Whoever asked whose an address is will ask for the service next.
            let wanted = self.want(&authority, now);
            outputs.requests.extend(wanted.requests);
            outputs.resolutions.extend(wanted.resolutions);
        }
        self.sweep_and_flush(&mut outputs);
        outputs
    }

    /// What was last told of `authority`; `None` when it is not followed or not answered yet.
    #[must_use]
    pub fn resolution(&self, authority: &Authority) -> Option<&Resolution> {
        self.roots.get(authority)?.told.as_ref()
    }

    /// The authorities that workers want, and whether each is answered.
    pub fn wanted(&self) -> impl Iterator<Item = (&Authority, Option<&Resolution>)> {
        self.roots.iter().map(|(authority, root)| (authority, root.told.as_ref()))
    }

    /// Each held resource's kind, name and revision; revisions of one never fall.
    pub fn held(&self) -> impl Iterator<Item = (Kind, &Authority, Revision)> {
        self.answers().filter_map(|(kind, name, answer)| Some((kind, name, answer.revision()?)))
    }

    fn answers(&self) -> impl Iterator<Item = (Kind, &Authority, Answer)> {
        let routes = self.roots.iter().map(|(name, root)| (Kind::Routes, name, root.routes));
        let clusters = self.clusters.iter().flat_map(|(name, cluster)| {
            [(Kind::Clusters, name, cluster.cluster), (Kind::Endpoints, name, cluster.endpoints)]
        });
        routes.chain(clusters)
    }

    /// Once per [`Bounds::digest`] of a stream, per kind that is followed, what is held, for the node to compare.
    fn tell_digests(&mut self, now: Timestamp, outputs: &mut Outputs) {
        let due = *self.digest_due.get_or_insert(now.plus(self.bounds.digest));
        if !self.connected || now < due {
            return;
        }
        self.digest_due = None;
        let told = digests(self.answers());
        self.tally.digests += told.len() as u64;
        outputs.requests.extend(told);
    }

    /// What happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Stores one resource and notes whose resolution it touches. Not subscribed to (any more): ignored.
    fn take(
        &mut self,
        kind: Kind,
        resource: Resource,
        touched: &mut BTreeSet<Authority>,
    ) -> Result<(), String> {
        let revision: Revision =
            resource.version.parse().map_err(|error: mesh::RevisionError| error.to_string())?;
        let (name, decoded) = decode::decoded(kind, resource)?;
        let Some(answer) = self.answer(kind, &name) else { return Ok(()) };
        if let Some(held) = answer.revision().filter(|held| revision < *held) {
            self.tally.stale += 1;
            return Err(format!("revision {revision} is older than {held}, which is held"));
        }
        *answer = Answer::Held(revision);
        self.seen = self.seen.max(Some(revision));
        self.tally.accepted += 1;
        match decoded {
            Decoded::Routes(rules) => {
                if let Some(root) = self.roots.get_mut(&name) {
                    root.rules = rules;
                }
            }
            Decoded::Cluster(protocol, policy) => {
                if let Some(cluster) = self.clusters.get_mut(&name) {
                    cluster.speak(protocol, policy);
                }
            }
            Decoded::Endpoints(endpoints) => {
                if let Some(cluster) = self.clusters.get_mut(&name) {
                    cluster.serve_at(revision, endpoints);
                }
            }
        }
        self.touch(kind, name, touched);
        Ok(())
    }

    /// The control plane has no resource of this name (any more).
    fn remove(&mut self, kind: Kind, name: &str, at: Option<Revision>, touched: &mut BTreeSet<Authority>) {
        let Ok(name) = name.parse::<Authority>() else { return };
        let Some(answer) = self.answer(kind, &name) else { return };
        *answer = answer.gone(at);
        let gone_at = answer.revision().unwrap_or_default();
        match (kind, self.roots.get_mut(&name), self.clusters.get_mut(&name)) {
            (Kind::Routes, Some(root), _) => root.rules.clear(),
            (Kind::Endpoints, _, Some(cluster)) => cluster.serve_at(gone_at, Vec::new()),
            _ => {}
        }
        self.touch(kind, name, touched);
    }

    /// What is known of one subscribed resource.
    fn answer(&mut self, kind: Kind, name: &Authority) -> Option<&mut Answer> {
        match kind {
            Kind::Routes => self.roots.get_mut(name).map(|root| &mut root.routes),
            Kind::Clusters => self.clusters.get_mut(name).map(|cluster| &mut cluster.cluster),
            Kind::Endpoints => self.clusters.get_mut(name).map(|cluster| &mut cluster.endpoints),
        }
    }

    /// Notes the roots that a change of this resource concerns.
    fn touch(&self, kind: Kind, name: Authority, touched: &mut BTreeSet<Authority>) {
        match kind {
            Kind::Routes => {
                touched.insert(name);
            }
            Kind::Clusters | Kind::Endpoints => {
                touched.extend(self.clusters.get(&name).into_iter().flat_map(|c| c.used_by.iter().cloned()));
            }
        }
    }

    /// Brings what is told of `authority` up to what is held, as soon as all of it is held.
    fn settle(&mut self, authority: &Authority, now: Timestamp, outputs: &mut Outputs) {
        let Some(root) = self.roots.get_mut(authority) else { return };
        let known = match root.routes {
            Answer::Asked => return,
            Answer::Gone(_) => {
                root.unknown_since.get_or_insert(now);
                self.set_mentions(authority, BTreeSet::from([authority.clone()]));
                Known::Unknown
            }
            Answer::Held(_) => {
                root.unknown_since = None;
                let needed: BTreeSet<&Authority> =
                    std::iter::once(authority).chain(backends(&root.rules)).collect();
                let followed = |name| self.clusters.contains_key(name);
                if needed.iter().copied().ne(&root.mentions) || !root.mentions.iter().all(followed) {
                    let needed = needed.into_iter().cloned().collect();
                    self.mention(authority, needed);
                }
                let answered = |name| self.clusters.get(name).is_none_or(Cluster::is_answered);
                let Some(root) = self.roots.get(authority) else { return };
                if backends(&root.rules).chain([authority]).all(answered) {
                    Known::Service(Arc::new(self.view(authority, root.rules.clone(), root.mentions.iter())))
                } else if let Some(Resolution::Known(Known::Service(old))) = &root.told {
                    Known::Service(Arc::new(self.view(authority, old.rules.clone(), old.clusters.keys())))
                } else {
                    return;
                }
            }
        };
        let Some(root) = self.roots.get_mut(authority) else { return };
        let resolution = Resolution::Known(known);
        if root.told.as_ref() != Some(&resolution) {
            root.told = Some(resolution.clone());
            outputs.resolutions.insert(authority.clone(), resolution);
        }
    }

    fn view<'a>(
        &self,
        authority: &Authority,
        rules: Vec<RouteRule>,
        names: impl Iterator<Item = &'a Authority>,
    ) -> ServiceView {
        let set = |name: &Authority| Some((name.clone(), Arc::clone(&self.clusters.get(name)?.set)));
        ServiceView { authority: authority.clone(), rules, clusters: names.filter_map(set).collect() }
    }

    /// Follows what the newest rules of `authority` need, and alone that as soon as all of it is answered.
    fn mention(&mut self, authority: &Authority, needed: BTreeSet<Authority>) {
        let Some(root) = self.roots.get(authority) else { return };
        // What older rules mention is followed on: they stay in force until the newer ones can be.
        let followed = needed.union(&root.mentions).cloned().collect();
        self.set_mentions(authority, followed);
        if needed.iter().all(|name| self.clusters.get(name).is_none_or(Cluster::is_answered)) {
            self.set_mentions(authority, needed);
        }
    }

    /// Makes `mentions` the clusters that are followed for `authority`.
    fn set_mentions(&mut self, authority: &Authority, mentions: BTreeSet<Authority>) {
        let Some(root) = self.roots.get_mut(authority) else { return };
        let before = std::mem::replace(&mut root.mentions, mentions.clone());
        for dropped in before.difference(&mentions) {
            if let Some(cluster) = self.clusters.get_mut(dropped) {
                cluster.used_by.remove(authority);
            }
        }
        for name in mentions {
            if !self.clusters.contains_key(&name) {
                if self.clusters.len() >= self.bounds.backends_max && name != *authority {
                    self.tally.turned_away += 1;
                    continue;
                }
                self.pending(Kind::Clusters).subscribe.insert(name.clone());
                self.pending(Kind::Endpoints).subscribe.insert(name.clone());
            }
            let cluster = self.clusters.entry(name.clone()).or_insert_with(|| Cluster::new(name));
            cluster.used_by.insert(authority.clone());
        }
    }

    fn drop_root(&mut self, authority: &Authority, outputs: &mut Outputs) {
        self.set_mentions(authority, BTreeSet::new());
        if self.roots.remove(authority).is_some() {
            self.pending(Kind::Routes).unsubscribe.insert(authority.clone());
            outputs.resolutions.insert(authority.clone(), Resolution::Forgotten);
        }
    }

    /// Frees one place: the oldest unknown one, or else the one unused for longest, if for long enough.
    fn make_room(&mut self, now: Timestamp, outputs: &mut Outputs) -> bool {
        let unknown = self.roots.iter().filter_map(|(name, root)| Some((root.unknown_since?, name))).min();
        let unused = || {
            let unused = self.roots.iter().map(|(name, root)| (root.last_used, name)).min();
            unused.filter(|(last_used, _)| self.connected && now.since(*last_used) >= self.bounds.yield_after)
        };
        let Some(place) = unknown.or_else(unused).map(|(_, name)| name.clone()) else { return false };
        self.drop_root(&place, outputs);
        self.tally.evicted += 1;
        true
    }

    /// Drops clusters that nobody mentions any more, then says on the stream what changed in the subscription.
    pub(super) fn sweep_and_flush(&mut self, outputs: &mut Outputs) {
        let unused: Vec<Authority> = self
            .clusters
            .iter()
            .filter(|(_, c)| c.used_by.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in unused {
            self.clusters.remove(&name);
            for kind in [Kind::Clusters, Kind::Endpoints] {
                // One that was never asked for on this stream needs no farewell.
                if !self.pending(kind).subscribe.remove(&name) {
                    self.pending(kind).unsubscribe.insert(name.clone());
                }
            }
        }
        let owners = self.owners.flush();
        outputs.requests.extend(owners.filter(|_| self.connected));
        for kind in Kind::ALL {
            let pending = std::mem::take(self.pending(kind));
            if self.connected && !(pending.subscribe.is_empty() && pending.unsubscribe.is_empty()) {
                let names = |set: BTreeSet<Authority>| set.iter().map(ToString::to_string).collect();
                outputs.requests.push(DeltaDiscoveryRequest {
                    type_url: kind.type_url().to_owned(),
                    resource_names_subscribe: names(pending.subscribe),
                    resource_names_unsubscribe: names(pending.unsubscribe),
                    ..DeltaDiscoveryRequest::default()
                });
            }
        }
    }

    fn pending(&mut self, kind: Kind) -> &mut Pending {
        &mut self.pending[kind as usize]
    }
}
