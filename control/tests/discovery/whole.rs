//! The state-of-the-world variant, as gRPC speaks it.

use control::discovery::{Kind, OUTBOUND, Way};

use crate::desk::{Desk, full, service};

fn desk() -> Desk {
    let mut desk = Desk::new(Way::Whole, "gRPC C-core linux");
    desk.service("web");
    desk.endpoints("web", &["10.0.0.1:80"]);
    desk.service("shop");
    desk
}

#[test]
fn grpc_walks_from_the_listener_it_names_to_the_endpoints() {
    let mut desk = desk();
    assert_eq!(desk.whole(Kind::Listener, &["web"], ("", ""), ""), ["LDS 1 web@1.1"]);
    let web = full("web");
    assert_eq!(desk.whole(Kind::Routes, &[&web], ("", ""), ""), ["RDS 2 web@1.1"]);
    assert_eq!(desk.whole(Kind::Cluster, &[&web], ("", ""), ""), ["CDS 3 web@1.1"]);
    assert_eq!(desk.whole(Kind::Endpoints, &[&web], ("", ""), ""), ["EDS 4 web@1.2"]);
}

#[test]
fn an_ack_is_not_answered() {
    let mut desk = desk();
    let web = full("web");
    desk.whole(Kind::Endpoints, &[&web], ("", ""), "");
    assert!(desk.whole(Kind::Endpoints, &[&web], ("1", "1.2"), "").is_empty());
    assert!(desk.whole(Kind::Endpoints, &[&web], ("1", "1.2"), "").is_empty(), "nor is a repeated one");
}

#[test]
fn endpoints_come_alone_and_clusters_come_with_all_others() {
    let mut desk = desk();
    let (web, shop) = (full("web"), full("shop"));
    desk.whole(Kind::Endpoints, &[&web, &shop], ("", ""), "");
    desk.whole(Kind::Endpoints, &[&web, &shop], ("1", "1.3"), "");
    desk.whole(Kind::Cluster, &[&web, &shop], ("", ""), "");
    desk.whole(Kind::Cluster, &[&web, &shop], ("2", "1.3"), "");
    assert_eq!(desk.endpoints("shop", &["10.0.0.7:80"]), ["EDS 3 shop@1.4"]);
    desk.whole(Kind::Endpoints, &[&web, &shop], ("3", "1.4"), "");
    assert_eq!(desk.service("web"), ["CDS 4 shop@1.3 web@1.5"]);
}

#[test]
fn a_name_that_is_added_is_answered_and_one_that_is_dropped_is_not() {
    let mut desk = desk();
    let (web, shop) = (full("web"), full("shop"));
    desk.whole(Kind::Endpoints, &[&web], ("", ""), "");
    assert_eq!(desk.whole(Kind::Endpoints, &[&web, &shop], ("1", "1.2"), ""), ["EDS 2 shop@1.3"]);
    assert!(desk.whole(Kind::Endpoints, &[&shop], ("2", "1.3"), "").is_empty());
    assert!(desk.endpoints("web", &["10.0.0.8:80"]).is_empty());
}

#[test]
fn a_request_that_crossed_an_answer_acknowledges_nothing_but_its_names_count() {
    let mut desk = desk();
    let (web, shop) = (full("web"), full("shop"));
    desk.whole(Kind::Endpoints, &[&web], ("", ""), "");
    desk.whole(Kind::Endpoints, &[&web], ("1", "1.2"), "");
    assert_eq!(desk.endpoints("web", &["10.0.0.8:80"]), ["EDS 2 web@1.4"]);
    assert!(desk.whole(Kind::Endpoints, &[&web, &shop], ("1", "1.2"), "").is_empty(), "it answers the first");
    assert_eq!(desk.whole(Kind::Endpoints, &[&web, &shop], ("2", "1.4"), ""), ["EDS 3 shop@1.3"]);
}

#[test]
fn a_name_that_is_dropped_and_wanted_again_while_an_answer_is_on_its_way_is_sent_again() {
    // Found by a random walk (seed 171): both requests crossed an answer and were ignored, as the protocol allows.
    let mut desk = desk();
    let (web, shop) = (full("web"), full("shop"));
    desk.whole(Kind::Endpoints, &[&web, &shop], ("", ""), "");
    desk.whole(Kind::Endpoints, &[&web, &shop], ("1", "1.3"), "");
    assert_eq!(desk.endpoints("web", &["10.0.0.8:80"]), ["EDS 2 web@1.4"]);
    desk.whole(Kind::Endpoints, &[&web], ("1", "1.3"), "");
    desk.whole(Kind::Endpoints, &[&web, &shop], ("1", "1.3"), "");
    assert_eq!(desk.whole(Kind::Endpoints, &[&web, &shop], ("2", "1.4"), ""), ["EDS 3 shop@1.3"]);
}

#[test]
fn versions_are_never_empty_and_equal_on_every_node() {
    let (mut one, mut other) = (desk(), desk());
    let web = full("web");
    one.whole(Kind::Endpoints, &[&web], ("", ""), "");
    other.whole(Kind::Endpoints, &[&web], ("", ""), "");
    assert_eq!(one.pushes[0].whole(), other.pushes[0].whole());
    assert_eq!(one.pushes[0].whole().version_info, "1.2");
    let mut empty = Desk::new(Way::Whole, "envoy");
    assert_eq!(empty.whole(Kind::Cluster, &[], ("", ""), ""), ["CDS 1"]);
    assert!(!empty.pushes[0].whole().version_info.is_empty());
}

#[test]
fn a_node_behind_the_shown_version_holds_the_stream() {
    let mut desk = desk();
    let web = full("web");
    assert!(desk.whole(Kind::Endpoints, &[&web], ("", "1.4"), "").is_empty());
    assert_eq!(desk.service("other"), ["EDS 1 web@1.2"]);
}

#[test]
fn a_removed_cluster_is_told_by_absence() {
    let mut desk = desk();
    let (web, shop) = (full("web"), full("shop"));
    desk.whole(Kind::Cluster, &[&web, &shop], ("", ""), "");
    desk.whole(Kind::Cluster, &[&web, &shop], ("1", "1.3"), "");
    desk.index += 1;
    let gone = service("shop", None, desk.index);
    assert_eq!(desk.commit(&[gone]), ["CDS 2 web@1.1"]);
}

#[test]
fn a_listener_that_is_asked_for_before_its_service_exists_comes_with_it() {
    let mut desk = desk();
    assert_eq!(desk.whole(Kind::Listener, &["later"], ("", ""), ""), ["LDS 1"]);
    desk.whole(Kind::Listener, &["later"], ("1", "1.3"), "");
    assert_eq!(desk.service("later"), ["LDS 2 later@1.4"]);
    assert_eq!(&*desk.pushes[1].resources[0].name, "later", "named as it was asked for");
}

#[test]
fn an_envoy_without_increments_follows_all_too() {
    let mut desk = Desk::new(Way::Whole, "envoy");
    desk.service("web");
    assert_eq!(desk.whole(Kind::Cluster, &[], ("", ""), ""), ["CDS 1 web@1.1"]);
    desk.whole(Kind::Cluster, &[], ("1", "1.1"), "");
    assert_eq!(desk.whole(Kind::Listener, &[], ("", ""), ""), [format!("LDS 2 {OUTBOUND}@1.0")]);
    desk.whole(Kind::Listener, &[], ("2", "1.0"), "");
    assert_eq!(desk.service("shop"), ["CDS 3 shop@1.2 web@1.1"]);
}
