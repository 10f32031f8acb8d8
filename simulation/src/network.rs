//! The simulated network: who reaches whom, how late, how often. It decides the fate of one message at a time and
//! keeps no message itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chance::Chance;

/// One end of a link: a control node, or anything that talks to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A control node.
    Node(u64),
    /// A proxy.
    Proxy(u64),
    /// A client that writes and reads.
    Client(u64),
    /// A workload that holds a lease.
    Workload(u64),
}

/// How long what waited takes once a clog has cleared. A host that stood still until the same moment first takes what had reached it.
const PASSING: Duration = Duration::from_micros(1);

/// Cuts between hosts, and the state of ordered streams.
#[derive(Debug)]
pub struct Network {
    /// Usual one-way latency when nothing is wrong.
    calm: Duration,
    /// Usual one-way latency now.
    latency: Duration,
    /// Lost datagrams (messages between nodes) in 1,000.
    loss_per_mille: u32,
    /// Repeated datagrams in 1,000.
    repeat_per_mille: u32,
    /// Directed pairs that do not reach each other, and by how many cuts.
    cuts: BTreeMap<(Host, Host), u32>,
    /// Hosts that read nothing before this time.
    stalled: BTreeMap<Host, Duration>,
    /// From when to when nothing passes to or from a host; it waits, and passes then.
    clogs: BTreeMap<Host, Vec<(Duration, Duration)>>,
    /// When the last piece of each ordered stream arrives: nothing may overtake it.
    arrived: BTreeMap<(Host, Host), Duration>,
}

impl Network {
    /// A whole network with this usual latency.
    #[must_use]
    pub fn new(latency: Duration) -> Self {
        Self {
            calm: latency,
            latency,
            loss_per_mille: 0,
            repeat_per_mille: 0,
            cuts: BTreeMap::new(),
            stalled: BTreeMap::new(),
            clogs: BTreeMap::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// Loses so many of 1,000 datagrams.
    pub fn lose(&mut self, per_mille: u64) {
        self.loss_per_mille = u32::try_from(per_mille).unwrap_or(1000);
    }

    /// Repeats so many of 1,000 datagrams.
    pub fn repeat(&mut self, per_mille: u64) {
        self.repeat_per_mille = u32::try_from(per_mille).unwrap_or(1000);
    }

    /// Changes the usual latency; `None` is what the network began with.
    pub fn delay(&mut self, usual: Option<Duration>) {
        self.latency = usual.unwrap_or(self.calm);
    }

    /// Cuts one direction, once more if it is cut already.
    pub fn cut(&mut self, from: Host, to: Host) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// Takes one cut of a direction back.
    pub fn mend(&mut self, from: Host, to: Host) {
        if let Some(count) = self.cuts.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }

    /// A host reads nothing before this time.
    pub fn stall(&mut self, host: Host, until: Duration) {
        self.stalled.insert(host, until);
    }

    /// Whatever would reach or leave a host between these times does so at the end of them.
    pub fn clog(&mut self, host: Host, from: Duration, until: Duration) {
        self.clogs.entry(host).or_default().push((from, until));
    }

    /// When what would arrive `at` gets through the clogs of both ends, of which one may follow upon the other.
    fn through(&self, from: Host, to: Host, mut at: Duration) -> Duration {
        let ends = || [from, to].into_iter().filter_map(|host| self.clogs.get(&host)).flatten();
        while let Some((_, until)) = ends().find(|(from, until)| (*from..*until).contains(&at)) {
            at = *until + PASSING;
        }
        at
    }

    /// Heals everything.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.stalled.clear();
        self.clogs.clear();
        self.lose(0);
        self.repeat(0);
        self.delay(None);
    }

    /// Whether `from` reaches `to` now.
    #[must_use]
    pub fn reaches(&self, from: Host, to: Host) -> bool {
        self.cuts.is_empty() || !self.cuts.contains_key(&(from, to))
    }

    /// When a datagram sent `now` arrives: not at all, once, or twice; in any order.
    pub fn datagram(
        &mut self,
        from: Host,
        to: Host,
        now: Duration,
        chance: &mut Chance,
    ) -> [Option<Duration>; 2] {
        if !self.reaches(from, to) || (self.loss_per_mille > 0 && chance.happens(self.loss_per_mille)) {
            return [None; 2];
        }
        let first = self.through(from, to, now + chance.latency(self.latency));
        let again = self.repeat_per_mille > 0 && chance.happens(self.repeat_per_mille);
        let again = again.then(|| now + chance.latency(self.latency * 4));
        [Some(first), again.map(|at| self.through(from, to, at))]
    }

    /// When a piece of an ordered, reliable stream sent `now` arrives; `None` where the direction is cut.
    pub fn stream(&mut self, from: Host, to: Host, now: Duration, chance: &mut Chance) -> Option<Duration> {
        if !self.reaches(from, to) {
            return None;
        }
        let read_at = self.stalled.get(&to).copied().unwrap_or_default();
        let last = self.arrived.get(&(from, to)).copied().unwrap_or_default();
        let at = (now + chance.latency(self.latency)).max(last).max(read_at);
        let at = self.through(from, to, at);
        self.arrived.insert((from, to), at);
        Some(at)
    }

    /// Both ends began anew: what was under way between them holds nothing up any more.
    pub fn forget(&mut self, one: Host, other: Host) {
        self.arrived.remove(&(one, other));
        self.arrived.remove(&(other, one));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> (Network, Chance) {
        (Network::new(Duration::from_millis(1)), Chance::from_seed(1))
    }

    const A: Host = Host::Node(1);
    const B: Host = Host::Node(2);

    #[test]
    fn a_cut_holds_in_its_direction_alone_until_every_cut_of_it_is_mended() {
        let (mut network, _) = network();
        network.cut(A, B);
        network.cut(A, B);
        network.mend(A, B);
        assert!(!network.reaches(A, B) && network.reaches(B, A));
        network.mend(A, B);
        network.mend(A, B);
        assert!(network.reaches(A, B));
    }

    #[test]
    fn pieces_of_a_stream_never_overtake_each_other() {
        let (mut network, mut chance) = network();
        let arrivals: Vec<_> =
            (0..500).filter_map(|_| network.stream(A, B, Duration::ZERO, &mut chance)).collect();
        assert!(arrivals.is_sorted() && arrivals.len() == 500);
    }

    #[test]
    fn who_reads_nothing_gets_everything_in_order_later() {
        let (mut network, mut chance) = network();
        network.stall(B, Duration::from_secs(3));
        assert!(network.stream(A, B, Duration::ZERO, &mut chance) >= Some(Duration::from_secs(3)));
        network.heal();
        assert!(network.stream(A, B, Duration::ZERO, &mut chance) >= Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_would_pass_a_clogged_link_waits_and_passes_when_the_last_clog_clears() {
        let second = Duration::from_secs(1);
        let (mut network, mut chance) = network();
        network.clog(A, second, 2 * second);
        network.clog(B, 2 * second, 3 * second);
        let mut at = |now| network.datagram(B, A, now, &mut chance)[0].unwrap_or_default();
        assert!(at(Duration::ZERO) < second, "it is clear before");
        assert_eq!(at(second), 3 * second + PASSING);
        assert!(at(3 * second) < 4 * second);
        assert_eq!(network.stream(A, B, second, &mut chance), Some(3 * second + PASSING));
        assert!(
            network.stream(A, B, Duration::ZERO, &mut chance) >= Some(3 * second + PASSING),
            "and nothing overtakes"
        );
        network.heal();
        assert!(network.datagram(A, B, second, &mut chance)[0] < Some(2 * second));
    }

    #[test]
    fn loss_and_repetition_happen_at_their_rates() {
        let (mut network, mut chance) = network();
        network.lose(500);
        network.repeat(1000);
        let mut count = || network.datagram(A, B, Duration::ZERO, &mut chance).into_iter().flatten().count();
        let arrivals: usize = (0..1000).map(|_| count()).sum();
        assert!((800..1200).contains(&arrivals), "{arrivals}");
    }
}
