//! What must be true once everything has healed: the group goes on, every node that is not out holds everything, and the same,
//! and so does every proxy.

use std::time::Duration;

use control::catalog::Catalog;

use super::clients::ASKS_MAX;
use super::event::Event;
use super::programs;
use super::run::World;
use crate::invariants::{Violation, converged, no_removal_lost};

/// How often it is looked at what proxies know once everything has healed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// After the healing, streams over links that were cut end with their keep-alives, and are dialled anew.
pub(super) const STREAMS_HEAL: Duration = Duration::from_secs(4);

impl World {
    pub(super) fn check_the_end(&mut self) -> Result<(), Violation> {
        let stalled = |story: String| Violation::new("the healed group goes on", story);
        if self.clients.values().any(|client| client.waits && client.asks_since_answer > ASKS_MAX) {
            return Err(stalled(format!(
                "a client has asked more than {ASKS_MAX} times since its last answer"
            )));
        }
        self.slow.check()?;
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.out.is_none()) {
            let running = node.running.as_ref().ok_or_else(|| stalled(format!("node {id} is dead")))?;
            let status = running.replica.status();
            if status.leader.is_none() {
                return Err(stalled(format!("node {id} knows no leader: {status:?}")));
            }
            let applied = running.catalog.applied().index;
            if applied < self.logs.last() {
                return Err(stalled(format!("node {id} holds {applied} of {}", self.logs.last())));
            }
            if node.wiped {
                return Err(stalled(format!("node {id} lost its disk, and has no vote again: {status:?}")));
            }
            self.check_version(*id, &running.catalog)?;
            self.acknowledged.held(*id, applied)?;
            self.check_rollups(&running.catalog)?;
            for (proxy, follower) in &self.proxies {
                no_removal_lost(*proxy, &follower.subscriber, &running.catalog)?;
                converged(*proxy, &follower.subscriber, &running.catalog)?;
            }
        }
        Ok(())
    }

    /// Looks whether proxies let go of what has left; again and again from when every broken stream was dialled anew.
    pub(super) fn look_at_withdrawals(&mut self) -> Result<(), Violation> {
        self.heap.put_in(LOOK_EVERY, Event::LookAtWithdrawals);
        let catalogs = self.nodes.values().filter_map(|node| Some(&node.running.as_ref()?.catalog));
        let Some(newest) = catalogs.max_by_key(|catalog| catalog.applied()) else { return Ok(()) };
        let proxies = self.proxies.iter().map(|(id, proxy)| (*id, &proxy.subscriber));
        self.withdrawals.look(proxies, newest, self.heap.now())
    }

    /// Every node runs the newer program by now, so the log takes what that knows; a node that is out for good holds it.
    fn check_version(&self, id: u64, catalog: &Catalog) -> Result<(), Violation> {
        let version = catalog.members().version();
        if version == programs::NEWER || self.nodes.values().any(|node| node.out.is_some()) {
            return Ok(());
        }
        let story = format!("on node {id} the log takes commands of version {version}, and all know more");
        Err(Violation::new("the healed group goes on", story))
    }
}
