//! Leases: what is not renewed goes, what is renewed stays, on whichever node the renewal comes in.

use std::time::Duration;

use api::v1::{EndpointsRequest, RegisterRequest, RenewRequest};

use crate::group::{Group, lease, registration};

/// The shortest lease there is.
fn short(instance: &str) -> RegisterRequest {
    RegisterRequest { lease_seconds: 5, ..registration("web", instance) }
}

/// Asks until an instance is gone.
fn until_gone(group: &Group, node: u64, instance: &str) {
    let mut client = group.query(node);
    let instance = instance.to_owned();
    group.until("the expiry", async move || {
        let rows = client.endpoints(EndpointsRequest::default()).await.ok()?.into_inner().endpoints;
        let there = rows.iter().any(|row| row.endpoint.as_ref().is_some_and(|e| e.instance == instance));
        (!there).then_some(())
    });
}

#[test]
fn a_lease_that_nobody_renews_ends_and_one_that_is_renewed_through_a_follower_does_not() {
    let group = Group::of(3);
    let follower = group.follower();
    for instance in ["silent", "alive", "alive-too"] {
        group.register(follower, short(instance)).unwrap();
    }
    let mut client = group.registration(follower);
    let renewing = group.runtime.spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        loop {
            beat.tick().await;
            let leases = vec![lease("web", "alive"), lease("web", "alive-too")];
            // One that is not answered while a leader is being elected is said again with the next beat.
            if let Ok(renewed) = client.renew(RenewRequest { leases }).await {
                assert_eq!(renewed.into_inner().lost, []);
            }
        }
    });
    until_gone(&group, follower, "silent");
    for node in group.running() {
        assert_eq!(group.instances(node, "web"), ["alive", "alive-too"], "node {node}");
    }
    renewing.abort();
}

#[test]
fn a_renewal_of_what_was_never_registered_is_told_as_lost() {
    let group = Group::of(1);
    let mut client = group.registration(1);
    let request = RenewRequest { leases: vec![lease("web", "ghost")] };
    let renewed = group.answer(async || client.renew(request.clone()).await).unwrap();
    assert_eq!(renewed.lost, [lease("web", "ghost")]);
}

#[test]
fn a_lease_that_nobody_renews_ends_under_a_new_leader_too() {
    let mut group = Group::of(3);
    group.until_all_vote();
    let leader = group.leader();
    group.register(leader, short("web-1")).unwrap();
    group.end_abruptly(leader);
    let survivor = group.leader();
    assert_eq!(group.instances(survivor, "web"), ["web-1"], "the outage took it away");
    until_gone(&group, survivor, "web-1");
}
