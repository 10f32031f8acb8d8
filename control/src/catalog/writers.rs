//! Exactly once: remembers, per client, the outcomes of its last writes, so that a retry after a failover is answered
//! with the first outcome and not applied again. Bounded in clients, in outcomes and in bytes; never asks a clock.
//!
//! What is forgotten leaves one revision behind, the newest that any forgotten client wrote. A write says what some node
//! had applied before it was first sent; if that is newer, nothing of it can have been forgotten, and a client that is not
//! known here is new. Otherwise the write may have been applied: it is refused. Only revisions are compared, so that no
//! clock, however wrong, lets a write in twice; nor does one that was told by a life of the cluster which a backup undid.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::WriteId;
use api::log::v1::Outcome;
use mesh::{Revision, Timestamp};
use prost::Message as _;

use super::limits::{CLIENT_IDLE, CLIENTS_MAX, OUTCOME_BYTES_MAX, OUTCOMES_PER_CLIENT_MAX};
use super::topology::Moment;

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
    /// It may have been: its client was forgotten at or after the revision that the write names.
    Expired {
        /// The newest revision of a client that was forgotten.
        forgotten: Revision,
    },
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Writer {
    pub(super) last_at: Timestamp,
    pub(super) last_index: u64,
    /// Highest sequence whose outcome was dropped; what is not above it is stale.
    pub(super) forgotten: u64,
    /// The newest revision of a forgotten client when this one became known: it may have been that client.
    pub(super) forgotten_before: Revision,
    pub(super) outcomes: BTreeMap<u64, Outcome>,
}

impl Writer {
    fn bytes(&self) -> usize {
        self.outcomes.values().map(outcome_bytes).sum()
    }
}

/// Clients that are not remembered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Forgotten {
    /// How many, since the cluster began.
    pub(super) clients: u64,
    /// The newest write of any of them, in the life in which it was forgotten.
    pub(super) newest: Revision,
}

/// The clients and their outcomes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Writers {
    /// Shared with the copies that snapshots are made of, and copied when it changes while one is being made.
    clients: BTreeMap<Arc<str>, Arc<Writer>>,
    /// Clients by their last write, the longest idle first. Follows from `clients`, and shares their names.
    idle: BTreeSet<(u64, Arc<str>)>,
    /// Bytes of all outcomes. Follows from `clients`.
    bytes: usize,
    forgotten: Forgotten,
}

impl Writers {
    pub(super) fn known(&self, id: &WriteId) -> Known {
        let writer = self.clients.get(&*id.client);
        if let Some(outcome) = writer.and_then(|writer| writer.outcomes.get(&id.sequence)) {
            return Known::Applied(Box::new(outcome.clone()));
        }
        let pushed_out = writer.map_or(0, |writer| writer.forgotten);
        if id.sequence <= pushed_out {
            return Known::Stale { forgotten: pushed_out };
        }
        let forgotten = writer.map_or(self.forgotten.newest, |writer| writer.forgotten_before);
        let says_since = id.since != Revision::default();
        if says_since && id.since <= forgotten { Known::Expired { forgotten } } else { Known::New }
    }

    /// What came of a write, if it is remembered.
    pub(super) fn outcome(&self, client: &str, sequence: u64) -> Option<&Outcome> {
        self.clients.get(client)?.outcomes.get(&sequence)
    }

    /// Remembers what came of a write. A client that is new when all places are taken gets the place of the one that
    /// was idle longest; likewise when the outcomes of all have too many bytes. `keeps_count` once every member knows what is
    /// kept of those that are forgotten.
    pub(super) fn remember(
        &mut self,
        id: &WriteId,
        Moment { now, revision }: Moment,
        outcome: &Outcome,
        keeps_count: bool,
    ) {
        let Revision { epoch, index } = revision;
        let known = self.clients.get_key_value(&*id.client).map(|(name, _)| name.clone());
        if known.is_none() && self.clients.len() >= CLIENTS_MAX {
            self.forget_longest_idle(epoch, keeps_count);
        }
        let name = known.unwrap_or_else(|| id.client.as_str().into());
        let forgotten_before = self.forgotten.newest;
        let fresh = || Arc::new(Writer { forgotten_before, ..Writer::default() });
        let writer = Arc::make_mut(self.clients.entry(name.clone()).or_insert_with(fresh));
        self.idle.remove(&(writer.last_index, name.clone()));
        self.idle.insert((index, name));
        writer.last_at = now;
        writer.last_index = index;
        self.bytes += outcome_bytes(outcome);
        writer.outcomes.insert(id.sequence, outcome.clone());
        while writer.outcomes.len() > OUTCOMES_PER_CLIENT_MAX
            && let Some((dropped, outcome)) = writer.outcomes.pop_first()
        {
            writer.forgotten = writer.forgotten.max(dropped);
            self.bytes -= outcome_bytes(&outcome);
        }
        // The client that wrote just now is not idle, and its 64 outcomes fit.
        while keeps_count && self.bytes > OUTCOME_BYTES_MAX && self.clients.len() > 1 {
            self.forget_longest_idle(epoch, keeps_count);
        }
    }

    /// From this moment on every member keeps count. Whom it forgot before was not counted, but bounded: in a life that is
    /// younger than any client is idle nobody, while there was room; else those who last wrote before all that are known.
    pub(super) fn keep_count_from(&mut self, Revision { epoch, index }: Revision, is_young: bool) {
        let newest = if is_young && self.clients.len() < CLIENTS_MAX {
            0
        } else {
            self.idle.first().map_or(index, |(oldest, _)| *oldest).saturating_sub(1)
        };
        self.forgotten.newest = self.forgotten.newest.max(Revision::new(epoch, newest));
    }

    fn forget_longest_idle(&mut self, epoch: u32, keeps_count: bool) {
        if let Some((index, client)) = self.idle.pop_first() {
            self.forget(Revision::new(epoch, index), &client, keeps_count);
        }
    }

    fn forget(&mut self, newest: Revision, client: &str, keeps_count: bool) {
        let Some(writer) = self.clients.remove(client) else { return };
        self.bytes -= writer.bytes();
        if keeps_count {
            self.forgotten.clients += 1;
            self.forgotten.newest = self.forgotten.newest.max(newest);
        }
    }

    /// Forgets clients that have been idle for long.
    pub(super) fn sweep(&mut self, Moment { now, revision }: Moment, keeps_count: bool) {
        while let Some((index, client)) = self.idle.pop_first() {
            let idle_since = self.clients.get(&client).map_or(Timestamp(0), |writer| writer.last_at);
            if now.since(idle_since) < CLIENT_IDLE {
                self.idle.insert((index, client));
                return;
            }
            self.forget(Revision::new(revision.epoch, index), &client, keeps_count);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn forgotten(&self) -> Forgotten {
        self.forgotten
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Writer)> {
        self.clients.iter().map(|(client, writer)| (&**client, &**writer))
    }

    pub(super) fn restored(clients: BTreeMap<String, Writer>, forgotten: Forgotten) -> Self {
        let bytes = clients.values().map(Writer::bytes).sum();
        let shared = clients.into_iter().map(|(client, writer)| (client.into(), Arc::new(writer)));
        let clients: BTreeMap<Arc<str>, Arc<Writer>> = shared.collect();
        let idle = clients.iter().map(|(client, writer)| (writer.last_index, client.clone())).collect();
        Self { clients, idle, bytes, forgotten }
    }
}

/// About what an outcome takes in memory beside its place in the map.
fn outcome_bytes(outcome: &Outcome) -> usize {
    size_of::<Outcome>() + outcome.encoded_len()
}

#[cfg(test)]
mod tests {
    use api::log::v1::{Done, outcome};

    use super::*;

    fn id(client: &str, sequence: u64) -> WriteId {
        WriteId { client: client.to_owned(), sequence, since: Revision::default() }
    }

    /// A write that was first sent when a node had applied `since`.
    fn late(client: &str, sequence: u64, since: u64) -> WriteId {
        WriteId { since: Revision::new(1, since), ..id(client, sequence) }
    }

    fn moment(now: Timestamp, index: u64) -> Moment {
        Moment { now, revision: Revision::new(1, index) }
    }

    fn remember(writers: &mut Writers, id: &WriteId, now: Timestamp, index: u64, outcome: &Outcome) {
        writers.remember(id, moment(now, index), outcome, true);
    }

    fn forgotten(index: u64) -> Known {
        Known::Expired { forgotten: Revision::new(1, index) }
    }

    fn outcome(index: u64) -> Outcome {
        Outcome { index, ..Outcome::default() }
    }

    #[test]
    fn a_retry_gets_the_first_outcome_until_sixty_four_later_ones_push_it_out() {
        let mut writers = Writers::default();
        for sequence in 1..=64 {
            remember(
                &mut writers,
                &id("a", sequence),
                Timestamp(0),
                sequence + 100,
                &outcome(sequence + 100),
            );
        }
        assert_eq!(writers.known(&id("a", 1)), Known::Applied(Box::new(outcome(101))));
        remember(&mut writers, &id("a", 65), Timestamp(0), 165, &outcome(165));
        assert_eq!(writers.known(&id("a", 1)), Known::Stale { forgotten: 1 });
        assert_eq!(writers.known(&id("a", 2)), Known::Applied(Box::new(outcome(102))));
        assert_eq!(writers.known(&id("a", 66)), Known::New);
        assert_eq!(writers.known(&id("b", 1)), Known::New);
    }

    #[test]
    fn a_write_that_comes_late_but_within_the_last_sixty_four_is_new() {
        let mut writers = Writers::default();
        for sequence in (1..=64).filter(|sequence| *sequence != 7) {
            remember(&mut writers, &id("a", sequence), Timestamp(0), sequence, &outcome(sequence));
        }
        assert_eq!(writers.known(&id("a", 7)), Known::New);
    }

    #[test]
    fn the_longest_idle_client_makes_room_and_its_retries_are_refused() {
        let mut writers = Writers::default();
        let count = CLIENTS_MAX as u64;
        for index in 1..=count {
            remember(&mut writers, &id(&index.to_string(), 1), Timestamp(0), index, &outcome(index));
        }
        remember(&mut writers, &id("1", 2), Timestamp(0), count + 1, &outcome(1));
        remember(&mut writers, &id("new", 1), Timestamp(0), count + 2, &outcome(1));
        assert_eq!(writers.len(), CLIENTS_MAX);
        assert_eq!(writers.known(&late("2", 1, 1)), forgotten(2), "it was idle longest");
        assert!(matches!(writers.known(&late("1", 1, 1)), Known::Applied(_)));
        assert_eq!(writers.forgotten(), Forgotten { clients: 1, newest: Revision::new(1, 2) });
    }

    #[test]
    fn an_idle_client_is_forgotten_by_the_logs_time() {
        let mut writers = Writers::default();
        remember(&mut writers, &id("old", 1), Timestamp(0), 1, &outcome(1));
        remember(&mut writers, &id("young", 1), Timestamp(60_000), 2, &outcome(2));
        writers.sweep(moment(Timestamp(0).plus(CLIENT_IDLE), 9), true);
        assert_eq!(writers.known(&late("old", 1, 1)), forgotten(1));
        assert!(matches!(writers.known(&id("young", 1)), Known::Applied(_)));
    }

    #[test]
    fn a_client_that_began_after_all_that_is_forgotten_is_new() {
        let mut writers = Writers::default();
        remember(&mut writers, &id("old", 1), Timestamp(0), 7, &outcome(7));
        writers.sweep(moment(Timestamp(0).plus(CLIENT_IDLE), 9), true);
        assert_eq!(writers.known(&late("fresh", 1, 8)), Known::New);
        assert_eq!(writers.known(&late("fresh", 1, 7)), forgotten(7));
        assert_eq!(
            writers.known(&id("says-nothing", 1)),
            Known::New,
            "who names no revision asks for no more"
        );
    }

    #[test]
    fn who_was_forgotten_before_that_was_counted_is_not_taken_for_new() {
        let mut writers = Writers::default();
        writers.remember(&id("old", 1), moment(Timestamp(0), 7), &outcome(7), false);
        writers.sweep(moment(Timestamp(0).plus(CLIENT_IDLE), 8), false);
        let mut busy = writers.clone();
        writers.keep_count_from(Revision::new(1, 9), false);
        assert_eq!(writers.known(&late("old", 1, 6)), forgotten(8));
        assert_eq!(writers.known(&late("fresh", 1, 9)), Known::New);
        busy.remember(&id("known", 1), moment(Timestamp(0), 8), &outcome(8), false);
        busy.keep_count_from(Revision::new(1, 20), false);
        assert_eq!(busy.known(&late("old", 1, 6)), forgotten(7));
        assert_eq!(
            busy.known(&late("fresh", 1, 8)),
            Known::New,
            "whoever is forgotten wrote before all that are known"
        );
    }

    /// Found by a test that applied a file to a cluster a quarter of a second old, while its version was raised: nobody could
    /// have been forgotten, and the first write of its client was refused as if it had been.
    #[test]
    fn in_a_young_cluster_nobody_was_forgotten_before_that_was_counted() {
        let mut writers = Writers::default();
        writers.keep_count_from(Revision::new(1, 6), true);
        assert_eq!(writers.known(&late("fresh", 1, 5)), Known::New);
        let before_this_life = WriteId { since: Revision::new(0, 5), ..id("old", 1) };
        assert_eq!(writers.known(&before_this_life), forgotten(0));
    }

    #[test]
    fn a_write_that_began_in_a_life_which_a_backup_undid_is_not_new_however_long_that_was() {
        let mut writers = Writers::default();
        let lost = WriteId { since: Revision::new(1, 1400), ..id("a", 1) };
        let life_two = |now, index| Moment { now, revision: Revision::new(2, index) };
        writers.remember(&lost, life_two(Timestamp(0), 1100), &outcome(1100), true);
        writers.sweep(life_two(Timestamp(0).plus(CLIENT_IDLE), 1200), true);
        assert_eq!(writers.known(&lost), Known::Expired { forgotten: Revision::new(2, 1100) });
    }

    #[test]
    fn a_forgotten_client_that_writes_again_does_not_bring_its_old_retries_back() {
        let mut writers = Writers::default();
        remember(&mut writers, &late("a", 1, 6), Timestamp(0), 7, &outcome(7));
        writers.sweep(moment(Timestamp(0).plus(CLIENT_IDLE), 9), true);
        remember(&mut writers, &late("a", 2, 8), Timestamp(0), 9, &outcome(9));
        assert_eq!(writers.known(&late("a", 1, 6)), forgotten(7));
        assert_eq!(writers.known(&late("a", 3, 8)), Known::New);
    }

    #[test]
    fn outcomes_have_a_bound_in_bytes_and_the_idle_go_first() {
        let mut writers = Writers::default();
        let actions = vec!["unchanged".to_owned(); 1000];
        let large = Outcome { result: Some(outcome::Result::Done(Done { actions })), ..outcome(1) };
        let count = (OUTCOME_BYTES_MAX / outcome_bytes(&large)) as u64 + 10;
        for index in 1..=count {
            remember(&mut writers, &id(&index.to_string(), 1), Timestamp(0), index, &large);
        }
        assert!(writers.bytes() <= OUTCOME_BYTES_MAX);
        assert!(matches!(writers.known(&late("1", 1, 1)), Known::Expired { .. }));
        assert!(matches!(writers.known(&id(&count.to_string(), 1)), Known::Applied(_)));
        let clients = writers.iter().map(|(client, writer)| (client.to_owned(), writer.clone())).collect();
        let restored = Writers::restored(clients, writers.forgotten());
        assert_eq!(restored, writers, "the bytes follow from the clients");
    }
}
