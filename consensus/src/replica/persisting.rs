//! Batches on their way to the disk, with what must wait for them: answers to peers, and the installing of a
//! snapshot.
//!
//! A follower's answer vouches for everything before it, so it waits for all earlier batches too, also when
//! its own round had nothing to persist. Pure book-keeping.

use std::collections::VecDeque;
use std::time::Duration;

use super::output::Output;

/// One round of raft's outputs that is not durable yet.
#[derive(Debug)]
struct Owed {
    number: u64,
    /// Whether a batch of this number went to the disk. If not, it is done when all before it are.
    batch: bool,
    since: Duration,
    then: Vec<Output>,
}

/// The rounds that are not durable yet, in order.
#[derive(Debug, Default)]
pub(super) struct Persisting {
    owed: VecDeque<Owed>,
}

impl Persisting {
    /// Round `number` was handed out at `now`; `then` may be done when it and all before it are durable.
    pub(super) fn hand_out(&mut self, number: u64, batch: bool, now: Duration, then: Vec<Output>) {
        self.owed.push_back(Owed { number, batch, since: now, then });
    }

    /// Everything up to `durable` has reached the disk: the last round that is done by that, with what may be
    /// done now.
    pub(super) fn settle(&mut self, durable: u64) -> Option<(u64, Vec<Output>)> {
        let mut settled = None;
        let done = |first: &mut Owed| !first.batch || first.number <= durable;
        while let Some(mut first) = self.owed.pop_front_if(done) {
            let (number, outputs) = settled.get_or_insert_with(|| (0, Vec::new()));
            *number = first.number;
            outputs.append(&mut first.then);
        }
        settled
    }

    /// Since when the disk owes an answer.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.owed.front().map(|first| first.since)
    }

    /// Batches that the disk has not answered.
    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panic

    use super::*;

    #[test]
    fn an_answer_without_a_batch_waits_for_the_batches_before_it() {
        let mut persisting = Persisting::default();
        persisting.hand_out(1, true, Duration::ZERO, vec![]);
        persisting.hand_out(2, false, Duration::ZERO, vec![Output::MakeSnapshot]);
        persisting.hand_out(3, true, Duration::ZERO, vec![]);
        assert_eq!(persisting.settle(0), None);
        assert_eq!(persisting.settle(1), Some((2, vec![Output::MakeSnapshot])));
        assert_eq!(persisting.len(), 1);
        assert_eq!(persisting.settle(3), Some((3, vec![])));
    }

    #[test]
    fn a_round_with_nothing_to_persist_and_nothing_before_it_is_done_at_once() {
        let mut persisting = Persisting::default();
        persisting.hand_out(1, false, Duration::ZERO, vec![Output::MakeSnapshot]);
        assert_eq!(persisting.settle(0), Some((1, vec![Output::MakeSnapshot])));
        assert_eq!(persisting.oldest(), None);
    }
}
