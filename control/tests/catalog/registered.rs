//! What workloads do: register, move, leave, lapse.

use api::log::v1::refused::Reason;
use control::catalog::Change;
use mesh::{InstanceName, Protocol, Revision};

use crate::script::*;

fn instances(script: &Script, at: &str) -> Option<Vec<String>> {
    let (_, endpoints) = script.catalog.endpoints(&authority(at))?;
    Some(endpoints.iter().map(|endpoint| endpoint.instance.0.clone()).collect())
}

fn kinds(changes: &[Change]) -> Vec<&'static str> {
    let kind = |change: &Change| match change {
        Change::Service { service: Some(_), .. } => "service",
        Change::Service { service: None, .. } => "no service",
        Change::Endpoints { endpoints: Some(_), .. } => "endpoints",
        Change::Endpoints { endpoints: None, .. } => "no authority",
        Change::Routes { .. } => "routes",
        Change::Policy { .. } => "policy",
        Change::Traffic { .. } => "traffic",
    };
    changes.iter().map(kind).collect()
}

#[test]
fn a_service_and_its_port_come_into_being_with_the_first_registration() {
    let mut script = Script::new();
    let changes = script.done(register_as("web:80", "web-1", "10.0.0.1:4143", Protocol::Grpc));
    assert_eq!(kinds(&changes), ["service", "endpoints", "routes"]);
    let (_, port) = script.catalog.port(&authority("web:80")).unwrap();
    assert_eq!(port.protocol, Protocol::Grpc);
    assert_eq!(
        kinds(&script.done(register_as("web:80", "web-2", "10.0.0.2:4143", Protocol::Grpc))),
        ["endpoints"]
    );
    assert_eq!(instances(&script, "web:80").unwrap(), ["web-1", "web-2"]);
    assert_eq!(instances(&script, "web:81"), None);
}

#[test]
fn an_equal_registration_moves_no_revision_but_renews_what_an_expiry_must_name() {
    let mut script = Script::new();
    script.done(register("web:80", "web-1", "10.0.0.1:4143"));
    assert_eq!(script.done(register("web:80", "web-1", "10.0.0.1:4143")), []);
    let instance = InstanceName("web-1".into());
    let stored = script.catalog.registration(&authority("web:80"), &instance).unwrap();
    assert_eq!((stored.revision, stored.registered_index), (Revision::new(1, 1), 2));
    assert_eq!(script.catalog.endpoints(&authority("web:80")).unwrap().0, Revision::new(1, 1));
}

#[test]
fn an_endpoint_that_moves_is_one_change() {
    let mut script = Script::new();
    script.done(register("web:80", "web-1", "10.0.0.1:4143"));
    let changes = script.done(register("web:80", "web-1", "10.0.0.9:4143"));
    let [Change::Endpoints { endpoints: Some(endpoints), revision, .. }] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0].address.to_string(), "10.0.0.9:4143");
    assert_eq!(*revision, Revision::new(1, 2));
}

#[test]
fn leaving_twice_is_no_error_and_the_service_stays_known_for_an_hour() {
    let mut script = Script::new();
    script.done(register("web:80", "web-1", "10.0.0.1:4143"));
    assert_eq!(kinds(&script.done(leave("web:80", "web-1"))), ["endpoints"]);
    assert_eq!(script.done(leave("web:80", "web-1")), []);
    assert_eq!(script.done(leave("nobody:80", "web-1")), []);
    assert_eq!(script.wait(3000), []);
    assert_eq!(instances(&script, "web:80").unwrap(), [] as [&str; 0]);
    assert_eq!(kinds(&script.wait(700)), ["no service", "no authority"]);
    assert_eq!(instances(&script, "web:80"), None);
}

#[test]
fn an_expiry_that_raced_with_a_new_registration_takes_nothing_away() {
    let mut script = Script::new();
    script.done(register("web:80", "web-1", "10.0.0.1:4143"));
    script.done(register("web:80", "web-2", "10.0.0.2:4143"));
    script.done(register("web:80", "web-1", "10.0.0.1:4143"));
    let changes = script.done(expire(&[("web:80", "web-1", 1), ("web:80", "web-2", 2), ("gone:80", "x", 1)]));
    assert_eq!(kinds(&changes), ["endpoints"]);
    assert_eq!(instances(&script, "web:80").unwrap(), ["web-1"]);
    script.done(expire(&[("web:80", "web-1", 3)]));
    assert_eq!(instances(&script, "web:80").unwrap(), [] as [&str; 0]);
}

#[test]
fn endpoints_of_one_port_speak_one_protocol_unless_it_is_declared() {
    let mut script = Script::new();
    script.done(register("web:80", "web-1", "10.0.0.1:4143"));
    let (reason, message) = script.refused(register_as("web:80", "web-2", "10.0.0.2:4143", Protocol::Grpc));
    assert_eq!(reason, Reason::Invalid);
    assert!(message.starts_with("protocol = grpc: the 1 other endpoints of web.default"), "{message}");
    let changes = script.done(register_as("web:80", "web-1", "10.0.0.1:4143", Protocol::Http2));
    assert_eq!(kinds(&changes), ["service"], "alone it may change");
    script.done(put(&[service("web", &[(80, Protocol::Http1)])], &[]));
    script.done(register_as("web:80", "web-2", "10.0.0.2:4143", Protocol::Grpc));
    let (_, port) = script.catalog.port(&authority("web:80")).unwrap();
    assert_eq!(port.protocol, Protocol::Http1, "what is declared is decisive");
}

#[test]
fn a_registration_without_meaning_is_refused_with_the_field_the_value_and_the_rule() {
    let mut script = Script::new();
    let mut wrong = register("web:80", "web-1", "10.0.0.1:4143");
    if let api::log::v1::command::Body::Register(register) = &mut wrong {
        register.endpoint.as_mut().unwrap().weight = 5000;
    }
    let refused = script.refused(wrong);
    assert_eq!(refused, (Reason::Invalid, "endpoint.weight = 5000: must be 1 to 1000".to_owned()));
    assert_eq!(script.catalog.services().count(), 0);
}

#[test]
fn every_lease_is_told_to_a_new_leader() {
    let mut script = Script::new();
    script.done(register("b:80", "b-1", "10.0.0.1:4143"));
    script.done(register("a:80", "a-2", "10.0.0.2:4143"));
    script.done(register("a:80", "a-1", "10.0.0.3:4143"));
    let told: Vec<_> =
        script.catalog.leases().map(|lease| (lease.instance.0.as_str(), lease.registered_index)).collect();
    assert_eq!(told, [("a-1", 3), ("a-2", 2), ("b-1", 1)]);
    assert!(script.catalog.leases().all(|lease| lease.seconds == 15));
}
