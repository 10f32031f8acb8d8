//! What a proxy tells of what it holds, so that the control plane can heal silent drift
//! (docs/decisions/0019-digest.md). Pure.

use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh::{Authority, HeldDigest};

use super::decode::Kind;
use super::kept::Answer;

/// One request per kind of which anything is followed, with the digest of what is held of it.
pub(super) fn digests<'a>(
    answers: impl Iterator<Item = (Kind, &'a Authority, Answer)>,
) -> Vec<DeltaDiscoveryRequest> {
    let mut digests: [Option<HeldDigest>; Kind::ALL.len()] = [None; Kind::ALL.len()];
    for (kind, name, answer) in answers {
        let digest = digests[kind as usize].get_or_insert_default();
        if let Answer::Held(revision) = answer {
            digest.add(&name.to_string(), revision);
        }
    }
    let told = |kind: Kind| {
        let digest = digests[kind as usize]?;
        Some(DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            initial_resource_versions: [(HeldDigest::KEY.to_owned(), digest.to_string())].into(),
            ..DeltaDiscoveryRequest::default()
        })
    };
    Kind::ALL.into_iter().filter_map(told).collect()
}
