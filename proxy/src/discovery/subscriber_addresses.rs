//! What a subscriber does for intercepted connections: it follows whose their original destinations are, and at once the
//! service that is meant. What is kept of them is in `owners.rs`; everything else of the subscriber in `subscriber.rs`.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use mesh::{Authority, Revision, Timestamp};

use super::outcome::Outputs;
use super::subscriber::Subscriber;

impl Subscriber {
    /// A worker took a connection to `address` and needs to know whose that is.
    pub fn want_address(&mut self, address: SocketAddr, now: Timestamp) -> Outputs {
        let mut outputs = Outputs::default();
        if !self.owners.want(address, &self.bounds, now, &mut outputs.owners) {
            self.tally.turned_away += 1;
        }
        self.sweep_and_flush(&mut outputs);
        outputs
    }

    /// Whether this version of the listener of an original destination is held.
    pub(super) fn holds_owner(&self, name: &str, version: &str) -> bool {
        self.owners.holds(name, version)
    }

    /// Takes a response of listeners; answers the services that they mean.
    pub(super) fn owners_told(
        &mut self,
        response: &DeltaDiscoveryResponse,
        gone_at: Option<Revision>,
        refusals: &mut Vec<(String, String)>,
        outputs: &mut Outputs,
    ) -> BTreeSet<Authority> {
        let mut meant = BTreeSet::new();
        for resource in &response.resources {
            match self.owners.take(resource, &mut outputs.owners) {
                Ok(None) => {}
                Ok(Some((authority, revision))) => {
                    self.seen = self.seen.max(Some(revision));
                    self.tally.accepted += 1;
                    meant.insert(authority);
                }
                Err(reason) => {
                    self.tally.refused += 1;
                    refusals.push((resource.name.clone(), reason));
                }
            }
        }
        for name in &response.removed_resources {
            self.owners.remove(name, gone_at, &mut outputs.owners);
        }
        meant
    }
}
