//! How faults are done and undone, and what must be true once all are over.

use std::time::Duration;

use super::event::Event;
use super::faults::FaultClass;
use super::node::{NODES, POLL_PARTIALS};
use super::run::World;
use crate::invariants::{Violation, converged};
use crate::network::Host;

/// How long a killed node stays dead, at most.
const DEAD_MAX: Duration = Duration::from_secs(3);

/// A slow disk is slower by this.
const SLOW: u32 = 100;

impl World {
    /// One fault happens, and the next is planned.
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        let Some(class) = self.plan.next(&mut self.chance) else { return Ok(()) };
        self.trace.tell_number(class as u64);
        let node = self.chance.below(NODES) + 1;
        match class {
            FaultClass::Crash => self.crash(node),
            FaultClass::CrashAll => (1..=NODES).for_each(|node| self.crash(node)),
            FaultClass::RestartProxy => self.restart_proxy(),
            FaultClass::Isolate => {
                if self.chance.happens(500) {
                    self.cut_off_proxies(node);
                }
                for other in (1..=NODES).filter(|other| *other != node) {
                    self.network.cut(Host::Node(node), Host::Node(other));
                    self.network.cut(Host::Node(other), Host::Node(node));
                }
            }
            FaultClass::OneWay => {
                let other = node % NODES + 1;
                self.network.cut(Host::Node(node), Host::Node(other));
            }
            FaultClass::Mend => self.network.mend(),
            FaultClass::SlowDisk => {
                if self.disk_latency.remove(&node).is_none() {
                    self.disk_latency.insert(node, super::run::DISK_LATENCY * SLOW);
                }
            }
        }
        let pause = self.plan.pause(&mut self.chance);
        self.heap.put_in(pause, Event::Fault);
        Ok(())
    }

    /// kill -9: the others see its connections end; it comes back later.
    fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("every node exists");
        if node.running.is_none() {
            return;
        }
        node.crash(&mut self.chance);
        self.crashes += 1;
        let now = self.heap.now();
        for other in (1..=NODES).filter(|other| *other != id) {
            if let Some(at) = self.network.stream(Host::Node(id), Host::Node(other), now, &mut self.chance) {
                self.heap.put(at, Event::PeerLost { node: other, peer: id });
            }
        }
        self.break_streams_of(id, Duration::from_millis(5));
        let dead = self.chance.between(Duration::from_millis(1), DEAD_MAX);
        self.heap.put_in(dead, Event::Restart(id));
    }

    /// A dead node starts from its disk. That it cannot is a violation: a crash alone never damages a log.
    pub(super) fn restart(&mut self, id: u64) -> Result<(), Violation> {
        let now = self.heap.now();
        let node = self.nodes.get_mut(&id).expect("every node exists");
        if node.running.is_some() {
            return Ok(());
        }
        node.start(now, &mut self.chance).map_err(|error| {
            Violation::new(
                "a crashed node starts again",
                format!("node {id} refuses its own directory: {error}"),
            )
        })?;
        let life = node.life;
        self.heap.put_in(POLL_PARTIALS, Event::PollPartials { node: id, life });
        self.with(id, None, |running, at, _, effects| running.settle(at, effects))
    }

    /// All faults end; what is dead starts.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.healed = true;
        self.network.heal();
        self.disk_latency.clear();
        (1..=NODES).try_for_each(|node| self.restart(node))
    }

    /// After the healing every node must hold everything, and the same.
    pub(super) fn check_the_end(&mut self) -> Result<(), Violation> {
        let stalled = |story: String| Violation::new("the healed group goes on", story);
        if self.clients.values().any(|client| client.waits && client.asks_since_answer > 8) {
            return Err(stalled("a client has asked more than 8 times since its last answer".to_owned()));
        }
        for (id, node) in &self.nodes {
            let running = node.running.as_ref().ok_or_else(|| stalled(format!("node {id} is dead")))?;
            let status = running.replica.status();
            if status.leader.is_none() {
                return Err(stalled(format!("node {id} knows no leader: {status:?}")));
            }
            let applied = running.catalog.applied().index;
            if applied < self.logs.last() {
                return Err(stalled(format!("node {id} holds {applied} of {}", self.logs.last())));
            }
            self.acknowledged.held(*id, applied)?;
            self.check_rollups(&running.catalog)?;
            for (proxy, follower) in &self.proxies {
                converged(*proxy, &follower.subscriber, &running.catalog)?;
            }
        }
        Ok(())
    }
}
