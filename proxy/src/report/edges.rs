//! Counts what each edge carried, in one worker: the step between a request's end and the traffic report.
//! An edge is interned once and then counted by a number, without a lock and without hashing its name.
//! Must never be shared between threads and never block; the control thread asks a worker for what it counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::{Authority, Direction, Edge, EdgeTraffic, Failure, LatencyRecorder, ServiceName, WorkloadName};

/// Most edges that one worker tells apart. An edge costs about 3 KB while it carries traffic; past this many, new ones
/// are counted under [`EdgeTable::folded`]'s edge, and [`EdgeTable::folded_total`] says how often that happened.
pub const EDGES_MAX: usize = 4096;

/// After this many takes without a request an edge gives its histogram back.
const IDLE_TAKES_MAX: u32 = 6;

/// An edge without a request for so long gives its place to others. Shorter: a job that runs every five minutes is a new
/// edge each time. Longer: callers that are long gone fill the table.
pub const EDGE_IDLE_MAX: Duration = Duration::from_secs(600);

/// Status codes told apart on one edge; what exceeds them counts under none. A service that answers by more than this is
/// making numbers up.
const STATUSES_MAX: usize = 24;

/// An interned edge of one worker's table. One whose edge was evicted counts under [`EdgeTable::folded`]'s edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeHandle {
    place: u32,
    /// How often the place was given away before.
    life: u32,
}

/// Requests that ended with one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusCount {
    /// The HTTP status that the caller got; 0 when it got none.
    pub status: u16,
    /// Whether they count as failures.
    pub failed: bool,
    /// How many.
    pub count: u64,
}

/// What a table gives away at once.
#[derive(Debug, Clone, Default)]
pub struct EdgesTaken {
    /// What each edge carried since the last time; idle ones are left out.
    pub edges: Vec<(Edge, EdgeTraffic)>,
    /// The requests of each by status: shown on the admin port, not reported.
    pub statuses: Vec<(Edge, Vec<StatusCount>)>,
    /// Edges were evicted: whoever keeps handles must look which ones still live.
    pub evicted: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// The HTTP status that the caller got; 0 when it got none.
    pub status: u16,
    /// From the request's head to the end of the answer; `None` when nothing answered.
    pub latency: Option<Duration>,
    /// Body bytes from caller to callee.
    pub request_bytes: u64,
    /// Body bytes from callee to caller.
    pub response_bytes: u64,
    /// Tries beyond the first.
    pub retries: u64,
}

#[derive(Debug)]
struct Slot {
    /// Shared with the records of its requests.
    edge: Arc<Edge>,
    life: u32,
    traffic: EdgeTraffic,
    statuses: Vec<StatusCount>,
    latency: Option<LatencyRecorder>,
    /// Requests that run: an edge with one is not evicted.
    running: u32,
    busy: bool,
    idle_takes: u32,
    /// Of the first take that found it idle.
    idle_since: Option<Instant>,
}

impl Slot {
    fn new(edge: Arc<Edge>, life: u32) -> Self {
        Self {
            edge,
            life,
            traffic: EdgeTraffic::default(),
            statuses: Vec::new(),
            latency: None,
            running: 0,
            busy: false,
            idle_takes: 0,
            idle_since: None,
        }
    }

    fn count_status(&mut self, status: u16, failed: bool) {
        let of = |status| move |known: &&mut StatusCount| known.status == status && known.failed == failed;
        let is_full = self.statuses.len() >= STATUSES_MAX;
        if let Some(known) = self.statuses.iter_mut().find(of(status)) {
            known.count += 1;
        } else if !is_full {
            self.statuses.push(StatusCount { status, failed, count: 1 });
        } else if let Some(none) = self.statuses.iter_mut().find(of(0)) {
            none.count += 1;
        } else {
            // Two places more, one for successes and one for failures.
            self.statuses.push(StatusCount { status: 0, failed, count: 1 });
        }
    }

    /// Notes a take that found no request; whether it has been idle for so long that it may be evicted.
    fn is_lapsed(&mut self, now: Instant) -> bool {
        self.idle_takes = self.idle_takes.saturating_add(1);
        if self.idle_takes >= IDLE_TAKES_MAX {
            self.latency = None;
        }
        let since = *self.idle_since.get_or_insert(now);
        self.running == 0 && now.saturating_duration_since(since) >= EDGE_IDLE_MAX
    }
}

/// All edges of one worker.
#[derive(Debug)]
pub struct EdgeTable {
    handles: HashMap<Arc<Edge>, EdgeHandle>,
    slots: Vec<Slot>,
    /// Places of evicted edges.
    free: Vec<u32>,
    folded_total: u64,
    evicted_total: u64,
}

impl EdgeTable {
    /// The table of a worker beside `workload`; what exceeds [`EDGES_MAX`] counts under the service `other.other`.
    #[must_use]
    pub fn new(workload: &WorkloadName) -> Self {
        let mut table = Self {
            handles: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            folded_total: 0,
            evicted_total: 0,
        };
        let other = Authority::new(ServiceName::new("other", "other").expect("both are DNS labels"), 80);
        for direction in [Direction::Outbound, Direction::Inbound] {
            let us = Some(workload.clone());
            let (caller, callee) = if direction == Direction::Outbound { (us, None) } else { (None, us) };
            table.intern(Edge { direction, caller, authority: other.clone(), callee });
        }
        table
    }

    /// The number of `edge`, the same for as long as it is not evicted.
    pub fn intern(&mut self, edge: Edge) -> EdgeHandle {
        if let Some(handle) = self.handles.get(&edge) {
            return *handle;
        }
        let edge = Arc::new(edge);
        let handle = if let Some(place) = self.free.pop() {
            let slot = &mut self.slots[place as usize];
            *slot = Slot::new(Arc::clone(&edge), slot.life + 1);
            EdgeHandle { place, life: slot.life }
        } else if self.slots.len() < EDGES_MAX {
            self.slots.push(Slot::new(Arc::clone(&edge), 0));
            let place = u32::try_from(self.slots.len() - 1).expect("EDGES_MAX fits 32 bits");
            EdgeHandle { place, life: 0 }
        } else {
            self.folded_total += 1;
            return self.folded(edge.direction);
        };
        self.handles.insert(edge, handle);
        handle
    }

    /// Where edges past the bound are counted.
    #[must_use]
    pub fn folded(&self, direction: Direction) -> EdgeHandle {
        EdgeHandle { place: u32::from(direction == Direction::Inbound), life: 0 }
    }

    /// How many edges were folded because the table was full.
    #[must_use]
    pub fn folded_total(&self) -> u64 {
        self.folded_total
    }

    /// How many edges were evicted because they were idle.
    #[must_use]
    pub fn evicted_total(&self) -> u64 {
        self.evicted_total
    }

    /// Whether the edge of `handle` was not evicted.
    #[must_use]
    pub fn is_live(&self, handle: EdgeHandle) -> bool {
        self.slots[handle.place as usize].life == handle.life
    }

    /// The edge itself.
    #[must_use]
    pub fn edge(&self, handle: EdgeHandle) -> &Arc<Edge> {
        &self.slots[self.place(handle)].edge
    }

    /// A request runs under this edge, until [`Self::ended`] or [`Self::released`].
    pub fn held(&mut self, handle: EdgeHandle) {
        let place = self.place(handle);
        self.slots[place].running += 1;
        self.slots[place].idle_since = None;
    }

    /// It runs under another one.
    pub fn released(&mut self, handle: EdgeHandle) {
        let place = self.place(handle);
        let running = &mut self.slots[place].running;
        *running = running.saturating_sub(1);
    }

    /// Counts a request that ended.
    pub fn ended(&mut self, handle: EdgeHandle, ended: Ended) {
        let place = self.place(handle);
        let slot = &mut self.slots[place];
        slot.busy = true;
        slot.running = slot.running.saturating_sub(1);
        match ended.failure {
            None => slot.traffic.successes += 1,
            Some(failure) => slot.traffic.failures[place_of(failure)] += 1,
        }
        slot.count_status(ended.status, ended.failure.is_some());
        slot.traffic.request_bytes += ended.request_bytes;
        slot.traffic.response_bytes += ended.response_bytes;
        slot.traffic.retries += ended.retries;
        if let Some(latency) = ended.latency {
            slot.latency.get_or_insert_default().record(latency);
        }
    }

    /// Counts a connection that was opened for an edge.
    pub fn connected(&mut self, handle: EdgeHandle) {
        let place = self.place(handle);
        let slot = &mut self.slots[place];
        slot.busy = true;
        slot.traffic.connections += 1;
    }

    /// Counts an opaque connection that an endpoint took, after `retries` others did not. It counts as one request that
    /// succeeded: what passes on it afterwards says nothing of success.
    pub fn reached(&mut self, handle: EdgeHandle, retries: u64) {
        self.connected(handle);
        let place = self.place(handle);
        let slot = &mut self.slots[place];
        slot.traffic.successes += 1;
        slot.traffic.retries += retries;
        slot.count_status(0, false);
    }

    /// Counts an opaque connection that no endpoint took, as one request that failed.
    pub fn unreached(&mut self, handle: EdgeHandle, failure: Failure) {
        let place = self.place(handle);
        let slot = &mut self.slots[place];
        slot.busy = true;
        slot.traffic.failures[place_of(failure)] += 1;
        slot.count_status(0, true);
    }

    /// Counts bytes of a connection that is carried as bytes.
    pub fn carried(&mut self, handle: EdgeHandle, request_bytes: u64, response_bytes: u64) {
        let place = self.place(handle);
        let slot = &mut self.slots[place];
        slot.busy = true;
        slot.traffic.request_bytes += request_bytes;
        slot.traffic.response_bytes += response_bytes;
    }

    /// Counts the end of such a connection.
    pub fn closed(&mut self, handle: EdgeHandle) {
        let place = self.place(handle);
        let slot = &mut self.slots[place];
        slot.busy = true;
        slot.traffic.closes += 1;
    }

    /// Takes what was counted, and evicts what has been idle for [`EDGE_IDLE_MAX`]. Called for each window and each scrape.
    pub fn take(&mut self, now: Instant) -> EdgesTaken {
        let mut taken = EdgesTaken::default();
        let folded = [self.folded(Direction::Outbound), self.folded(Direction::Inbound)];
        for (place, slot) in (0_u32..).zip(&mut self.slots) {
            if !std::mem::take(&mut slot.busy) {
                let handle = EdgeHandle { place, life: slot.life };
                if slot.is_lapsed(now)
                    && !folded.contains(&handle)
                    && self.handles.get(&slot.edge) == Some(&handle)
                {
                    self.handles.remove(&slot.edge);
                    self.free.push(place);
                    // Handles that are still kept somewhere must not count under whoever comes next.
                    slot.life += 1;
                    self.evicted_total += 1;
                    taken.evicted = true;
                }
                continue;
            }
            (slot.idle_takes, slot.idle_since) = (0, None);
            let mut traffic = std::mem::take(&mut slot.traffic);
            if let Some(latency) = &mut slot.latency {
                traffic.latency = latency.take();
            }
            let edge = Edge::clone(&slot.edge);
            if !slot.statuses.is_empty() {
                taken.statuses.push((edge.clone(), slot.statuses.clone()));
                // The codes of an edge are few and come again: its memory is kept.
                slot.statuses.clear();
            }
            taken.edges.push((edge, traffic));
        }
        taken
    }

    /// Where to count: the edge's place, or the folded one of a direction if it was evicted meanwhile.
    fn place(&self, handle: EdgeHandle) -> usize {
        if self.is_live(handle) {
            return handle.place as usize;
        }
        self.folded(self.slots[handle.place as usize].edge.direction).place as usize
    }
}

/// Under which authority connections count that are passed on to where they were going, because it is no service's.
#[must_use]
pub fn passed_through(port: u16) -> Authority {
    let name = ServiceName::new("passthrough", "other").expect("both are DNS labels");
    Authority::new(name, port.max(1))
}

/// Place of a failure in [`Failure::ALL`].
fn place_of(failure: Failure) -> usize {
    match failure {
        Failure::Server => 0,
        Failure::Timeout => 1,
        Failure::Connect => 2,
        Failure::Reset => 3,
        Failure::Unavailable => 4,
    }
}

#[cfg(test)]
#[path = "edges_tests.rs"]
mod tests;
