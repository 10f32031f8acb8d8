//! A vote is durable before it is given: no node votes for two in one term, and none comes back from its disk without the last
//! vote that it gave (Raft, figure 2, "persistent state"). Watches what nodes send to each other.

use std::collections::BTreeMap;

use prost::Message as _;

use super::Violation;

const NAME: &str = "votes are kept";

/// The fields of a message between nodes that say whether it is a vote (`eraftpb.Message`).
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(bool, tag = "10")]
    reject: bool,
}

/// `MsgRequestVoteResponse`.
const VOTE: u8 = 6;
/// How its frame begins: field 1, a varint, of that value.
const VOTE_BEGINS: [u8; 2] = [1 << 3, VOTE];

/// Remembers who voted for whom.
#[derive(Debug, Default)]
pub(crate) struct VotesAreKept {
    /// For whom each node voted, by term.
    given: BTreeMap<u64, BTreeMap<u64, u64>>,
    /// The last term of which a node that lost its disk cannot know that it voted.
    lost: BTreeMap<u64, u64>,
}

impl VotesAreKept {
    /// `node` sends these bytes to another one.
    pub(crate) fn sent(&mut self, node: u64, bytes: &[u8]) -> Result<(), Violation> {
        if !bytes.starts_with(&VOTE_BEGINS) {
            return Ok(());
        }
        let Ok(frame) = Frame::decode(bytes) else { return Ok(()) };
        if frame.reject {
            return Ok(());
        }
        match self.given.entry(node).or_default().insert(frame.term, frame.to) {
            Some(other) if other != frame.to => {
                let story =
                    format!("node {node} voted for {other} and for {} in term {}", frame.to, frame.term);
                Err(Violation::new(NAME, story))
            }
            _ => Ok(()),
        }
    }

    /// The disk of `node` is lost: it comes back without its votes, and must give none again.
    pub(crate) fn lost_disk(&mut self, node: u64) {
        let voted = self.given.get(&node).and_then(BTreeMap::last_key_value);
        self.lost.insert(node, voted.map_or(0, |(term, _)| *term));
    }

    /// `node` starts from its disk, on which these stand.
    pub(crate) fn started(&self, node: u64, term: u64, vote: u64) -> Result<(), Violation> {
        let lost = self.lost.get(&node).copied().unwrap_or_default();
        let voted = self.given.get(&node).and_then(BTreeMap::last_key_value);
        let Some((voted_in, voted_for)) = voted.filter(|(at, _)| **at >= term && **at > lost) else {
            return Ok(());
        };
        if (*voted_in, *voted_for) == (term, vote) {
            return Ok(());
        }
        let story = format!(
            "node {node} starts in term {term} with a vote for {vote}, but voted for {voted_for} in term {voted_in}"
        );
        Err(Violation::new(NAME, story))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(to: u64, term: u64, reject: bool) -> Vec<u8> {
        Frame { kind: VOTE.into(), to, term, reject }.encode_to_vec()
    }

    #[test]
    fn two_votes_in_a_term_are_a_violation_and_refusals_are_none() {
        let mut invariant = VotesAreKept::default();
        assert!(
            invariant.sent(3, &vote(1, 5, false)).is_ok() && invariant.sent(3, &vote(1, 5, false)).is_ok()
        );
        assert!(
            invariant.sent(3, &vote(2, 5, true)).is_ok() && invariant.sent(3, &vote(2, 6, false)).is_ok()
        );
        assert!(invariant.sent(3, &vote(2, 5, false)).is_err());
    }

    #[test]
    fn a_node_that_comes_back_without_its_vote_is_a_violation() {
        let mut invariant = VotesAreKept::default();
        invariant.sent(3, &vote(1, 5, false)).ok();
        assert!(invariant.started(3, 4, 0).is_err(), "in an earlier term");
        assert!(invariant.started(3, 5, 0).is_err(), "in that term, and free to vote again");
        assert!(invariant.started(3, 5, 1).is_ok() && invariant.started(3, 6, 0).is_ok());
        assert!(invariant.started(1, 0, 0).is_ok());
        invariant.lost_disk(3);
        assert!(invariant.started(3, 1, 0).is_ok(), "nothing can stand on an empty disk");
        assert!(invariant.sent(3, &vote(2, 5, false)).is_err(), "but nothing may come of that");
        invariant.sent(3, &vote(2, 6, false)).ok();
        assert!(invariant.started(3, 5, 1).is_err(), "what it votes on the new one stands there");
    }
}
