//! The simulated network: who reaches whom, how late, how often. It decides the fate of one message at a time and
//! keeps no message itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chance::Chance;

/// One end of a link: a control node, or anything that talks to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A control node.
    Node(u64),
    /// A proxy.
    Proxy(u64),
    /// A client that writes config.
    Client(u64),
}

/// How the network behaves in a run; all zero is a perfect one but for its latency.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// Usual one-way latency.
    pub latency: Duration,
    /// Lost datagrams (messages between nodes) in 1,000.
    pub loss_per_mille: u32,
    /// Repeated datagrams in 1,000.
    pub repeat_per_mille: u32,
}

/// Cuts between hosts, and the state of ordered streams.
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    /// Directed pairs that do not reach each other.
    cut: BTreeSet<(Host, Host)>,
    /// When the last piece of each ordered stream arrives: nothing may overtake it.
    arrived: BTreeMap<(Host, Host), Duration>,
}

impl Network {
    /// A whole network.
    #[must_use]
    pub fn new(settings: NetworkSettings) -> Self {
        Self { settings, cut: BTreeSet::new(), arrived: BTreeMap::new() }
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: Host, to: Host) {
        self.cut.insert((from, to));
    }

    /// Heals every cut, loses and repeats nothing more.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.settings.loss_per_mille = 0;
        self.settings.repeat_per_mille = 0;
    }

    /// Heals every cut; loss and repetition stay.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// Whether `from` reaches `to` now.
    #[must_use]
    pub fn reaches(&self, from: Host, to: Host) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// When a datagram sent `now` arrives: not at all, once, or twice; in any order.
    pub fn datagram(&mut self, from: Host, to: Host, now: Duration, chance: &mut Chance) -> Vec<Duration> {
        if !self.reaches(from, to) || chance.happens(self.settings.loss_per_mille) {
            return Vec::new();
        }
        let mut arrivals = vec![now + chance.latency(self.settings.latency)];
        if chance.happens(self.settings.repeat_per_mille) {
            arrivals.push(now + chance.latency(self.settings.latency * 4));
        }
        arrivals
    }

    /// When a piece of an ordered, reliable stream sent `now` arrives; `None` where the direction is cut.
    pub fn stream(&mut self, from: Host, to: Host, now: Duration, chance: &mut Chance) -> Option<Duration> {
        if !self.reaches(from, to) {
            return None;
        }
        let last = self.arrived.entry((from, to)).or_default();
        *last = (now + chance.latency(self.settings.latency)).max(*last);
        Some(*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(loss: u32, repeat: u32) -> Network {
        let latency = Duration::from_millis(1);
        Network::new(NetworkSettings { latency, loss_per_mille: loss, repeat_per_mille: repeat })
    }

    #[test]
    fn a_cut_holds_in_its_direction_alone_until_mended() {
        let (a, b) = (Host::Node(1), Host::Node(2));
        let mut network = network(0, 0);
        let mut chance = Chance::from_seed(1);
        network.cut(a, b);
        assert!(network.datagram(a, b, Duration::ZERO, &mut chance).is_empty());
        assert_eq!(network.datagram(b, a, Duration::ZERO, &mut chance).len(), 1);
        network.mend();
        assert_eq!(network.datagram(a, b, Duration::ZERO, &mut chance).len(), 1);
    }

    #[test]
    fn pieces_of_a_stream_never_overtake_each_other() {
        let mut network = network(0, 0);
        let mut chance = Chance::from_seed(2);
        let arrivals: Vec<_> = (0..500)
            .filter_map(|_| network.stream(Host::Proxy(1), Host::Node(1), Duration::ZERO, &mut chance))
            .collect();
        assert!(arrivals.is_sorted() && arrivals.len() == 500);
    }

    #[test]
    fn loss_and_repetition_happen_at_their_rates() {
        let mut network = network(500, 1000);
        let mut chance = Chance::from_seed(3);
        let (a, b) = (Host::Node(1), Host::Node(2));
        let arrivals: usize =
            (0..1000).map(|_| network.datagram(a, b, Duration::ZERO, &mut chance).len()).sum();
        assert!((800..1200).contains(&arrivals), "{arrivals}");
    }
}
