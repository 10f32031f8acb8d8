//! The linearizable reads of a node: of clients, and of its discovery, which begins and proves by them what it tells. Each is asked
//! of a quorum, and answered from the catalog once that has said how far to wait; never before the life of the cluster has begun.

use std::time::Duration;

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
    /// Discovery is to begin.
    ToBegin,
    /// Discovery wants a proof for what waits up to this ticket.
    ToProve(u64),
}

impl Running {
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
        if self.replica.read(self.next_token, local).is_ok() {
            self.reads.insert(self.next_token, asked);
        }
    }

    pub(super) fn read_ready(&mut self, token: u64, effects: &mut Effects) {
        let asked = self.reads.remove(&token);
        if !self.catalog.is_begun() {
            // Its revisions are those of the life before: it is asked again once something has happened.
            return self.unanswered.extend(asked);
        }
        match asked {
            None => {}
            Some(Asked::By(waiting, key)) => {
                effects.replies.push((waiting, Reply::Value(key.seen(&self.catalog))));
            }
            Some(Asked::ToBegin) => {
                let turn = self.shard.begin();
                self.carry_turn(turn, effects);
            }
            Some(Asked::ToProve(ticket)) => {
                let turn = self.shard.confirmed(ticket, self.catalog.applied());
                self.carry_turn(turn, effects);
            }
        }
    }

    pub(super) fn read_failed(&mut self, token: u64, local: Duration, effects: &mut Effects) {
        match self.reads.remove(&token) {
            None => {}
            Some(Asked::By(waiting, _)) => effects.replies.push((waiting, Reply::Unknown)),
            Some(Asked::ToBegin) => self.ask(Asked::ToBegin, local),
            Some(Asked::ToProve(ticket)) => {
                let turn = self.shard.unprovable(ticket);
                self.carry_turn(turn, effects);
                // What waits for this node to catch up waits on; a later proof frees it.
                self.ask(Asked::ToProve(ticket), local);
            }
        }
    }
}
