//! What must be true once everything has healed: the group goes on, every node that is not out holds everything, and the same,
//! and so does every proxy.

use control::catalog::Catalog;

use super::clients::ASKS_MAX;
use super::programs;
use super::run::World;
use crate::invariants::{Violation, converged, no_removal_lost};

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
