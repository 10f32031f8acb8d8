//! Which faults would destroy more copies than the protocol tolerates, and are therefore not done: after them no invariant could
//! be expected to hold. Named after the fault atlas of TigerBeetle's simulator.

use std::collections::BTreeSet;

use consensus::Membership;

use super::node::Node;
use super::programs::SEATS;
use super::run::World;

impl World {
    /// The membership as the node that applied most knows it.
    fn membership(&self) -> Option<Membership> {
        let statuses = self.nodes.values().filter_map(|node| Some(node.running.as_ref()?.replica.status()));
        statuses.max_by_key(|status| status.applied).map(|status| status.membership)
    }

    /// Nodes that are out for good, or will be found to be when they start, or have no vote again since they lost their disk.
    fn outs(&self) -> BTreeSet<u64> {
        let is_out =
            |node: &&Node| node.out.is_some() || node.wiped || (node.forgot && node.running.is_none());
        self.nodes.values().filter(is_out).map(|node| node.id).collect()
    }

    /// Nodes whose disk was ever damaged: also one that started again may be found out later.
    fn damaged(&self) -> BTreeSet<u64> {
        let is_damaged = |node: &&Node| node.out.is_some() || node.forgot || node.wiped;
        self.nodes.values().filter(is_damaged).map(|node| node.id).collect()
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

    /// Whether this node may come back with an empty disk: as if it lost it for good, where the log knows that disk and no change of
    /// the members is under way that may need the node, and all others have begun. One that has not would take an empty disk
    /// for the first one, and what the log does not know yet nobody brings in again (docs/decisions/0006-members-in-the-log.md).
    pub(super) fn may_wipe(&self, id: u64) -> bool {
        let running = || self.nodes.values().filter_map(|node| node.running.as_ref());
        let Some(newest) = running().max_by_key(|running| running.catalog.applied()) else { return false };
        let (members, membership) = (newest.catalog.members(), newest.replica.membership());
        let known = members.get(id).is_some_and(|member| member.disk == self.nodes[&id].identity());
        let others_have_begun = self.nodes.values().all(|node| node.id == id || node.has_begun());
        known
            && members.version() >= SEATS
            && membership.voters.contains(&id)
            && others_have_begun
            && !running().any(|running| running.replica.membership_is_changing())
            && self.may_lose(id)
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
