//! The catalog as bytes and back. Maps are written in their order and nothing else varies, so equal states give equal
//! bytes on every node. Reading checks everything: bytes from a disk or another node are input like any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::FieldError;
use api::log::v1 as log;
use api::v1;
use mesh::{
    Authority, Edge, Endpoint, InstanceName, ProxyId, Revision, Route, Service, ServiceName, ServicePort,
    Timestamp, TrafficPolicy, Window,
};
use prost::Message;

use super::counted::{Counted, CountedWindows};
use super::declaring::{declared_addresses, effective_ports};
use super::edges::EdgeDictionary;
use super::members::Members;
use super::rollups::{Rollups, SpanRecords, decoded, record_bytes};
use super::state::Catalog;
use super::state_hash::StateHash;
use super::topology::{Port, Registered, StoredPolicy, StoredRoute, StoredService, Topology};
use super::versions;
use super::writers::{Forgotten, Writer, Writers};

/// The first bytes of every snapshot.
const MAGIC: [u8; 4] = *b"PSCT";
/// Bytes before the message: magic and format.
pub(super) const HEAD_BYTES: usize = 8;

/// Bytes are not a snapshot that this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by a newer version.
    #[error(
        "the snapshot has format {found}, this version reads up to {known}: start the newer version of penstock again"
    )]
    NewerFormat {
        /// In the snapshot.
        found: u32,
        /// The newest we read.
        known: u32,
    },
    /// Not a snapshot, or damaged.
    #[error(
        "the snapshot cannot be read: {0}; start this node with an empty data directory, and it takes one from another node"
    )]
    Malformed(String),
}

impl From<FieldError> for RestoreError {
    fn from(error: FieldError) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn malformed(what: &str) -> RestoreError {
    RestoreError::Malformed(what.to_owned())
}

impl Catalog {
    /// The state as bytes: equal states give equal bytes. Their format is the version of commands in the log.
    ///
    /// Takes a tenth of a second for 100,000 endpoints: the replica makes it of a copy ([`Clone`], which shares nearly
    /// everything) on another thread. Messages of one type that stand one after the other are read as one (protobuf,
    /// "last one wins, repeated fields are concatenated"), so that no second form of the whole state is ever in memory.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&self.members.version().to_le_bytes());
        let mut add = |part: log::Snapshot| part.encode(&mut bytes).expect("a vector grows as needed");
        add(log::Snapshot {
            epoch: self.epoch,
            applied: self.applied,
            at_ms: self.now.0,
            hash: self.hash.0,
            routing: Some(self.topology.routing.into()),
            swept_ms: self.swept.0,
            members: self.members.state(),
            begun_index: self.begun,
            ..log::Snapshot::default()
        });
        for service in &self.topology.services {
            add(log::Snapshot { services: vec![service_state(service)], ..log::Snapshot::default() });
        }
        for port in &self.topology.ports {
            add(log::Snapshot { authorities: vec![authority_state(port)], ..log::Snapshot::default() });
        }
        for route in self.topology.routes.values() {
            add(log::Snapshot { routes: vec![route_state(route)], ..log::Snapshot::default() });
        }
        for policy in self.topology.policies.values() {
            add(log::Snapshot { policies: vec![policy_state(policy)], ..log::Snapshot::default() });
        }
        for writer in self.writers.iter() {
            add(log::Snapshot { writers: vec![writer_state(writer)], ..log::Snapshot::default() });
        }
        for history in history_states(&self.rollups) {
            add(log::Snapshot { history: Some(history), ..log::Snapshot::default() });
        }
        let forgotten = self.writers.forgotten();
        if forgotten != Forgotten::default() {
            let newest = Some(forgotten.newest.into());
            let forgotten = log::ForgottenState { clients: forgotten.clients, newest };
            add(log::Snapshot { forgotten: Some(forgotten), ..log::Snapshot::default() });
        }
        bytes
    }

    /// Reads what [`Self::snapshot`] wrote.
    ///
    /// # Errors
    /// If the bytes are damaged or of a newer format.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| malformed("it is too short"))?;
        let (format, body) = rest.split_first_chunk::<4>().ok_or_else(|| malformed("it is too short"))?;
        if *magic != MAGIC {
            return Err(malformed("it does not begin with PSCT"));
        }
        match u32::from_le_bytes(*format) {
            0 => return Err(malformed("format 0 was never written")),
            found if found > versions::NEWEST => {
                return Err(RestoreError::NewerFormat { found, known: versions::NEWEST });
            }
            _ => {}
        }
        let message =
            log::Snapshot::decode(body).map_err(|error| RestoreError::Malformed(error.to_string()))?;
        let mut writers = BTreeMap::new();
        for state in message.writers {
            let outcomes = state.outcomes.into_iter();
            let outcomes = outcomes.map(|kept| (kept.sequence, kept.outcome.unwrap_or_default())).collect();
            let (last_at, last_index) = (Timestamp(state.last_ms), state.last_index);
            let (forgotten, forgotten_before) = (state.forgotten, revision(state.forgotten_before));
            writers
                .insert(state.client, Writer { last_at, last_index, forgotten, forgotten_before, outcomes });
        }
        let forgotten = message.forgotten.unwrap_or_default();
        let forgotten = Forgotten { clients: forgotten.clients, newest: revision(forgotten.newest) };
        Ok(Self {
            epoch: message.epoch,
            begun: message.begun_index,
            applied: message.applied,
            now: Timestamp(message.at_ms),
            swept: Timestamp(message.swept_ms),
            hash: StateHash(message.hash),
            topology: topology(
                message.services,
                message.authorities,
                message.routes,
                message.policies,
                message.routing,
            )?,
            writers: Writers::restored(writers, forgotten),
            rollups: rollups(message.history.unwrap_or_default())?,
            members: Members::restored(message.members),
        })
    }
}

fn service_state((name, stored): (&ServiceName, &StoredService)) -> log::ServiceState {
    let port = |(number, protocol): (&u16, &mesh::Protocol)| v1::ServicePort {
        name: String::new(),
        port: (*number).into(),
        protocol: v1::Protocol::from(*protocol).into(),
    };
    log::ServiceState {
        name: Some(name.into()),
        revision: Some(stored.revision.into()),
        declared: stored.declared.as_ref().map(|(service, _)| (&**service).into()),
        declared_revision: stored.declared.as_ref().map(|(_, revision)| (*revision).into()),
        registered: stored.registered.iter().map(port).collect(),
        policy_revision: Some(stored.policy_revision.into()),
    }
}

fn authority_state((authority, port): (&Authority, &Port)) -> log::AuthorityState {
    let endpoint = |(endpoint, registered): (&Arc<Endpoint>, &Registered)| log::EndpointState {
        endpoint: Some((&**endpoint).into()),
        revision: Some(registered.revision.into()),
        lease_seconds: registered.lease_seconds,
        registered_index: registered.registered_index,
    };
    log::AuthorityState {
        authority: Some(authority.into()),
        endpoints_revision: Some(port.endpoints_revision.into()),
        rules_revision: Some(port.rules_revision.into()),
        empty_since_ms: port.empty_since.0,
        endpoints: port.endpoints.iter().zip(&port.registered).map(endpoint).collect(),
    }
}

fn route_state(stored: &StoredRoute) -> log::RouteState {
    log::RouteState {
        route: Some((&*stored.route).into()),
        revision: Some(stored.revision.into()),
        created_index: stored.created_index,
    }
}

fn policy_state(stored: &StoredPolicy) -> log::PolicyState {
    log::PolicyState { policy: Some((&*stored.policy).into()), revision: Some(stored.revision.into()) }
}

fn writer_state((client, writer): (&str, &Writer)) -> log::WriterState {
    let kept = |(sequence, outcome): (&u64, &log::Outcome)| log::RememberedOutcome {
        sequence: *sequence,
        outcome: Some(outcome.clone()),
    };
    log::WriterState {
        client: client.to_owned(),
        last_ms: writer.last_at.0,
        last_index: writer.last_index,
        forgotten: writer.forgotten,
        forgotten_before: Some(writer.forgotten_before.into()),
        outcomes: writer.outcomes.iter().map(kept).collect(),
    }
}

/// The history in parts: what is one of a kind, then span by span, which is nearly all of it.
fn history_states(rollups: &Rollups) -> impl Iterator<Item = log::HistoryState> {
    #[allow(clippy::cast_possible_truncation)] // the two halves of a mask
    let counted = |(proxy, counted): (&ProxyId, &Counted)| log::CountedState {
        proxy: Some(proxy.into()),
        last: counted.last,
        mask_low: counted.mask as u64,
        mask_high: (counted.mask >> 64) as u64,
    };
    let edge = |(id, edge): (u64, &Edge)| log::EdgeState { id, edge: Some(edge.into()) };
    let head = log::HistoryState {
        current: rollups.current.0,
        next_edge: rollups.edges.next(),
        folded: rollups.folded,
        shortened: rollups.shortened,
        edges: rollups.edges.iter().map(edge).collect(),
        counted: rollups.counted.iter().map(counted).collect(),
        ..log::HistoryState::default()
    };
    let windows = rollups.windows.iter().map(span_state);
    let windows =
        windows.map(|span| log::HistoryState { windows: vec![span], ..log::HistoryState::default() });
    let minutes = rollups.minutes.iter().map(span_state);
    let minutes =
        minutes.map(|span| log::HistoryState { minutes: vec![span], ..log::HistoryState::default() });
    std::iter::once(head).chain(windows).chain(minutes)
}

fn span_state((number, span): (&u64, &Arc<SpanRecords>)) -> log::SpanState {
    log::SpanState {
        number: *number,
        folded: span.folded,
        records: span
            .records
            .iter()
            .map(|(id, bytes)| log::RecordState { edge: *id, traffic: bytes.to_vec() })
            .collect(),
    }
}

fn there<'a, M, T>(message: Option<&'a M>, field: &str) -> Result<T, RestoreError>
where
    T: TryFrom<&'a M, Error = FieldError>,
{
    let message = message.ok_or_else(|| RestoreError::Malformed(format!("{field}: is missing")))?;
    Ok(T::try_from(message).map_err(|error| error.within(field))?)
}

fn revision(message: Option<v1::Revision>) -> Revision {
    message.as_ref().map(Revision::from).unwrap_or_default()
}

fn topology(
    services: Vec<log::ServiceState>,
    authorities: Vec<log::AuthorityState>,
    routes: Vec<log::RouteState>,
    policies: Vec<log::PolicyState>,
    routing: Option<v1::Revision>,
) -> Result<Topology, RestoreError> {
    let mut topology = Topology { routing: revision(routing), ..Topology::default() };
    for state in policies {
        let policy: TrafficPolicy = there(state.policy.as_ref(), "policy")?;
        for target in &policy.targets {
            topology.policies_on.insert(target.clone(), policy.name.clone());
        }
        let (name, revision) = (policy.name.clone(), revision(state.revision));
        topology.policies.insert(name, StoredPolicy { policy: Arc::new(policy), revision });
    }
    for state in routes {
        let route: Route = there(state.route.as_ref(), "route")?;
        for (service, _) in &route.parents {
            topology.routes_on.entry(service.clone()).or_default().insert(route.name.clone());
        }
        let (name, created_index) = (route.name.clone(), state.created_index);
        let stored =
            StoredRoute { route: Arc::new(route), revision: revision(state.revision), created_index };
        topology.routes.insert(name, stored);
    }
    for state in services {
        let name: ServiceName = there(state.name.as_ref(), "service.name")?;
        let stored = stored_service(&name, &state)?;
        topology.services.insert(name, stored);
    }
    for state in authorities {
        let authority: Authority = there(state.authority.as_ref(), "authority")?;
        let service = topology.services.get(&authority.service);
        if service.is_none_or(|stored| stored.service.port(authority.port).is_none()) {
            return Err(RestoreError::Malformed(format!("{authority} has no service")));
        }
        let port = restored_port(&state, topology.rules_for(&authority))?;
        topology.endpoint_count += port.endpoints.len();
        topology.ports.insert(authority, port);
    }
    let ports: usize = topology.services.values().map(|stored| stored.service.ports.len()).sum();
    if ports != topology.ports.len() {
        return Err(malformed("a service's port has no authority"));
    }
    Ok(topology)
}

fn stored_service(name: &ServiceName, state: &log::ServiceState) -> Result<StoredService, RestoreError> {
    let mut registered = BTreeMap::new();
    for port in &state.registered {
        let port = ServicePort::try_from(port).map_err(|error| error.within("service.registered"))?;
        registered.insert(port.port, port.protocol);
    }
    let declared = match &state.declared {
        None => None,
        Some(declared) => {
            let declared: Service = there(Some(declared), "service.declared")?;
            Some((Arc::new(declared), revision(state.declared_revision)))
        }
    };
    let service = Arc::new(Service { name: name.clone(), ports: Vec::new(), addresses: Vec::new() });
    let (revision, policy_revision) = (revision(state.revision), revision(state.policy_revision));
    let mut stored = StoredService { service, revision, declared, registered, policy_revision };
    let (ports, addresses) = (effective_ports(&stored), declared_addresses(&stored));
    stored.service = Arc::new(Service { name: name.clone(), ports, addresses });
    Ok(stored)
}

fn restored_port(state: &log::AuthorityState, rules: Vec<mesh::RouteRule>) -> Result<Port, RestoreError> {
    let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(state.endpoints.len());
    let mut registered = Vec::with_capacity(state.endpoints.len());
    for kept in &state.endpoints {
        let endpoint: Endpoint = there(kept.endpoint.as_ref(), "endpoint")?;
        let last: Option<&InstanceName> = endpoints.last().map(|endpoint| &endpoint.instance);
        if last.is_some_and(|last| *last >= endpoint.instance) {
            return Err(malformed("endpoints are out of order"));
        }
        endpoints.push(Arc::new(endpoint));
        registered.push(Registered {
            revision: revision(kept.revision),
            lease_seconds: kept.lease_seconds,
            registered_index: kept.registered_index,
        });
    }
    Ok(Port {
        endpoints_revision: revision(state.endpoints_revision),
        endpoints: endpoints.into(),
        registered,
        empty_since: Timestamp(state.empty_since_ms),
        rules_revision: revision(state.rules_revision),
        rules: rules.into(),
    })
}

fn rollups(state: log::HistoryState) -> Result<Rollups, RestoreError> {
    let mut edges = Vec::with_capacity(state.edges.len());
    for kept in &state.edges {
        edges.push((kept.id, there::<_, Edge>(kept.edge.as_ref(), "edge")?));
    }
    let edges = EdgeDictionary::restored(state.next_edge, edges.into_iter())
        .ok_or_else(|| malformed("the dictionary of edges contradicts itself"))?;
    let mut counted = BTreeMap::new();
    for kept in &state.counted {
        let mask = u128::from(kept.mask_high) << 64 | u128::from(kept.mask_low);
        counted.insert(there(kept.proxy.as_ref(), "counted.proxy")?, Counted { last: kept.last, mask });
    }
    let mut rollups = Rollups {
        current: Window(state.current),
        edges,
        counted: CountedWindows::restored(counted),
        folded: state.folded,
        shortened: state.shortened,
        ..Rollups::default()
    };
    rollups.windows = spans(state.windows, &mut rollups.edges, &mut rollups.bytes)?;
    rollups.minutes = spans(state.minutes, &mut rollups.edges, &mut rollups.bytes)?;
    Ok(rollups)
}

fn spans(
    states: Vec<log::SpanState>,
    edges: &mut EdgeDictionary,
    bytes: &mut usize,
) -> Result<BTreeMap<u64, Arc<SpanRecords>>, RestoreError> {
    let mut spans = BTreeMap::new();
    for state in states {
        let mut span = SpanRecords { folded: state.folded, ..SpanRecords::default() };
        for record in state.records {
            if edges.edge(record.edge).is_none() || decoded(&record.traffic).is_none() {
                return Err(malformed("a record of traffic has no edge or no meaning"));
            }
            *bytes += record_bytes(&record.traffic);
            edges.hold(record.edge);
            if span.records.insert(record.edge, record.traffic.into_boxed_slice()).is_some() {
                return Err(malformed("an edge has two records in one window"));
            }
        }
        if spans.insert(state.number, Arc::new(span)).is_some() {
            return Err(malformed("a window is there twice"));
        }
    }
    Ok(spans)
}
