//! Resources, encoded once per revision and shape and shared by every session of a shard. Asked by sessions when they
//! cut an answer; must never encode what nobody asked for.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use mesh::{Authority, Revision};

use crate::catalog::Change;

use super::client::{Client, Shape};
use super::kind::Kind;
use super::mirror::{Entry, Mirror, OUTBOUND, Touch};
use super::push::Resource;
use super::resources;

/// The mirror, and what was encoded from it.
#[derive(Debug, Default)]
pub struct Shelf {
    mirror: Mirror,
    encoded: HashMap<(Kind, Shape), HashMap<Arc<str>, Arc<Resource>>>,
    encodings: u64,
    waiting: bool,
}

impl Shelf {
    /// A shelf from which nothing is answered before [`Self::begin`]: an empty one would tell every client that all it
    /// follows is gone.
    #[must_use]
    pub fn waiting() -> Self {
        Self { waiting: true, ..Self::default() }
    }

    /// This node has caught up with the others.
    pub fn begin(&mut self) {
        self.waiting = false;
    }

    /// Whether nothing is answered yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Takes a batch of changes over, see [`Mirror::changed`].
    pub fn changed(
        &mut self,
        changes: &[Change],
        applied: Revision,
        routing: Revision,
        replaced: bool,
    ) -> BTreeSet<Touch> {
        let touched = self.mirror.changed(changes, applied, routing, replaced);
        for touch in &touched {
            if self.mirror.served(&touch.name).is_none() && &*touch.name != OUTBOUND {
                for shape in [Shape::Penstock, Shape::Envoy, Shape::Grpc] {
                    self.encoded.get_mut(&(touch.kind, shape)).and_then(|known| known.remove(&touch.name));
                }
            }
        }
        touched
    }

    /// What this node has applied.
    #[must_use]
    pub fn applied(&self) -> Revision {
        self.mirror.applied()
    }

    /// How often a resource was encoded since the start.
    #[must_use]
    pub fn encodings(&self) -> u64 {
        self.encodings
    }

    /// The resource of this name as `client` takes it; `None` when there is none.
    pub fn resource(&mut self, kind: Kind, client: &Client, name: &str) -> Option<Arc<Resource>> {
        if kind == Kind::Listener {
            return self.listener(client, name);
        }
        if name == OUTBOUND {
            if client.shape != Shape::Envoy || kind != Kind::Routes {
                return None;
            }
            let routing = self.mirror.routing();
            return Some(self.kept(kind, Shape::Envoy, OUTBOUND.into(), routing, resources::outbound_routes));
        }
        let (name, entry) = self.mirror.served(name)?;
        let (name, version) = (name.clone(), entry.version(kind)?);
        // Endpoints look the same to everyone.
        let shape = if kind == Kind::Endpoints { Shape::Penstock } else { client.shape };
        Some(self.kept(kind, shape, name.clone(), version, |mirror| {
            mirror
                .served(&name)
                .map(|(name, entry)| resources::authority_bytes(kind, shape, name, entry))
                .unwrap_or_default()
        }))
    }

    /// Every name of this kind, for a client that asked for all.
    #[must_use]
    pub fn names(&self, kind: Kind, client: &Client) -> Vec<Arc<str>> {
        if client.shape == Shape::Envoy && matches!(kind, Kind::Listener | Kind::Routes) {
            return vec![OUTBOUND.into()];
        }
        self.mirror.all_served().map(|(name, _)| name.clone()).collect()
    }

    /// The name under which changes of what a client asked for are told: gRPC may ask for the listener `web` and means
    /// `web.default.svc.cluster.local:80`.
    #[must_use]
    pub fn topic(&self, kind: Kind, client: &Client, name: &str) -> Arc<str> {
        if kind == Kind::Listener
            && client.shape != Shape::Envoy
            && let Ok(authority) = name.parse::<Authority>()
        {
            return authority.to_string().into();
        }
        // Share the mirror's copy of the name where there is one.
        self.mirror.served(name).map_or_else(|| name.into(), |(shared, _)| shared.clone())
    }

    /// The version of a resource, without encoding it.
    #[must_use]
    pub fn version(&self, kind: Kind, client: &Client, name: &str) -> Option<Revision> {
        match (client.shape, kind) {
            (Shape::Envoy, Kind::Listener) => {
                (name == OUTBOUND).then(|| Revision::new(self.applied().epoch, 0))
            }
            (Shape::Envoy, Kind::Routes) if name == OUTBOUND => Some(self.mirror.routing()),
            (_, Kind::Listener) => self.listened_to(name)?.1.version(kind),
            _ => self.mirror.served(name)?.1.version(kind),
        }
    }

    /// What a client means by the listener of this name: an authority however it is spelled, or by a virtual address.
    fn listened_to(&self, name: &str) -> Option<(&Arc<str>, &Entry)> {
        match name.parse::<SocketAddr>() {
            Ok(address) => self.mirror.served_at(address),
            Err(_) => self.mirror.served(&name.parse::<Authority>().ok()?.to_string()),
        }
    }

    /// Listeners are told once per session and hold what the client said, so that they are not kept.
    fn listener(&self, client: &Client, name: &str) -> Option<Arc<Resource>> {
        let (version, bytes) = if client.shape == Shape::Envoy {
            if name != OUTBOUND {
                return None;
            }
            // Its bytes come from the client's node alone: nothing in the log ever changes them.
            (Revision::new(self.applied().epoch, 0), resources::outbound_listener(client.outbound))
        } else {
            let (authority, entry) = self.listened_to(name)?;
            (entry.version(Kind::Listener)?, resources::api_listener(name, authority))
        };
        Some(Arc::new(Resource { name: name.into(), version, bytes }))
    }

    fn kept(
        &mut self,
        kind: Kind,
        shape: Shape,
        name: Arc<str>,
        version: Revision,
        encode: impl FnOnce(&Mirror) -> bytes::Bytes,
    ) -> Arc<Resource> {
        let known = self.encoded.entry((kind, shape)).or_default();
        if let Some(resource) = known.get(&name).filter(|resource| resource.version == version) {
            return resource.clone();
        }
        self.encodings += 1;
        let resource = Arc::new(Resource { name: name.clone(), version, bytes: encode(&self.mirror) });
        known.insert(name, resource.clone());
        resource
    }
}
