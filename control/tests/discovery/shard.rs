//! Many sessions over one shelf: a change concerns those who follow it, and nothing is left of those who went.

use control::discovery::{Kind, Request, SESSIONS_MAX, Sent, SessionId, Shard, Way};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh::{Protocol, Revision, Timestamp};
use tonic::Code;

use crate::desk::{endpoints, full, node, service};

fn ask(kind: Kind, name: &str) -> Request {
    Request::Delta(Box::new(DeltaDiscoveryRequest {
        node: Some(node("penstock")),
        type_url: kind.type_url(),
        resource_names_subscribe: vec![full(name)],
        ..DeltaDiscoveryRequest::default()
    }))
}

fn answer(kind: Kind, sent: &Sent) -> Request {
    let Sent::Push(push) = sent else { panic!("{sent:?}") };
    Request::Delta(Box::new(DeltaDiscoveryRequest {
        type_url: kind.type_url(),
        response_nonce: push.nonce.to_string(),
        ..DeltaDiscoveryRequest::default()
    }))
}

fn open(shard: &mut Shard) -> SessionId {
    shard.open(Way::Delta, Timestamp::default()).unwrap()
}

fn shard() -> Shard {
    let mut shard = Shard::default();
    shard.begin();
    let at = Revision::new(1, 1);
    let services = [0, 1, 2, 3].map(|number| service(&format!("s{number}"), Some(Protocol::Http1), 1));
    shard.changed(&services, at, at, true);
    shard
}

#[test]
fn a_change_is_told_to_those_who_follow_it_and_encoded_once() {
    let mut shard = shard();
    for number in 0..1000 {
        let id = open(&mut shard);
        let turn = shard.request(id, &ask(Kind::Endpoints, &format!("s{}", number % 4)));
        assert_eq!(turn.len(), 1);
        shard.request(id, &answer(Kind::Endpoints, &turn[0].1));
    }
    let at = Revision::new(1, 2);
    let before = shard.shelf().encodings();
    let turn = shard.changed(&[endpoints("s3", &["10.0.0.1:80"], 2)], at, at, false);
    assert_eq!(turn.len(), 250);
    assert_eq!(shard.shelf().encodings() - before, 1);
}

#[test]
fn nothing_is_left_of_streams_that_ended() {
    let mut shard = shard();
    let ids: Vec<_> = (0..100).map(|_| open(&mut shard)).collect();
    for id in &ids {
        shard.request(*id, &ask(Kind::Endpoints, "s1"));
        shard.request(*id, &ask(Kind::Listener, "s1"));
        shard.request(*id, &ask(Kind::Cluster, "*"));
    }
    ids.into_iter().for_each(|id| shard.closed(id));
    assert_eq!((shard.len(), shard.watched(), shard.held()), (0, 0, 0));
    let at = Revision::new(1, 2);
    assert!(shard.changed(&[endpoints("s1", &["10.0.0.1:80"], 2)], at, at, false).is_empty());
}

#[test]
fn more_streams_than_the_bound_are_refused_with_where_to_go() {
    let mut shard = Shard::default();
    for _ in 0..SESSIONS_MAX {
        open(&mut shard);
    }
    let refused = shard.open(Way::Delta, Timestamp::default()).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("connect to another node"), "{refused}");
}

#[test]
fn a_held_stream_is_answered_as_soon_as_this_node_has_caught_up() {
    let mut shard = shard();
    let id = open(&mut shard);
    let Request::Delta(mut request) = ask(Kind::Endpoints, "s1") else { unreachable!("ask is incremental") };
    request.initial_resource_versions = [(full("s1"), "1.3".to_owned())].into();
    assert!(shard.request(id, &Request::Delta(request)).is_empty());
    assert_eq!(shard.held(), 1);
    let at = |index| Revision::new(1, index);
    assert!(shard.changed(&[], at(2), at(1), false).is_empty());
    let turn = shard.changed(&[endpoints("s1", &["10.0.0.1:80"], 4)], at(4), at(1), false);
    assert_eq!((turn.len(), shard.held()), (1, 0));
}

#[test]
fn a_client_of_another_life_of_the_cluster_is_answered_once_that_is_certain() {
    let mut shard = shard();
    let id = open(&mut shard);
    let Request::Delta(mut request) = ask(Kind::Endpoints, "s1") else { unreachable!("ask is incremental") };
    request.initial_resource_versions = [(full("s1"), "1.900".to_owned())].into();
    assert!(shard.request(id, &Request::Delta(request)).is_empty());
    let ticket = shard.last_ticket();
    let at = |index| Revision::new(1, index);
    assert!(shard.confirmed(ticket - 1, at(1)).is_empty(), "that read began before it came");
    assert!(shard.confirmed(ticket, at(3)).is_empty(), "the change that the read found is still on its way");
    assert_eq!(shard.held(), 1);
    let turn = shard.changed(&[], at(3), at(1), false);
    assert_eq!((turn.len(), shard.held()), (1, 0));
}

#[test]
fn a_name_that_is_not_known_here_is_told_only_once_this_node_is_proved_to_have_caught_up() {
    let mut shard = shard();
    let id = open(&mut shard);
    assert!(shard.request(id, &ask(Kind::Endpoints, "fresh")).is_empty());
    let ticket = shard.last_ticket();
    assert!(shard.request(id, &ask(Kind::Endpoints, "s1")).is_empty(), "requests of a stream stay in order");
    let at = |index| Revision::new(1, index);
    assert!(shard.confirmed(ticket, at(2)).is_empty(), "the change that the read found is still on its way");
    let turn = shard.changed(&[service("fresh", Some(Protocol::Http1), 2)], at(2), at(2), false);
    let Sent::Push(push) = &turn[0].1 else { panic!("{turn:?}") };
    assert_eq!(
        (turn.len(), push.resources.len(), push.removed.len()),
        (1, 1, 0),
        "it was registered elsewhere"
    );
}

#[test]
fn a_name_that_does_not_exist_is_told_as_such_with_proof_or_when_there_can_be_none() {
    let mut shard = shard();
    let (one, two) = (open(&mut shard), open(&mut shard));
    shard.request(one, &ask(Kind::Endpoints, "wrong"));
    let first = shard.last_ticket();
    shard.request(two, &ask(Kind::Endpoints, "wrong"));
    assert!(shard.confirmed(first - 1, Revision::new(1, 1)).is_empty(), "that read began before it asked");
    assert_eq!(
        shard.confirmed(first, Revision::new(1, 1)).len(),
        1,
        "the second asked after that read began"
    );
    assert_eq!(shard.unprovable(shard.last_ticket()).len(), 1);
    shard.request(two, &ask(Kind::Endpoints, "other"));
    shard.closed(two);
    assert!(shard.unprovable(shard.last_ticket()).is_empty(), "nobody is left to be told");
}
