//! The subscriber as scripts: what is asked, what is answered, what workers are told.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh::{HeldDigest, Protocol, Revision, Timestamp};

use super::fixtures::{authority, cluster, configuration, endpoints, node, removal, response, route, routes};
use super::*;
use crate::snapshot::{Known, ServiceView};

const NOW: Timestamp = Timestamp(1_000);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn connected() -> Subscriber {
    let mut subscriber = Subscriber::new(node(), Bounds::default());
    subscriber.connected();
    subscriber
}

/// One that follows `web` at revision 1.5, served at port 1.
fn following_web() -> Subscriber {
    let mut subscriber = connected();
    subscriber.want(&authority("web"), NOW);
    answer(&mut subscriber, "web", "1.5", &[1]);
    subscriber
}

/// Answers everything about `text`: cluster, endpoints and routes of one revision.
fn answer(subscriber: &mut Subscriber, text: &str, version: &str, ports: &[u16]) -> Outputs {
    subscriber.response(response(Kind::Clusters, "c", vec![cluster(text, version, "http")]), NOW);
    subscriber.response(response(Kind::Endpoints, "e", vec![endpoints(text, version, ports)]), NOW);
    subscriber.response(response(Kind::Routes, "r", vec![routes(text, version, &[])]), NOW)
}

fn view<'o>(outputs: &'o Outputs, text: &str) -> &'o ServiceView {
    match outputs.resolutions.get(&authority(text)) {
        Some(Resolution::Known(Known::Service(view))) => view,
        other => panic!("{text} did not resolve to a service: {other:?}"),
    }
}

fn held_view<'s>(subscriber: &'s Subscriber, text: &str) -> &'s ServiceView {
    match subscriber.resolution(&authority(text)) {
        Some(Resolution::Known(Known::Service(view))) => view,
        other => panic!("{text} is not held as a service: {other:?}"),
    }
}

fn ports(view: &ServiceView, text: &str) -> Vec<u16> {
    view.clusters[&authority(text)].endpoints.iter().map(|endpoint| endpoint.address.port()).collect()
}

fn is_unknown(outputs: &Outputs, text: &str) -> bool {
    outputs.resolutions.get(&authority(text)) == Some(&Resolution::Known(Known::Unknown))
}

fn names(request: &DeltaDiscoveryRequest) -> (Kind, Vec<&str>, Vec<&str>) {
    let short = |names: &'_ [String]| -> Vec<&str> {
        names.iter().map(|name| name.split('.').next().unwrap().to_owned().leak() as &str).collect()
    };
    let kind = Kind::of(&request.type_url).unwrap();
    (kind, short(&request.resource_names_subscribe), short(&request.resource_names_unsubscribe))
}

#[test]
fn the_first_request_introduces_the_proxy_even_when_nothing_is_wanted() {
    let mut subscriber = Subscriber::new(node(), Bounds::default());
    let requests = subscriber.connected();
    assert_eq!(requests.len(), 1);
    assert_eq!(names(&requests[0]), (Kind::Routes, vec![], vec![]));
    assert_eq!(requests[0].node.as_ref().unwrap().id, "caller-1");
}

#[test]
fn a_wanted_service_is_asked_for_in_all_three_kinds_at_once() {
    let outputs = connected().want(&authority("web"), NOW);
    let asked: Vec<_> = outputs.requests.iter().map(names).collect();
    let subscribe = |kind| (kind, vec!["web"], vec![]);
    assert_eq!(asked, Kind::ALL.map(subscribe));
    assert!(outputs.requests.iter().all(|request| request.node.is_none()));
}

#[test]
fn a_service_resolves_once_routes_cluster_and_endpoints_are_there_and_each_is_acknowledged() {
    let mut subscriber = connected();
    subscriber.want(&authority("web"), NOW);
    let sent = response(Kind::Clusters, "n1", vec![cluster("web", "1.5", "grpc")]);
    let outputs = subscriber.response(sent, NOW);
    assert!(outputs.resolutions.is_empty());
    let acknowledgement = &outputs.requests[0];
    assert_eq!((acknowledgement.response_nonce.as_str(), &acknowledgement.error_detail), ("n1", &None));
    subscriber.response(response(Kind::Endpoints, "n2", vec![endpoints("web", "1.6", &[1, 2])]), NOW);
    let outputs = subscriber.response(response(Kind::Routes, "n3", vec![routes("web", "1.5", &[])]), NOW);
    let view = view(&outputs, "web");
    let set = &view.clusters[&authority("web")];
    assert_eq!((set.protocol, set.revision), (Protocol::Grpc, Revision::new(1, 6)));
    assert_eq!(ports(view, "web"), [1, 2]);
    assert_eq!(set.endpoints[0].instance.0, "web-1");
}

#[test]
fn an_endpoint_added_moved_or_removed_is_followed() {
    let mut subscriber = following_web();
    for (version, sent) in [("1.6", vec![1, 2]), ("1.7", vec![3, 2]), ("1.8", vec![])] {
        let update = response(Kind::Endpoints, "n", vec![endpoints("web", version, &sent)]);
        let outputs = subscriber.response(update, NOW);
        assert_eq!(ports(view(&outputs, "web"), "web"), sent);
    }
}

#[test]
fn new_rules_wait_for_the_backends_they_mention_while_endpoints_of_the_old_ones_follow() {
    let mut subscriber = following_web();
    let split = routes("web", "1.6", &[("/new/", "canary")]);
    let outputs = subscriber.response(response(Kind::Routes, "n", vec![split]), NOW);
    assert!(outputs.resolutions.is_empty(), "the old rules stay in force");
    let asked: Vec<_> = outputs.requests.iter().skip(1).map(names).collect();
    assert_eq!(asked, [(Kind::Clusters, vec!["canary"], vec![]), (Kind::Endpoints, vec!["canary"], vec![])]);

    let moved = response(Kind::Endpoints, "n", vec![endpoints("web", "1.7", &[9])]);
    let outputs = subscriber.response(moved, NOW);
    assert_eq!((view(&outputs, "web").rules.len(), ports(view(&outputs, "web"), "web")), (1, vec![9]));

    subscriber.response(response(Kind::Clusters, "n", vec![cluster("canary", "1.6", "http")]), NOW);
    let last = response(Kind::Endpoints, "n", vec![endpoints("canary", "1.6", &[7])]);
    let outputs = subscriber.response(last, NOW);
    assert_eq!((view(&outputs, "web").rules.len(), ports(view(&outputs, "web"), "canary")), (2, vec![7]));
}

#[test]
fn a_backend_that_no_rule_mentions_any_more_is_left() {
    let mut subscriber = following_web();
    subscriber.response(response(Kind::Routes, "n", vec![routes("web", "1.6", &[("/new/", "canary")])]), NOW);
    subscriber.response(response(Kind::Clusters, "n", vec![cluster("canary", "1.6", "http")]), NOW);
    subscriber.response(response(Kind::Endpoints, "n", vec![endpoints("canary", "1.6", &[7])]), NOW);
    let outputs = subscriber.response(response(Kind::Routes, "n", vec![routes("web", "1.9", &[])]), NOW);
    let asked: Vec<_> = outputs.requests.iter().skip(1).map(names).collect();
    assert_eq!(asked, [(Kind::Clusters, vec![], vec!["canary"]), (Kind::Endpoints, vec![], vec!["canary"])]);
    assert_eq!(view(&outputs, "web").clusters.len(), 1);
}

#[test]
fn a_backend_that_is_gone_has_no_endpoints_and_does_not_hold_the_rules_back() {
    let mut subscriber = following_web();
    subscriber.response(response(Kind::Routes, "n", vec![routes("web", "1.6", &[("/new/", "canary")])]), NOW);
    subscriber.response(removal(Kind::Clusters, "n", "1.6", &["canary"]), NOW);
    let outputs = subscriber.response(removal(Kind::Endpoints, "n", "1.6", &["canary"]), NOW);
    assert!(ports(view(&outputs, "web"), "canary").is_empty());
}

#[test]
fn a_bad_resource_is_refused_with_its_reason_and_the_good_ones_of_the_same_response_are_used() {
    let mut subscriber = following_web();
    subscriber.want(&authority("shop"), NOW);
    answer(&mut subscriber, "shop", "1.5", &[2]);
    let bad = endpoints("web", "seven", &[8]);
    let outputs =
        subscriber.response(response(Kind::Endpoints, "n", vec![bad, endpoints("shop", "1.7", &[3])]), NOW);
    let refusal = outputs.requests[0].error_detail.as_ref().unwrap();
    assert!(refusal.message.starts_with("web.default.svc.cluster.local:80: \"seven\""), "{refusal:?}");
    assert_eq!(ports(view(&outputs, "shop"), "shop"), [3]);
    assert_eq!(ports(held_view(&subscriber, "web"), "web"), [1], "the last good one stays");
    assert_eq!(subscriber.tally().refused, 1);
}

#[test]
fn a_route_that_the_data_plane_cannot_carry_out_is_refused() {
    let mut subscriber = following_web();
    for (routes, reason) in [
        (vec![route("/foo", "web"), route("/", "web")], "may end within a path element"),
        (vec![route("/foo/", "web")], "its last route does not match every request"),
        (vec![], "its last route does not match every request"),
    ] {
        let sent = response(Kind::Routes, "n", vec![configuration("web", "1.9", routes)]);
        let outputs = subscriber.response(sent, NOW);
        let refusal = outputs.requests[0].error_detail.as_ref().unwrap();
        assert!(refusal.message.contains(reason), "{refusal:?}");
    }
    assert_eq!(held_view(&subscriber, "web").rules.len(), 1);
}

#[test]
fn nothing_goes_back_to_an_older_revision_and_the_same_one_is_no_news() {
    let mut subscriber = following_web();
    subscriber.response(response(Kind::Endpoints, "n", vec![endpoints("web", "1.9", &[2])]), NOW);
    let outputs =
        subscriber.response(response(Kind::Endpoints, "n", vec![endpoints("web", "1.8", &[1])]), NOW);
    let refusal = outputs.requests[0].error_detail.as_ref().unwrap();
    assert!(refusal.message.ends_with("revision 1.8 is older than 1.9, which is held"), "{refusal:?}");
    assert_eq!(ports(held_view(&subscriber, "web"), "web"), [2]);
    let outputs =
        subscriber.response(response(Kind::Endpoints, "n", vec![endpoints("web", "1.9", &[2])]), NOW);
    assert!(outputs.resolutions.is_empty() && outputs.requests[0].error_detail.is_none());
    let outputs =
        subscriber.response(response(Kind::Endpoints, "n", vec![endpoints("web", "2.1", &[4])]), NOW);
    assert_eq!(ports(view(&outputs, "web"), "web"), [4], "a restored cluster begins anew");
}

#[test]
fn a_reconnect_shows_what_is_held_and_known_to_be_gone_so_that_any_node_resumes() {
    let mut subscriber = following_web();
    subscriber.response(response(Kind::Endpoints, "n", vec![endpoints("web", "1.9", &[2])]), NOW);
    subscriber.want(&authority("nobody"), NOW);
    subscriber.response(removal(Kind::Routes, "n", "1.9", &["nobody"]), NOW);
    subscriber.disconnected();
    assert_eq!(ports(held_view(&subscriber, "web"), "web"), [2], "it is served on");
    let requests = subscriber.connected();
    assert_eq!(
        requests.iter().map(names).collect::<Vec<_>>(),
        Kind::ALL.map(|kind| (kind, vec!["nobody", "web"], vec![]))
    );
    let version = |request: usize, text: &str| {
        requests[request].initial_resource_versions.get(&authority(text).to_string()).map(String::as_str)
    };
    assert_eq!(
        (version(0, "web"), version(1, "web"), version(2, "web")),
        (Some("1.5"), Some("1.9"), Some("1.5"))
    );
    assert_eq!((version(1, "nobody"), version(2, "nobody")), (None, Some("1.9")));
    assert!(requests[0].node.is_some() && requests[1].node.is_none());
}

#[test]
fn a_reconnect_shows_the_newest_revision_ever_seen_so_that_a_node_behind_it_waits() {
    let mut subscriber = following_web();
    subscriber.response(removal(Kind::Routes, "n", "1.40", &["nobody"]), NOW);
    subscriber.disconnected();
    let node = subscriber.connected().remove(0).node.unwrap();
    let shown = format!("{:?}", node.metadata.unwrap().fields["penstock.revision"]);
    assert!(shown.contains("1.40"), "{shown}");
}

#[test]
fn a_backend_past_the_bound_has_no_endpoint_and_does_not_hold_the_rules_back() {
    let bounds = Bounds { backends_max: 1, ..Bounds::default() };
    let mut subscriber = Subscriber::new(node(), bounds);
    subscriber.connected();
    subscriber.want(&authority("web"), NOW);
    answer(&mut subscriber, "web", "1.5", &[1]);
    let split = routes("web", "1.6", &[("/new/", "canary")]);
    let outputs = subscriber.response(response(Kind::Routes, "n", vec![split]), NOW);
    assert_eq!((view(&outputs, "web").rules.len(), view(&outputs, "web").clusters.len()), (2, 1));
    assert!(subscriber.tally().turned_away > 0);
}

#[test]
fn what_is_wanted_while_disconnected_is_asked_for_on_reconnect() {
    let mut subscriber = Subscriber::new(node(), Bounds::default());
    assert!(subscriber.want(&authority("web"), NOW).requests.is_empty());
    let requests = subscriber.connected();
    assert_eq!(requests.iter().map(|request| names(request).1).collect::<Vec<_>>(), [["web"]; 3]);
}

#[test]
fn an_unknown_service_is_told_as_such_until_its_time_is_over_or_it_appears() {
    let mut subscriber = connected();
    subscriber.want(&authority("web"), NOW);
    let outputs = subscriber.response(removal(Kind::Routes, "n", "1.4", &["web"]), NOW);
    assert!(is_unknown(&outputs, "web"));
    assert!(is_unknown(&subscriber.want(&authority("web"), after(5)), "web"), "told again, not asked again");

    assert!(subscriber.evict(after(9)).resolutions.is_empty());
    let mut appearing = subscriber;
    let outputs = answer(&mut appearing, "web", "1.5", &[1]);
    assert_eq!(ports(view(&outputs, "web"), "web"), [1]);
    assert!(appearing.evict(after(11)).resolutions.is_empty(), "it is known now");
}

#[test]
fn an_unknown_service_is_forgotten_after_its_time_even_if_it_is_called_all_the_time() {
    let mut subscriber = connected();
    subscriber.want(&authority("web"), NOW);
    subscriber.response(removal(Kind::Routes, "n", "1.4", &["web"]), NOW);
    subscriber.used(&authority("web"), after(9));
    let outputs = subscriber.evict(after(10));
    assert_eq!(outputs.resolutions[&authority("web")], Resolution::Forgotten);
    let asked: Vec<_> = outputs.requests.iter().map(names).collect();
    assert_eq!(asked, Kind::ALL.map(|kind| (kind, vec![], vec!["web"])));
}

#[test]
fn an_idle_service_is_forgotten_but_never_while_no_control_node_answers() {
    let mut subscriber = following_web();
    subscriber.used(&authority("web"), after(100));
    assert!(subscriber.evict(after(650)).resolutions.is_empty());
    subscriber.disconnected();
    assert!(subscriber.evict(after(5000)).resolutions.is_empty());
    subscriber.connected();
    assert_eq!(subscriber.evict(after(5000)).resolutions[&authority("web")], Resolution::Forgotten);
    assert_eq!(subscriber.held().count(), 0);
}

#[test]
fn what_is_held_is_told_as_a_digest_once_a_minute_of_each_stream() {
    let mut subscriber = following_web();
    let told = |subscriber: &mut Subscriber, seconds| {
        let requests = subscriber.evict(after(seconds)).requests;
        let digest =
            |request: &DeltaDiscoveryRequest| request.initial_resource_versions.get(HeldDigest::KEY).cloned();
        requests.iter().filter_map(digest).collect::<Vec<_>>()
    };
    assert!(told(&mut subscriber, 0).is_empty() && told(&mut subscriber, 59).is_empty());
    let held: Vec<_> =
        subscriber.held().map(|(kind, name, revision)| (kind, name.to_string(), revision)).collect();
    let expected = Kind::ALL.map(|kind| {
        let mut digest = HeldDigest::default();
        held.iter()
            .filter(|(of, ..)| *of == kind)
            .for_each(|(_, name, revision)| digest.add(name, *revision));
        digest.to_string()
    });
    assert!(expected[0].starts_with("1:"), "{expected:?}");
    assert_eq!(told(&mut subscriber, 60), expected);
    assert!(told(&mut subscriber, 61).is_empty(), "the next minute begins");
    subscriber.response(removal(Kind::Endpoints, "n", "1.9", &["web"]), NOW);
    assert_eq!(told(&mut subscriber, 125)[1], "0:0000000000000000", "what is gone is not held");
    subscriber.disconnected();
    assert!(told(&mut subscriber, 999).is_empty(), "there is nobody to tell");
    subscriber.connected();
    subscriber.used(&authority("web"), after(1000)); // idle, it would be forgotten by now
    assert!(told(&mut subscriber, 1000).is_empty() && !told(&mut subscriber, 1060).is_empty());
}

#[test]
fn past_the_bound_the_oldest_unknown_gives_way_then_the_longest_unused_then_nobody() {
    let bounds = Bounds { authorities_max: 2, ..Bounds::default() };
    let mut subscriber = Subscriber::new(node(), bounds);
    subscriber.connected();
    for text in ["web", "typo"] {
        subscriber.want(&authority(text), NOW);
    }
    answer(&mut subscriber, "web", "1.5", &[1]);
    subscriber.response(removal(Kind::Routes, "n", "1.5", &["typo"]), NOW);
    let outputs = subscriber.want(&authority("shop"), after(1));
    assert_eq!(outputs.resolutions[&authority("typo")], Resolution::Forgotten);

    assert!(subscriber.want(&authority("cart"), after(2)).requests.is_empty());
    assert_eq!(subscriber.tally().turned_away, 1);

    let outputs = subscriber.want(&authority("cart"), after(60));
    assert_eq!(outputs.resolutions[&authority("web")], Resolution::Forgotten);
    assert_eq!(subscriber.wanted().count(), 2);
}

#[test]
fn a_removed_service_becomes_unknown_and_later_ones_bring_it_back_but_earlier_ones_do_not() {
    let mut subscriber = following_web();
    let outputs = subscriber.response(removal(Kind::Routes, "n", "1.9", &["web"]), NOW);
    assert!(is_unknown(&outputs, "web"));
    let outputs = subscriber.response(response(Kind::Routes, "n", vec![routes("web", "1.7", &[])]), NOW);
    assert!(outputs.resolutions.is_empty() && outputs.requests[0].error_detail.is_some());
    let outputs = subscriber.response(response(Kind::Routes, "n", vec![routes("web", "1.10", &[])]), NOW);
    assert_eq!(view(&outputs, "web").rules.len(), 1);
}

#[test]
fn a_response_of_a_kind_that_was_not_asked_for_is_refused_and_changes_nothing() {
    let mut subscriber = following_web();
    let mut odd = response(Kind::Routes, "n", vec![routes("web", "1.9", &[("/new/", "canary")])]);
    odd.type_url = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret".to_owned();
    let outputs = subscriber.response(odd, NOW);
    assert_eq!(outputs.requests.len(), 1);
    assert!(outputs.requests[0].error_detail.as_ref().unwrap().message.contains("was not subscribed to"));
    assert!(outputs.resolutions.is_empty());
}

#[test]
fn a_resource_under_another_name_or_of_torn_bytes_is_refused() {
    let mut subscriber = following_web();
    let mut renamed = endpoints("shop", "1.9", &[1]);
    renamed.name = authority("web").to_string();
    let mut torn = endpoints("web", "1.9", &[1]);
    let body = torn.resource.as_mut().unwrap();
    body.value.truncate(body.value.len() / 2);
    for (bad, reason) in [(renamed, "its body is named"), (torn, "it is no ClusterLoadAssignment")] {
        let outputs = subscriber.response(response(Kind::Endpoints, "n", vec![bad]), NOW);
        let refusal = outputs.requests[0].error_detail.as_ref().unwrap();
        assert!(refusal.message.contains(reason), "{refusal:?}");
    }
    assert_eq!(ports(held_view(&subscriber, "web"), "web"), [1]);
}
