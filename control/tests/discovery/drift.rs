//! Silent drift: a proxy that does not hold what it was told, and a session that missed a change.

use control::discovery::{Drift, Kind, Output, Session, Way};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh::{HeldDigest, Revision};

use crate::desk::{Desk, endpoints, full};

/// A client that holds `web@1.2` and has said so.
fn settled() -> Desk {
    let mut desk = Desk::new(Way::Delta, "penstock");
    desk.service("web");
    desk.endpoints("web", &["10.0.0.1:80"]);
    assert_eq!(desk.ask(Kind::Endpoints, &["web", "absent"], &[]), ["EDS 1 web@1.2 -absent"]);
    assert!(desk.ack(Kind::Endpoints, "1").is_empty());
    desk
}

fn digest(held: &[(&str, u64)]) -> DeltaDiscoveryRequest {
    let mut digest = HeldDigest::default();
    held.iter().for_each(|(name, index)| digest.add(&full(name), Revision::new(1, *index)));
    DeltaDiscoveryRequest {
        type_url: Kind::Endpoints.type_url(),
        initial_resource_versions: [(HeldDigest::KEY.to_owned(), digest.to_string())].into(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn drifts(desk: &mut Desk, request: &DeltaDiscoveryRequest) -> Vec<Drift> {
    let mut out = Vec::new();
    desk.session.delta_request(request, &mut desk.shelf, &mut out);
    let drift = |output| if let Output::Drifted(drift) = output { Some(drift) } else { None };
    out.into_iter().filter_map(drift).collect()
}

#[test]
fn a_proxy_that_holds_what_it_was_told_is_left_alone() {
    let mut desk = settled();
    assert!(desk.delta(digest(&[("web", 2)])).is_empty());
    assert!(drifts(&mut desk, &digest(&[("web", 2)])).is_empty());
}

#[test]
fn a_proxy_that_lost_something_starts_anew_and_is_sent_only_what_differs() {
    let mut desk = settled();
    desk.service("shop");
    desk.endpoints("shop", &["10.0.0.2:80"]);
    assert_eq!(desk.ask(Kind::Endpoints, &["shop"], &[]), ["EDS 2 shop@1.4"]);
    desk.ack(Kind::Endpoints, "2");
    let said = desk.delta(digest(&[("web", 2)]));
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("Aborted: this stream should hold 2:"), "{said:?}");
    desk.reconnect();
    assert_eq!(desk.ask(Kind::Endpoints, &["web", "shop"], &[("web", "1.2")]), ["EDS 1 shop@1.4"]);
}

#[test]
fn a_proxy_that_holds_an_old_revision_or_too_much_is_found_too() {
    for held in [&[("web", 1)][..], &[("web", 2), ("absent", 1)], &[]] {
        assert_eq!(drifts(&mut settled(), &digest(held)), [Drift::Proxy(Kind::Endpoints)], "{held:?}");
    }
}

#[test]
fn nothing_is_compared_while_something_is_on_its_way() {
    let mut desk = settled();
    assert_eq!(desk.endpoints("web", &["10.0.0.9:80"]), ["EDS 2 web@1.3"]);
    assert!(desk.delta(digest(&[("web", 2)])).is_empty(), "it had not read the answer yet");
    assert!(desk.ack(Kind::Endpoints, "2").is_empty());
    assert_eq!(drifts(&mut desk, &digest(&[("web", 2)])), [Drift::Proxy(Kind::Endpoints)]);
}

#[test]
fn a_refused_resource_is_no_drift() {
    let mut desk = settled();
    assert_eq!(desk.endpoints("web", &["10.0.0.9:80"]), ["EDS 2 web@1.3"]);
    desk.nack(Kind::Endpoints, "2", &format!("{}: no", full("web")));
    assert!(drifts(&mut desk, &digest(&[("web", 2)])).is_empty(), "it keeps its last good one");
}

#[test]
fn a_change_that_the_session_was_not_told_of_is_told_when_the_digest_comes() {
    let mut desk = settled();
    // The catalog moves on, and nobody tells the session: the fault that this is for.
    let (change, applied) = (endpoints("web", &["10.0.0.9:80"], 7), Revision::new(1, 7));
    desk.shelf.changed(&[change], applied, applied, false);
    assert_eq!(desk.delta(digest(&[("web", 2)])), ["EDS 2 web@1.7"]);
}

#[test]
fn a_stream_that_only_begins_is_not_compared() {
    let mut desk = settled();
    desk.session = Session::new(Way::Delta);
    desk.reconnect();
    let shown = digest(&[]);
    assert!(desk.delta(shown).is_empty());
}
