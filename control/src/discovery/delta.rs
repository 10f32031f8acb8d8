//! How requests of the incremental variant are read: who subscribes to what, what is held already, what was answered.
//! Source: xDS protocol, "Incremental xDS". Pure; the rest of the session is in `session.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh::{HeldDigest, Revision};
use tonic::Status;

use super::client::Client;
use super::kind::Kind;
use super::mirror::Touch;
use super::session::{NAME_BYTES_MAX, NAMES_PER_SESSION_MAX, Output, Session};
use super::shelf::Shelf;
use super::subscriptions::Told;

/// Most versions that a reconnecting client may show at once: several times the largest catalog.
const SHOWN_MAX: usize = 65_536;

/// How a client asks for everything.
pub(super) const ALL: &str = "*";

impl Session {
    /// Reads a request of an incremental stream.
    pub fn delta_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        shelf: &mut Shelf,
        out: &mut Vec<Output>,
    ) {
        if self.closed {
            return;
        }
        match self.read_delta(request, shelf, out) {
            Ok(()) => self.flush(shelf, out),
            Err(status) => self.close(status, out),
        }
    }

    fn read_delta(
        &mut self,
        request: &DeltaDiscoveryRequest,
        shelf: &Shelf,
        out: &mut Vec<Output>,
    ) -> Result<(), Status> {
        let (kind, client) = self.admit(&request.type_url, request.node.as_ref())?;
        if let Some(answer) = self.answered(kind, &request.response_nonce)? {
            match &request.error_detail {
                Some(error) => self.refused(kind, &answer, &error.message),
                None => self.acknowledged(kind, &answer),
            }
        }
        for name in &request.resource_names_unsubscribe {
            self.unsubscribe(kind, &client, name, shelf, out);
        }
        let first = !std::mem::replace(&mut self.kinds[kind.place()].begun, true);
        // An empty first request for clusters or listeners asks for all of them, as in the older variant.
        let silent = first
            && request.resource_names_subscribe.is_empty()
            && matches!(kind, Kind::Cluster | Kind::Listener);
        if silent || request.resource_names_subscribe.iter().any(|name| name == ALL) {
            let fresh = request.initial_resource_versions.is_empty();
            self.subscribe_all(kind, &client, fresh, shelf, out);
        }
        for name in request.resource_names_subscribe.iter().filter(|name| *name != ALL) {
            self.subscribe(kind, &client, name, shelf, out)?;
        }
        if first {
            return self.shown(kind, &request.initial_resource_versions);
        }
        if let Some(digest) = request.initial_resource_versions.get(HeldDigest::KEY) {
            self.compare(kind, &client, digest, shelf, out);
        }
        Ok(())
    }

    /// Follows every name of a kind.
    pub(super) fn subscribe_all(
        &mut self,
        kind: Kind,
        client: &Client,
        fresh: bool,
        shelf: &Shelf,
        out: &mut Vec<Output>,
    ) {
        let subscriptions = &mut self.kinds[kind.place()];
        if !std::mem::replace(&mut subscriptions.all, true) {
            subscriptions.owed = fresh;
            out.push(Output::WatchAll(kind));
        }
        for name in shelf.names(kind, client) {
            subscriptions.follow(&name);
            subscriptions.dirty.insert(name);
        }
    }

    /// Follows a name. Asking again for one that is followed means that the client dropped it: it is sent once more.
    pub(super) fn subscribe(
        &mut self,
        kind: Kind,
        client: &Client,
        name: &str,
        shelf: &Shelf,
        out: &mut Vec<Output>,
    ) -> Result<(), Status> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "a resource name of {} bytes: expected 1 to {NAME_BYTES_MAX}",
                name.len()
            )));
        }
        let asked: usize = self.kinds.iter().map(|subscriptions| subscriptions.asked).sum();
        let subscriptions = &mut self.kinds[kind.place()];
        let known = subscriptions.find(name).filter(|followed| followed.asked).is_some();
        if !known && asked >= NAMES_PER_SESSION_MAX {
            return Err(Status::resource_exhausted(format!(
                "this stream asks for more than {NAMES_PER_SESSION_MAX} names: unsubscribe from what is not used, or \
                 subscribe to {ALL:?}"
            )));
        }
        let topic = shelf.topic(kind, client, name);
        // Share the topic's letters where the name is the topic, as it nearly always is.
        let name = if *topic == *name { topic.clone() } else { Arc::from(name) };
        let followed = subscriptions.follow(&name);
        followed.told = Told::Nothing;
        if !std::mem::replace(&mut followed.asked, true) {
            subscriptions.asked += 1;
            out.push(Output::Watch(Touch { kind, name: topic }));
        }
        subscriptions.dirty.insert(name);
        Ok(())
    }

    /// Stops following a name, or everything that was not asked for by name.
    fn unsubscribe(&mut self, kind: Kind, client: &Client, name: &str, shelf: &Shelf, out: &mut Vec<Output>) {
        let subscriptions = &mut self.kinds[kind.place()];
        if name != ALL {
            let all = subscriptions.all;
            self.forget(kind, client, name, shelf, out);
            // It stays among the followed, under "everything".
            if all && shelf.version(kind, client, name).is_some() {
                let name = Arc::from(name);
                let subscriptions = &mut self.kinds[kind.place()];
                subscriptions.follow(&name);
                subscriptions.dirty.insert(name);
            }
        } else if std::mem::replace(&mut subscriptions.all, false) {
            subscriptions.owed = false;
            subscriptions.keep_asked();
            out.push(Output::UnwatchAll(kind));
        }
    }

    /// Takes over what a reconnecting client holds already, so that only what differs is sent. A version that this
    /// server never wrote counts as none; a newer one than it has applied holds the stream until it has caught up.
    fn shown(&mut self, kind: Kind, versions: &HashMap<String, String>) -> Result<(), Status> {
        if versions.len() > SHOWN_MAX {
            return Err(Status::resource_exhausted(format!(
                "{} initial_resource_versions of one kind: at most {SHOWN_MAX} are taken",
                versions.len()
            )));
        }
        let subscriptions = &mut self.kinds[kind.place()];
        for (name, version) in versions {
            let Ok(version) = version.parse::<Revision>() else { continue };
            if subscriptions.all && name.len() <= NAME_BYTES_MAX {
                // Also what is gone by now: it must hear of the removal.
                subscriptions.follow(&Arc::from(name.as_str()));
            }
            if let Some(followed) = subscriptions.find_mut(name) {
                followed.told = Told::At(version);
                followed.held = Some(version);
                let name = followed.name.clone();
                subscriptions.dirty.insert(name);
                self.hold = self.hold.max(Some(version));
            }
        }
        Ok(())
    }
}
