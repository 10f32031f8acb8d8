//! Questions: who belongs to the group, what exists, and what is said of what does not.

use api::v1::{EndpointsRequest, MembersRequest, ProxiesRequest, ServicesRequest};
use tonic::Code;

use crate::group::{Group, name, registration};

#[test]
fn members_shows_one_leader_and_who_does_not_answer() {
    let mut group = Group::of(3);
    let away = group.follower();
    group.end_abruptly(away);
    let leader = group.leader();
    for node in group.running() {
        let mut client = group.query(node);
        let response = group.runtime.block_on(client.members(MembersRequest {})).unwrap().into_inner();
        let roles: Vec<&str> = response.members.iter().map(|row| row.role.as_str()).collect();
        assert_eq!(roles.iter().filter(|role| **role == "leader").count(), 1, "{roles:?}");
        assert_eq!(response.members.len(), 3);
        assert_eq!(response.answered_by, node);
        let row = |node: u64| response.members.iter().find(|row| row.node == node).unwrap();
        assert_eq!(row(leader).role, "leader");
        assert!(!row(away).reachable, "{:?}", row(away));
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
    let rows =
        group.runtime.block_on(client.services(ServicesRequest::default())).unwrap().into_inner().services;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].endpoints, rows[0].ready_endpoints, rows[0].routes), (2, 2, 0));
}

#[test]
fn a_service_that_does_not_exist_is_told_with_what_comes_near() {
    let group = Group::of(1);
    group.register(1, registration("books", "books-1")).unwrap();
    let mut client = group.query(1);
    let request = EndpointsRequest { service: Some(name("boks")), ..EndpointsRequest::default() };
    let status = group.runtime.block_on(client.endpoints(request)).unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "service boks.default does not exist; there is books.default");
}

#[test]
fn proxies_names_the_nodes_that_did_not_answer() {
    let mut group = Group::of(3);
    group.end_abruptly(3);
    let mut client = group.query(1);
    let response = group.runtime.block_on(client.proxies(ProxiesRequest::default())).unwrap().into_inner();
    assert_eq!((response.missing_nodes, response.proxies.len()), (vec![3], 0));
}
