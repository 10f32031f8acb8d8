//! How an operator goes back to a backup: every node ends, each gets a new disk with the same state, by the product's own code, and
//! starts. Another life of the cluster begins. What holds within one life is looked at anew from what the backup held; what holds
//! over lives (proxies never go back, and converge) goes on.

use std::time::Duration;

use control::catalog::Catalog;

use super::event::Event;
use super::run::World;
use super::workloads::LEASE;
use crate::invariants::{
    AgesAreBounded, LeadersAreComplete, LeasesHold, LogTimeRises, LogsAgree, MembershipsAgree,
    OneLeaderPerTerm, TermsDoNotInflate, Violation, VotesAreKept,
};
use crate::marks::Mark;
use crate::sabotage::Sabotage;

/// How often an operator takes a backup.
pub(super) const BACKUP_EVERY: Duration = Duration::from_millis(500);

/// Backups that are kept; older ones than a plan asks for are of no use.
const BACKUPS_MAX: usize = 16;

impl World {
    /// Takes a backup of whoever applied most, once this life has begun.
    pub(super) fn take_backup(&mut self) {
        self.heap.put_in(BACKUP_EVERY, Event::TakeBackup);
        let catalogs = self.nodes.values().filter_map(|node| Some(&node.running.as_ref()?.catalog));
        let newest = catalogs.max_by_key(|catalog| catalog.applied());
        if let Some(newest) = newest.filter(|newest| newest.is_begun() && self.restoring.is_none()) {
            self.backups.push_back((self.heap.now(), newest.clone()));
            self.backups.drain(..self.backups.len().saturating_sub(BACKUPS_MAX));
        }
    }

    /// Ends every node, to restore all from the newest backup that is so old. Only from one of this life: two that began from the
    /// same backup are told apart by their leaders' clocks alone (docs/decisions/0008-lives.md).
    pub(super) fn begin_restore(&mut self, back: Duration, dead: Duration) {
        let now = self.heap.now();
        let fits = |(at, _): &&(Duration, Catalog)| *at + back <= now;
        let backup = self.backups.iter().rev().find(fits).map(|(_, catalog)| catalog.clone());
        if self.restoring.is_some() || backup.is_none() {
            return self.tell("(nothing is restored: there is no such backup)".to_owned());
        }
        self.restoring = backup;
        for node in 1..=self.scenario.shape.nodes {
            if self.nodes[&node].running.is_some() {
                self.die(node);
            }
        }
        self.heap.put_in(dead, Event::Restore);
    }

    /// Restores every node and starts it, if that is under way.
    pub(super) fn restore(&mut self) -> Result<(), Violation> {
        let Some(catalog) = self.restoring.take() else { return Ok(()) };
        self.reached.insert(Mark::Restored);
        self.tell(format!("every node is restored, as of {}", catalog.applied()));
        self.heap.retain(|event| !event.is_on_the_way());
        self.backups.clear();
        let index = catalog.applied().index;
        let state = match self.scenario.sabotage {
            Some(Sabotage::EpochKept) => catalog.snapshot(),
            _ => catalog.clone().for_another_life().snapshot(),
        };
        for node in self.nodes.values_mut() {
            let restored = node.restore(&self.scenario.shape, index, state.clone());
            restored.map_err(|error| Violation::new("a backup can be restored", error.to_string()))?;
        }
        self.begin_another_life(&catalog)?;
        (1..=self.scenario.shape.nodes).try_for_each(|node| self.restart(node))
    }

    /// From now on nothing counts but what the backup held.
    fn begin_another_life(&mut self, backup: &Catalog) -> Result<(), Violation> {
        let index = backup.applied().index;
        self.undecided += self.history.begin_anew()?;
        self.acknowledged.restored(index);
        self.ages = AgesAreBounded::default();
        self.begin_history(backup);
        let held = backup.leases().filter(|lease| u64::from(lease.seconds) == LEASE.as_secs());
        let held = held.map(|lease| (lease.instance.0.clone(), lease.registered_index));
        self.leases = LeasesHold::restored(index, held, self.heap.now());
        self.programs.restored(index, backup.members().version());
        self.rollups.restored();
        self.measures.restored();
        self.leaders = OneLeaderPerTerm::default();
        self.logs = LogsAgree::default();
        self.log_time = LogTimeRises::default();
        self.completeness = LeadersAreComplete::default();
        self.votes = VotesAreKept::default();
        self.terms = TermsDoNotInflate::default();
        self.memberships = MembershipsAgree::default();
        Ok(())
    }
}
