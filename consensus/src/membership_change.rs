//! Changes of the membership as they stand in the log, read and written by prost (field numbers of
//! `eraftpb.ConfChangeV2`).
//!
//! Raft re-reads what a leader proposes with protobuf 2, but only bytes that [`encode`] made in the same
//! process.

use bytes::Bytes;
use prost::Message as _;
use protobuf::ProtobufEnum as _;
use raft::eraftpb;

use crate::nouns::{EntryKind, LogEntry, Membership};

#[derive(Clone, PartialEq, prost::Message)]
struct Change {
    #[prost(int32, tag = "1")]
    transition: i32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<Step>,
    #[prost(bytes = "bytes", tag = "3")]
    context: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Step {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    node: u64,
}

/// The old one-by-one form, `eraftpb.ConfChange`.
#[derive(Clone, PartialEq, prost::Message)]
struct SingleChange {
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(uint64, tag = "3")]
    node: u64,
}

/// The change in `entry`, or why it cannot be one. Empty data leaves a joint membership.
pub(crate) fn decode(entry: &LogEntry) -> Result<eraftpb::ConfChangeV2, String> {
    let broken =
        |error: prost::DecodeError| format!("membership entry {} does not decode: {error}", entry.index);
    let Change { transition, changes: steps, context } =
        if entry.kind == i32::from(EntryKind::MembershipSingle) {
            let single = SingleChange::decode(entry.data.clone()).map_err(broken)?;
            let changes = vec![Step { kind: single.kind, node: single.node }];
            Change { changes, ..Change::default() }
        } else {
            Change::decode(entry.data.clone()).map_err(broken)?
        };
    let mut raft_change = eraftpb::ConfChangeV2 { context, ..eraftpb::ConfChangeV2::default() };
    let unknown =
        |what: &str, value: i32| format!("membership entry {}: unknown {what} {value}", entry.index);
    raft_change.set_transition(
        eraftpb::ConfChangeTransition::from_i32(transition)
            .ok_or_else(|| unknown("transition", transition))?,
    );
    for step in steps {
        let kind = eraftpb::ConfChangeType::from_i32(step.kind)
            .ok_or_else(|| unknown("kind of change", step.kind))?;
        if step.node == 0 {
            return Err(format!("membership entry {} names node 0", entry.index));
        }
        let mut raft_step = eraftpb::ConfChangeSingle::default();
        raft_step.set_change_type(kind);
        raft_step.node_id = step.node;
        raft_change.mut_changes().push(raft_step);
    }
    Ok(raft_change)
}

/// The bytes of the change from `now` to `wanted` (its voters and learners; the joint fields are Raft's own
/// business), through a joint membership that is left by itself, with `context` for the state machine. `None` if
/// there is nothing to change.
pub(crate) fn encode(now: &Membership, wanted: &Membership, context: Bytes) -> Option<Vec<u8>> {
    let step = |kind: eraftpb::ConfChangeType, node: u64| Step { kind: kind.value(), node };
    let mut changes = Vec::new();
    for &node in wanted.voters.iter().filter(|node| !now.voters.contains(node)) {
        changes.push(step(eraftpb::ConfChangeType::AddNode, node));
    }
    for &node in wanted.learners.iter().filter(|node| !now.learners.contains(node)) {
        changes.push(step(eraftpb::ConfChangeType::AddLearnerNode, node));
    }
    for &node in now.voters.iter().chain(&now.learners) {
        if !wanted.voters.contains(&node) && !wanted.learners.contains(&node) {
            changes.push(step(eraftpb::ConfChangeType::RemoveNode, node));
        }
    }
    (!changes.is_empty()).then(|| Change { transition: 0, changes, context }.encode_to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use protobuf::Message as _;

    use super::*;
    use crate::nouns::NodeId;

    fn entry(data: Vec<u8>) -> LogEntry {
        LogEntry { kind: EntryKind::Membership.into(), term: 1, index: 5, data: Bytes::from(data) }
    }

    #[test]
    fn a_change_is_read_by_raft_as_it_is_read_by_us() {
        let now = Membership::of_voters([1, 2, 3].map(NodeId));
        let mut wanted = Membership::of_voters([1, 4].map(NodeId));
        wanted.learners = vec![3];
        let bytes = encode(&now, &wanted, Bytes::from_static(b"addresses")).unwrap();
        let mut read_by_raft = eraftpb::ConfChangeV2::default();
        read_by_raft.merge_from_bytes(&bytes).unwrap();
        assert_eq!(decode(&entry(bytes)).unwrap(), read_by_raft);
        assert_eq!(read_by_raft.changes.len(), 3, "add 4, demote 3, remove 2");
        assert_eq!(read_by_raft.context, "addresses");
        assert_eq!(encode(&now, &now, Bytes::new()), None);
    }

    #[test]
    fn changes_that_raft_would_panic_on_are_refused() {
        assert!(decode(&entry(vec![8, 9])).unwrap_err().contains("unknown transition 9"));
        assert!(decode(&entry(vec![18, 4, 8, 7, 16, 1])).unwrap_err().contains("unknown kind of change 7"));
        assert!(decode(&entry(vec![18, 2, 8, 1])).unwrap_err().contains("names node 0"));
        assert!(decode(&entry(vec![255])).unwrap_err().contains("does not decode"));
        assert_eq!(decode(&entry(vec![])).unwrap(), eraftpb::ConfChangeV2::default());
    }
}
