//! Refused answers: the last good one stays, the bad one is named, the others go on.

use control::discovery::{Kind, Way};
use mesh::Revision;

use crate::desk::{Desk, full};

fn desk() -> Desk {
    let mut desk = Desk::new(Way::Delta, "envoy");
    for name in ["a", "b", "c"] {
        desk.service(name);
    }
    desk
}

fn refused(desk: &Desk) -> Vec<(String, Revision, String)> {
    let refusals = desk.session.refusals();
    refusals.map(|(_, name, r)| (name.to_string(), r.version.unwrap(), r.reason.clone())).collect()
}

#[test]
fn a_refused_resource_is_recorded_and_not_sent_again_until_it_changes() {
    let mut desk = desk();
    assert_eq!(desk.ask(Kind::Cluster, &["a"], &[]), ["CDS 1 a@1.1"]);
    assert!(desk.nack(Kind::Cluster, "1", "bad timeout").is_empty());
    assert_eq!(refused(&desk), [(full("a"), Revision::new(1, 1), "bad timeout".to_owned())]);
    assert_eq!(desk.session.standing(&desk.shelf).refused, 1);
    assert_eq!(desk.service("a"), ["CDS 2 a@1.4"]);
    desk.ack(Kind::Cluster, "2");
    assert!(refused(&desk).is_empty());
}

#[test]
fn what_a_refusal_names_is_to_blame_and_the_others_count_as_taken() {
    let mut desk = desk();
    desk.ask(Kind::Cluster, &["a", "b"], &[]);
    assert!(desk.nack(Kind::Cluster, "1", &format!("{}: no such thing", full("b"))).is_empty());
    assert_eq!(refused(&desk)[0].0, full("b"));
    assert_eq!(desk.session.standing(&desk.shelf).acknowledged, Revision::new(1, 1));
}

#[test]
fn a_refusal_that_names_nothing_is_taken_apart_so_that_the_good_ones_get_through() {
    let mut desk = desk();
    assert_eq!(desk.ask(Kind::Cluster, &["a", "b", "c"], &[]), ["CDS 1 a@1.1 b@1.2 c@1.3"]);
    assert_eq!(desk.nack(Kind::Cluster, "1", "redacted"), ["CDS 2 a@1.1 b@1.2"]);
    assert_eq!(desk.nack(Kind::Cluster, "2", "redacted"), ["CDS 3 a@1.1"]);
    assert_eq!(desk.ack(Kind::Cluster, "3"), ["CDS 4 b@1.2"]);
    assert_eq!(desk.nack(Kind::Cluster, "4", "redacted"), ["CDS 5 c@1.3"]);
    assert!(desk.ack(Kind::Cluster, "5").is_empty());
    assert_eq!(refused(&desk).len(), 1);
    assert_eq!(refused(&desk)[0].0, full("b"));
}

#[test]
fn one_bad_resource_among_many_is_found_in_few_answers() {
    let mut desk = Desk::new(Way::Delta, "envoy");
    for number in 0..1000 {
        desk.service(&format!("s{number}"));
    }
    let mut told = desk.ask(Kind::Cluster, &["*"], &[]);
    let mut answers = 0;
    while let Some(line) = told.pop() {
        answers += 1;
        let nonce = line.split(' ').nth(1).unwrap().to_owned();
        let bad = line.contains(" s777@");
        told = if bad { desk.nack(Kind::Cluster, &nonce, "") } else { desk.ack(Kind::Cluster, &nonce) };
    }
    assert!(answers <= 22, "{answers}");
    assert_eq!(refused(&desk).len(), 1);
    assert_eq!(refused(&desk)[0].0, full("s777"));
    assert_eq!(desk.session.standing(&desk.shelf).resources, 999);
}

#[test]
fn a_refused_kind_blocks_no_other() {
    let mut desk = desk();
    desk.ask(Kind::Cluster, &["a"], &[]);
    desk.nack(Kind::Cluster, "1", "no");
    assert_eq!(desk.ask(Kind::Routes, &["a"], &[]), ["RDS 2 a@1.1"]);
    assert_eq!(desk.ask(Kind::Cluster, &["b"], &[]), ["CDS 3 b@1.2"]);
}

#[test]
fn a_name_that_ends_like_the_refused_one_is_not_blamed() {
    let mut desk = desk();
    desk.service("my-a");
    desk.ask(Kind::Cluster, &["a", "my-a"], &[]);
    desk.nack(Kind::Cluster, "1", &format!("cluster '{}' is bad", full("my-a")));
    assert_eq!(refused(&desk).len(), 1);
    assert_eq!(refused(&desk)[0].0, full("my-a"));
}

#[test]
fn a_reason_without_end_is_cut() {
    let mut desk = desk();
    desk.ask(Kind::Cluster, &["a"], &[]);
    desk.nack(Kind::Cluster, "1", &"ä".repeat(100_000));
    assert!(refused(&desk)[0].2.len() <= 1000);
}

#[test]
fn in_the_state_of_the_world_a_refused_answer_is_not_repeated() {
    let mut desk = Desk::new(Way::Whole, "gRPC C-core");
    desk.service("a");
    let name = full("a");
    assert_eq!(desk.whole(Kind::Cluster, &[&name], ("", ""), ""), ["CDS 1 a@1.1"]);
    assert!(desk.whole(Kind::Cluster, &[&name], ("1", ""), "LB policy is not supported").is_empty());
    assert_eq!(refused(&desk)[0].0, name);
    assert_eq!(desk.service("a"), ["CDS 2 a@1.2"]);
}
