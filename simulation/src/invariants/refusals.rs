//! A refusal (NACK) is isolated: the other resources of the answer are taken, the last good one of the refused stays, and the
//! node that was told knows that it is refused.

use std::collections::BTreeSet;

use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh::Revision;
use proxy::discovery::{Kind, Subscriber};

use super::Violation;

const NAME: &str = "refusals are isolated";

/// What a proxy holds: kind, name, revision.
pub(crate) type Held = Vec<(Kind, String, Revision)>;

/// Everything that a subscriber holds.
pub(crate) fn held(subscriber: &Subscriber) -> Held {
    subscriber.held().map(|(kind, name, revision)| (kind, name.to_string(), revision)).collect()
}

fn revision(held: &Held, kind: Kind, name: &str) -> Option<Revision> {
    held.iter().find(|(of, named, _)| *of == kind && named == name).map(|(_, _, revision)| *revision)
}

/// Remembers which refusals are on their way.
#[derive(Debug, Default)]
pub(crate) struct RefusalsStand {
    /// Proxy and nonce of refusals of what the proxy still follows.
    under_way: BTreeSet<(u64, String)>,
}

impl RefusalsStand {
    /// `proxy` took an answer of this kind with these resources (name and version) in, and holds `after` instead of `before`.
    pub(crate) fn answered(
        &mut self,
        proxy: u64,
        told: &[(String, String)],
        request: &DeltaDiscoveryRequest,
        before: &Held,
        after: &Held,
    ) -> Result<(), Violation> {
        let (Some(refusal), Some(kind)) = (&request.error_detail, Kind::of(&request.type_url)) else {
            return Ok(());
        };
        for (name, version) in told {
            let version: Revision = version.parse().unwrap_or_default();
            // What is not followed any more, or was never held, nobody can look at.
            let Some(holds) = revision(after, kind, name) else { continue };
            let blamed = refusal.message.contains(name.as_str());
            if blamed && revision(before, kind, name) != Some(holds) {
                let story = format!("proxy {proxy} refused {name} of {version}, and went to {holds} of it");
                return Err(Violation::new(NAME, story));
            }
            if !blamed && holds != version {
                let story =
                    format!("proxy {proxy} refused others, and holds {holds} of {name}, not {version}");
                return Err(Violation::new(NAME, story));
            }
            if blamed {
                self.under_way.insert((proxy, request.response_nonce.clone()));
            }
        }
        Ok(())
    }

    /// A refusal of `proxy` arrived at its node, whose session then knows of so many (`None`: the session is gone).
    pub(crate) fn arrived(
        &mut self,
        proxy: u64,
        nonce: String,
        known: Option<usize>,
    ) -> Result<(), Violation> {
        if !self.under_way.remove(&(proxy, nonce)) || known != Some(0) {
            return Ok(());
        }
        let story = format!("proxy {proxy} refused a resource, and its node knows of none that is refused");
        Err(Violation::new(NAME, story))
    }
}

#[cfg(test)]
mod tests {
    use api::xds::pb::google::rpc::Status;

    use super::*;

    const NAME_OF_ONE: &str = "web.default.svc.cluster.local:80";
    const NAME_OF_OTHER: &str = "api.default.svc.cluster.local:80";

    fn holds(one: u64, other: u64) -> Held {
        let held = |name: &str, index| (Kind::Endpoints, name.to_owned(), Revision::new(1, index));
        vec![held(NAME_OF_ONE, one), held(NAME_OF_OTHER, other)]
    }

    /// An answer with both of version 7, of which the first is refused.
    fn broken(after: &Held) -> bool {
        let told =
            [NAME_OF_ONE, NAME_OF_OTHER].map(|name| (name.to_owned(), Revision::new(1, 7).to_string()));
        let message = format!("{NAME_OF_ONE}: it cannot be read");
        let request = DeltaDiscoveryRequest {
            type_url: Kind::Endpoints.type_url().to_owned(),
            error_detail: Some(Status { message, ..Status::default() }),
            ..DeltaDiscoveryRequest::default()
        };
        RefusalsStand::default().answered(1, &told, &request, &holds(5, 5), after).is_err()
    }

    #[test]
    fn the_last_good_one_must_stay_and_the_others_must_be_taken() {
        assert!(!broken(&holds(5, 7)));
        assert!(broken(&holds(7, 7)), "the refused one was taken");
        assert!(broken(&holds(5, 5)), "a good one was left out");
    }

    #[test]
    fn a_refusal_that_a_session_forgets_is_a_violation() {
        for (known, forgotten) in [(Some(0), true), (Some(1), false), (None, false)] {
            let mut invariant = RefusalsStand { under_way: BTreeSet::from([(1, "4".to_owned())]) };
            assert_eq!(invariant.arrived(1, "4".to_owned(), known).is_err(), forgotten);
            assert!(invariant.arrived(1, "4".to_owned(), Some(0)).is_ok(), "it arrived before");
        }
    }
}
