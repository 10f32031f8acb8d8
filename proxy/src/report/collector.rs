//! Adds up what the workers counted, until the window is closed. A value: the carrier hands in what it took.
//!
//! It bounds a window: past [`EDGES_PER_WINDOW_MAX`] the edges with the fewest requests go under the service
//! `other.other`, as a worker's full table does it too. No request is left uncounted.

use std::collections::{BTreeMap, BTreeSet};

use mesh::{Authority, Direction, Edge, EdgeTraffic, ServiceName, WorkloadName};

/// Edges in one window. More would not fit into the one report that a window must fit into: at about 350 bytes each
/// this is 875 KiB of the 1 MiB that the control plane takes.
pub const EDGES_PER_WINDOW_MAX: usize = 2500;

/// The open window.
#[derive(Debug)]
pub struct Collector {
    workload: WorkloadName,
    edges: BTreeMap<Edge, EdgeTraffic>,
    folded: u64,
}

impl Collector {
    /// An open window without traffic, of a proxy beside `workload`.
    #[must_use]
    pub fn new(workload: WorkloadName) -> Self {
        Self { workload, edges: BTreeMap::new(), folded: 0 }
    }

    /// Adds what was taken from the workers; an edge may be in it several times.
    pub fn add(&mut self, edges: &[(Edge, EdgeTraffic)]) {
        for (edge, traffic) in edges {
            match self.edges.get_mut(edge) {
                Some(sum) => sum.merge(traffic),
                None => {
                    self.edges.insert(edge.clone(), traffic.clone());
                }
            }
        }
    }

    /// The authorities that were called, so that discovery knows them to be in use.
    #[must_use]
    pub fn called(&self) -> Vec<Authority> {
        let outbound = self.edges.keys().filter(|edge| edge.direction == Direction::Outbound);
        outbound.map(|edge| edge.authority.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Closes the window: its edges, bounded; the next one begins empty.
    pub fn close(&mut self) -> Vec<(Edge, EdgeTraffic)> {
        let mut edges: Vec<_> = std::mem::take(&mut self.edges).into_iter().collect();
        if edges.len() <= EDGES_PER_WINDOW_MAX {
            return edges;
        }
        edges.sort_by_key(|(_, traffic)| std::cmp::Reverse(traffic.requests()));
        // Two places are kept for the two directions of `other`.
        let rest = edges.split_off(EDGES_PER_WINDOW_MAX - 2);
        self.folded += rest.len() as u64;
        let mut kept: BTreeMap<Edge, EdgeTraffic> = edges.into_iter().collect();
        for (edge, traffic) in rest {
            kept.entry(self.other(edge.direction)).or_default().merge(&traffic);
        }
        kept.into_iter().collect()
    }

    /// Edges that were counted under `other` so far because a window was full.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    fn other(&self, direction: Direction) -> Edge {
        let us = Some(self.workload.clone());
        let (caller, callee) = if direction == Direction::Outbound { (us, None) } else { (None, us) };
        let other = ServiceName::new("other", "other").expect("both are DNS labels");
        Edge { direction, caller, authority: Authority::new(other, 80), callee }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn counted(name: &str, successes: u64) -> (Edge, EdgeTraffic) {
        let edge = Edge {
            direction: Direction::Outbound,
            caller: Some("us".parse().unwrap()),
            authority: name.parse().unwrap(),
            callee: None,
        };
        (edge, EdgeTraffic { successes, ..EdgeTraffic::default() })
    }

    #[test]
    fn what_several_workers_counted_of_one_edge_is_one_record() {
        let mut collector = Collector::new("us".parse().unwrap());
        collector.add(&[counted("web", 1), counted("shop", 2)]);
        collector.add(&[counted("web", 4)]);
        assert_eq!(collector.called().len(), 2);
        let edges = collector.close();
        assert_eq!(edges, [counted("shop", 2), counted("web", 5)]);
        assert!(collector.close().is_empty());
    }

    #[test]
    fn a_full_window_folds_its_smallest_edges_and_loses_no_request() {
        let mut collector = Collector::new("us".parse().unwrap());
        let count = EDGES_PER_WINDOW_MAX as u64 + 100;
        for number in 0..count {
            collector.add(&[counted(&format!("web-{number}"), number + 1)]);
        }
        let edges = collector.close();
        assert!(edges.len() <= EDGES_PER_WINDOW_MAX);
        assert_eq!(edges.iter().map(|(_, traffic)| traffic.requests()).sum::<u64>(), count * (count + 1) / 2);
        let other = edges.iter().find(|(edge, _)| edge.authority.service.name() == "other").unwrap();
        assert_eq!(collector.folded(), 102);
        assert_eq!(other.1.successes, (1..=102).sum::<u64>());
    }
}
