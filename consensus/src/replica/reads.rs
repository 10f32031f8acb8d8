//! Linearizable reads on their way: asked, covered by a round with the leader, confirmed and waiting to be applied.
//!
//! Many reads share one round (ReadIndex, Raft thesis 6.4). A round counts only for reads that were asked before it began;
//! its answer counts for all of those, however late it comes. Raft drops rounds without a word (no leader known, or a leader
//! with no commit in its term), so a round that takes long is followed by another; but its own answer may still come, and a
//! group so busy that every round takes long must not throw all of them away. Pure book-keeping: it never talks to raft.

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
    /// The first round that counts for it.
    first_round: u64,
}

/// The reads of one node.
#[derive(Debug)]
pub(super) struct Reads {
    node: u64,
    life: u64,
    last_round: u64,
    /// Not confirmed yet, in the order in which they were asked.
    asked: VecDeque<Asked>,
    /// Rounds that are waited for, by number, and when each began.
    under_way: BTreeMap<u64, Duration>,
    confirmed: BTreeMap<u64, Vec<Asked>>,
    count: usize,
}

impl Reads {
    /// `life` makes the names of rounds unlike those of an earlier life of this node.
    pub(super) fn new(node: u64, life: u64) -> Self {
        Self {
            node,
            life,
            last_round: 0,
            asked: VecDeque::new(),
            under_way: BTreeMap::new(),
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
        self.asked.push_back(Asked { token, until, first_round: self.last_round + 1 });
    }

    /// The name of a round that is to begin now for all reads that no round under way covers, if one should.
    pub(super) fn begin_round(&mut self, now: Duration) -> Option<Bytes> {
        if !self.wants_round() || self.under_way.len() >= ROUNDS_MAX {
            return None;
        }
        self.last_round += 1;
        self.under_way.insert(self.last_round, now);
        let mut name = BytesMut::with_capacity(24);
        name.put_u64(self.node);
        name.put_u64(self.life);
        name.put_u64(self.last_round);
        Some(name.freeze())
    }

    /// Whether some read is covered by no round that is waited for.
    fn wants_round(&self) -> bool {
        let newest = self.under_way.last_key_value().map_or(0, |(number, _)| *number);
        self.asked.back().is_some_and(|asked| asked.first_round > newest)
    }

    /// The leader confirmed the round `name` at `index`. Rounds of other names are nobody's, and are let go.
    pub(super) fn confirmed(&mut self, name: &[u8], index: u64) {
        let number = name
            .strip_prefix(self.node.to_be_bytes().as_slice())
            .and_then(|rest| rest.strip_prefix(self.life.to_be_bytes().as_slice()))
            .and_then(|rest| rest.try_into().ok())
            .map(u64::from_be_bytes);
        let Some(number) = number else { return };
        self.under_way.retain(|under_way, _| *under_way > number);
        let covered = self.asked.partition_point(|asked| asked.first_round <= number);
        if covered > 0 {
            self.confirmed.entry(index).or_default().extend(self.asked.drain(..covered));
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

    /// Rounds begun before `begun_before` are waited for no longer: their reads are worth another, whichever answer comes
    /// first.
    pub(super) fn begin_again(&mut self, begun_before: Duration) {
        self.under_way.retain(|_, begun| *begun >= begun_before);
    }

    /// Tokens of reads whose time is over.
    pub(super) fn take_expired(&mut self, now: Duration) -> Vec<u64> {
        let mut expired = Vec::new();
        let mut alive = |asked: &Asked| {
            let alive = asked.until > now;
            if !alive {
                expired.push(asked.token);
            }
            alive
        };
        self.asked.retain(&mut alive);
        self.confirmed.retain(|_, asked| {
            asked.retain(&mut alive);
            !asked.is_empty()
        });
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
    fn a_round_that_was_dropped_is_followed_by_another_which_answers_all() {
        let mut reads = Reads::new(1, 7);
        reads.ask(1, LATER);
        let old = reads.begin_round(NOW).unwrap();
        reads.begin_again(NOW);
        assert_eq!(reads.begin_round(NOW), None, "it has only just begun");
        reads.begin_again(LATER);
        reads.ask(2, LATER);
        let new = reads.begin_round(LATER).unwrap();
        assert_ne!(old, new);
        assert_eq!(reads.begin_round(LATER), None, "one covers both");
        reads.confirmed(&new, 5);
        assert_eq!(reads.take_ready(5), [(1, 5), (2, 5)]);
    }

    #[test]
    fn a_late_answer_counts_for_the_reads_that_were_asked_before_its_round_began() {
        let mut reads = Reads::new(1, 7);
        reads.ask(1, LATER);
        let slow = reads.begin_round(NOW).unwrap();
        reads.ask(2, LATER);
        reads.begin_again(LATER);
        let next = reads.begin_round(LATER).unwrap();
        reads.confirmed(&slow, 5);
        assert_eq!(reads.take_ready(9), [(1, 5)], "the second was asked after it began");
        reads.confirmed(&next, 6);
        assert_eq!(reads.take_ready(9), [(2, 6)]);
        assert_eq!((reads.count(), reads.begin_round(LATER)), (0, None));
    }

    #[test]
    fn reads_are_answered_also_when_every_round_takes_longer_than_it_is_waited_for() {
        let mut reads = Reads::new(1, 7);
        let mut slow = VecDeque::new();
        let mut answered = 0;
        for step in 1..=100 {
            reads.ask(step, LATER);
            reads.begin_again(Duration::MAX);
            slow.push_back(reads.begin_round(NOW).unwrap());
            // Each answer comes when five younger rounds have taken its place.
            if slow.len() > 5 {
                reads.confirmed(&slow.pop_front().unwrap(), step);
                answered += reads.take_ready(step).len();
            }
        }
        assert_eq!(answered, 95);
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
