//! Heals silent drift. A proxy tells from time to time, kind by kind, a digest of the names and revisions that it holds;
//! the session compares it with what it believes the proxy to hold, and what it believes with the catalog. Pure.
//!
//! A proxy that holds something else is made to start its stream anew: it then shows every revision, and is sent what
//! differs and nothing more. A change of the catalog that the session missed is told. Neither should ever happen; in
//! meshes without this, users restart proxies to get rid of it (docs/decisions/0019-digest.md).

use mesh::HeldDigest;
use tonic::Status;

use super::client::Client;
use super::kind::Kind;
use super::session::{Output, Session};
use super::shelf::Shelf;
use super::subscriptions::Told;

/// What differed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// The proxy does not hold what it was told: its stream is ended.
    Proxy(Kind),
    /// So many resources of the catalog were not told: they are told now.
    Session(Kind, usize),
}

impl Session {
    /// Compares what a proxy says that it holds of one kind. While anything is on its way to it the two must differ, and
    /// nothing is compared: since requests come in order, a settled kind has no other reason to.
    pub(super) fn compare(
        &mut self,
        kind: Kind,
        client: &Client,
        digest: &str,
        shelf: &Shelf,
        out: &mut Vec<Output>,
    ) {
        let subscriptions = &self.kinds[kind.place()];
        if self.is_held() || shelf.is_waiting() || !subscriptions.is_settled() {
            return;
        }
        let mut believed = HeldDigest::default();
        for followed in subscriptions.iter() {
            if let Some(version) = followed.held {
                believed.add(&followed.name, version);
            }
        }
        if believed.to_string() != digest {
            out.push(Output::Drifted(Drift::Proxy(kind)));
            let told = format!(
                "this stream should hold {believed} of {}, not {digest}: start it anew",
                kind.as_str()
            );
            return self.close(Status::aborted(told), out);
        }
        let missed: Vec<_> = subscriptions
            .iter()
            .filter(|followed| match (followed.told, shelf.version(kind, client, &followed.name)) {
                (Told::At(told), Some(version)) => told != version,
                (Told::Missing, None) => false,
                (Told::Nothing, None) => followed.asked,
                _ => true,
            })
            .map(|followed| followed.name.clone())
            .collect();
        if !missed.is_empty() {
            out.push(Output::Drifted(Drift::Session(kind, missed.len())));
            self.kinds[kind.place()].dirty.extend(missed);
        }
    }
}
