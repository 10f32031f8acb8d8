//! The incremental variant: by name on demand, wildcard, resume, order, coalescing.

use control::discovery::{Kind, OUTBOUND, Way};
use mesh::{Protocol, Revision};

use crate::desk::{Desk, endpoints, holdings, service, split};

fn desk() -> Desk {
    let mut desk = Desk::new(Way::Delta, "penstock");
    desk.service("web");
    desk.endpoints("web", &["10.0.0.1:80"]);
    desk.service("shop");
    desk
}

#[test]
fn a_name_is_answered_on_demand_and_told_again_only_when_it_changes() {
    let mut desk = desk();
    assert_eq!(desk.ask(Kind::Endpoints, &["web"], &[]), ["EDS 1 web@1.2"]);
    assert!(desk.ack(Kind::Endpoints, "1").is_empty());
    assert!(desk.endpoints("shop", &["10.0.0.2:80"]).is_empty(), "nobody asked for shop");
    assert_eq!(desk.endpoints("web", &["10.0.0.3:80"]), ["EDS 2 web@1.5"]);
}

#[test]
fn an_unknown_name_is_answered_as_missing_and_told_once_it_is_there() {
    let mut desk = desk();
    assert_eq!(desk.ask(Kind::Routes, &["later"], &[]), ["RDS 1 -later"]);
    assert!(desk.ack(Kind::Routes, "1").is_empty());
    assert_eq!(desk.service("later"), ["RDS 2 later@1.4"]);
}

#[test]
fn changes_that_come_while_an_answer_is_owed_go_out_together_after_it() {
    let mut desk = desk();
    desk.ask(Kind::Endpoints, &["web", "shop"], &[]);
    for last in 1..=9 {
        assert!(desk.endpoints("web", &[&format!("10.0.1.{last}:80")]).is_empty());
    }
    assert!(desk.endpoints("shop", &["10.0.0.2:80"]).is_empty());
    assert_eq!(desk.ack(Kind::Endpoints, "1"), ["EDS 2 shop@1.13 web@1.12"]);
    assert!(desk.ack(Kind::Endpoints, "2").is_empty());
}

#[test]
fn another_kind_goes_out_while_an_answer_of_the_first_is_owed() {
    let mut desk = desk();
    assert_eq!(desk.ask(Kind::Cluster, &["web"], &[]), ["CDS 1 web@1.1"]);
    assert_eq!(desk.ask(Kind::Endpoints, &["web"], &[]), ["EDS 2 web@1.2"]);
}

#[test]
fn who_reconnects_with_what_it_holds_is_sent_only_what_differs() {
    let mut desk = desk();
    desk.ask(Kind::Endpoints, &["web", "shop"], &[]);
    let held = holdings(&desk.pushes, Kind::Endpoints);
    let shown: Vec<_> = held.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();

    desk.reconnect();
    assert!(desk.ask(Kind::Endpoints, &["web", "shop"], &shown).is_empty(), "it holds all of it");
    desk.reconnect();
    desk.endpoints("web", &["10.0.0.9:80"]);
    assert_eq!(desk.ask(Kind::Endpoints, &["web", "shop"], &shown), ["EDS 1 web@1.4"]);
}

#[test]
fn who_reconnects_with_what_is_gone_is_told_so() {
    let mut desk = desk();
    assert_eq!(desk.ask(Kind::Cluster, &["old"], &[("old", "1.1")]), ["CDS 1 -old"]);
    desk.reconnect();
    assert_eq!(desk.ask(Kind::Cluster, &["*"], &[("old", "1.1"), ("web", "1.1")]), ["CDS 1 shop@1.3"]);
    assert_eq!(desk.ack(Kind::Cluster, "1"), ["CDS 2 -old"]);
}

#[test]
fn a_name_that_is_asked_for_once_more_is_sent_once_more() {
    let mut desk = desk();
    desk.ask(Kind::Cluster, &["web"], &[]);
    desk.ack(Kind::Cluster, "1");
    assert_eq!(desk.ask(Kind::Cluster, &["web"], &[]), ["CDS 2 web@1.1"]);
}

#[test]
fn versions_of_another_life_or_none_are_sent_anew() {
    for shown in ["0.900", "hash-of-something", "", "1.2.3"] {
        let mut desk = desk();
        assert_eq!(desk.ask(Kind::Cluster, &["web"], &[("web", shown)]), ["CDS 1 web@1.1"], "{shown:?}");
    }
}

#[test]
fn a_node_that_is_behind_what_a_client_has_seen_holds_its_answers_until_it_caught_up() {
    let mut desk = desk();
    assert!(desk.ask(Kind::Endpoints, &["web"], &[("web", "1.5")]).is_empty());
    assert!(desk.session.is_held());
    assert!(desk.ask(Kind::Cluster, &["web"], &[]).is_empty(), "no kind goes out");
    assert!(desk.service("other").is_empty());
    assert_eq!(
        desk.endpoints("web", &["10.0.0.5:80"]),
        ["CDS 1 web@1.1"],
        "the endpoints are those it showed"
    );
    assert!(!desk.session.is_held());
}

#[test]
fn routes_wait_until_the_client_holds_the_clusters_and_endpoints_that_were_sent_before() {
    let mut desk = desk();
    desk.ask(Kind::Routes, &["web"], &[]);
    desk.ack(Kind::Routes, "1");
    assert_eq!(desk.ask(Kind::Cluster, &["*"], &[]), ["CDS 2 shop@1.3 web@1.1"]);
    desk.ack(Kind::Cluster, "2");
    desk.index += 1;
    let at = desk.index;
    let both = [service("new", Some(Protocol::Http1), at), split("web", &[("new", 1)], at)];
    assert_eq!(desk.commit(&both), ["CDS 3 new@1.4"]);
    assert_eq!(desk.ask(Kind::Endpoints, &["new"], &[]), ["EDS 4 new@1.4"]);
    assert!(desk.ack(Kind::Cluster, "3").is_empty(), "the endpoints are not answered yet");
    assert_eq!(desk.ack(Kind::Endpoints, "4"), ["RDS 5 web@1.4"]);
}

#[test]
fn what_is_withdrawn_goes_out_after_everything_that_pointed_at_it() {
    let mut desk = desk();
    desk.ask(Kind::Cluster, &["*"], &[]);
    desk.ack(Kind::Cluster, "1");
    desk.ask(Kind::Endpoints, &["shop"], &[]);
    desk.ack(Kind::Endpoints, "2");
    desk.ask(Kind::Routes, &["web"], &[]);
    desk.ack(Kind::Routes, "3");
    desk.index += 1;
    let at = desk.index;
    let both = [service("shop", None, at), split("web", &[("web", 1)], at)];
    assert_eq!(desk.commit(&both), ["RDS 4 web@1.4"]);
    assert_eq!(desk.ack(Kind::Routes, "4"), ["CDS 5 -shop", "EDS 6 -shop"]);
}

#[test]
fn an_empty_first_request_for_clusters_asks_for_all_and_is_answered_even_when_there_are_none() {
    let mut desk = Desk::new(Way::Delta, "envoy");
    assert_eq!(desk.ask(Kind::Cluster, &[], &[]), ["CDS 1"]);
    desk.ack(Kind::Cluster, "1");
    assert_eq!(desk.service("web"), ["CDS 2 web@1.1"]);
    desk.ack(Kind::Cluster, "2");
    assert!(desk.ask(Kind::Endpoints, &[], &[]).is_empty(), "endpoints are never asked for without a name");
}

#[test]
fn envoy_is_given_one_listener_and_one_set_of_routes_with_all_services() {
    let mut desk = Desk::new(Way::Delta, "envoy");
    desk.service("web");
    assert_eq!(desk.ask(Kind::Listener, &[], &[]), [format!("LDS 1 {OUTBOUND}@1.0")]);
    desk.ack(Kind::Listener, "1");
    assert_eq!(desk.ask(Kind::Routes, &[OUTBOUND], &[]), [format!("RDS 2 {OUTBOUND}@1.1")]);
    desk.ack(Kind::Routes, "2");
    assert_eq!(desk.service("shop"), [format!("RDS 3 {OUTBOUND}@1.2")]);
}

#[test]
fn names_that_are_dropped_are_told_no_more() {
    let mut desk = desk();
    desk.ask(Kind::Endpoints, &["web", "shop"], &[]);
    desk.ack(Kind::Endpoints, "1");
    desk.drop_names(Kind::Endpoints, &["web", "never-asked"]);
    assert!(desk.endpoints("web", &["10.0.0.4:80"]).is_empty());
    assert_eq!(desk.endpoints("shop", &["10.0.0.4:80"]), ["EDS 2 shop@1.5"]);
    desk.ack(Kind::Endpoints, "2");
    desk.ask(Kind::Endpoints, &["*"], &[]);
    desk.ack(Kind::Endpoints, "3");
    desk.drop_names(Kind::Endpoints, &["*"]);
    assert!(desk.endpoints("web", &["10.0.0.5:80"]).is_empty());
    assert_eq!(desk.endpoints("shop", &["10.0.0.5:80"]), ["EDS 4 shop@1.7"]);
}

#[test]
fn a_snapshot_that_replaces_the_catalog_tells_only_what_differs() {
    let mut desk = desk();
    desk.ask(Kind::Cluster, &["web", "shop"], &[]);
    desk.ack(Kind::Cluster, "1");
    let view = [service("web", Some(Protocol::Http1), 1), endpoints("web", &["10.0.0.1:80"], 2)];
    let at = Revision::new(1, 40);
    let touched = desk.shelf.changed(&view, at, at, true);
    touched.iter().for_each(|touch| desk.session.touched(touch));
    desk.index = 40;
    assert_eq!(desk.commit(&[]), ["CDS 2 -shop"]);
}

#[test]
fn standing_tells_what_was_acknowledged_and_what_there_is() {
    let mut desk = desk();
    desk.ask(Kind::Endpoints, &["web"], &[]);
    let standing = desk.session.standing(&desk.shelf);
    assert_eq!((standing.acknowledged, standing.settled), (Revision::default(), false));
    desk.ack(Kind::Endpoints, "1");
    desk.endpoints("web", &["10.0.0.3:80"]);
    let standing = desk.session.standing(&desk.shelf);
    assert_eq!((standing.acknowledged, standing.latest), (Revision::new(1, 2), Revision::new(1, 4)));
    assert!(!standing.settled);
    desk.ack(Kind::Endpoints, "2");
    assert!(desk.session.standing(&desk.shelf).settled);
}
