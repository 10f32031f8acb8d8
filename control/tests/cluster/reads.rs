//! Reads: fresh on every node, old only on request and then with their age, never old by surprise.

use api::v1::{EndpointsRequest, EndpointsResponse};
use tonic::{Code, Status};

use crate::group::{Group, name, registration};

fn endpoints(group: &Group, node: u64, stale_ms_max: u64) -> Result<EndpointsResponse, Status> {
    let mut client = group.query(node);
    let request =
        EndpointsRequest { service: Some(name("web")), stale_ms_max, ..EndpointsRequest::default() };
    group.runtime.block_on(client.endpoints(request)).map(tonic::Response::into_inner)
}

/// The same for a client that asks until it is answered.
fn fresh(group: &Group, node: u64) -> EndpointsResponse {
    let client = group.query(node);
    let request = EndpointsRequest { service: Some(name("web")), ..EndpointsRequest::default() };
    group.answer(async move || client.clone().endpoints(request.clone()).await).unwrap()
}

#[test]
fn every_node_reads_each_write_as_soon_as_it_was_acknowledged_by_any() {
    let group = Group::of(3);
    for number in 0..60_usize {
        let writer = number as u64 % 3 + 1;
        group.register(writer, registration("web", &format!("web-{number:02}"))).unwrap();
        for reader in 1..=3 {
            let answer = fresh(&group, reader);
            let seen = (answer.endpoints.len(), answer.stale_ms);
            assert_eq!(seen, (number + 1, 0), "written by {writer}, read by {reader}");
        }
    }
}

#[test]
fn a_node_without_a_leader_answers_who_bears_the_age_and_tells_it_and_refuses_the_others() {
    let mut group = Group::of(3);
    group.register(1, registration("web", "web-1")).unwrap();
    assert_eq!(fresh(&group, 3).endpoints.len(), 1);
    group.end_abruptly(1);
    group.end_abruptly(2);
    // When this is refused, whatever the others had still said has been heard.
    assert_eq!(endpoints(&group, 3, 0).unwrap_err().code(), Code::Unavailable);
    let answer = endpoints(&group, 3, 3_600_000).unwrap();
    assert_eq!(answer.endpoints.len(), 1);
    assert!((1..3_600_000).contains(&answer.stale_ms), "{}", answer.stale_ms);
    let later = endpoints(&group, 3, 3_600_000).unwrap();
    assert!(later.stale_ms >= answer.stale_ms, "its age grows while nobody vouches for it");
    let refused = endpoints(&group, 3, 1).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("catalog was last confirmed"), "{}", refused.message());
    assert!(refused.message().contains("at most 0.0 s were asked for"), "{}", refused.message());
}

#[test]
fn a_node_that_heard_nothing_since_its_start_vouches_for_no_age() {
    let mut group = Group::of(3);
    group.register(1, registration("web", "web-1")).unwrap();
    for node in 1..=3 {
        group.end_abruptly(node);
    }
    group.start_again(2);
    let refused = endpoints(&group, 2, 3_600_000).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("was never confirmed"), "{}", refused.message());
}

#[test]
fn an_idle_group_proves_its_freshness_by_itself() {
    let group = Group::of(3);
    group.register(1, registration("web", "web-1")).unwrap();
    let mut client = group.query(group.follower());
    let request = EndpointsRequest { stale_ms_max: 3_600_000, ..EndpointsRequest::default() };
    let first = group.answer(async || client.endpoints(request.clone()).await).unwrap().stale_ms;
    // Nobody asks for a fresh answer, and yet the age of the answers falls back again and again.
    let mut oldest = first;
    group.until("a younger answer", async || {
        let age = client.endpoints(request.clone()).await.ok()?.into_inner().stale_ms;
        oldest = oldest.max(age);
        (age < oldest).then_some(())
    });
}
