//! The lives of a cluster. One begins with an entry of the log, the first that the first leader proposes after the cluster
//! was founded, restored from a backup, or recovered from one node's disk: it sets the epoch of all revisions.
//!
//! So the epoch is the same on every node, although each founds its directory by itself, and later than that of any life
//! before, also of one whose disks were all lost: whoever has seen that one is told everything again. Pure.

use std::time::Duration;

use mesh::{Revision, Timestamp};
use prost::Message as _;

use super::refusal::Refusal;
use super::snapshot::HEAD_BYTES;
use super::state::Catalog;
use super::topology::{Topology, Touched};

/// Epochs are counted in seconds from here on, the begin of 2026: late enough to stay readable, and 32 bits last until 2162.
const FIRST_SECOND: u64 = 1_767_225_600;

/// The epoch of a life that begins at `now`, after one of epoch `last`. A clock that runs behind makes it no earlier.
#[must_use]
pub fn next_epoch(last: u32, now: Timestamp) -> u32 {
    let seconds = (now.0 / 1000).saturating_sub(FIRST_SECOND);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(last.saturating_add(1))
}

impl Catalog {
    /// Whether this life has begun. Until then nothing should be told from it: revisions are still those of the life before.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.begun > 0
    }

    /// Whether this life is surely younger than that, by the log's time: not where an epoch had to be later than a clock.
    pub(super) fn is_younger_than(&self, age: Duration) -> bool {
        let began = Timestamp((FIRST_SECOND + u64::from(self.epoch)) * 1000);
        self.is_begun() && began <= self.now && self.now.since(began) < age
    }

    /// The epoch and whether the life has begun, of what [`Self::snapshot`] wrote, without reading the rest of it. Of
    /// damaged bytes it says as of a new catalog; whoever restores them finds out.
    #[must_use]
    pub fn life_of(snapshot: &[u8]) -> (u32, bool) {
        /// What it is about of a `penstock.log.v1.Snapshot`; everything else is skipped.
        #[derive(prost::Message)]
        struct Head {
            #[prost(uint32, tag = "1")]
            epoch: u32,
            #[prost(uint64, tag = "30")]
            begun_index: u64,
        }
        let head = snapshot.get(HEAD_BYTES..).and_then(|body| Head::decode(body).ok());
        head.map_or((1, false), |head| (head.epoch, head.begun_index > 0))
    }

    /// The same state, of which another life is to begin: with other members, on other disks. Which commands may enter the log
    /// stays as it is, since what stands in the state does not become older.
    #[must_use]
    pub fn for_another_life(mut self) -> Self {
        self.begun = 0;
        self.members = self.members.forgotten();
        self
    }

    /// Begins this life, if it has not begun. Everything stored stays as it was, at the same index of the new epoch.
    pub(super) fn begin(&mut self, epoch: u32, touched: &mut Touched) -> Result<(), Refusal> {
        if self.is_begun() {
            return Ok(());
        }
        if epoch <= self.epoch {
            return Err(Refusal::invalid(format_args!("begin: epoch {epoch} is not after {}", self.epoch)));
        }
        self.epoch = epoch;
        self.begun = self.applied;
        self.topology.lift(epoch, touched);
        Ok(())
    }
}

impl Topology {
    /// Puts every revision into `epoch`; where there was none, there stays none.
    fn lift(&mut self, epoch: u32, touched: &mut Touched) {
        let lift = |revision: &mut Revision| {
            if *revision != Revision::default() {
                revision.epoch = epoch;
            }
        };
        lift(&mut self.routing);
        for service in self.services.values_mut() {
            lift(&mut service.revision);
            lift(&mut service.policy_revision);
            service.declared.iter_mut().for_each(|(_, revision)| lift(revision));
        }
        for port in self.ports.values_mut() {
            lift(&mut port.endpoints_revision);
            lift(&mut port.rules_revision);
            port.registered.iter_mut().for_each(|registered| lift(&mut registered.revision));
        }
        self.routes.values_mut().for_each(|route| lift(&mut route.revision));
        self.policies.values_mut().for_each(|policy| lift(&mut policy.revision));
        touched.services.extend(self.services.keys().cloned());
        touched.endpoints.extend(self.ports.keys().cloned());
        touched.rules.extend(self.ports.keys().cloned());
        let ruled = self.services.iter().filter(|(_, stored)| stored.policy_revision != Revision::default());
        touched.policies.extend(ruled.map(|(name, _)| name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_the_second_of_its_begin_and_always_later_than_the_last() {
        let begin_of = |seconds: u64| Timestamp((FIRST_SECOND + seconds) * 1000);
        assert_eq!(next_epoch(1, begin_of(28_000_000)), 28_000_000);
        assert_eq!(next_epoch(28_000_000, begin_of(28_000_000)), 28_000_001, "two within one second");
        assert_eq!(next_epoch(28_000_000, Timestamp(0)), 28_000_001, "a clock that stands in 1970");
        assert_eq!(next_epoch(1, Timestamp(u64::MAX)), u32::MAX);
    }
}
