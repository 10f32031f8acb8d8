//! The founding of a cluster, when a leader does not live to see its first entries committed.

use std::sync::Arc;

use api::log::v1::{Begin, Command, command::Body};
use consensus::log::{Log, LogSettings};
use consensus::{Batch, EntryKind, HardState, LogEntry, Membership, NodeId, StdVfs};
use control::Settings;
use prost::Message as _;

use crate::group::{Group, registration};

/// Leaves in a founder's directory what a life of it left there: it led in `term` and began the cluster's life with `epoch`.
fn leave_behind(settings: &Settings, term: u64, epoch: u32, commit: u64) {
    let founders = Membership::of_voters([1, 2, 3].map(NodeId));
    let log = LogSettings::new(settings.data_directory.clone(), &settings.cluster, settings.node, founders);
    let (mut log, _) = Log::open_as(Arc::new(StdVfs), &log, settings.node.0).unwrap();
    let begin = Command { id: None, at_ms: 0, body: Some(Body::Begin(Begin { epoch })) }.encode_to_vec();
    let entry = |index: u64, data: Vec<u8>| LogEntry {
        kind: EntryKind::Normal.into(),
        term,
        index,
        data: data.into(),
    };
    let entries = vec![entry(2, Vec::new()), entry(3, begin)];
    let hard_state = HardState { term, vote: settings.node.0, commit };
    log.persist(&[Batch { number: 1, hard_state, snapshot: None, entries }]).unwrap();
    log.end_doubt().unwrap();
}

/// A leader of a founding was killed before its begin was committed; the next one began the life a second later. The first took
/// its own begin for the cluster's, was of another life, and was refused for ever.
#[test]
fn a_founder_whose_begin_of_the_life_never_counted_is_heard_and_follows() {
    let group = Group::with(3, |settings| match settings.node {
        NodeId(2) => leave_behind(settings, 2, 700, 1),
        _ => leave_behind(settings, 3, 701, 3),
    });
    let leader = group.leader();
    group.register(leader, registration("web", "web-1")).unwrap();
    group.until_rows(leader, "all three hold the same", |rows| {
        rows.iter().filter(|row| row.reachable && row.lag == 0).count() == 3
    });
    assert_eq!(group.instances(2, "web"), ["web-1"]);
}
