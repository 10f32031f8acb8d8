//! The begin of a life: every revision rises into the new epoch, and nothing else changes.

use api::log::v1::{Begin, command::Body, refused::Reason};
use control::catalog::{Catalog, Change};
use mesh::Revision;

use crate::determinism::chance_script;
use crate::script::{Script, actions, register};

fn begin(epoch: u32) -> Body {
    Body::Begin(Begin { epoch })
}

fn revision(change: &Change) -> Revision {
    match change {
        Change::Service { revision, .. }
        | Change::Endpoints { revision, .. }
        | Change::Routes { revision, .. }
        | Change::Policy { revision, .. } => *revision,
        Change::Traffic { .. } => panic!("{change:?}"),
    }
}

/// A script with two services, as a backup holds it.
fn lived() -> Script {
    let mut script = Script::new();
    for name in ["web:80", "cart:80"] {
        script.done(register(name, "a", "10.0.0.1:80"));
    }
    script
}

#[test]
fn a_begin_lifts_every_revision_into_its_epoch_at_the_same_index_and_tells_all_of_them() {
    let mut script = lived();
    let before: Vec<_> = script.catalog.view().iter().map(revision).collect();
    assert!(!script.catalog.is_begun());
    let told = script.done(begin(700));
    let lifted: Vec<_> = before.iter().map(|revision| Revision::new(700, revision.index)).collect();
    assert_eq!(told.iter().map(revision).collect::<Vec<_>>(), lifted);
    assert_eq!(told, script.catalog.view());
    assert!(script.catalog.is_begun());
    assert_eq!(script.catalog.applied(), Revision::new(700, 3));
    assert_eq!(script.catalog.routing().epoch, 700);
    let later = script.done(register("web:80", "b", "10.0.0.2:80"));
    assert_eq!(revision(&later[0]), Revision::new(700, 4));
}

#[test]
fn no_revision_of_the_life_before_is_left_anywhere() {
    for seed in 0..5 {
        let mut script = chance_script(seed, 400, 20_000);
        let is_left = |script: &Script| format!("{:?}", script.catalog).contains("Revision { epoch: 1,");
        assert!(is_left(&script), "seed {seed} made nothing");
        script.done(begin(700));
        assert!(!is_left(&script), "seed {seed}: {:?}", script.catalog);
    }
}

#[test]
fn a_life_begins_once() {
    let mut script = lived();
    script.done(begin(700));
    let hash = script.catalog.view();
    assert_eq!(script.done(begin(800)), [], "another leader had proposed it too");
    assert_eq!((script.catalog.view(), script.catalog.applied().epoch), (hash, 700));
}

#[test]
fn another_life_is_never_earlier_than_the_last() {
    let mut script = lived();
    script.done(begin(700));
    let restored = Catalog::restore(&script.catalog.snapshot()).unwrap();
    assert!(restored.is_begun(), "a snapshot tells that it has begun");
    script.catalog = restored.for_another_life();
    assert!(!script.catalog.is_begun());
    for earlier in [0, 1, 700] {
        let (reason, message) = script.refused(begin(earlier));
        assert_eq!(reason, Reason::Invalid);
        assert!(message.contains(&format!("epoch {earlier} is not after 700")), "{message}");
    }
    script.done(begin(701));
    assert!(script.catalog.view().iter().all(|change| revision(change).epoch == 701));
}

#[test]
fn a_retry_across_lives_is_answered_with_the_first_outcome() {
    let mut script = lived();
    let first = script.command(Some(("client", 1)), register("web:80", "b", "10.0.0.2:80"));
    script.catalog = Catalog::restore(&script.catalog.snapshot()).unwrap().for_another_life();
    script.done(begin(700));
    let again = script.command(Some(("client", 1)), register("web:80", "b", "10.0.0.2:80"));
    assert_eq!((again.outcome, again.changes), (first.outcome.clone(), Vec::new()));
    assert!(actions(&first).is_empty());
}
