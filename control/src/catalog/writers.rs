//! Exactly once: remembers, per client, the outcomes of its last writes, so that a retry after a failover is answered
//! with the first outcome and not applied again. Bounded in clients and in outcomes; never asks a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::WriteId;
use api::log::v1::Outcome;
use mesh::Timestamp;

use super::limits::{CLIENT_IDLE, CLIENTS_MAX, OUTCOMES_PER_CLIENT_MAX};

/// What is known of a write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    /// It was not applied before.
    New,
    /// It was, and this came of it.
    Applied(Box<Outcome>),
    /// It may have been: later writes of this client have pushed its outcome out.
    Stale {
        /// The newest sequence that was forgotten.
        forgotten: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Writer {
    pub(super) last_at: Timestamp,
    pub(super) last_index: u64,
    /// Highest sequence whose outcome was dropped; what is not above it is stale.
    pub(super) forgotten: u64,
    pub(super) outcomes: BTreeMap<u64, Outcome>,
}

/// The clients and their outcomes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Writers {
    /// Shared with the copies that snapshots are made of, and copied when it changes while one is being made.
    clients: BTreeMap<String, Arc<Writer>>,
    /// Clients by their last write, the longest idle first. Follows from `clients`.
    idle: BTreeSet<(u64, String)>,
}

impl Writers {
    pub(super) fn known(&self, client: &str, sequence: u64) -> Known {
        let Some(writer) = self.clients.get(client) else { return Known::New };
        match writer.outcomes.get(&sequence) {
            Some(outcome) => Known::Applied(Box::new(outcome.clone())),
            None if sequence <= writer.forgotten => Known::Stale { forgotten: writer.forgotten },
            None => Known::New,
        }
    }

    /// Remembers what came of a write. A client that is new when all places are taken gets the place of the one that
    /// was idle longest: that one's retries would be applied again, but it has been silent for thousands of writes.
    pub(super) fn remember(&mut self, id: &WriteId, now: Timestamp, index: u64, outcome: &Outcome) {
        if !self.clients.contains_key(&id.client)
            && self.clients.len() >= CLIENTS_MAX
            && let Some((_, longest_idle)) = self.idle.pop_first()
        {
            self.clients.remove(&longest_idle);
        }
        let writer = Arc::make_mut(self.clients.entry(id.client.clone()).or_default());
        self.idle.remove(&(writer.last_index, id.client.clone()));
        self.idle.insert((index, id.client.clone()));
        writer.last_at = now;
        writer.last_index = index;
        writer.outcomes.insert(id.sequence, outcome.clone());
        while writer.outcomes.len() > OUTCOMES_PER_CLIENT_MAX {
            if let Some((dropped, _)) = writer.outcomes.pop_first() {
                writer.forgotten = writer.forgotten.max(dropped);
            }
        }
    }

    /// Forgets clients that have been idle for long.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        while let Some((index, client)) = self.idle.pop_first() {
            let idle_since = self.clients.get(&client).map_or(Timestamp(0), |writer| writer.last_at);
            if now.since(idle_since) < CLIENT_IDLE {
                self.idle.insert((index, client));
                return;
            }
            self.clients.remove(&client);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Writer)> {
        self.clients.iter().map(|(client, writer)| (client, &**writer))
    }

    pub(super) fn restored(clients: BTreeMap<String, Writer>) -> Self {
        let idle = clients.iter().map(|(client, writer)| (writer.last_index, client.clone())).collect();
        let clients = clients.into_iter().map(|(client, writer)| (client, Arc::new(writer))).collect();
        Self { clients, idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(client: &str, sequence: u64) -> WriteId {
        WriteId { client: client.to_owned(), sequence }
    }

    fn outcome(index: u64) -> Outcome {
        Outcome { index, ..Outcome::default() }
    }

    #[test]
    fn a_retry_gets_the_first_outcome_until_sixty_four_later_ones_push_it_out() {
        let mut writers = Writers::default();
        for sequence in 1..=64 {
            writers.remember(&id("a", sequence), Timestamp(0), sequence + 100, &outcome(sequence + 100));
        }
        assert_eq!(writers.known("a", 1), Known::Applied(Box::new(outcome(101))));
        writers.remember(&id("a", 65), Timestamp(0), 165, &outcome(165));
        assert_eq!(writers.known("a", 1), Known::Stale { forgotten: 1 });
        assert_eq!(writers.known("a", 2), Known::Applied(Box::new(outcome(102))));
        assert_eq!(writers.known("a", 66), Known::New);
        assert_eq!(writers.known("b", 1), Known::New);
    }

    #[test]
    fn a_write_that_comes_late_but_within_the_last_sixty_four_is_new() {
        let mut writers = Writers::default();
        for sequence in (1..=64).filter(|sequence| *sequence != 7) {
            writers.remember(&id("a", sequence), Timestamp(0), sequence, &outcome(sequence));
        }
        assert_eq!(writers.known("a", 7), Known::New);
    }

    #[test]
    fn the_longest_idle_client_makes_room_for_a_new_one() {
        let mut writers = Writers::default();
        let count = CLIENTS_MAX as u64;
        for index in 1..=count {
            writers.remember(&id(&index.to_string(), 1), Timestamp(0), index, &outcome(index));
        }
        writers.remember(&id("1", 2), Timestamp(0), count + 1, &outcome(1));
        writers.remember(&id("new", 1), Timestamp(0), count + 2, &outcome(1));
        assert_eq!(writers.len(), CLIENTS_MAX);
        assert_eq!(writers.known("2", 1), Known::New, "client 2 was idle longest");
        assert!(matches!(writers.known("1", 1), Known::Applied(_)));
    }

    #[test]
    fn an_idle_client_is_forgotten_by_the_logs_time() {
        let mut writers = Writers::default();
        writers.remember(&id("old", 1), Timestamp(0), 1, &outcome(1));
        writers.remember(&id("young", 1), Timestamp(60_000), 2, &outcome(2));
        writers.sweep(Timestamp(0).plus(CLIENT_IDLE));
        assert_eq!(writers.known("old", 1), Known::New);
        assert!(matches!(writers.known("young", 1), Known::Applied(_)));
    }
}
