//! A node whose catalog is another than the others': found by comparing hashes, it serves nothing any more and says as of where.

use std::sync::Arc;

use api::v1::EndpointsRequest;
use bytes::Bytes;
use consensus::{Batch, Log, LogSettings, Membership, NodeId, StdVfs};
use control::Settings;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tonic::Code;

use crate::group::{Group, registration};

/// Changes one word in the log of a node that is stopped. Its checksums are right: what is left is what a fault in memory, or
/// a program that reads an entry otherwise, would leave. Answers the entry.
fn rewrite(settings: &Settings, word: &str, other: &str) -> u64 {
    assert_eq!(word.len(), other.len(), "or the entry could not be read");
    let log_settings = LogSettings::new(
        settings.data_directory.clone(),
        &settings.cluster,
        settings.node,
        Membership::default(),
    );
    let (mut log, recovered) = Log::open(Arc::new(StdVfs), &log_settings).unwrap();
    let first = recovered.entries.iter().position(|entry| at(&entry.data, word).is_some()).unwrap();
    let mut entries = recovered.entries[first..].to_vec();
    let mut data = entries[0].data.to_vec();
    while let Some(place) = at(&data, word) {
        data[place..place + word.len()].copy_from_slice(other.as_bytes());
    }
    entries[0].data = Bytes::from(data);
    let index = entries[0].index;
    log.persist(&[Batch { number: 1, hard_state: recovered.hard_state, snapshot: None, entries }]).unwrap();
    index
}

fn at(data: &[u8], word: &str) -> Option<usize> {
    data.windows(word.len()).position(|bytes| bytes == word.as_bytes())
}

#[test]
fn a_node_with_another_catalog_serves_nothing_any_more_and_hands_leadership_over_while_the_others_go_on() {
    let mut group = Group::of(3);
    let faulty = group.follower();
    group.register(faulty, registration("web", "web-1")).unwrap();
    group.instances(faulty, "web");
    group.stop(faulty);
    let rewritten = rewrite(group.settings(faulty), "web-1", "web-7");
    group.start_again(faulty);
    let mut client = group.query(faulty);
    let refused = group.until("the faulty node's refusal", async move || {
        let refused = client.endpoints(EndpointsRequest::default()).await.err()?;
        refused.message().contains("differs from the majority's").then_some(refused)
    });
    assert_eq!(refused.code(), Code::Unavailable, "clients go to another node");
    let told = refused.message().split("as of entry ").nth(1).unwrap().split(',').next().unwrap();
    assert!(told.parse::<u64>().unwrap() >= rewritten, "{refused}: entry {rewritten} was rewritten");

    let ended = group.until("the end of its discovery", async || {
        let mut streams = AggregatedDiscoveryServiceClient::new(group.channel(faulty));
        let requests = tokio_stream::iter([DeltaDiscoveryRequest::default()]);
        streams.delta_aggregated_resources(requests).await.err()
    });
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(ended.message().contains("differs from the majority's"), "{ended}");

    let sound: Vec<u64> = group.running().into_iter().filter(|node| *node != faulty).collect();
    for node in &sound {
        assert_eq!(group.instances(*node, "web"), ["web-1"], "node {node}");
    }
    let door = |node: u64| group.running_node(node).door();
    let term = door(sound[0]).leadership().borrow().term;
    group.until("a sound leader, after the faulty node was made one", async || {
        let now = *door(sound[0]).leadership().borrow();
        if now.term >= term + 2 && now.leader.is_some_and(|leader| leader.0 != faulty) {
            return Some(());
        }
        // Whichever of them leads asks it to, again if that came to nothing. It may hand over before anybody has seen it lead.
        for node in &sound {
            let _moved = door(*node).transfer_leadership(Some(NodeId(faulty))).await;
        }
        None
    });
    group.register(sound[0], registration("web", "web-2")).unwrap();
}
