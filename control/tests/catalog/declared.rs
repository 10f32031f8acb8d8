//! What operators do: declare services and routes, and delete them.

use api::log::v1::command::Body;
use api::log::v1::refused::Reason;
use control::catalog::Change;
use mesh::{PolicyTarget, Protocol, Revision};

use crate::script::*;

fn backends(script: &Script, at: &str) -> Vec<String> {
    let (_, rules) = script.catalog.rules(&authority(at)).unwrap();
    rules.iter().map(|rule| rule.backends[0].authority.service.name().to_owned()).collect()
}

#[test]
fn a_put_tells_of_each_document_what_became_of_it_and_an_equal_put_moves_no_revision() {
    let mut script = Script::new();
    let web = service("web", &[(80, Protocol::Http1)]);
    let canary = route("canary", "web", None, "/new", "web-v2:80");
    let first = script.run(put(std::slice::from_ref(&web), std::slice::from_ref(&canary)));
    assert_eq!(actions(&first), ["created", "created"]);
    assert_eq!(script.catalog.routing(), Revision::new(1, 1));
    let again = script.run(put(std::slice::from_ref(&web), std::slice::from_ref(&canary)));
    assert_eq!(actions(&again), ["unchanged", "unchanged"]);
    assert_eq!(again.changes, []);
    assert_eq!(script.catalog.routing(), Revision::new(1, 1));
    let changed = script.run(put(&[web], &[route("canary", "web", None, "/newer", "web-v2:80")]));
    assert_eq!(actions(&changed), ["unchanged", "changed"]);
    assert!(matches!(&changed.changes[..], [Change::Routes { .. }]), "{:?}", changed.changes);
}

#[test]
fn all_documents_are_written_or_none() {
    let mut script = Script::new();
    let good = service("web", &[(80, Protocol::Http1)]);
    let bad = service("cart", &[(80, Protocol::Http1), (80, Protocol::Http1)]);
    let (reason, message) = script.refused(put(&[good.clone(), bad], &[]));
    assert_eq!(reason, Reason::Invalid);
    assert_eq!(message, "services[1].ports[1].port = 80: is there twice");
    let (_, message) = script.refused(put(&[good.clone(), good], &[]));
    assert_eq!(message, "Service web.default is there twice");
    assert_eq!(script.catalog.services().count(), 0);
}

#[test]
fn a_virtual_address_means_one_service_and_one_command_may_hand_it_on() {
    let mut script = Script::new();
    let at = |name: &str, addresses: &[&str]| mesh::Service {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..service(name, &[(80, Protocol::Http1)])
    };
    script.done(put(&[at("web", &["10.96.0.10", "fd00::10"])], &[]));
    let (reason, message) = script.refused(put(&[at("cart", &["fd00::10"])], &[]));
    assert_eq!(reason, Reason::Invalid);
    assert_eq!(message, "address fd00::10 of Service cart.default is Service web.default's: choose another");
    let (_, message) = script.refused(put(&[at("a", &["10.0.0.1"]), at("b", &["10.0.0.1"])], &[]));
    assert_eq!(message, "address 10.0.0.1 of Service b.default is Service a.default's: choose another");
    let handed_on = script.run(put(&[at("web", &["10.96.0.10"]), at("cart", &["fd00::10"])], &[]));
    assert_eq!(actions(&handed_on), ["changed", "created"]);
    let services: Vec<_> = handed_on
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::Service { service: Some(service), .. } => Some(service.addresses.len()),
            _ => None,
        })
        .collect();
    assert_eq!(services, [1, 1]);
}

#[test]
fn a_route_rules_the_ports_it_names_also_those_that_come_later() {
    let mut script = Script::new();
    script.done(put(
        &[],
        &[route("all", "web", None, "/", "a:80"), route("one", "web", Some(81), "/x", "b:80")],
    ));
    script.done(put(&[service("web", &[(80, Protocol::Http1), (81, Protocol::Http1)])], &[]));
    assert_eq!(backends(&script, "web:80"), ["a"]);
    assert_eq!(backends(&script, "web:81"), ["b", "a"]);
    script.done(register("web:82", "web-1", "10.0.0.1:4143"));
    assert_eq!(backends(&script, "web:82"), ["a"]);
    let changes = script.done(delete_route("all"));
    assert_eq!(changes.len(), 3, "each port's rules: {changes:?}");
    assert_eq!(backends(&script, "web:81"), ["b"]);
}

#[test]
fn a_route_that_changes_its_parent_leaves_the_old_one() {
    let mut script = Script::new();
    let services = [service("web", &[(80, Protocol::Http1)]), service("cart", &[(80, Protocol::Http1)])];
    script.done(put(&services, &[route("r", "web", None, "/", "a:80")]));
    script.done(put(&[], &[route("r", "cart", None, "/", "a:80")]));
    assert_eq!(backends(&script, "web:80"), [] as [&str; 0]);
    assert_eq!(backends(&script, "cart:80"), ["a"]);
}

#[test]
fn deleting_a_service_keeps_the_routes_that_name_it() {
    let mut script = Script::new();
    let services = [service("web", &[(80, Protocol::Http1)]), service("cart", &[(80, Protocol::Http1)])];
    script.done(put(&services, &[route("r", "web", None, "/", "cart:80")]));
    script.done(delete_service("cart"));
    assert_eq!(backends(&script, "web:80"), ["cart"], "requests there are answered by the caller's proxy");
    script.done(delete_service("web"));
    assert!(script.catalog.rules(&authority("web:80")).is_none());
    script.done(put(&services[..1], &[]));
    assert_eq!(backends(&script, "web:80"), ["cart"], "it rules again");
}

#[test]
fn deleting_a_declaration_leaves_what_is_registered() {
    let mut script = Script::new();
    script.done(put(&[service("web", &[(80, Protocol::Http1), (81, Protocol::Http1)])], &[]));
    script.done(register_as("web:80", "web-1", "10.0.0.1:4143", Protocol::Grpc));
    script.done(delete_service("web"));
    let (service, port) = script.catalog.port(&authority("web:80")).unwrap();
    assert_eq!((service.ports.len(), port.protocol), (1, Protocol::Grpc));
    let (reason, message) = script.refused(delete_service("web"));
    assert_eq!(reason, Reason::InUse);
    assert!(message.contains("1 endpoints are registered"), "{message}");
    script.done(leave("web:80", "web-1"));
    script.done(delete_service("web"));
    assert_eq!(script.catalog.services().count(), 0);
}

#[test]
fn a_port_that_is_no_longer_declared_stays_while_endpoints_are_registered_there() {
    let mut script = Script::new();
    script.done(put(&[service("web", &[(80, Protocol::Http1), (81, Protocol::Http1)])], &[]));
    script.done(register("web:81", "web-1", "10.0.0.1:4143"));
    let changes = script.done(put(&[service("web", &[(82, Protocol::Http1)])], &[]));
    let gone = |change: &Change| matches!(change, Change::Endpoints { endpoints: None, authority, .. } if authority.port == 80);
    assert!(changes.iter().any(gone), "{changes:?}");
    assert!(script.catalog.endpoints(&authority("web:80")).is_none());
    assert_eq!(script.catalog.endpoints(&authority("web:81")).unwrap().1.len(), 1);
}

#[test]
fn deleting_what_does_not_exist_is_told() {
    let mut script = Script::new();
    assert_eq!(script.refused(delete_service("web")).1, "Service web.default does not exist");
    assert_eq!(
        script.refused(delete_route("r")),
        (Reason::NotFound, "HTTPRoute default/r does not exist".to_owned())
    );
    let neither = Body::DeleteConfig(api::log::v1::DeleteConfig::default());
    assert_eq!(script.refused(neither).0, Reason::Invalid);
}

#[test]
fn too_many_routes_on_one_service_are_refused() {
    let mut script = Script::new();
    let routes: Vec<_> = (0..101).map(|at| route(&format!("r{at}"), "web", None, "/", "a:80")).collect();
    let (reason, message) = script.refused(put(&[], &routes));
    assert_eq!(reason, Reason::Limit);
    assert_eq!(message, "routes on web.default: at most 100; put their rules into fewer routes");
    script.done(put(&[], &routes[..100]));
    script.done(put(&[], &routes[..1]));
    assert_eq!(script.refused(put(&[], &routes[100..])).0, Reason::Limit);
}

#[test]
fn too_many_services_are_refused_whether_they_are_declared_or_registered() {
    let mut script = Script::new();
    for batch in 0..10 {
        let name = |at: usize| service(&format!("s{batch}-{at}"), &[(80, Protocol::Http1)]);
        script.done(put(&(0..1000).map(name).collect::<Vec<_>>(), &[]));
    }
    let one_more = service("more", &[(80, Protocol::Http1)]);
    let (reason, message) = script.refused(put(std::slice::from_ref(&one_more), &[]));
    assert_eq!(
        (reason, message.as_str()),
        (Reason::Limit, "services: at most 10000; delete some that are not used")
    );
    assert_eq!(script.refused(register("more:80", "more-1", "10.0.0.1:4143")).0, Reason::Limit);
    script.done(register("s1-1:80", "s-1", "10.0.0.1:4143"));
    script.done(delete_service("s0-0"));
    script.done(put(&[one_more], &[]));
}

fn attempts(script: &Script, at: &str) -> Vec<Option<u32>> {
    let (_, rules) = script.catalog.rules(&authority(at)).unwrap();
    rules.iter().map(|rule| rule.policy.retry.as_ref().map(|retry| retry.attempts)).collect()
}

#[test]
fn a_policy_on_a_route_rules_the_requests_that_the_route_takes_also_when_it_comes_first() {
    let mut script = Script::new();
    script.done(put_policies(&[policy("p", &[on_route("all")], 3)]));
    script.done(put(
        &[service("web", &[(80, Protocol::Http1)])],
        &[route("all", "web", None, "/", "a:80"), route("one", "web", None, "/x", "b:80")],
    ));
    assert_eq!(attempts(&script, "web:80"), [None, Some(3)]);
    let changes = script.done(put_policies(&[policy("p", &[on_route("all")], 4)]));
    assert!(matches!(&changes[..], [Change::Routes { .. }]), "{changes:?}");
    assert_eq!(attempts(&script, "web:80"), [None, Some(4)]);
    script.done(delete_policy("p"));
    assert_eq!(attempts(&script, "web:80"), [None, None]);
}

#[test]
fn a_policy_on_a_service_is_told_when_either_comes_and_its_revision_never_falls() {
    let mut script = Script::new();
    script.done(put_policies(&[policy("p", &[on_service("web")], 3)]));
    let changes = script.done(put(&[service("web", &[(80, Protocol::Http1)])], &[]));
    assert!(
        matches!(changes.last(), Some(Change::Policy { policy: Some(_), revision, .. }) if revision.index == 2),
        "{changes:?}"
    );
    let changes = script.done(delete_policy("p"));
    assert!(
        matches!(&changes[..], [Change::Policy { policy: None, revision, .. }] if revision.index == 3),
        "{changes:?}"
    );
    let view = script.catalog.view();
    assert!(
        matches!(view.last(), Some(Change::Policy { policy: None, revision, .. }) if revision.index == 3),
        "who starts from the view must not go back: {view:?}"
    );
    let (reason, message) = script.refused(delete_policy("p"));
    assert_eq!((reason, message.as_str()), (Reason::NotFound, "TrafficPolicy default/p does not exist"));
}

#[test]
fn a_target_has_one_policy_and_passes_to_another_in_one_command() {
    let mut script = Script::new();
    let (web, cart) = (on_service("web"), on_service("cart"));
    script.done(put_policies(&[policy("p", std::slice::from_ref(&web), 1)]));
    let (reason, message) = script.refused(put_policies(&[policy("q", &[cart.clone(), web.clone()], 1)]));
    assert_eq!(reason, Reason::InUse);
    assert_eq!(
        message,
        "TrafficPolicy default/q: Service web.default has TrafficPolicy default/p already, and one policy at most; \
         say both in one"
    );
    let again = script.run(put_policies(&[policy("p", &[cart], 1), policy("q", &[web], 1)]));
    assert_eq!(actions(&again), ["changed", "created"]);
}

#[test]
fn routes_of_both_kinds_have_names_of_their_own_and_the_log_takes_those_of_grpc_once_every_member_knows_them()
{
    let mut script = Script::new();
    let (http, grpc) = (route("r", "web", None, "/", "a:80"), grpc_route("r", "web", "Carts", "b:80"));
    script.done(put(&[service("web", &[(80, Protocol::Grpc)])], &[http]));
    let of_grpc = [put(&[], &[grpc]), delete_grpc_route("r")];
    for body in of_grpc.clone() {
        assert!(script.refused(body).1.contains("of version 4 of commands"));
    }
    script.done(raise(4));
    let [put_grpc, delete_grpc] = of_grpc;
    script.done(put_grpc);
    assert_eq!(backends(&script, "web:80"), ["b", "a"], "calls are taken first");
    let on_grpc = PolicyTarget::Route(grpc_route("r", "web", "Carts", "b:80").name);
    script.done(put_policies(&[policy("http", &[on_route("r")], 1), policy("grpc", &[on_grpc], 2)]));
    assert_eq!(attempts(&script, "web:80"), [Some(2), Some(1)]);
    script.done(delete_grpc.clone());
    assert_eq!(backends(&script, "web:80"), ["a"]);
    let told = (Reason::NotFound, "GRPCRoute default/r does not exist".to_owned());
    assert_eq!(script.refused(delete_grpc), told);
}
