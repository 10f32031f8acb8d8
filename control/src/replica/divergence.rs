//! Whether this node's catalog is still what the others have (design, decision 14): each keeps the hash of its catalog at its
//! last entries, asks the others for theirs, and compares those of the same entry. The comparing is pure; the asking is a task
//! that `node.rs` starts. A node that is alone with its hash stops serving until it is started again: somebody must look.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::future::join_all;
use prometheus::IntGauge;
use runtime::admin::Condition;
use tracing::error;

use super::door::Door;

/// Entries between two checkpoints that are told, and kept for long. Fewer are passed sooner; more find a divergence later.
const ENTRIES_BETWEEN: u64 = 64;
/// So many of these are kept: nodes that lag by some thousand entries still have one in common.
const KEPT_MAX: usize = 128;
/// Of the last entries each is kept, so that another node's newest entry, which it tells too, is among them however few come.
const RECENT_MAX: usize = 1024;
/// How often the others are asked. Longer serves a wrong catalog for longer; shorter costs a question to each node.
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// The hash of the catalog at an entry.
pub(crate) type Checkpoint = (u64, u64);

/// This node's recent checkpoints, oldest first.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    kept: VecDeque<Checkpoint>,
    recent: VecDeque<Checkpoint>,
}

/// What a node has to compare, as (index, hash).
#[derive(Debug, Clone, Default)]
pub struct Hashes {
    /// Its hashes at each of the last entries and at some older ones, oldest first.
    pub own: Vec<(u64, u64)>,
    /// Those that it tells the others: at some entries and at the newest.
    pub told: Vec<(u64, u64)>,
}

/// What comparing says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Agrees,
    /// A majority of the cluster has another state at this entry: this node is wrong.
    Diverged(u64),
    /// Another node has another state, and no majority says which is right.
    Disputed(u64),
}

impl Checkpoints {
    /// An entry was applied.
    pub(super) fn applied(&mut self, index: u64, hash: u64) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((index, hash));
        if !index.is_multiple_of(ENTRIES_BETWEEN) {
            return;
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((index, hash));
    }

    /// The whole catalog was replaced: what was kept is of another life of it.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.recent.clear();
    }

    pub(super) fn hashes(&self) -> Hashes {
        let recent_from = self.recent.front().map_or(u64::MAX, |(index, _)| *index);
        let older = self.kept.iter().filter(|(index, _)| *index < recent_from);
        let newest = self.recent.back().filter(|newest| self.kept.back() != Some(newest));
        Hashes {
            own: older.chain(&self.recent).copied().collect(),
            told: self.kept.iter().chain(newest).copied().collect(),
        }
    }
}

/// Compares the newest entry that this node has in common with any other, in a cluster of so many nodes.
fn verdict(own: &[Checkpoint], others: &[Vec<Checkpoint>], nodes: usize) -> Verdict {
    let others: Vec<BTreeMap<u64, u64>> =
        others.iter().map(|theirs| theirs.iter().copied().collect()).collect();
    for (index, hash) in own.iter().rev() {
        let mut different: BTreeMap<u64, usize> = BTreeMap::new();
        let mut compared = 0;
        for theirs in others.iter().filter_map(|theirs| theirs.get(index)) {
            compared += 1;
            if theirs != hash {
                *different.entry(*theirs).or_default() += 1;
            }
        }
        match different.values().max() {
            Some(most) if *most > nodes / 2 => return Verdict::Diverged(*index),
            Some(_) => return Verdict::Disputed(*index),
            None if compared > 0 => return Verdict::Agrees,
            None => {}
        }
    }
    Verdict::Agrees
}

/// Compares with the others until this node is found alone with its state; answers as of which entry, at the latest. `None`
/// when the replica has stopped.
pub(crate) async fn found(door: &Door, sound: &Condition, diverged: &IntGauge) -> Option<u64> {
    sound.met();
    let mut beat = tokio::time::interval(COMPARE_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let Hashes { own, .. } = door.hashes().await?;
        let peers = door.peers().peers();
        let nodes = peers.len() + 1;
        let asked = peers.into_iter().map(|peer| door.peers().checkpoints(peer));
        let others: Vec<Vec<Checkpoint>> = join_all(asked).await.into_iter().filter_map(Result::ok).collect();
        match verdict(&own, &others, nodes) {
            Verdict::Agrees => diverged.set(0),
            Verdict::Diverged(index) => {
                diverged.set(1);
                return Some(index);
            }
            Verdict::Disputed(index) => {
                diverged.set(1);
                error!(
                    index,
                    "two nodes' catalogs differ and no majority says which is right; compare `penstock stat` and `endpoints` of each"
                );
            }
        }
    }
}

/// What clients and operators are told of a node that differs at this entry.
pub(crate) fn reason(index: u64) -> String {
    format!(
        "this node's catalog differs from the majority's as of entry {index}, if not before: it serves nothing any more"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_agree_where_they_overlap_agree() {
        let own = [(64, 1), (128, 2), (192, 3)];
        assert_eq!(verdict(&own, &[vec![(64, 1), (128, 2)], vec![(256, 9)]], 3), Verdict::Agrees);
        assert_eq!(verdict(&own, &[], 3), Verdict::Agrees);
    }

    #[test]
    fn a_node_that_is_alone_with_its_state_has_diverged_and_the_others_have_not() {
        let (right, wrong) = (vec![(64, 1), (128, 2)], vec![(64, 1), (128, 7)]);
        assert_eq!(verdict(&wrong, &[right.clone(), right.clone()], 3), Verdict::Diverged(128));
        assert_eq!(verdict(&right, &[right.clone(), wrong], 3), Verdict::Disputed(128));
    }

    #[test]
    fn one_other_is_no_majority_of_three() {
        assert_eq!(verdict(&[(64, 1)], &[vec![(64, 2)]], 3), Verdict::Disputed(64));
    }

    #[test]
    fn a_bounded_number_of_checkpoints_is_kept_and_told_oldest_first_each_once() {
        let mut checkpoints = Checkpoints::default();
        (1..=20_000).for_each(|index| checkpoints.applied(index, index));
        let Hashes { own, told } = checkpoints.hashes();
        assert_eq!((told.len(), told.last()), (KEPT_MAX + 1, Some(&(20_000, 20_000))));
        assert_eq!(told[KEPT_MAX - 1], (19_968, 19_968));
        assert_eq!(own.last(), Some(&(20_000, 20_000)));
        assert_eq!(own.len(), KEPT_MAX + RECENT_MAX - RECENT_MAX / 64);
        assert!(own.is_sorted_by(|one, other| one.0 < other.0), "{own:?}");
        checkpoints.clear();
        assert!(checkpoints.hashes().own.is_empty());
    }

    #[test]
    fn of_few_entries_the_newest_is_compared_also_with_a_node_that_is_some_ahead() {
        let (mut wrong, mut right) = (Checkpoints::default(), Checkpoints::default());
        (1..=9).for_each(|index| wrong.applied(index, if index < 5 { index } else { 99 }));
        (1..=7).for_each(|index| right.applied(index, index));
        let told = right.hashes().told;
        assert_eq!(told, [(7, 7)]);
        assert_eq!(verdict(&wrong.hashes().own, &[told.clone(), told], 3), Verdict::Diverged(7));
    }
}
