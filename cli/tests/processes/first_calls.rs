//! The first call to a service that was just registered.

use futures_util::future::join_all;

use crate::cluster::Cluster;
use crate::followers::{Followers, register, request, server};

const SERVICES: u64 = 100;

#[tokio::test]
async fn a_service_answers_through_the_proxies_of_every_node_as_soon_as_its_registration_is_acknowledged() {
    let cluster = Cluster::start("first-calls", 3);
    cluster.whole().await;
    let address = server("one").await;
    let mut connection = cluster.connection();
    register("web", address, 1, &mut connection).await;
    let nodes: Vec<Vec<String>> = cluster.control().into_iter().map(|node| vec![node]).collect();
    let followers = Followers::start(&nodes).await;
    let mut refused = Vec::new();
    for number in 1..=SERVICES {
        let service = format!("service-{number}");
        register(&service, address, number + 1, &mut connection).await;
        let calls = followers.outbound.iter().map(|proxy| request(*proxy, &service));
        refused.extend(join_all(calls).await.into_iter().filter_map(Result::err));
    }
    assert!(refused.is_empty(), "{} of {} first calls failed: {}", refused.len(), SERVICES * 3, refused[0]);
}
