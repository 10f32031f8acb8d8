//! Who waits for an answer of the replica: proposers by token, and readers, of whom many share one round to the leader.
//! A pure table: it never answers by itself, and forgets nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use super::driver::Answer;
use super::freshness::Moment;
use super::messages::{Class, ReadError, Seen};

/// Reads that wait at once. Each holds a small closure; more than this are refused.
const READS_MAX: usize = 65_536;

/// A question of the catalog, called once, with the catalog or with the reason why it may not be read.
pub(super) type Question = Box<dyn FnOnce(Result<Seen<'_>, ReadError>) + Send>;

/// Who proposed, and how.
pub(super) struct Proposer {
    /// As it was admitted; `None` for a change of the members, which is one at a time.
    pub(super) class: Option<Class>,
    pub(super) since: Duration,
    pub(super) answer: Answer,
}

/// The questions that share one round to the leader.
pub(super) struct Round {
    pub(super) begun: Moment,
    pub(super) questions: Vec<Question>,
}

/// Everyone who waits.
#[derive(Default)]
pub(super) struct Waiting {
    last_token: u64,
    proposers: BTreeMap<u64, Proposer>,
    /// Came since the last round began.
    asked: Vec<Question>,
    rounds: BTreeMap<u64, Round>,
    reads: usize,
}

impl Waiting {
    /// A token that was never given before in this life.
    pub(super) fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// A proposal was handed to Raft.
    pub(super) fn proposed(&mut self, token: u64, proposer: Proposer) {
        self.proposers.insert(token, proposer);
    }

    /// A proposal has its answer.
    pub(super) fn settled(&mut self, token: u64) -> Option<Proposer> {
        self.proposers.remove(&token)
    }

    /// A question has come; given back when too many wait.
    pub(super) fn asked(&mut self, question: Question) -> Result<(), Question> {
        if self.reads >= READS_MAX {
            return Err(question);
        }
        self.reads += 1;
        self.asked.push(question);
        Ok(())
    }

    /// Whether a question has come since the last round began.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Begins a round for all that came since the last one.
    pub(super) fn start_read(&mut self, begun: Moment) -> u64 {
        let token = self.token();
        self.rounds.insert(token, Round { begun, questions: std::mem::take(&mut self.asked) });
        token
    }

    /// A round has ended.
    pub(super) fn answered_read(&mut self, token: u64) -> Option<Round> {
        let round = self.rounds.remove(&token)?;
        self.reads -= round.questions.len();
        Some(round)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mesh::Timestamp;

    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn questions_that_come_before_a_round_share_it_and_later_ones_do_not() {
        let answered = Arc::new(AtomicUsize::new(0));
        let question = || -> Question {
            let answered = Arc::clone(&answered);
            Box::new(move |_| {
                answered.fetch_add(1, Ordering::Relaxed);
            })
        };
        let mut waiting = Waiting::default();
        assert!(waiting.asked(question()).is_ok());
        assert!(waiting.asked(question()).is_ok());
        let begun = Moment { clock: Duration::from_secs(1), wall: Timestamp(1) };
        let first = waiting.start_read(begun);
        assert!(!waiting.is_asked());
        assert!(waiting.asked(question()).is_ok());
        assert!(waiting.start_read(begun) > first);
        let catalog = Catalog::new(1);
        let seen = Seen { catalog: &catalog, stale: Duration::ZERO };
        waiting.answered_read(first).unwrap().questions.into_iter().for_each(|question| question(Ok(seen)));
        assert_eq!(answered.load(Ordering::Relaxed), 2);
    }
}
