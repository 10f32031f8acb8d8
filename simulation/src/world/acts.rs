//! How each act of a plan is done, and undone when its time is over.

use std::time::Duration;

use consensus::Loss;

use super::event::Event;
use super::programs;
use super::run::World;
use crate::chance::Chance;
use crate::disk::Lies;
use crate::invariants::Violation;
use crate::marks::Mark;
use crate::network::Host;
use crate::plan::Act;

/// How often a lying disk looks whether it may lose power, and how often at most.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const LOOKS_MAX: u32 = 200;

/// How soon the survivors and the proxies see the connections of a killed node end.
const FIN: Duration = Duration::from_millis(5);

impl World {
    /// A step of the plan is due.
    pub(super) fn act(&mut self, step: usize) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        let act = self.resolved(step);
        let sentence = self.sentence(&act);
        self.tell(sentence.clone());
        self.measures.act(self.heap.now(), sentence);
        self.trace.tell(act.verb().as_bytes());
        if let Some(lasts) = self.begin_act(&act)? {
            self.heap.put_in(lasts, Event::Over(step));
        }
        Ok(())
    }

    /// The act of a step, with node 0 replaced by the node that leads now, for as long as the step lasts.
    fn resolved(&mut self, step: usize) -> Act {
        let leader = self.leader().unwrap_or(1);
        let act = &mut self.scenario.plan.steps[step].act;
        *act = act.at_leader(leader);
        act.clone()
    }

    /// What an act does as things are: a node that is down already is not killed, and hears nothing.
    fn sentence(&self, act: &Act) -> String {
        let sentence = act.sentence();
        let node = match act {
            Act::Kill { node, .. }
            | Act::Stop { node, .. }
            | Act::Pause { node, .. }
            | Act::Upgrade { node, .. }
            | Act::Downgrade { node, .. }
            | Act::Wipe { node, .. }
            | Act::FailRead { node, .. } => *node,
            _ => return sentence,
        };
        if self.nodes[&node].running.is_some() {
            return sentence;
        }
        match act {
            Act::Kill { .. } | Act::Stop { .. } | Act::Pause { .. } => {
                format!("({} comes too late: node {node} is down already)", act.verb())
            }
            Act::Upgrade { .. } => format!("node {node} is down, and is to start with the newer program"),
            Act::Downgrade { .. } => format!("node {node} is down, and is to start with the older program"),
            _ => sentence.replacen("is killed", "is down already", 1),
        }
    }

    /// Does an act; says how long it lasts, if it has to be undone.
    fn begin_act(&mut self, act: &Act) -> Result<Option<Duration>, Violation> {
        let now = self.heap.now();
        match *act {
            Act::Kill { node, dead } => self.kill(node, dead),
            Act::KillNextLeader { reign, dead } => self.reigns.push_back((reign, dead)),
            Act::Stop { node, dead } => self.tell_to_stop(node, dead),
            Act::KillAll { dead } => (1..=self.scenario.shape.nodes).for_each(|node| self.kill(node, dead)),
            Act::Upgrade { node, dead } => self.start_with(node, programs::NEWER, dead),
            Act::Downgrade { node, dead } => self.start_with(node, programs::OLDER, dead),
            Act::Pause { node, lasts } => {
                let until = self.node(node).paused_until.max(Some(now + lasts));
                self.node(node).paused_until = until.filter(|_| self.nodes[&node].running.is_some());
                return Ok(Some(lasts));
            }
            Act::Lose { per_mille, lasts } => {
                self.network.lose(per_mille);
                return Ok(Some(lasts));
            }
            Act::Repeat { per_mille, lasts } => {
                self.network.repeat(per_mille);
                return Ok(Some(lasts));
            }
            Act::Delay { usual, lasts } => {
                self.network.delay(Some(usual));
                return Ok(Some(lasts));
            }
            Act::Isolate { lasts, .. }
            | Act::OneWay { lasts, .. }
            | Act::Part { lasts, .. }
            | Act::CutZone { lasts, .. }
            | Act::HalfOpen { lasts, .. } => {
                self.cut(act);
                return Ok(Some(lasts));
            }
            Act::Storm { times } => self.storm(times),
            Act::Swizzle { nodes, order, lasts } => self.swizzle(nodes, order, lasts),
            Act::SlowReader { proxy, lasts } => self.network.stall(Host::Proxy(proxy), now + lasts),
            Act::SlowDisk { node, factor, lasts } => {
                self.slow_disk(node, factor, lasts);
                return Ok(Some(lasts));
            }
            Act::FillDisk { node, lasts } => {
                let disk = &self.node(node).disk;
                disk.set_capacity(Some(disk.used()));
                return Ok(Some(lasts));
            }
            Act::FailSync { node, dead } => self.doom(node, dead),
            Act::FailRead { node, after, dead } => self.fail_read(node, after, dead),
            Act::LoseSync { node, lasts, dead } => self.begin_to_lie(node, lasts, dead),
            Act::Rot { node, place, dead } => self.rot(node, place, dead),
            Act::Wipe { node, dead } => self.wipe(node, dead),
            Act::Misdirect { node, place, dead } => self.misdirect(node, place, dead),
            Act::Jump { node, by_ms } => self.node(node).clock.jump(by_ms),
            Act::Drift { node, ppm } => self.node(node).clock.drift(now, ppm),
            Act::Restore { back, dead } => self.begin_restore(back, dead),
            Act::Transfer { node } => self.transfer(node)?,
            Act::Members { without } => self.change_voters(without)?,
            Act::Push { count } => self.push_config(count)?,
            Act::RestartProxy { proxy } => self.restart_proxy(proxy),
            Act::CrashLoop { proxy, times } => self.proxy_dies(proxy, times),
            Act::Refuse { proxy, service, lasts } => {
                self.proxy(proxy).refuse(service, now + lasts);
                return Ok(Some(lasts));
            }
            Act::Flap { proxy, times } => (0..times).for_each(|_| self.wander(proxy)),
            Act::Hush { workloads, lasts } => self.hush(workloads, now + lasts),
            Act::Silence { workload, lasts } => self.workload(workload).silence(now + lasts),
        }
        Ok(None)
    }

    /// What a step did is over.
    pub(super) fn over(&mut self, step: usize) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        let act = self.scenario.plan.steps[step].act.clone();
        match act {
            Act::Lose { .. } => self.network.lose(0),
            Act::Repeat { .. } => self.network.repeat(0),
            Act::Delay { .. } => self.network.delay(None),
            Act::SlowDisk { node, .. } => self.node(node).disk_factor = 1,
            Act::FillDisk { node, .. } => self.node(node).disk.set_capacity(None),
            Act::Pause { node, .. } => self.resume(node),
            Act::Refuse { proxy, .. } => self.relent(proxy),
            Act::Isolate { node, .. } => {
                self.mend(&act);
                let running = self.nodes[&node].running.as_ref();
                let term = running.map(|running| running.replica.term());
                return self.terms.rejoined(node, term);
            }
            _ => self.mend(&act),
        }
        Ok(())
    }

    /// Every direction that an act cuts.
    fn directions(&self, act: &Act) -> Vec<(Host, Host)> {
        let shape = &self.scenario.shape;
        let nodes = || (1..=shape.nodes).map(Host::Node);
        let proxies = || (0..shape.proxies).map(Host::Proxy);
        let both = |one: Host, other: Host| [(one, other), (other, one)];
        match *act {
            Act::Isolate { node, proxies: too, .. } => {
                let others =
                    nodes().filter(|other| *other != Host::Node(node)).chain(proxies().filter(|_| too));
                others.flat_map(|other| both(Host::Node(node), other)).collect()
            }
            Act::OneWay { from, to, .. } => vec![(Host::Node(from), Host::Node(to))],
            Act::Part { one, other, .. } => both(Host::Node(one), Host::Node(other)).into(),
            Act::CutZone { zone, .. } => {
                let inside =
                    |host: &Host| matches!(host, Host::Node(id) | Host::Proxy(id) if shape.zone(*id) == zone);
                let (within, without): (Vec<_>, Vec<_>) = nodes().chain(proxies()).partition(inside);
                within.iter().flat_map(|one| without.iter().flat_map(|other| both(*one, *other))).collect()
            }
            Act::HalfOpen { proxy, .. } => nodes().flat_map(|node| both(Host::Proxy(proxy), node)).collect(),
            _ => Vec::new(),
        }
    }

    fn cut(&mut self, act: &Act) {
        if let Act::Isolate { node, .. } = act {
            let term = self.nodes[node].running.as_ref().map(|running| running.replica.term());
            self.terms.isolated(*node, term);
        }
        for (from, to) in self.directions(act) {
            self.network.cut(from, to);
            let (Host::Proxy(proxy), Host::Node(node)) = (from, to) else { continue };
            if self.proxies[&proxy].stream.is_some_and(|(open, _)| open == node) {
                self.silence_stream(proxy);
            }
        }
    }

    fn mend(&mut self, act: &Act) {
        for (from, to) in self.directions(act) {
            self.network.mend(from, to);
        }
    }

    /// The links of some nodes clog, one in each step of the first half of the time, and clear in another order in the second
    /// (FoundationDB's swizzle); none later than faults end, for what waits would come into the healing.
    fn swizzle(&mut self, nodes: u64, order: u64, lasts: Duration) {
        let (now, end) = (self.heap.now(), self.scenario.shape.safety);
        let mut chance = Chance::from_seed(order);
        let clogging: Vec<u64> = chance.shuffled((1..=self.scenario.shape.nodes).collect());
        let clogging: Vec<u64> =
            clogging.into_iter().take(usize::try_from(nodes).unwrap_or(usize::MAX)).collect();
        let clearing = chance.shuffled(clogging.clone());
        let step = lasts / 2 / u32::try_from(clogging.len().max(1)).expect("there are nine nodes at most");
        for (clogs, node) in (0..).zip(&clogging) {
            let clears =
                (1..).zip(&clearing).find(|(_, clearing)| *clearing == node).map_or(1, |(clears, _)| clears);
            let (from, until) = (now + step * clogs, (now + lasts / 2 + step * clears).min(end));
            self.network.clog(Host::Node(*node), from, until);
            self.tell(format!("(the links of node {node} are clogged from {from:?} to {until:?})"));
        }
    }

    fn hush(&mut self, workloads: u64, until: Duration) {
        (0..workloads).for_each(|workload| self.workload(workload).silence(until));
    }

    fn node(&mut self, id: u64) -> &mut super::node::Node {
        self.nodes.get_mut(&id).expect("a plan is checked against the shape")
    }

    fn proxy(&mut self, id: u64) -> &mut super::proxies::Proxy {
        self.proxies.get_mut(&id).expect("a plan is checked against the shape")
    }

    fn workload(&mut self, id: u64) -> &mut super::workloads::Workload {
        self.workloads.get_mut(&id).expect("a plan is checked against the shape")
    }

    /// kill -9 of a node that runs; it comes back later.
    pub(super) fn kill(&mut self, id: u64, dead: Duration) {
        if self.nodes[&id].running.is_some() {
            self.die(id);
            self.heap.put_in(dead, Event::Restart(id));
        }
    }

    /// A node was elected, perhaps to be killed for that.
    pub(super) fn elected(&mut self, id: u64) {
        if let Some((reign, dead)) = self.reigns.pop_front() {
            self.heap.put_in(reign, Event::ReignEnds { node: id, life: self.nodes[&id].life, dead });
        }
    }

    /// A leader is killed for having been elected.
    pub(super) fn reign_ends(&mut self, id: u64, life: u64, dead: Duration) {
        if !self.healed && self.nodes[&id].life == life && self.nodes[&id].running.is_some() {
            self.tell(format!("node {id} is killed, soon after its election"));
            self.kill(id, dead);
        }
    }

    /// A process dies.
    pub(super) fn die(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a plan is checked against the shape");
        node.crash(&mut self.chance);
        self.crashes += 1;
        self.ended(id);
    }

    /// A process is no more: the others see its connections end.
    pub(super) fn ended(&mut self, id: u64) {
        self.handing_over.gone(id);
        self.programs.ended(id, self.heap.now());
        self.terms.killed(id);
        self.measures.died(self.heap.now(), id);
        let now = self.heap.now();
        for other in (1..=self.scenario.shape.nodes).filter(|other| *other != id) {
            if let Some(at) = self.network.stream(Host::Node(id), Host::Node(other), now, &mut self.chance) {
                let life = self.nodes[&other].life;
                self.heap.put(at, Event::PeerLost { node: other, life, peer: id, loss: Loss::Ended });
            }
        }
        self.break_streams_of(id, FIN);
        self.lose_calls_to(id, FIN);
    }

    fn doom(&mut self, id: u64, dead: Duration) {
        let node = self.node(id);
        if node.running.is_some() {
            node.doomed = Some(dead);
            node.disk.fail_next_sync();
        }
    }

    /// A process ended itself. After a fault of its disk it must; otherwise that is a violation.
    pub(super) fn ended_itself(&mut self, id: u64, reason: &str) -> Result<(), Violation> {
        self.tell(format!("node {id} ends itself: {reason}"));
        if let Some(dead) = self.node(id).doomed {
            self.reached.insert(Mark::SyncFailed);
            self.kill(id, dead);
            return Ok(());
        }
        if self.node(id).forgot {
            self.reached.insert(Mark::Out);
            self.die(id);
            self.node(id).out = Some(reason.to_owned());
            return Ok(());
        }
        Err(Violation::new("no node ends itself", format!("node {id} ended itself: {reason}")))
    }

    fn slow_disk(&mut self, id: u64, factor: u64, lasts: Duration) {
        let until = (self.heap.now() + lasts).min(self.scenario.shape.safety);
        let node = self.node(id);
        node.disk_factor = u32::try_from(factor).unwrap_or(u32::MAX).clamp(1, 10_000);
        node.disk_slow_until = until;
    }

    fn fail_read(&mut self, id: u64, after: u64, dead: Duration) {
        self.kill(id, dead);
        let after = u32::try_from(after).unwrap_or(u32::MAX);
        let node = self.node(id);
        if node.running.is_none() {
            node.disk.fail_reads_after(after);
        }
    }

    fn begin_to_lie(&mut self, id: u64, lasts: Duration, dead: Duration) {
        if !self.may_lose(id) {
            return self.tell(format!("(node {id} is spared: the group could not do without it)"));
        }
        let node = self.node(id);
        let Some(running) = &node.running else { return };
        if node.lies_since.is_some() {
            // It is settled already when power is lost, and what it held when it began to lie.
            return;
        }
        node.lies_since = Some(running.storing.durable);
        node.disk.lie(Lies { files: true, directories: true });
        let life = node.life;
        self.heap.put_in(lasts, Event::PowerFails { node: id, life, dead, looks: LOOKS_MAX });
    }

    /// A lying disk loses power as soon as what it forgets is held by all others; it owns up if that does not come.
    pub(super) fn power_fails(&mut self, id: u64, life: u64, dead: Duration, looks: u32) {
        let node = &self.nodes[&id];
        let Some(since) = node.lies_since.filter(|_| node.life == life && node.running.is_some()) else {
            return;
        };
        if self.may_forget(id, since) {
            self.reached.insert(Mark::Forgot);
            self.tell(format!("node {id} loses power, and forgets what its disk only claimed to hold"));
            let node = self.node(id);
            node.forgot = true;
            node.lies_since = None;
            self.die(id);
            let node = self.node(id);
            node.disk.lie(node.honest_lies);
            self.heap.put_in(dead, Event::Restart(id));
        } else if looks > 0 {
            let again = Event::PowerFails { node: id, life, dead, looks: looks - 1 };
            self.heap.put_in(LOOK_AGAIN, again);
        } else {
            self.tell(format!(
                "(the disk of node {id} owns up: what it would forget does not stand on all others)"
            ));
            self.reached.insert(Mark::OwnedUp);
            self.node(id).own_up();
        }
    }

    fn rot(&mut self, id: u64, place: u64, dead: Duration) {
        if !self.may_lose(id) || self.nodes[&id].running.is_none() {
            return self.tell(format!("(node {id} is spared: the group could not do without it)"));
        }
        self.kill(id, dead);
        if let Some(file) = self.node(id).disk.rot(place) {
            self.node(id).forgot = true;
            self.tell(format!("a bit of {} turned", file.display()));
        }
    }

    fn misdirect(&mut self, id: u64, place: u64, dead: Duration) {
        if !self.may_lose(id) || self.nodes[&id].running.is_none() {
            return self.tell(format!("(node {id} is spared: the group could not do without it)"));
        }
        self.kill(id, dead);
        if let Some((from, into)) = self.node(id).disk.misdirect(place) {
            self.node(id).forgot = true;
            self.reached.insert(Mark::Misdirected);
            self.tell(format!("what was written to {} stands in {}", from.display(), into.display()));
        }
    }
}
