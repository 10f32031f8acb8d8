//! What must hold of any config that a control plane sends, or that the file of the last good config holds. For seeded mutations
//! and for fuzzing alone.

use std::net::SocketAddr;

use api::xds::pb::envoy::config::core::v3::Node;
use api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use api::xds::pb::google::protobuf::Any;
use mesh::{Authority, Revision, Timestamp};

use super::cache::{Cache, file_of, followed, followed_addresses, responses};
use super::owners::LISTENER;
use super::{Bounds, Kind, Subscriber};

const NOW: Timestamp = Timestamp(0);
const ADDRESS: &str = "10.96.0.10:80";
const VERSION: &str = "1.1";

/// A resource, or the body of a kept file, is taken or refused; the first byte says which of them it is. A resource that is
/// refused changes nothing, and one that is taken is there again after it was kept in a file.
///
/// # Panics
/// If not.
pub fn config_is_taken_or_refused(bytes: &[u8]) {
    let Some((form, bytes)) = bytes.split_first() else { return };
    let web = web().to_string();
    match form % 5 {
        kind @ 0..3 => resource_is_taken_or_refused(Kind::ALL[usize::from(kind)].type_url(), &web, bytes),
        3 => resource_is_taken_or_refused(LISTENER, ADDRESS, bytes),
        _ => kept_file_is_taken_or_refused(bytes),
    }
}

fn resource_is_taken_or_refused(type_url: &str, name: &str, body: &[u8]) {
    let (mut subscriber, mut cache) = (follower(), Cache::default());
    let before = held(&subscriber);
    let sent = Resource {
        name: name.to_owned(),
        version: VERSION.to_owned(),
        resource: Some(Any { type_url: type_url.to_owned(), value: body.to_vec() }),
        ..Resource::default()
    };
    let response = DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        nonce: "1".to_owned(),
        resources: vec![sent],
        ..DeltaDiscoveryResponse::default()
    };
    let outputs = subscriber.response(response.clone(), NOW);
    if outputs.requests.first().is_some_and(|told| told.error_detail.is_some()) {
        assert_eq!(held(&subscriber), before, "what is refused changes nothing");
        assert!(outputs.resolutions.is_empty() && outputs.owners.is_empty(), "{outputs:?}");
    }
    cache.note(&response, &subscriber);
    let Some(file) = cache.changed_bytes() else { return };
    let mut restored = follower();
    for response in responses(&file).expect("what we write can be read") {
        restored.response(response, NOW);
    }
    assert_eq!(held(&restored), held(&subscriber), "what is kept comes back");
}

fn kept_file_is_taken_or_refused(body: &[u8]) {
    let Ok(responses) = responses(&file_of(body)) else { return };
    let mut subscriber = Subscriber::new(Node::default(), Bounds::default());
    for authority in followed(&responses) {
        let _ = subscriber.want(&authority, NOW);
    }
    for address in followed_addresses(&responses) {
        let _ = subscriber.want_address(address, NOW);
    }
    for response in responses {
        let _ = subscriber.response(response, NOW);
    }
    let _ = subscriber.connected();
}

/// One that follows a service and an original destination.
fn follower() -> Subscriber {
    let mut subscriber = Subscriber::new(Node::default(), Bounds::default());
    let address: SocketAddr = ADDRESS.parse().expect("it is one");
    let _ = (subscriber.want(&web(), NOW), subscriber.want_address(address, NOW));
    subscriber
}

fn web() -> Authority {
    "web".parse().expect("it is one")
}

/// What a subscriber holds: kinds, names and revisions, and whether it knows whose the original destination is.
fn held(subscriber: &Subscriber) -> (Vec<(Kind, String, Revision)>, bool) {
    let held = subscriber.held().map(|(kind, name, revision)| (kind, name.to_string(), revision));
    (held.collect(), subscriber.holds_owner(ADDRESS, VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutations::{files, mutations};

    #[test]
    fn config_of_the_corpus_is_taken_or_refused_as_its_name_says() {
        for (name, bytes) in files("discovery") {
            config_is_taken_or_refused(&bytes);
            let kind = usize::from(bytes[0]);
            if kind < Kind::ALL.len() {
                let sent = Resource {
                    name: web().to_string(),
                    resource: Some(Any {
                        type_url: Kind::ALL[kind].type_url().to_owned(),
                        value: bytes[1..].to_vec(),
                    }),
                    ..Resource::default()
                };
                let is_taken = super::super::decode::decoded(Kind::ALL[kind], sent).is_ok();
                assert_eq!(is_taken, !name.starts_with("refused-"), "{name}");
            }
        }
    }

    #[test]
    fn mutated_config_is_taken_or_refused() {
        mutations(&["discovery"]).for_each(|bytes| config_is_taken_or_refused(&bytes));
    }
}
