//! What peers say to each other: prost messages, checked, and converted field by field to raft's types and
//! back.
//!
//! Bytes from a peer never reach protobuf 2's parser, and never reach raft with a value it would panic on
//! (docs/decisions/0001-raft-codec.md). This file decides whether a message is well formed, not whether it is
//! true.

use bytes::Bytes;
use prost::Message as _;
use protobuf::ProtobufEnum as _;
use raft::eraftpb;
use raft::eraftpb::MessageType;

use crate::nouns::{EntryKind, LogEntry, Membership};

/// One message of one peer to another. Field numbers are those of `eraftpb.Message`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PeerMessage {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    log_term: u64,
    #[prost(uint64, tag = "6")]
    index: u64,
    #[prost(message, repeated, tag = "7")]
    entries: Vec<LogEntry>,
    #[prost(uint64, tag = "8")]
    commit: u64,
    #[prost(message, optional, tag = "9")]
    snapshot: Option<SnapshotPoint>,
    #[prost(bool, tag = "10")]
    reject: bool,
    #[prost(uint64, tag = "11")]
    reject_hint: u64,
    #[prost(bytes = "bytes", tag = "12")]
    context: Bytes,
    #[prost(uint64, tag = "13")]
    request_snapshot: u64,
    #[prost(uint64, tag = "15")]
    commit_term: u64,
}

/// A snapshot without its data, which travels beside the message.
#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotPoint {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(message, optional, tag = "3")]
    membership: Option<Membership>,
}

/// The bytes of `message`; a snapshot's data is left out.
pub(crate) fn encode(mut message: eraftpb::Message) -> Bytes {
    let snapshot = message.snapshot.as_ref().map(|snapshot| {
        let metadata = snapshot.get_metadata();
        SnapshotPoint {
            index: metadata.index,
            term: metadata.term,
            membership: Some(membership_from_raft(metadata.get_conf_state())),
        }
    });
    let peer_message = PeerMessage {
        kind: message.msg_type.value(),
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.take_entries().into_iter().map(entry_from_raft).collect(),
        commit: message.commit,
        snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        request_snapshot: message.request_snapshot,
        commit_term: message.commit_term,
    };
    Bytes::from(peer_message.encode_to_vec())
}

/// The message in `bytes`, sent by `from` to `to`, with `data` if it carries a snapshot; or what is wrong
/// with it.
pub(crate) fn decode(
    bytes: Bytes,
    from: u64,
    to: u64,
    data: Option<Bytes>,
) -> Result<eraftpb::Message, String> {
    let message = PeerMessage::decode(bytes).map_err(|error| format!("it does not decode: {error}"))?;
    let kind = checked_kind(message.kind)?;
    if message.from != from || message.to != to {
        return Err(format!("it says to go from {} to {}, not to {to}", message.from, message.to));
    }
    // Raft takes term 0 for its own local messages and skips every check; only forwarded reads may carry it.
    if (message.term == 0) != (kind == MessageType::MsgReadIndex) {
        return Err(format!("{kind:?} with term {}", message.term));
    }
    check_entries(kind, &message)?;
    let mut raft_message = eraftpb::Message {
        msg_type: kind,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        request_snapshot: message.request_snapshot,
        commit_term: message.commit_term,
        ..eraftpb::Message::default()
    };
    let entries: Result<Vec<_>, String> = message.entries.into_iter().map(entry_to_raft).collect();
    raft_message.set_entries(entries?.into());
    match (kind == MessageType::MsgSnapshot, message.snapshot, data) {
        (false, None, None) => {}
        (true, Some(point), Some(data)) => raft_message.set_snapshot(snapshot_to_raft(point, data)?),
        (true, _, None) => return Err("a snapshot came without its data".to_owned()),
        (true, None, _) => return Err("a snapshot names no entry".to_owned()),
        (false, ..) => return Err(format!("{kind:?} carries a snapshot")),
    }
    Ok(raft_message)
}

/// Only what one node has to say to another: raft's local messages would let a peer drive this node by remote
/// control, and forwarded proposals would enter the log without a proposer.
/// Whether a frame is one that only a leader of its term sends: entries, a heartbeat, a snapshot. It says nothing of whether the
/// frame is well formed beside that.
#[must_use]
pub fn is_a_leaders(frame: &[u8]) -> bool {
    /// The first field of a [`PeerMessage`]; the others are skipped.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Kind {
        #[prost(int32, tag = "1")]
        kind: i32,
    }
    let kind = Kind::decode(frame).ok().and_then(|frame| MessageType::from_i32(frame.kind));
    matches!(kind, Some(MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot))
}

fn checked_kind(kind: i32) -> Result<MessageType, String> {
    match MessageType::from_i32(kind) {
        Some(
            kind @ (MessageType::MsgAppend
            | MessageType::MsgAppendResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgSnapshot
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgTimeoutNow
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse),
        ) => Ok(kind),
        Some(kind) => Err(format!("{kind:?} is nothing that a peer may send")),
        None => Err(format!("message kind {kind} is unknown; does the peer run a newer version?")),
    }
}

fn check_entries(kind: MessageType, message: &PeerMessage) -> Result<(), String> {
    match kind {
        // An entry beyond the log has term 0 for raft: it would match, and be committed.
        MessageType::MsgAppend if (message.index == 0) != (message.log_term == 0) => {
            Err(format!("it continues entry {} of term {}", message.index, message.log_term))
        }
        MessageType::MsgAppend => {
            let (mut index, mut term) = (message.index, message.log_term);
            for entry in &message.entries {
                if Some(entry.index) != index.checked_add(1) || entry.term < term || entry.term > message.term
                {
                    return Err(format!(
                        "entry {} of term {} follows entry {index} of term {term} in a message of term {}",
                        entry.index, entry.term, message.term
                    ));
                }
                (index, term) = (entry.index, entry.term);
            }
            Ok(())
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if message.entries.len() != 1 => {
            Err(format!("{kind:?} names {} reads, not one", message.entries.len()))
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => Ok(()),
        _ if message.entries.is_empty() => Ok(()),
        _ => Err(format!("{kind:?} carries entries")),
    }
}

fn snapshot_to_raft(point: SnapshotPoint, data: Bytes) -> Result<eraftpb::Snapshot, String> {
    let membership = point.membership.unwrap_or_default();
    if point.index == 0 || point.term == 0 || membership.is_empty() {
        return Err(format!("a snapshot of entry {} in term {} of nobody", point.index, point.term));
    }
    Ok(raft_snapshot(point.index, point.term, &membership, data))
}

/// A snapshot as raft knows it.
pub(crate) fn raft_snapshot(
    index: u64,
    term: u64,
    membership: &Membership,
    data: Bytes,
) -> eraftpb::Snapshot {
    let mut snapshot = eraftpb::Snapshot::default();
    snapshot.set_data(data);
    let metadata = snapshot.mut_metadata();
    metadata.index = index;
    metadata.term = term;
    metadata.set_conf_state(membership_to_raft(membership));
    snapshot
}

/// An entry as raft knows it, or why raft could not take it.
pub(crate) fn entry_to_raft(entry: LogEntry) -> Result<eraftpb::Entry, String> {
    let entry_type = eraftpb::EntryType::from_i32(entry.kind).ok_or_else(|| {
        format!(
            "entry {} has the unknown kind {}; does the peer run a newer version?",
            entry.index, entry.kind
        )
    })?;
    if entry_type != eraftpb::EntryType::EntryNormal {
        crate::membership_change::decode(&entry)?;
    }
    Ok(eraftpb::Entry {
        entry_type,
        term: entry.term,
        index: entry.index,
        data: entry.data,
        ..eraftpb::Entry::default()
    })
}

/// An entry as the log and the wire know it.
pub(crate) fn entry_from_raft(entry: eraftpb::Entry) -> LogEntry {
    let kind = match entry.entry_type {
        eraftpb::EntryType::EntryNormal => EntryKind::Normal,
        eraftpb::EntryType::EntryConfChange => EntryKind::MembershipSingle,
        eraftpb::EntryType::EntryConfChangeV2 => EntryKind::Membership,
    };
    LogEntry { kind: kind.into(), term: entry.term, index: entry.index, data: entry.data }
}

/// A membership as raft knows it.
pub(crate) fn membership_to_raft(membership: &Membership) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: membership.voters.clone(),
        learners: membership.learners.clone(),
        voters_outgoing: membership.voters_outgoing.clone(),
        learners_next: membership.learners_next.clone(),
        auto_leave: membership.auto_leave,
        ..eraftpb::ConfState::default()
    }
}

/// A membership as the log and the wire know it: sorted, because raft keeps it in hash sets.
pub(crate) fn membership_from_raft(state: &eraftpb::ConfState) -> Membership {
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    Membership {
        voters: sorted(&state.voters),
        learners: sorted(&state.learners),
        voters_outgoing: sorted(&state.voters_outgoing),
        learners_next: sorted(&state.learners_next),
        auto_leave: state.auto_leave,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use super::*;
    use crate::nouns::NodeId;

    #[test]
    fn entries_heartbeats_and_snapshots_are_a_leaders_and_votes_and_answers_are_not() {
        let frame = |kind| encode(eraftpb::Message { msg_type: kind, ..append() });
        let kinds = (0..).map_while(MessageType::from_i32).filter(|kind| is_a_leaders(&frame(*kind)));
        let leaders = [MessageType::MsgAppend, MessageType::MsgSnapshot, MessageType::MsgHeartbeat];
        assert_eq!(kinds.collect::<Vec<_>>(), leaders);
        assert!(!is_a_leaders(b"") && !is_a_leaders(&[0xff; 40]));
    }

    fn append() -> eraftpb::Message {
        let mut message = eraftpb::Message {
            msg_type: MessageType::MsgAppend,
            from: 1,
            to: 2,
            term: 7,
            log_term: 5,
            index: 40,
            commit: 39,
            commit_term: 5,
            request_snapshot: 3,
            reject_hint: 4,
            context: Bytes::from_static(b"context"),
            ..eraftpb::Message::default()
        };
        let entry = |index, term, data: &'static [u8]| {
            entry_to_raft(LogEntry { kind: 0, term, index, data: Bytes::from_static(data) }).unwrap()
        };
        message.set_entries(vec![entry(41, 5, b"one"), entry(42, 7, b""), entry(43, 7, b"three")].into());
        message
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        assert_eq!(decode(encode(append()), 1, 2, None).unwrap(), append());
        let mut message = append();
        message.msg_type = MessageType::MsgSnapshot;
        message.entries.clear();
        let membership = Membership::of_voters([1, 2].map(NodeId));
        message.set_snapshot(raft_snapshot(9, 4, &membership, Bytes::from_static(b"state")));
        let arrived = decode(encode(message.clone()), 1, 2, Some(Bytes::from_static(b"state"))).unwrap();
        assert_eq!(arrived, message);
    }

    #[test]
    fn the_bytes_are_those_of_eraftpb_so_that_its_tools_can_read_them() {
        use protobuf::Message as _;
        let mut read_by_raft = eraftpb::Message::default();
        read_by_raft.merge_from_bytes(&encode(append())).unwrap();
        assert_eq!(read_by_raft, append());
    }

    #[test]
    fn whatever_the_bytes_are_decoding_answers_and_does_not_panic() {
        let whole = encode(append());
        let mut refused = 0;
        for at in 0..whole.len() {
            refused += u32::from(decode(whole.slice(..at), 1, 2, None).is_err());
            for value in 0..=u8::MAX {
                let mut bytes = whole.to_vec();
                bytes[at] = value;
                let _answers = decode(Bytes::from(bytes), 1, 2, Some(Bytes::new()));
            }
        }
        assert!(refused > 20, "{refused} of {} beginnings of a message were refused", whole.len());
    }

    #[test]
    fn groups_nested_without_end_are_refused_by_prost() {
        // Field 50, start of a group: protobuf 2 would follow each one down its stack (RUSTSEC-2024-0437).
        let hostile = Bytes::from([0x93, 0x03].repeat(1 << 20));
        let error = decode(hostile, 1, 2, None).unwrap_err();
        assert!(error.contains("recursion limit"), "{error}");
    }
}
