//! Counts what each edge carried, in one worker: the step between a request's end and the traffic report.
//! An edge is interned once and then counted by a number, without a lock and without hashing its name.
//! Must never be shared between threads and never block; the control thread asks a worker for what it counted.

use std::collections::HashMap;
use std::time::Duration;

use mesh::{Authority, Direction, Edge, EdgeTraffic, Failure, LatencyRecorder, ServiceName, WorkloadName};

/// Most edges that one worker tells apart. An edge costs about 3 KB while it carries traffic; past this many, new ones
/// are counted under [`EdgeTable::folded`]'s edge, and [`EdgeTable::folded_total`] says how often that happened.
pub const EDGES_MAX: usize = 4096;

/// After this many takes without a request an edge gives its histogram back.
const IDLE_TAKES_MAX: u32 = 6;

/// An interned edge of one worker's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeHandle(u32);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// From the request's head to the end of the answer; `None` when nothing answered.
    pub latency: Option<Duration>,
    /// Body bytes from caller to callee.
    pub request_bytes: u64,
    /// Body bytes from callee to caller.
    pub response_bytes: u64,
    /// Tries beyond the first.
    pub retries: u64,
}

#[derive(Debug, Default)]
struct Slot {
    traffic: EdgeTraffic,
    latency: Option<LatencyRecorder>,
    busy: bool,
    idle_takes: u32,
}

/// All edges of one worker.
#[derive(Debug)]
pub struct EdgeTable {
    handles: HashMap<Edge, EdgeHandle>,
    edges: Vec<Edge>,
    slots: Vec<Slot>,
    folded_total: u64,
}

impl EdgeTable {
    /// The table of a worker beside `workload`; what exceeds [`EDGES_MAX`] counts under the service `other.other`.
    #[must_use]
    pub fn new(workload: &WorkloadName) -> Self {
        let mut table =
            Self { handles: HashMap::new(), edges: Vec::new(), slots: Vec::new(), folded_total: 0 };
        let other = Authority::new(ServiceName::new("other", "other").expect("both are DNS labels"), 80);
        for direction in [Direction::Outbound, Direction::Inbound] {
            let us = Some(workload.clone());
            let (caller, callee) = if direction == Direction::Outbound { (us, None) } else { (None, us) };
            table.intern(Edge { direction, caller, authority: other.clone(), callee });
        }
        table
    }

    /// The number of `edge`, the same for as long as the worker lives.
    pub fn intern(&mut self, edge: Edge) -> EdgeHandle {
        if let Some(handle) = self.handles.get(&edge) {
            return *handle;
        }
        if self.edges.len() >= EDGES_MAX {
            self.folded_total += 1;
            return self.folded(edge.direction);
        }
        let handle = EdgeHandle(u32::try_from(self.edges.len()).expect("EDGES_MAX fits 32 bits"));
        self.edges.push(edge.clone());
        self.slots.push(Slot::default());
        self.handles.insert(edge, handle);
        handle
    }

    /// Where edges past the bound are counted.
    #[must_use]
    pub fn folded(&self, direction: Direction) -> EdgeHandle {
        EdgeHandle(u32::from(direction == Direction::Inbound))
    }

    /// How many edges were folded because the table was full.
    #[must_use]
    pub fn folded_total(&self) -> u64 {
        self.folded_total
    }

    /// Counts a request that ended.
    pub fn ended(&mut self, handle: EdgeHandle, ended: Ended) {
        let slot = &mut self.slots[handle.0 as usize];
        slot.busy = true;
        match ended.failure {
            None => slot.traffic.successes += 1,
            Some(failure) => slot.traffic.failures[place(failure)] += 1,
        }
        slot.traffic.request_bytes += ended.request_bytes;
        slot.traffic.response_bytes += ended.response_bytes;
        slot.traffic.retries += ended.retries;
        if let Some(latency) = ended.latency {
            slot.latency.get_or_insert_default().record(latency);
        }
    }

    /// Counts a connection that was opened for an edge.
    pub fn connected(&mut self, handle: EdgeHandle) {
        let slot = &mut self.slots[handle.0 as usize];
        slot.busy = true;
        slot.traffic.connections += 1;
    }

    /// Counts an opaque connection that an endpoint took, after `retries` others did not. It counts as one request that
    /// succeeded: what passes on it afterwards says nothing of success.
    pub fn reached(&mut self, handle: EdgeHandle, retries: u64) {
        self.connected(handle);
        let slot = &mut self.slots[handle.0 as usize];
        slot.traffic.successes += 1;
        slot.traffic.retries += retries;
    }

    /// Counts an opaque connection that no endpoint took, as one request that failed.
    pub fn unreached(&mut self, handle: EdgeHandle, failure: Failure) {
        let slot = &mut self.slots[handle.0 as usize];
        slot.busy = true;
        slot.traffic.failures[place(failure)] += 1;
    }

    /// Counts bytes of a connection that is carried as bytes.
    pub fn carried(&mut self, handle: EdgeHandle, request_bytes: u64, response_bytes: u64) {
        let slot = &mut self.slots[handle.0 as usize];
        slot.busy = true;
        slot.traffic.request_bytes += request_bytes;
        slot.traffic.response_bytes += response_bytes;
    }

    /// Counts the end of such a connection.
    pub fn closed(&mut self, handle: EdgeHandle) {
        let slot = &mut self.slots[handle.0 as usize];
        slot.busy = true;
        slot.traffic.closes += 1;
    }

    /// What each edge carried since the last call; idle ones are left out. Called for each window and each scrape.
    pub fn take(&mut self) -> Vec<(Edge, EdgeTraffic)> {
        let mut taken = Vec::new();
        for (edge, slot) in self.edges.iter().zip(&mut self.slots) {
            if !std::mem::take(&mut slot.busy) {
                slot.idle_takes = slot.idle_takes.saturating_add(1);
                if slot.idle_takes >= IDLE_TAKES_MAX {
                    slot.latency = None;
                }
                continue;
            }
            slot.idle_takes = 0;
            let mut traffic = std::mem::take(&mut slot.traffic);
            if let Some(latency) = &mut slot.latency {
                traffic.latency = latency.take();
            }
            taken.push((edge.clone(), traffic));
        }
        taken
    }
}

/// Place of a failure in [`Failure::ALL`].
fn place(failure: Failure) -> usize {
    match failure {
        Failure::Server => 0,
        Failure::Timeout => 1,
        Failure::Connect => 2,
        Failure::Reset => 3,
        Failure::Unavailable => 4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn edge(name: &str) -> Edge {
        Edge {
            direction: Direction::Outbound,
            caller: None,
            authority: name.parse().unwrap(),
            callee: Some(name.parse().unwrap()),
        }
    }

    fn ended(failure: Option<Failure>) -> Ended {
        Ended {
            failure,
            latency: Some(Duration::from_millis(2)),
            request_bytes: 3,
            response_bytes: 5,
            retries: 1,
        }
    }

    #[test]
    fn every_failure_has_the_place_that_reports_give_it() {
        for (index, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(place(failure), index);
        }
    }

    #[test]
    fn what_was_taken_is_not_taken_again_and_idle_edges_are_left_out() {
        let mut table = EdgeTable::new(&"us".parse().unwrap());
        let web = table.intern(edge("web"));
        assert_eq!(table.intern(edge("web")), web);
        table.ended(web, ended(None));
        table.ended(web, ended(Some(Failure::Reset)));
        table.connected(web);
        let taken = table.take();
        assert_eq!(taken.len(), 1);
        let (edge, traffic) = &taken[0];
        assert_eq!(edge.authority.service.name(), "web");
        assert_eq!((traffic.successes, traffic.failures[3], traffic.connections), (1, 1, 1));
        assert_eq!((traffic.request_bytes, traffic.response_bytes, traffic.retries), (6, 10, 2));
        assert_eq!(traffic.latency.count(), 2);
        assert!(table.take().is_empty());
    }

    #[test]
    fn edges_past_the_bound_are_folded_and_no_request_is_left_uncounted() {
        let mut table = EdgeTable::new(&"us".parse().unwrap());
        for number in 0..EDGES_MAX + 9 {
            let handle = table.intern(edge(&format!("web-{number}")));
            table.ended(handle, ended(None));
        }
        let taken = table.take();
        assert_eq!(taken.len(), EDGES_MAX - 1, "nothing is inbound here");
        assert_eq!(taken.iter().map(|(_, traffic)| traffic.requests()).sum::<u64>(), EDGES_MAX as u64 + 9);
        assert_eq!(table.folded_total(), 11);
    }
}
