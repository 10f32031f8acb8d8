//! What a worker has made of the snapshot: for each authority as it is written in requests, the service's rules with their
//! clusters, ready for use. Looked up by the bytes of the request, so that a known authority is never parsed again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use mesh::{Authority, Direction, Edge, Protocol, RouteRule, WorkloadName};

use super::cluster::Cluster;
use super::patterns::Patterns;
use crate::detect::Learned;
use crate::http::state::WorkerState;
use crate::metrics::pools::SetCounts;
use crate::report::edges::{EdgeHandle, EdgeTable};
use crate::snapshot::{Known, Owner, Reader, ServiceView};

/// Most spellings of authorities that are remembered. Past it all are forgotten and made anew: a client that invents
/// spellings costs CPU, not memory.
const TARGETS_MAX: usize = 4096;

/// One authority that requests ask for.
#[derive(Debug)]
pub(super) struct Target {
    /// What was asked for.
    pub(super) authority: Authority,
    /// What it was made from.
    pub(super) view: Arc<ServiceView>,
    /// The service's own cluster, if it has endpoints.
    pub(super) own: Option<Rc<Cluster>>,
    /// Per rule and backend, its cluster.
    pub(super) backends: Vec<Vec<Option<Rc<Cluster>>>>,
    /// The regular expressions of its rules.
    pub(super) patterns: Patterns,
    /// Per rule, whether its requests are only sent on.
    pub(super) plain: Vec<bool>,
    /// Per rule and mirror, where copies go.
    pub(super) mirrors: Vec<Vec<Rc<Target>>>,
    /// Counts requests for which no endpoint was picked.
    pub(super) unpicked: EdgeHandle,
    /// What was learned of its connections that are looked at.
    pub(super) learned: Cell<Option<Learned>>,
    edges: RefCell<Vec<(WorkloadName, EdgeHandle)>>,
}

impl Target {
    /// What the service itself speaks.
    pub(super) fn protocol(&self) -> Protocol {
        self.own.as_ref().map(|cluster| cluster.set.protocol).unwrap_or_default()
    }

    /// The edge to a workload that answers for this authority.
    pub(super) fn edge(&self, callee: &WorkloadName, state: &WorkerState) -> EdgeHandle {
        let mut edges = self.edges.borrow_mut();
        if let Some((_, handle)) = edges.iter().find(|(workload, _)| workload == callee) {
            return *handle;
        }
        let handle = outbound_edge(&self.authority, Some(callee.clone()), state);
        edges.push((callee.clone(), handle));
        handle
    }
}

/// Whether a rule asks for nothing but that its requests are sent on.
fn is_plain(rule: &RouteRule) -> bool {
    let bare = RouteRule { matches: Vec::new(), backends: Vec::new(), ..rule.clone() };
    bare == RouteRule::default()
}

/// Interns the edge from this workload to `authority`.
pub(super) fn outbound_edge(
    authority: &Authority,
    callee: Option<WorkloadName>,
    state: &WorkerState,
) -> EdgeHandle {
    state.edges.borrow_mut().intern(Edge {
        direction: Direction::Outbound,
        caller: Some(state.workload.clone()),
        authority: authority.clone(),
        callee,
    })
}

/// All targets and clusters of one worker.
#[derive(Debug)]
pub(super) struct Targets {
    reader: Reader,
    version: u64,
    by_text: HashMap<Box<[u8]>, Rc<Target>>,
    clusters: HashMap<Authority, Rc<Cluster>>,
}

impl Targets {
    /// None yet.
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, version: 0, by_text: HashMap::new(), clusters: HashMap::new() }
    }

    /// The target that requests spell `text`, if it is in use already and still true.
    pub(super) fn known(&mut self, text: &[u8]) -> Option<Rc<Target>> {
        let snapshot = self.reader.snapshot();
        if snapshot.version() != self.version {
            self.version = snapshot.version();
            let snapshot = Arc::clone(snapshot);
            self.by_text.retain(|_, target| {
                matches!(snapshot.service(&target.authority), Some(Known::Service(view)) if Arc::ptr_eq(view, &target.view))
            });
        }
        self.by_text.get(text).map(Rc::clone)
    }

    /// What the snapshot says about `authority`, made ready for requests that spell it `text`.
    /// `None`: nothing yet; `Some(None)`: there is no such service.
    pub(super) fn look_up(
        &mut self,
        text: &[u8],
        authority: &Authority,
        state: &Rc<WorkerState>,
    ) -> Option<Option<Rc<Target>>> {
        if let Some(target) = self.known(text) {
            return Some(Some(target));
        }
        let view = match self.reader.snapshot().service(authority)? {
            Known::Unknown => return Some(None),
            Known::Service(view) => Arc::clone(view),
        };
        if self.by_text.len() >= TARGETS_MAX {
            self.by_text.clear();
        }
        let target = Rc::new(self.made(authority, view, state));
        self.by_text.insert(text.into(), Rc::clone(&target));
        Some(Some(target))
    }

    /// Forgets targets that count under an edge which was evicted: they are made anew when they are asked for again.
    pub(super) fn forget_evicted(&mut self, table: &EdgeTable) {
        self.by_text.retain(|_, target| {
            target.edges.borrow_mut().retain(|(_, edge)| table.is_live(*edge));
            table.is_live(target.unpicked)
        });
    }

    /// Whose an original destination is, if that is known.
    pub(super) fn owner(&mut self, destination: SocketAddr) -> Option<Owner> {
        self.reader.snapshot().owner(destination).cloned()
    }

    /// Told of each new snapshot.
    pub(super) fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.reader.versions()
    }

    /// Each set of endpoints that is in use, as of now.
    pub(super) fn sets(&self, now: Instant) -> Vec<(Authority, SetCounts)> {
        let clusters = self.clusters.iter();
        clusters.map(|(authority, cluster)| (authority.clone(), cluster.counts(now))).collect()
    }

    /// Closes idle connections that are past their time, and forgets clusters that no target uses.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.clusters.retain(|_, cluster| cluster.sweep(Rc::strong_count(cluster) > 1, now));
    }

    fn made(&mut self, authority: &Authority, view: Arc<ServiceView>, state: &Rc<WorkerState>) -> Target {
        let own = self.cluster(authority, &view, state);
        let backends = view
            .rules
            .iter()
            .map(|rule| {
                let backends = rule.backends.iter();
                backends.map(|backend| self.cluster(&backend.authority, &view, state)).collect()
            })
            .collect();
        let rules = view.rules.iter();
        let mirrors = rules.map(|rule| {
            let mirrors = rule.filters.mirrors.iter();
            mirrors.map(|mirror| self.mirror(&mirror.authority, &view, state)).collect()
        });
        Target {
            authority: authority.clone(),
            own,
            backends,
            patterns: Patterns::of(&view.rules),
            plain: view.rules.iter().map(is_plain).collect(),
            mirrors: mirrors.collect(),
            unpicked: outbound_edge(authority, None, state),
            learned: Cell::new(None),
            edges: RefCell::default(),
            view,
        }
    }

    /// Where copies of requests go: a target without rules.
    fn mirror(
        &mut self,
        authority: &Authority,
        view: &Arc<ServiceView>,
        state: &Rc<WorkerState>,
    ) -> Rc<Target> {
        Rc::new(Target {
            authority: authority.clone(),
            own: self.cluster(authority, view, state),
            backends: Vec::new(),
            patterns: Patterns::default(),
            plain: Vec::new(),
            mirrors: Vec::new(),
            unpicked: outbound_edge(authority, None, state),
            edges: RefCell::default(),
            learned: Cell::new(None),
            view: Arc::clone(view),
        })
    }

    fn cluster(
        &mut self,
        authority: &Authority,
        view: &ServiceView,
        state: &Rc<WorkerState>,
    ) -> Option<Rc<Cluster>> {
        let set = view.clusters.get(authority)?;
        let before = self.clusters.get(authority);
        if let Some(cluster) = before
            && Arc::ptr_eq(&cluster.set, set)
        {
            return Some(Rc::clone(cluster));
        }
        let cluster = Rc::new(Cluster::new(set, before.map(Rc::as_ref), state, Instant::now()));
        self.clusters.insert(authority.clone(), Rc::clone(&cluster));
        Some(cluster)
    }
}
