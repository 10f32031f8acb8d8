//! The reads of a node: of clients, and of its discovery, which begins and proves by them what it tells. Each is asked of a quorum,
//! and answered from the catalog once that has said how far to wait; never before the life of the cluster has begun. One that
//! bears some age is answered at once where the node can vouch for that by itself.

use std::time::Duration;

use control::replica::freshness::Moment;

use super::effects::Effects;
use super::event::Reply;
use super::running::{Running, Waiting};
use super::writes::Key;
use crate::sabotage::Sabotage;

/// Why a linearizable read was begun.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// A client wants to know.
    By(Waiting, Key),
    /// A client bears some age, but less than this node could vouch for.
    ByBearing(Waiting),
    /// It is to be known how old the catalog is, whether somebody asks or not.
    ToVouch,
    /// Discovery is to begin.
    ToBegin,
    /// Discovery wants a proof for what waits up to this ticket.
    ToProve(u64),
}

/// A read that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    asked: Asked,
    /// When it was begun.
    begun: Moment,
}

impl Running {
    /// Says as of which entry the catalog is and how old at most, as `control/src/replica/driver.rs` has it.
    pub(crate) fn read_within(
        &mut self,
        bound: Duration,
        waiting: Waiting,
        local: Duration,
        effects: &mut Effects,
    ) {
        match self.freshness.age(self.moment) {
            Some(stale) if stale <= bound => self.say_age(waiting, stale, effects),
            _ => self.ask(Asked::ByBearing(waiting), local),
        }
    }

    fn say_age(&self, waiting: Waiting, stale: Duration, effects: &mut Effects) {
        let index = self.catalog.applied().index;
        effects.replies.push((waiting, Reply::Aged { index, stale }));
    }

    /// A message of Raft has come from `from`. That proves nothing of the catalog, unless the node is sabotaged.
    pub(super) fn heard(&mut self, from: u64) {
        let leads = self.replica.leader().is_some_and(|leader| leader.0 == from);
        if leads && self.sabotage == Some(Sabotage::HeartbeatVouches) {
            self.freshness.proved(self.moment);
        }
    }

    /// Reads a key for whoever waits.
    pub(crate) fn read(&mut self, key: Key, waiting: Waiting, local: Duration, effects: &mut Effects) {
        if self.sabotage == Some(Sabotage::LocalRead) {
            effects.replies.push((waiting, Reply::Value(key.seen(&self.catalog))));
        } else {
            self.ask(Asked::By(waiting, key), local);
        }
    }

    pub(super) fn ask(&mut self, asked: Asked, local: Duration) {
        self.next_token += 1;
        self.freshness.asked(local);
        if self.replica.read(self.next_token, local).is_ok() {
            self.reads.insert(self.next_token, Round { asked, begun: self.moment });
        }
    }

    pub(super) fn read_ready(&mut self, token: u64, effects: &mut Effects) {
        let Some(Round { asked, begun }) = self.reads.remove(&token) else { return };
        if !self.catalog.is_begun() {
            // Its revisions are those of the life before: it is asked again once something has happened.
            return self.unanswered.push(asked);
        }
        self.freshness.proved(begun);
        match asked {
            Asked::ToVouch => {}
            Asked::By(waiting, key) => {
                effects.replies.push((waiting, Reply::Value(key.seen(&self.catalog))));
            }
            Asked::ByBearing(waiting) => self.say_age(waiting, Duration::ZERO, effects),
            Asked::ToBegin => {
                let turn = self.shard.begin();
                self.carry_turn(turn, effects);
            }
            Asked::ToProve(ticket) => {
                let turn = self.shard.confirmed(ticket, self.catalog.applied());
                self.carry_turn(turn, effects);
            }
        }
    }

    pub(super) fn read_failed(&mut self, token: u64, local: Duration, effects: &mut Effects) {
        let Some(Round { asked, .. }) = self.reads.remove(&token) else { return };
        match asked {
            Asked::ToVouch => {}
            Asked::By(waiting, _) | Asked::ByBearing(waiting) => {
                effects.replies.push((waiting, Reply::Unknown));
            }
            Asked::ToBegin => self.ask(Asked::ToBegin, local),
            Asked::ToProve(ticket) => {
                let turn = self.shard.unprovable(ticket);
                self.carry_turn(turn, effects);
                // What waits for this node to catch up waits on; a later proof frees it.
                self.ask(Asked::ToProve(ticket), local);
            }
        }
    }
}
