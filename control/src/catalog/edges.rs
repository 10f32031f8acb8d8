//! The dictionary of edges: each known edge has a number, by which history names it. Their number is bounded, in all and
//! per namespace of the callee; what exceeds a bound is folded into `other`, on every node alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::{Direction, Edge};

use super::limits::{EDGES_MAX, EDGES_PER_NAMESPACE_MAX};

/// An edge of the history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HistoryEdge {
    /// One that is told apart. Shared, so that the copy of which a snapshot is made costs no new names.
    Known(Arc<Edge>),
    /// All that were folded because a bound was reached.
    Other(Direction),
}

impl HistoryEdge {
    /// Which side counted.
    #[must_use]
    pub fn direction(&self) -> Direction {
        match self {
            Self::Known(edge) => edge.direction,
            Self::Other(direction) => *direction,
        }
    }

    /// The edge, if it is told apart.
    #[must_use]
    pub fn known(&self) -> Option<&Edge> {
        match self {
            Self::Known(edge) => Some(edge),
            Self::Other(_) => None,
        }
    }
}

/// Number of an edge in the dictionary. Never given twice in the life of a cluster.
pub(super) type EdgeId = u64;

const OTHER_INBOUND: EdgeId = 0;
const OTHER_OUTBOUND: EdgeId = 1;
const FIRST: EdgeId = 2;

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    edge: HistoryEdge,
    /// Records of the history that name it; at zero the entry goes.
    records: u64,
}

/// Edges by number and number by edge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EdgeDictionary {
    ids: BTreeMap<Arc<Edge>, EdgeId>,
    entries: BTreeMap<EdgeId, Entry>,
    per_namespace: BTreeMap<String, usize>,
    next: EdgeId,
}

impl Default for EdgeDictionary {
    fn default() -> Self {
        let other = |direction| Entry { edge: HistoryEdge::Other(direction), records: 0 };
        let entries =
            [(OTHER_INBOUND, other(Direction::Inbound)), (OTHER_OUTBOUND, other(Direction::Outbound))];
        Self { ids: BTreeMap::new(), entries: entries.into(), per_namespace: BTreeMap::new(), next: FIRST }
    }
}

impl EdgeDictionary {
    /// The number of `edge`, and whether it was folded into `other`.
    pub(super) fn intern(&mut self, edge: Edge) -> (EdgeId, bool) {
        if let Some(id) = self.ids.get(&edge) {
            return (*id, false);
        }
        let namespace = edge.authority.service.namespace().to_owned();
        let there = self.per_namespace.get(&namespace).copied().unwrap_or(0);
        if self.ids.len() >= EDGES_MAX || there >= EDGES_PER_NAMESPACE_MAX {
            let other = match edge.direction {
                Direction::Inbound => OTHER_INBOUND,
                Direction::Outbound => OTHER_OUTBOUND,
            };
            return (other, true);
        }
        let id = self.next;
        self.next += 1;
        self.insert(id, edge);
        (id, false)
    }

    fn insert(&mut self, id: EdgeId, edge: Edge) {
        *self.per_namespace.entry(edge.authority.service.namespace().to_owned()).or_default() += 1;
        let edge = Arc::new(edge);
        self.ids.insert(Arc::clone(&edge), id);
        self.entries.insert(id, Entry { edge: HistoryEdge::Known(edge), records: 0 });
    }

    pub(super) fn edge(&self, id: EdgeId) -> Option<&HistoryEdge> {
        self.entries.get(&id).map(|entry| &entry.edge)
    }

    /// A record that names the edge was added.
    pub(super) fn hold(&mut self, id: EdgeId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.records += 1;
        }
    }

    /// A record that names the edge is gone; with the last one goes the edge.
    pub(super) fn release(&mut self, id: EdgeId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.records = entry.records.saturating_sub(1);
        if entry.records > 0 || id < FIRST {
            return;
        }
        if let Some(Entry { edge: HistoryEdge::Known(edge), .. }) = self.entries.remove(&id) {
            self.ids.remove(&edge);
            let namespace = edge.authority.service.namespace();
            if let Some(count) = self.per_namespace.get_mut(namespace) {
                *count -= 1;
                if *count == 0 {
                    self.per_namespace.remove(namespace);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The known edges by number, for a snapshot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EdgeId, &Edge)> {
        self.entries.iter().filter_map(|(id, entry)| Some((*id, entry.edge.known()?)))
    }

    pub(super) fn next(&self) -> EdgeId {
        self.next
    }

    /// A dictionary as a snapshot tells it; `None` if a number or an edge is there twice or out of order.
    pub(super) fn restored(next: EdgeId, edges: impl Iterator<Item = (EdgeId, Edge)>) -> Option<Self> {
        let mut dictionary = Self { next, ..Self::default() };
        for (id, edge) in edges {
            if id < FIRST
                || id >= next
                || dictionary.entries.contains_key(&id)
                || dictionary.ids.contains_key(&edge)
            {
                return None;
            }
            dictionary.insert(id, edge);
        }
        (next >= FIRST).then_some(dictionary)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn edge(namespace: usize, name: usize) -> Edge {
        Edge {
            direction: Direction::Outbound,
            caller: None,
            authority: format!("s{name}.n{namespace}:80").parse().unwrap(),
            callee: None,
        }
    }

    #[test]
    fn a_namespace_that_is_full_is_folded_and_the_others_are_not() {
        let mut edges = EdgeDictionary::default();
        for name in 0..EDGES_PER_NAMESPACE_MAX {
            assert!(!edges.intern(edge(1, name)).1);
        }
        assert_eq!(edges.intern(edge(1, EDGES_PER_NAMESPACE_MAX)), (OTHER_OUTBOUND, true));
        assert!(!edges.intern(edge(1, 3)).1, "a known one stays known");
        assert!(!edges.intern(edge(2, 0)).1);
        for namespace in 2..5 {
            for name in 0..EDGES_PER_NAMESPACE_MAX {
                edges.intern(edge(namespace, name));
            }
        }
        assert_eq!(edges.len(), EDGES_MAX);
        assert!(edges.intern(edge(9, 0)).1, "all places are taken");
    }

    #[test]
    fn an_edge_goes_with_its_last_record_and_its_number_is_not_given_again() {
        let mut edges = EdgeDictionary::default();
        let (id, _) = edges.intern(edge(1, 1));
        edges.hold(id);
        edges.hold(id);
        edges.release(id);
        assert!(edges.edge(id).is_some());
        edges.release(id);
        assert!(edges.edge(id).is_none());
        assert_ne!(edges.intern(edge(1, 1)).0, id);
    }
}
