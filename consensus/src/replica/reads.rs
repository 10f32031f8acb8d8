//! Linearizable reads on their way: waiting for a round, in a round with the leader, confirmed and waiting to
//! be applied.
//!
//! Many reads share one round (ReadIndex, Raft thesis 6.4). A round counts only for reads that were asked
//! before it began. Raft drops rounds without a word (no leader known, or a leader with no commit in its
//! term), so they are begun again under a new name. Pure book-keeping: it never talks to raft.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

/// Rounds that may be under way at once. One would make each read wait for up to two round trips; many would
/// cost a broadcast each for a handful of reads.
const ROUNDS_MAX: usize = 2;
/// Reads that may wait in all; more are refused as busy. Each costs some 30 bytes.
pub(super) const READS_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Asked {
    token: u64,
    until: Duration,
}

#[derive(Debug)]
struct Round {
    number: u64,
    begun: Duration,
    asked: Vec<Asked>,
}

/// The reads of one node.
#[derive(Debug)]
pub(super) struct Reads {
    node: u64,
    life: u64,
    next_round: u64,
    waiting: Vec<Asked>,
    rounds: VecDeque<Round>,
    confirmed: BTreeMap<u64, Vec<Asked>>,
    count: usize,
}

impl Reads {
    /// `life` makes the names of rounds unlike those of an earlier life of this node.
    pub(super) fn new(node: u64, life: u64) -> Self {
        Self {
            node,
            life,
            next_round: 0,
            waiting: Vec::new(),
            rounds: VecDeque::new(),
            confirmed: BTreeMap::new(),
            count: 0,
        }
    }

    /// How many reads wait, in all stages.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Takes one in.
    pub(super) fn ask(&mut self, token: u64, until: Duration) {
        self.count += 1;
        self.waiting.push(Asked { token, until });
    }

    /// The name of a round that is to begin now with all reads that wait, if one should.
    pub(super) fn begin_round(&mut self, now: Duration) -> Option<Bytes> {
        if self.waiting.is_empty() || self.rounds.len() >= ROUNDS_MAX {
            return None;
        }
        self.next_round += 1;
        let asked = std::mem::take(&mut self.waiting);
        self.rounds.push_back(Round { number: self.next_round, begun: now, asked });
        let mut name = BytesMut::with_capacity(24);
        name.put_u64(self.node);
        name.put_u64(self.life);
        name.put_u64(self.next_round);
        Some(name.freeze())
    }

    /// The leader confirmed the round `name` at `index`. Rounds of other names are nobody's, and are let go.
    pub(super) fn confirmed(&mut self, name: &[u8], index: u64) {
        let number = name
            .strip_prefix(self.node.to_be_bytes().as_slice())
            .and_then(|rest| rest.strip_prefix(self.life.to_be_bytes().as_slice()))
            .and_then(|rest| rest.try_into().ok())
            .map(u64::from_be_bytes);
        let position = self.rounds.iter().position(|round| Some(round.number) == number);
        if let Some(round) = position.and_then(|position| self.rounds.remove(position)) {
            self.confirmed.entry(index).or_default().extend(round.asked);
        }
    }

    /// Tokens, with the index confirmed for them, that may be answered from a state machine that holds
    /// `applied`.
    pub(super) fn take_ready(&mut self, applied: u64) -> Vec<(u64, u64)> {
        let mut ready = Vec::new();
        while let Some(first) = self.confirmed.first_entry().filter(|first| *first.key() <= applied) {
            let (index, asked) = first.remove_entry();
            ready.extend(asked.iter().map(|asked| (asked.token, index)));
        }
        self.count -= ready.len();
        ready
    }

    /// Rounds begun before `begun_before` are given up; their reads wait for a new one. A late answer to an
    /// old name is let go, which is always safe.
    pub(super) fn begin_again(&mut self, begun_before: Duration) {
        while let Some(round) = self.rounds.pop_front_if(|round| round.begun < begun_before) {
            self.waiting.extend(round.asked);
        }
    }

    /// Tokens of reads whose time is over.
    pub(super) fn take_expired(&mut self, now: Duration) -> Vec<u64> {
        let mut expired = Vec::new();
        let mut sift = |asked: &mut Vec<Asked>| {
            asked.retain(|asked| {
                let alive = asked.until > now;
                if !alive {
                    expired.push(asked.token);
                }
                alive
            });
            !asked.is_empty()
        };
        sift(&mut self.waiting);
        self.rounds.retain_mut(|round| sift(&mut round.asked));
        self.confirmed.retain(|_, asked| sift(asked));
        self.count -= expired.len();
        expired
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use super::*;

    const NOW: Duration = Duration::from_secs(1);
    const LATER: Duration = Duration::from_secs(2);

    #[test]
    fn reads_asked_while_a_round_runs_are_not_answered_by_it() {
        let mut reads = Reads::new(1, 7);
        reads.ask(1, LATER);
        let first = reads.begin_round(NOW).unwrap();
        reads.ask(2, LATER);
        reads.confirmed(&first, 10);
        assert_eq!(reads.take_ready(10), [(1, 10)]);
        let second = reads.begin_round(NOW).unwrap();
        reads.confirmed(&second, 11);
        assert_eq!(reads.take_ready(10), []);
        assert_eq!(reads.take_ready(11), [(2, 11)]);
        assert_eq!(reads.count(), 0);
    }

    #[test]
    fn a_round_of_an_earlier_life_or_another_node_answers_nobody() {
        let mut reads = Reads::new(1, 7);
        reads.ask(1, LATER);
        let name = reads.begin_round(NOW).unwrap();
        for (node, life) in [(1, 8), (2, 7)] {
            let mut other = Reads::new(node, life);
            other.ask(9, LATER);
            reads.confirmed(&other.begin_round(NOW).unwrap(), 10);
        }
        reads.confirmed(b"short", 10);
        assert_eq!(reads.take_ready(10), []);
        reads.confirmed(&name, 10);
        assert_eq!(reads.take_ready(10), [(1, 10)]);
    }

    #[test]
    fn a_dropped_round_is_begun_again_under_a_new_name() {
        let mut reads = Reads::new(1, 7);
        reads.ask(1, LATER);
        let old = reads.begin_round(NOW).unwrap();
        reads.begin_again(NOW);
        assert_eq!(reads.begin_round(NOW), None, "it has only just begun");
        reads.begin_again(LATER);
        let new = reads.begin_round(LATER).unwrap();
        assert_ne!(old, new);
        reads.confirmed(&old, 5);
        assert_eq!(reads.take_ready(5), []);
    }

    #[test]
    fn reads_expire_in_every_stage_exactly_once() {
        let mut reads = Reads::new(1, 7);
        reads.ask(1, LATER);
        let name = reads.begin_round(NOW).unwrap();
        reads.confirmed(&name, 99);
        reads.ask(2, LATER);
        reads.begin_round(NOW).unwrap();
        reads.ask(3, LATER);
        assert_eq!(reads.take_expired(NOW), []);
        let mut expired = reads.take_expired(LATER);
        expired.sort_unstable();
        assert_eq!(expired, [1, 2, 3]);
        assert_eq!((reads.count(), reads.take_ready(99)), (0, vec![]));
    }
}
