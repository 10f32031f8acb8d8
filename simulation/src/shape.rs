//! The shape of a world: how many of everything there are, and how much they do. A value, so that a seed, a scenario file
//! or a test may set it. Read once when the world is made; nothing in a run changes it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chance::Chance;
use crate::plan::{PlanError, Value};

/// Longer than this no phase of a run takes; a day of a small mesh runs for a quarter of an hour.
const PHASE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How many of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Control nodes that found the group: 1 to 9.
    pub nodes: u64,
    /// Zones over which nodes and proxies are spread in turn; at least 1.
    pub zones: u64,
    /// Proxies that follow services.
    pub proxies: u64,
    /// Services that clients write about; few, so that writes meet.
    pub services: u64,
    /// Instances of each service.
    pub instances: u64,
    /// Clients that write and read, one request in flight each.
    pub clients: u64,
    /// Requests of all clients together in a second, as long as the group answers at once.
    pub requests_per_second: u64,
    /// Of 1,000 requests of a client, so many are reads.
    pub reads_per_mille: u64,
    /// Workloads that hold a short lease and renew it.
    pub workloads: u64,
    /// Entries between two snapshots.
    pub snapshot_after: u64,
    /// Nodes that begin with the older of two programs; the first ones.
    pub older: u64,
    /// Entries of so many bytes go in one message between nodes; 1 sends one at a time.
    pub message_bytes: u64,
    /// Faults happen for so long.
    pub safety: Duration,
    /// Then everything must come right within this.
    pub healing: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: 3,
            zones: 3,
            proxies: 20,
            services: 6,
            instances: 4,
            clients: 4,
            requests_per_second: 200,
            reads_per_mille: 200,
            workloads: 4,
            snapshot_after: 200,
            older: 0,
            message_bytes: 1 << 20,
            safety: Duration::from_secs(20),
            healing: Duration::from_secs(12),
        }
    }
}

impl Shape {
    /// The shape that a seed gives: mostly three nodes, sometimes five, seldom one; small, so that writes meet.
    #[must_use]
    pub fn drawn(chance: &mut Chance) -> Self {
        let nodes = match chance.below(20) {
            0 => 1,
            1..5 => 5,
            _ => 3,
        };
        Self {
            nodes,
            zones: 1 + chance.below(nodes),
            proxies: 2 + chance.below(12),
            services: 2 + chance.below(5),
            instances: 2 + chance.below(3),
            clients: 2 + chance.below(4),
            requests_per_second: 50 + chance.below(200),
            reads_per_mille: 100 + chance.below(400),
            workloads: chance.below(6),
            snapshot_after: 50 + chance.below(300),
            message_bytes: if chance.happens(200) { 1 } else { 1 << 20 },
            older: if chance.happens(500) { chance.below(nodes + 1) } else { 0 },
            ..Self::default()
        }
    }

    /// When the run ends.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.safety + self.healing
    }

    /// Nobody begins a new write after this: what comes later shows whether all that was written comes right.
    #[must_use]
    pub fn writes_end(&self) -> Duration {
        self.safety + self.healing / 2
    }

    /// Nodes that may be out for good while the others still decide: a minority of the founders.
    #[must_use]
    pub fn minority(&self) -> u64 {
        (self.nodes - 1) / 2
    }

    /// The zone of the node or proxy with this number.
    #[must_use]
    pub fn zone(&self, number: u64) -> u64 {
        number % self.zones
    }

    /// Each field with its name, as a scenario file has it.
    fn fields(&mut self) -> [(&'static str, &mut dyn Field); 14] {
        [
            ("nodes", &mut self.nodes),
            ("zones", &mut self.zones),
            ("proxies", &mut self.proxies),
            ("services", &mut self.services),
            ("instances", &mut self.instances),
            ("clients", &mut self.clients),
            ("requests_per_second", &mut self.requests_per_second),
            ("reads_per_mille", &mut self.reads_per_mille),
            ("workloads", &mut self.workloads),
            ("snapshot_after", &mut self.snapshot_after),
            ("older", &mut self.older),
            ("message_bytes", &mut self.message_bytes),
            ("safety", &mut self.safety),
            ("healing", &mut self.healing),
        ]
    }

    /// As one line of a scenario: `nodes=3 zones=1 ...`.
    #[must_use]
    pub fn written(&self) -> String {
        let mut copy = self.clone();
        copy.fields().map(|(name, field)| format!("{name}={}", field.text())).join(" ")
    }

    /// Takes over the fields that are named; the others stay.
    ///
    /// # Errors
    /// An unknown field, a value that is none, or a shape that no world can have.
    pub fn read(&mut self, named: &BTreeMap<&str, &str>) -> Result<(), PlanError> {
        let mut known = 0;
        for (name, field) in self.fields() {
            if let Some(text) = named.get(name) {
                field.take(name, text)?;
                known += 1;
            }
        }
        if known < named.len() {
            let fields = self.fields().map(|(name, _)| name).join(", ");
            return Err(PlanError(format!("shape: names a field that is none of {fields}")));
        }
        self.check()
    }

    fn check(&self) -> Result<(), PlanError> {
        let rules = [
            ((1..=9).contains(&self.nodes), "nodes: must be 1 to 9"),
            ((1..=1000).contains(&self.zones), "zones: must be 1 to 1000"),
            (self.proxies <= 10_000, "proxies: must be at most 10000, or a run takes hours and gigabytes"),
            (self.workloads <= 1000, "workloads: must be at most 1000"),
            (self.services >= 1 && self.instances >= 1, "services and instances: must be at least 1"),
            (
                self.services.saturating_mul(self.instances) <= 100_000,
                "services and instances: must be at most 100000 instances in all",
            ),
            ((1..=1000).contains(&self.clients), "clients: must be 1 to 1000"),
            ((1..=5000).contains(&self.requests_per_second), "requests_per_second: must be 1 to 5000"),
            (self.older <= self.nodes, "older: must be at most nodes"),
            (self.reads_per_mille <= 1000, "reads_per_mille: must be at most 1000"),
            (
                self.snapshot_after >= 1 && self.message_bytes >= 1,
                "snapshot_after, message_bytes: at least 1",
            ),
            (
                self.safety <= PHASE_MAX && self.healing <= PHASE_MAX,
                "safety and healing: must be at most 86400s",
            ),
            (
                self.healing >= Duration::from_secs(5),
                "healing: must be at least 5s, or nothing can come right",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(PlanError(format!("shape: {rule}"))),
            None => Ok(()),
        }
    }
}

/// A field of any type that a line may hold.
trait Field {
    fn text(&self) -> String;
    fn take(&mut self, name: &str, text: &str) -> Result<(), PlanError>;
}

impl<V: Value> Field for V {
    fn text(&self) -> String {
        self.written()
    }

    fn take(&mut self, name: &str, text: &str) -> Result<(), PlanError> {
        *self = V::read(name, text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    #[test]
    fn a_shape_comes_back_from_its_line() {
        let drawn = Shape::drawn(&mut Chance::from_seed(3));
        let line = drawn.written();
        let named = line.split(' ').map(|pair| pair.split_once('=').unwrap()).collect();
        let mut read = Shape::default();
        read.read(&named).unwrap();
        assert_eq!(read, drawn);
    }

    #[test]
    fn a_shape_that_no_world_can_have_is_refused() {
        for (name, value) in [
            ("nodes", "0"),
            ("nodes", "11"),
            ("zones", "0"),
            ("older", "4"),
            ("healing", "1s"),
            ("cats", "1"),
        ] {
            assert!(Shape::default().read(&BTreeMap::from([(name, value)])).is_err(), "{name}={value}");
        }
    }
}
