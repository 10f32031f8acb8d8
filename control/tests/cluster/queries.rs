//! Questions: who belongs to the group, what exists, and what is said of what does not.

use api::v1::{EndpointsRequest, MembersRequest, ProxiesRequest, ServicesRequest};
use tonic::Code;

use crate::group::{Group, name, registration};

#[test]
fn members_shows_one_leader_and_who_does_not_answer() {
    let mut group = Group::of(3);
    let away = group.follower();
    group.end_abruptly(away);
    for node in group.running() {
        let mut client = group.query(node);
        let response = group.runtime.block_on(client.members(MembersRequest {})).unwrap().into_inner();
        assert_eq!((response.members.len(), response.answered_by), (3, node));
        // While a new leader is being elected there is none, and for a moment there may be one that does not know yet that it is
        // none any more.
        group.until_rows(node, "one leader, and one that does not answer", |rows| {
            let leading = rows.iter().filter(|row| row.role == "leader").count();
            let silent: Vec<u64> = rows.iter().filter(|row| !row.reachable).map(|row| row.node).collect();
            leading == 1 && silent == [away]
        });
    }
}

#[test]
fn members_answers_without_a_leader() {
    let mut group = Group::of(3);
    group.end_abruptly(1);
    group.end_abruptly(2);
    let mut client = group.query(3);
    let response = group.runtime.block_on(client.members(MembersRequest {})).unwrap().into_inner();
    assert_eq!(response.members.iter().filter(|row| row.reachable).count(), 1);
}

#[test]
fn services_come_into_being_with_their_first_registration_and_are_counted() {
    let group = Group::of(1);
    for instance in ["web-1", "web-2"] {
        group.register(1, registration("web", instance)).unwrap();
    }
    let mut client = group.query(1);
    let rows = group.answer(async || client.services(ServicesRequest::default()).await).unwrap().services;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].endpoints, rows[0].ready_endpoints, rows[0].routes), (2, 2, 0));
}

#[test]
fn a_service_that_does_not_exist_is_told_with_what_comes_near() {
    let group = Group::of(1);
    group.register(1, registration("books", "books-1")).unwrap();
    let mut client = group.query(1);
    let request = EndpointsRequest { service: Some(name("boks")), ..EndpointsRequest::default() };
    let status = group.answer(async || client.endpoints(request.clone()).await).unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "service boks.default does not exist; there is books.default");
}

#[test]
fn proxies_names_the_nodes_that_did_not_answer() {
    let mut group = Group::of(3);
    group.end_abruptly(3);
    let mut client = group.query(1);
    // The other one is given a moment only to answer, which a busy machine may take from it.
    group.until("an answer of all that are there", async || {
        let response = client.proxies(ProxiesRequest::default()).await.ok()?.into_inner();
        assert!(response.missing_nodes.contains(&3) && response.proxies.is_empty(), "{response:?}");
        (response.missing_nodes == [3]).then_some(())
    });
}
