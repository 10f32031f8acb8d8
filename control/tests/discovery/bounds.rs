//! Bad input and large input: each gets a clear end or is ignored as the protocol says; nothing panics, nothing grows.

use control::discovery::{Kind, NAMES_PER_SESSION_MAX, Session, Shelf, Way};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::desk::{Desk, full, service};

#[test]
fn an_unknown_type_url_ends_the_stream_and_says_what_there_is() {
    let mut desk = Desk::new(Way::Delta, "envoy");
    let request =
        DeltaDiscoveryRequest { type_url: "type.googleapis.com/Secret".to_owned(), ..Default::default() };
    let told = desk.delta(request.clone());
    assert!(
        told[0].starts_with("InvalidArgument: unknown type URL \"type.googleapis.com/Secret\""),
        "{told:?}"
    );
    assert!(told[0].contains(&Kind::Cluster.type_url()), "{told:?}");
    assert!(desk.delta(request).is_empty(), "nothing follows the end");
}

#[test]
fn a_nonce_that_was_never_sent_ends_the_stream_and_an_old_one_is_ignored() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    desk.service("web");
    desk.ask(Kind::Cluster, &["web"], &[]);
    desk.ack(Kind::Cluster, "1");
    assert_eq!(desk.service("web"), ["CDS 2 web@1.2"]);
    assert!(desk.nack(Kind::Cluster, "1", "too late").is_empty());
    assert_eq!(desk.session.standing(&desk.shelf).refused, 0);
    for nonce in ["3", "0", "-1", "abc", "18446744073709551616"] {
        let mut desk = Desk::new(Way::Delta, "penstock");
        desk.service("web");
        desk.ask(Kind::Cluster, &["web"], &[]);
        let told = desk.ack(Kind::Cluster, nonce);
        assert!(told[0].contains("was never sent on this stream"), "{nonce}: {told:?}");
    }
}

#[test]
fn a_first_request_without_a_node_ends_the_stream() {
    let (mut session, mut shelf, mut out) = (Session::new(Way::Delta), Shelf::default(), Vec::new());
    let request = DeltaDiscoveryRequest { type_url: Kind::Cluster.type_url(), ..Default::default() };
    session.delta_request(&request, &mut shelf, &mut out);
    assert!(format!("{out:?}").contains("set node.id"), "{out:?}");
}

#[test]
fn more_names_than_the_bound_end_the_stream() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    let names: Vec<String> = (0..=NAMES_PER_SESSION_MAX).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(desk.ask(Kind::Cluster, &names[..NAMES_PER_SESSION_MAX], &[])[0].starts_with("CDS 1 -s0"));
    let told = desk.ask(Kind::Endpoints, &names[NAMES_PER_SESSION_MAX..], &[]);
    assert!(told[0].starts_with("ResourceExhausted: this stream asks for more than 4096 names"), "{told:?}");
}

#[test]
fn names_may_come_and_go_without_end() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    for n in 0..3 * NAMES_PER_SESSION_MAX {
        let name = format!("s{n}");
        desk.ask(Kind::Cluster, &[&name], &[]);
        let told = desk.drop_names(Kind::Cluster, &[&name]);
        assert!(told.is_empty(), "{told:?}");
    }
}

#[test]
fn strange_names_are_missing_or_refused_and_never_harm() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    let told = desk.ask(Kind::Listener, &["..", "ä:80.", "x y.z", "penstock_outbound"], &[]);
    assert_eq!(told.len(), 1, "{told:?}");
    let told = desk.ask(Kind::Listener, &[&format!("a.{}", "x".repeat(600))], &[]);
    assert!(told[0].starts_with("InvalidArgument: a resource name of 602 bytes"), "{told:?}");
}

#[test]
fn an_answer_larger_than_the_bound_is_sent_in_parts() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    let addresses: Vec<String> = (1..=9000).map(|n| format!("10.0.{}.{}:80", n / 250, n % 250)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for name in ["a", "b", "c"] {
        desk.service(name);
        desk.endpoints(name, &addresses);
    }
    assert_eq!(desk.ask(Kind::Endpoints, &["a", "b", "c"], &[]), ["EDS 1 a@1.2"]);
    assert_eq!(desk.ack(Kind::Endpoints, "1"), ["EDS 2 b@1.4"]);
    assert_eq!(desk.ack(Kind::Endpoints, "2"), ["EDS 3 c@1.6"]);
    assert!(desk.ack(Kind::Endpoints, "3").is_empty());
}

#[test]
fn a_resource_is_encoded_once_however_many_follow_it() {
    let mut desk = Desk::new(Way::Delta, "penstock");
    desk.service("web");
    for _ in 0..50 {
        desk.reconnect();
        desk.ask(Kind::Cluster, &["web"], &[]);
    }
    assert_eq!(desk.shelf.encodings(), 1);
    let first = desk.pushes[0].resources[0].bytes.as_ptr();
    assert!(desk.pushes.iter().all(|push| push.resources[0].bytes.as_ptr() == first), "all share the bytes");
}

#[test]
fn a_client_that_asks_for_all_and_never_answers_costs_one_answer() {
    let mut desk = Desk::new(Way::Delta, "envoy");
    desk.ask(Kind::Cluster, &[], &[]);
    for n in 0..1000 {
        desk.index += 1;
        let change = service(&format!("s{}", n % 7), None.or(Some(mesh::Protocol::Http1)), desk.index);
        assert!(desk.commit(&[change]).is_empty());
    }
    assert_eq!(desk.ack(Kind::Cluster, "1").len(), 1);
    assert_eq!(desk.pushes[1].resources.len(), 7);
    assert_eq!(&*desk.pushes[1].resources[0].name, full("s0"));
}
