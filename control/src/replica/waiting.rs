//! Who waits for an answer of the replica: proposers by token, and readers, of whom many share one round to the leader.
//! A pure table: it never answers by itself, and forgets nobody.

use std::collections::BTreeMap;

use super::driver::Answer;
use super::messages::{Class, ReadError};
use crate::catalog::Catalog;

/// Reads that wait at once. Each holds a small closure; more than this are refused.
const READS_MAX: usize = 65_536;

/// A question of the catalog, called once, with the catalog or with the reason why it may not be read.
pub(super) type Question = Box<dyn FnOnce(Result<&Catalog, ReadError>) + Send>;

/// Who proposed, and how.
pub(super) struct Proposer {
    /// As it was admitted; `None` for a change of the members, which is one at a time.
    pub(super) class: Option<Class>,
    pub(super) answer: Answer,
}

/// Everyone who waits.
#[derive(Default)]
pub(super) struct Waiting {
    last_token: u64,
    proposers: BTreeMap<u64, Proposer>,
    /// Came since the last round began.
    asked: Vec<Question>,
    rounds: BTreeMap<u64, Vec<Question>>,
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

    /// Begins a round for all that came since the last one; `None` when nobody did.
    pub(super) fn start_read(&mut self) -> Option<u64> {
        if self.asked.is_empty() {
            return None;
        }
        let token = self.token();
        self.rounds.insert(token, std::mem::take(&mut self.asked));
        Some(token)
    }

    /// A round has ended.
    pub(super) fn answered_read(&mut self, token: u64) -> Vec<Question> {
        let questions = self.rounds.remove(&token).unwrap_or_default();
        self.reads -= questions.len();
        questions
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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
        let first = waiting.start_read().unwrap();
        assert!(waiting.asked(question()).is_ok());
        assert!(waiting.start_read().unwrap() > first);
        let catalog = Catalog::new(1);
        waiting.answered_read(first).into_iter().for_each(|question| question(Ok(&catalog)));
        assert_eq!(answered.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn no_round_begins_while_nobody_asks() {
        assert_eq!(Waiting::default().start_read(), None);
    }
}
