//! Writes are applied once, time never runs back, and what is nonsense is refused.

use api::log::v1::command::Body;
use api::log::v1::refused::Reason;
use api::log::v1::{Command, RaiseVersion};
use mesh::Timestamp;
use prost::Message;

use control::catalog::Catalog;

use crate::script::*;

#[test]
fn a_retry_gets_the_first_outcome_and_changes_nothing() {
    let mut script = Script::new();
    let first = script.command(Some(("sidecar", 1)), register("web:80", "web-1", "10.0.0.1:4143"));
    script.done(leave("web:80", "web-1"));
    let retry = script.command(Some(("sidecar", 1)), register("web:80", "web-1", "10.0.0.1:4143"));
    assert_eq!(retry.outcome, first.outcome);
    assert_eq!(retry.outcome.index, 1);
    assert_eq!(retry.changes, []);
    assert!(script.catalog.endpoints(&authority("web:80")).unwrap().1.is_empty());
    assert_eq!(script.catalog.remembered("sidecar", 1), Some(first.outcome));
    assert_eq!(script.catalog.remembered("sidecar", 2), None);
}

#[test]
fn a_refusal_is_remembered_too() {
    let mut script = Script::new();
    let first = script.command(Some(("cli", 1)), delete_service("web"));
    assert_eq!(refusal(&first.outcome).0, Reason::NotFound);
    script.done(register("web:80", "web-1", "10.0.0.1:4143"));
    assert_eq!(script.command(Some(("cli", 1)), delete_service("web")).outcome, first.outcome);
}

#[test]
fn a_retry_that_comes_after_sixty_four_later_writes_is_refused_as_stale() {
    let mut script = Script::new();
    for sequence in 1..=65 {
        script.command(Some(("cli", sequence)), leave("web:80", "x"));
    }
    let late = script.command(Some(("cli", 1)), leave("web:80", "x"));
    let (reason, message) = refusal(&late.outcome);
    assert_eq!(reason, Reason::Stale);
    assert!(message.starts_with("write 1 of client cli came after 64 later ones"), "{message}");
}

#[test]
fn a_retry_of_a_forgotten_client_is_refused_with_what_to_do_and_never_applied_again() {
    let mut script = Script::new();
    let web = || register("web:80", "web-1", "10.0.0.1:4143");
    script.done(Body::RaiseVersion(RaiseVersion { version: 3 }));
    script.since("sidecar", 1, 1, web());
    script.since("cli", 1, 2, leave("web:80", "web-1"));
    script.wait(16 * 60);
    let late = script.since("cli", 1, 2, leave("web:80", "web-1"));
    let (reason, message) = refusal(&late.outcome);
    assert_eq!((reason, late.changes), (Reason::Expired, vec![]));
    assert!(message.contains("may have been applied; look, and write again as a new client"), "{message}");
    let catalog = Catalog::restore(&script.catalog.snapshot()).unwrap();
    assert_eq!(catalog.sizes().forgotten_clients, 2, "a snapshot carries on what was forgotten");
    script.catalog = catalog;
    let late = script.since("cli", 1, 2, leave("web:80", "web-1"));
    assert_eq!(refusal(&late.outcome).0, Reason::Expired);
    let index = script.index;
    let fresh = script.since("cli-2", 1, index, web());
    assert!(!fresh.changes.is_empty(), "who begins now is new");
}

#[test]
fn before_every_member_knows_what_since_means_it_says_nothing() {
    let mut script = Script::new();
    script.since("cli", 1, 1, leave("web:80", "web-1"));
    script.wait(16 * 60);
    let late = script.since("cli", 1, 1, register("web:80", "web-1", "10.0.0.1:4143"));
    assert!(!late.changes.is_empty(), "as a node of the first version would apply it");
}

#[test]
fn a_write_with_half_an_identity_is_refused_and_not_remembered() {
    let mut script = Script::new();
    let refused = script.command(Some(("", 1)), register("web:80", "web-1", "10.0.0.1:4143"));
    assert_eq!(refusal(&refused.outcome).1, "id.client = \"\": must be 1 to 64 bytes, is 0");
    let refused = script.command(Some(("a", 0)), register("web:80", "web-1", "10.0.0.1:4143"));
    assert_eq!(refusal(&refused.outcome).1, "id.sequence = 0: must be 1 or more");
    assert_eq!(script.catalog.sizes().clients, 0);
}

#[test]
fn time_never_runs_back_and_a_broken_clock_is_refused() {
    let mut script = Script::new();
    script.wait(100);
    script.at_ms -= 50_000;
    script.wait(0);
    assert_eq!(script.catalog.now(), Timestamp(START_MS + 100_000));
    let broken =
        Command { id: None, at_ms: u64::MAX, body: Some(register("web:80", "web-1", "10.0.0.1:4143")) };
    let refused = script.bytes(broken.encode_to_vec());
    assert!(refusal(&refused.outcome).1.starts_with("at_ms = 18446744073709551615: must lie before"));
    assert_eq!(script.catalog.now(), Timestamp(START_MS + 100_000));
}

#[test]
fn rafts_own_empty_entries_change_nothing_but_the_index() {
    let mut script = Script::new();
    let applied = script.bytes(Vec::new());
    assert_eq!(applied.changes, []);
    assert_eq!(script.catalog.applied().index, 1);
    assert_eq!(script.catalog.routing().index, 0);
}

#[test]
fn a_command_without_a_body_or_with_garbage_is_refused_as_invalid() {
    let mut script = Script::new();
    let empty = Command { id: None, at_ms: START_MS, body: None }.encode_to_vec();
    for bytes in [empty, vec![0xff; 40], vec![0x0a, 0x7f]] {
        let applied = script.bytes(bytes);
        assert_eq!(refusal(&applied.outcome).0, Reason::Invalid);
    }
    let (_, message) = script.refused(Body::Leave(api::log::v1::Leave { lease: None }));
    assert_eq!(message, "lease: is missing");
}
