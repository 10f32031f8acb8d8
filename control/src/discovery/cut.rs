//! What goes into one answer: of the names that may have changed, those whose version differs from what was told, up
//! to a size. Pure; called by the session when a kind may go out.

use std::sync::Arc;

use mesh::Revision;

use super::client::Client;
use super::kind::Kind;
use super::push::Resource;
use super::shelf::Shelf;
use super::subscriptions::{Subscriptions, Told};

/// Most bytes of resources in one answer; the rest follows once it was answered. gRPC clients take 4 MiB by default,
/// and a slow one should answer before it is given more. A single larger resource goes alone.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The contents of one answer.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) removed: Vec<Arc<str>>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) version: Revision,
    bytes: usize,
}

impl Cut {
    fn has_room_for(&self, resource: &Resource) -> bool {
        self.resources.is_empty() || self.bytes + resource.bytes.len() <= ANSWER_BYTES_MAX
    }

    fn add(&mut self, resource: Arc<Resource>) {
        self.bytes += resource.bytes.len();
        self.version = self.version.max(resource.version);
        self.names.push(resource.name.clone());
        self.resources.push(resource);
    }

    fn remove(&mut self, name: Arc<str>) {
        self.names.push(name.clone());
        self.removed.push(name);
    }
}

impl Subscriptions {
    /// Notes that the client hears of a name's absence; one that it did not ask for by name is forgotten.
    fn gone(&mut self, name: &Arc<str>) {
        self.told(name, Told::Missing);
        if self.find(name).is_some_and(|followed| !followed.asked) {
            self.forget(name);
        }
    }

    /// An incremental answer, or `None` when there is nothing to tell. Withdrawing what the client was told exists
    /// waits for `removals`; that an asked name does not exist is told at once.
    pub(super) fn cut_delta(
        &mut self,
        kind: Kind,
        removals: bool,
        client: &Client,
        shelf: &mut Shelf,
    ) -> Option<Cut> {
        let mut cut = Cut::default();
        for name in self.candidates() {
            let Some(followed) = self.find(&name) else {
                self.told(&name, Told::Nothing);
                continue;
            };
            match (shelf.resource(kind, client, &name), followed.told) {
                (Some(resource), Told::At(version)) if resource.version == version => {
                    self.told(&name, followed.told);
                }
                (Some(resource), _) if cut.has_room_for(&resource) => {
                    self.told(&name, Told::At(resource.version));
                    cut.add(resource);
                }
                (Some(_), _) => break,
                (None, Told::Nothing) if !followed.asked && followed.held.is_none() => {
                    self.forget(&name);
                }
                (None, Told::At(_)) if !removals => {}
                (None, Told::Missing) => self.told(&name, Told::Missing),
                (None, _) => {
                    self.told(&name, Told::Missing);
                    cut.remove(name);
                }
            }
        }
        (!cut.names.is_empty() || self.owed).then_some(cut)
    }

    /// An answer in the state of the world, or `None` when nothing changed. Clusters and listeners come all at once,
    /// because absence means removal; of endpoints and routes only what changed (xDS protocol, "Deleting resources").
    pub(super) fn cut_whole(
        &mut self,
        kind: Kind,
        removals: bool,
        client: &Client,
        shelf: &mut Shelf,
    ) -> Option<Cut> {
        let complete = matches!(kind, Kind::Cluster | Kind::Listener);
        let mut cut = Cut::default();
        let mut due = self.owed;
        for name in self.candidates() {
            let Some(followed) = self.find(&name) else {
                self.told(&name, Told::Nothing);
                continue;
            };
            match (shelf.resource(kind, client, &name), followed.told) {
                (Some(resource), Told::At(version)) if resource.version == version => {
                    self.told(&name, followed.told);
                }
                (Some(resource), _) => {
                    if !complete && !cut.has_room_for(&resource) {
                        break;
                    }
                    self.told(&name, Told::At(resource.version));
                    due = true;
                    if !complete {
                        cut.add(resource);
                    }
                }
                (None, Told::At(_)) if complete && !removals => {}
                (None, told) => {
                    due |= complete && told != Told::Missing;
                    self.gone(&name);
                }
            }
        }
        if !due {
            return None;
        }
        if complete {
            let names: Vec<_> = self.iter().map(|followed| followed.name.clone()).collect();
            for name in names {
                let Some(resource) = shelf.resource(kind, client, &name) else {
                    self.gone(&name);
                    continue;
                };
                self.told(&name, Told::At(resource.version));
                cut.add(resource);
            }
        }
        // Opaque to the client, but it must not be empty, and a node that is behind it holds the stream.
        let newest = self.iter().filter_map(|followed| match followed.told {
            Told::At(version) => Some(version),
            _ => None,
        });
        cut.version = newest.max().unwrap_or_else(|| shelf.applied());
        Some(cut)
    }
}
