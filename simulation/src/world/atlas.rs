//! Which faults would destroy more copies than the protocol tolerates, and are therefore not done: after them no invariant could
//! be expected to hold. Named after the fault atlas of TigerBeetle's simulator.

use std::collections::BTreeSet;

use consensus::Membership;

use super::node::Node;
use super::run::World;

impl World {
    /// The membership as the node that applied most knows it.
    fn membership(&self) -> Option<Membership> {
        let statuses = self.nodes.values().filter_map(|node| Some(node.running.as_ref()?.replica.status()));
        statuses.max_by_key(|status| status.applied).map(|status| status.membership)
    }

    /// Nodes that are out for good, or will be found to be when they start.
    fn outs(&self) -> BTreeSet<u64> {
        let is_out = |node: &&Node| node.out.is_some() || (node.forgot && node.running.is_none());
        self.nodes.values().filter(is_out).map(|node| node.id).collect()
    }

    /// Nodes whose disk was ever damaged: also one that started again may be found out later.
    fn damaged(&self) -> BTreeSet<u64> {
        self.nodes.values().filter(|node| node.out.is_some() || node.forgot).map(|node| node.id).collect()
    }

    /// Whether every set of voters keeps a majority without these nodes.
    fn decides_without(&self, gone: &BTreeSet<u64>) -> bool {
        let Some(membership) = self.membership() else { return false };
        [&membership.voters, &membership.voters_outgoing].into_iter().all(|voters| {
            let left = voters.iter().filter(|voter| !gone.contains(voter)).count();
            voters.is_empty() || left * 2 > voters.len()
        })
    }

    /// Whether this node's disk may be lost for good.
    pub(super) fn may_lose(&self, node: u64) -> bool {
        let mut gone = self.damaged();
        gone.insert(node);
        gone.len() as u64 <= self.scenario.shape.minority() && self.decides_without(&gone)
    }

    /// Whether the voters may become all nodes but `without`: those that are left must decide without those that are out, also
    /// if one more vanishes in the middle of the change.
    pub(super) fn may_vote_without(&self, without: u64) -> bool {
        let outs = self.outs();
        let voters: Vec<u64> = self.nodes.keys().copied().filter(|node| *node != without).collect();
        let left = voters.iter().filter(|voter| !outs.contains(voter)).count();
        outs.is_empty() && left * 2 > voters.len()
    }

    /// Whether all that a node holds durably stands on every other node too, and term and vote are what they were when its
    /// disk began to lie: then it may forget.
    pub(super) fn may_forget(&self, id: u64, since: consensus::HardState) -> bool {
        let Some(forgetful) = self.nodes[&id].running.as_ref() else { return false };
        let durable = &forgetful.storing.durable;
        let same_vote = (durable.term, durable.vote) == (since.term, since.vote);
        let on_all = self.nodes.values().filter(|node| node.id != id).all(|node| {
            let Some(running) = node.running.as_ref() else { return false };
            let newest = forgetful.storing.entries.last_key_value();
            // By log matching, who holds the newest entry holds all before it.
            newest.is_none_or(|(index, term)| running.storing.entries.get(index) == Some(term))
        });
        same_vote && on_all && self.may_lose(id)
    }
}
