//! Whether this node's catalog is still what the others have (design, decision 14): each keeps the hash of its catalog at some
//! recent entries, asks the others for theirs, and compares those of the same entry. The comparing is pure; the asking is a task
//! that `node.rs` starts. A node that is alone with its hash says so, and stops being ready: somebody must look.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::future::join_all;
use prometheus::IntGauge;
use runtime::admin::Condition;
use tracing::error;

use super::door::Door;

/// Entries between two checkpoints. Fewer cost nothing but are passed sooner; more find a divergence later.
const ENTRIES_BETWEEN: u64 = 64;
/// Checkpoints that are kept: nodes that lag by some thousand entries still have one in common.
const KEPT_MAX: usize = 128;
/// How often the others are asked.
const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// The hash of the catalog at an entry.
pub(crate) type Checkpoint = (u64, u64);

/// This node's recent checkpoints, oldest first.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    kept: VecDeque<Checkpoint>,
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
    }

    pub(super) fn told(&self) -> Vec<Checkpoint> {
        self.kept.iter().copied().collect()
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

/// Compares with the others for ever. `sound` is taken back while this node is alone with its state.
pub(crate) async fn watch(door: Door, sound: Condition, diverged: IntGauge) {
    sound.met();
    let mut beat = tokio::time::interval(COMPARE_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let Some(own) = door.checkpoints().await else { return };
        let peers = door.peers().peers();
        let nodes = peers.len() + 1;
        let asked = peers.into_iter().map(|peer| door.peers().checkpoints(peer));
        let others: Vec<Vec<Checkpoint>> = join_all(asked).await.into_iter().filter_map(Result::ok).collect();
        match verdict(&own, &others, nodes) {
            Verdict::Agrees => {
                diverged.set(0);
                sound.met();
            }
            Verdict::Diverged(index) => {
                diverged.set(1);
                sound.lacking("its state differs from the other nodes'");
                error!(
                    index,
                    "this node's catalog differs from the majority's; stop it, move its data directory away as evidence, and add it again under a new id"
                );
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
    fn a_bounded_number_of_checkpoints_is_kept_at_fixed_distances() {
        let mut checkpoints = Checkpoints::default();
        (1..=20_000).for_each(|index| checkpoints.applied(index, index));
        let told = checkpoints.told();
        assert_eq!((told.len(), told.last()), (KEPT_MAX, Some(&(19_968, 19_968))));
        checkpoints.clear();
        assert!(checkpoints.told().is_empty());
    }
}
