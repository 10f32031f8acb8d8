//! The catalog's state and the one way to change it, `apply`. Called by the replica for each committed entry, in log
//! order; must never read a clock, iterate a `HashMap`, fail by chance, or panic on any bytes.

use std::sync::Arc;

use api::log::v1::command::Body;
use api::log::v1::outcome::Result as Answer;
use api::log::v1::{AlreadyCounted, Command, DeleteConfig, Done, Outcome, OutsideHistory, Refused};
use api::{FieldError, LeaseKey, Registration, WriteId};
use mesh::{
    Authority, Endpoint, InstanceName, PolicyName, Revision, RouteKind, RouteName, RouteRule, Service,
    ServiceName, Timestamp,
};
use prost::Message;

use super::change::{Applied, Change};
use super::limits::{CLIENT_IDLE, COMMAND_BYTES_MAX, STAMP_MS_MAX, SWEEP_EVERY};
use super::members::Members;
use super::refusal::Refusal;
use super::registering::Expiry;
use super::rollups::{Counting, Rollups};
use super::state_hash::StateHash;
use super::topology::{
    Lease, Moment, StoredEndpoint, StoredPolicy, StoredRoute, StoredService, Topology, Touched,
};
use super::versions;
use super::writers::{Known, Writers};

/// The replicated state of the mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    pub(super) epoch: u32,
    /// The entry with which this life began; zero while it is still to begin.
    pub(super) begun: u64,
    pub(super) applied: u64,
    pub(super) now: Timestamp,
    pub(super) swept: Timestamp,
    pub(super) hash: StateHash,
    pub(super) topology: Topology,
    pub(super) writers: Writers,
    pub(super) rollups: Rollups,
    pub(super) members: Members,
}

/// How much the catalog holds, for metrics; the bounds are in [`super::limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Services.
    pub services: usize,
    /// Endpoints of all services.
    pub endpoints: usize,
    /// Routes.
    pub routes: usize,
    /// Policies.
    pub policies: usize,
    /// Clients whose write outcomes are remembered.
    pub clients: usize,
    /// Bytes of these outcomes.
    pub outcome_bytes: usize,
    /// Clients forgotten since the cluster began.
    pub forgotten_clients: u64,
    /// Edges told apart.
    pub edges: usize,
    /// Bytes of traffic records.
    pub history_bytes: usize,
    /// Records folded into `other`, since the cluster began.
    pub folded_records: u64,
    /// Windows and minutes ended early for want of bytes, since the cluster began.
    pub shortened_spans: u64,
}

impl Catalog {
    /// An empty catalog in the given life of the cluster.
    #[must_use]
    pub fn new(epoch: u32) -> Self {
        Self {
            epoch,
            begun: 0,
            applied: 0,
            now: Timestamp(0),
            swept: Timestamp(0),
            hash: StateHash::default(),
            topology: Topology::default(),
            writers: Writers::default(),
            rollups: Rollups::default(),
            members: Members::default(),
        }
    }

    /// Applies the entry at `index`, a [`Command`]. Empty entries (Raft's own) change nothing.
    ///
    /// Never fails: what has no meaning is refused in the outcome, the same on every node. A retry of a write that was
    /// applied is answered with the first outcome.
    ///
    /// # Panics
    /// If `index` is not after the last one: an entry applied twice would be two truths.
    pub fn apply(&mut self, index: u64, command: &[u8]) -> Applied {
        assert!(index > self.applied, "entry {index} comes after entry {}, which was applied", self.applied);
        self.applied = index;
        let mut touched = Touched::default();
        let outcome = match self.accepted(command, &mut touched) {
            Ok(outcome) => outcome,
            Err(refusal) => self.outcome(refused(refusal)),
        };
        let changes = self.topology.changes(touched, Revision::new(self.epoch, index));
        self.hash.number(index);
        self.hash.bytes(command);
        self.hash.bytes(&outcome.encode_to_vec());
        changes.iter().for_each(|change| self.hash.change(change));
        Applied { outcome, changes }
    }

    /// Decodes, lets time pass, and sees to it that a write is applied once.
    fn accepted(&mut self, bytes: &[u8], touched: &mut Touched) -> Result<Outcome, Refusal> {
        if bytes.is_empty() {
            return Ok(self.outcome(done(Vec::new())));
        }
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(Refusal::limit("bytes of a command", COMMAND_BYTES_MAX, "say it in several"));
        }
        let command = Command::decode(bytes)
            .map_err(|error| Refusal::invalid(format_args!("the command cannot be read: {error}")))?;
        if command.at_ms > STAMP_MS_MAX {
            return Err(FieldError {
                field: "at_ms".to_owned(),
                value: Some(command.at_ms.to_string()),
                rule: "must lie before the year 2200: the leader's clock is broken".to_owned(),
            }
            .into());
        }
        self.pass_time(Timestamp(command.at_ms), touched);
        let id =
            command.id.as_ref().map(WriteId::try_from).transpose().map_err(|error| error.within("id"))?;
        let Some(mut id) = id else { return Ok(self.answered(command.body, touched)) };
        let keeps_count = self.keeps_count();
        if !keeps_count {
            id.since = Revision::default();
        }
        match self.writers.known(&id) {
            Known::Applied(outcome) => Ok(*outcome),
            Known::Stale { forgotten } => Err(Refusal::stale(&id, forgotten)),
            Known::Expired { forgotten } => Err(Refusal::expired(&id, forgotten)),
            Known::New => {
                let outcome = self.answered(command.body, touched);
                self.writers.remember(&id, self.moment(), &outcome, keeps_count);
                Ok(outcome)
            }
        }
    }

    fn pass_time(&mut self, stamp: Timestamp, touched: &mut Touched) {
        self.now = self.now.max(stamp);
        self.rollups.advance(self.now);
        if self.now.since(self.swept) >= SWEEP_EVERY {
            self.swept = self.now;
            self.writers.sweep(self.moment(), self.keeps_count());
            self.topology.sweep(self.moment(), touched);
        }
    }

    /// Whether every member keeps count of the clients that are forgotten.
    fn keeps_count(&self) -> bool {
        self.members.version() >= versions::WRITES_SAY_SINCE
    }

    fn moment(&self) -> Moment {
        Moment { revision: Revision::new(self.epoch, self.applied), now: self.now }
    }

    fn outcome(&self, answer: Answer) -> Outcome {
        Outcome { result: Some(answer), index: self.applied, epoch: self.epoch }
    }

    fn answered(&mut self, body: Option<Body>, touched: &mut Touched) -> Outcome {
        let answer = self.carry_out(body, touched).unwrap_or_else(refused);
        self.outcome(answer)
    }

    fn carry_out(&mut self, body: Option<Body>, touched: &mut Touched) -> Result<Answer, Refusal> {
        let at = self.moment();
        let topology = &mut self.topology;
        let (version, needed) =
            (self.members.version(), body.as_ref().map_or(versions::FIRST, versions::needed));
        if needed > version {
            return Err(Refusal::invalid(format_args!(
                "body: is of version {needed} of commands, and the log takes {version} until every member is upgraded"
            )));
        }
        let actions = match body {
            Some(Body::Register(register)) => {
                topology.register(at, Registration::try_from(&register)?, touched)?;
                Vec::new()
            }
            Some(Body::Leave(leave)) => {
                let lease = lease_key(leave.lease.as_ref())?;
                topology.leave(at, lease, touched);
                Vec::new()
            }
            Some(Body::Expire(expire)) => {
                let expiries = expire.leases.iter().map(expiry).collect::<Result<_, _>>()?;
                topology.expire(at, expiries, touched);
                Vec::new()
            }
            Some(Body::PutConfig(put)) => {
                let services = each(&put.services, "services")?;
                topology.put(
                    at,
                    services,
                    each(&put.routes, "routes")?,
                    each(&put.policies, "policies")?,
                    touched,
                )?
            }
            Some(Body::DeleteConfig(delete)) => deleted(topology, at, &delete, touched)?,
            Some(Body::Partial(partial)) => return Ok(counted(self.rollups.add(&partial, touched)?)),
            Some(Body::Tick(_)) => Vec::new(),
            Some(Body::Announce(said)) => self.members.announce(&said).map(|()| Vec::new())?,
            Some(Body::ChangeMembers(change)) => {
                self.members.change(self.applied, &change).map(|()| Vec::new())?
            }
            Some(Body::RaiseVersion(raise)) => {
                let kept_count = self.keeps_count();
                self.members.raise(&raise)?;
                if !kept_count && self.keeps_count() {
                    let is_young = self.is_younger_than(CLIENT_IDLE);
                    self.writers.keep_count_from(at.revision, is_young);
                }
                Vec::new()
            }
            Some(Body::Begin(begin)) => self.begin(begin.epoch, touched).map(|()| Vec::new())?,
            None => {
                return Err(Refusal::invalid(
                    "body: says nothing that this version understands; are all nodes upgraded?",
                ));
            }
        };
        Ok(done(actions))
    }

    /// The newest applied entry.
    #[must_use]
    pub fn applied(&self) -> Revision {
        Revision::new(self.epoch, self.applied)
    }

    /// When any service, route or policy last changed.
    #[must_use]
    pub fn routing(&self) -> Revision {
        self.topology.routing
    }

    /// The log's time: the latest stamp of a command.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Everything as changes, each with the revision stored for it: what a fresh mirror starts from.
    #[must_use]
    pub fn view(&self) -> Vec<Change> {
        self.topology.view()
    }

    /// Rolling hash over all entries applied and what came of them; equal on all nodes at the same index.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.hash.0
    }

    /// How much there is of everything.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            services: self.topology.services.len(),
            endpoints: self.topology.endpoint_count,
            routes: self.topology.routes.len(),
            policies: self.topology.policies.len(),
            clients: self.writers.len(),
            outcome_bytes: self.writers.bytes(),
            forgotten_clients: self.writers.forgotten().clients,
            edges: self.rollups.edge_count(),
            history_bytes: self.rollups.bytes(),
            folded_records: self.rollups.folded(),
            shortened_spans: self.rollups.shortened(),
        }
    }

    /// Every service, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &StoredService)> {
        self.topology.services.iter()
    }

    /// One service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&StoredService> {
        self.topology.services.get(name)
    }

    /// The service and port behind an authority, if both exist.
    #[must_use]
    pub fn port(&self, authority: &Authority) -> Option<(&Service, &mesh::ServicePort)> {
        let service = &self.service(&authority.service)?.service;
        Some((service, service.port(authority.port)?))
    }

    /// The endpoints of an authority, and when they last changed; `None` when no such service or port exists.
    #[must_use]
    pub fn endpoints(&self, authority: &Authority) -> Option<(Revision, Arc<[Arc<Endpoint>]>)> {
        self.topology.ports.get(authority).map(|port| (port.endpoints_revision, port.endpoints.clone()))
    }

    /// The rules for requests to an authority, and when they last changed; `None` when it does not exist.
    #[must_use]
    pub fn rules(&self, authority: &Authority) -> Option<(Revision, Arc<[RouteRule]>)> {
        self.topology.ports.get(authority).map(|port| (port.rules_revision, port.rules.clone()))
    }

    /// The registrations at an authority, by instance.
    pub fn registrations(&self, authority: &Authority) -> impl Iterator<Item = StoredEndpoint<'_>> {
        self.topology.registrations(authority)
    }

    /// One registration, for instance to ask for its lease.
    #[must_use]
    pub fn registration(&self, authority: &Authority, instance: &InstanceName) -> Option<StoredEndpoint<'_>> {
        self.topology.registration(authority, instance)
    }

    /// Every lease, by authority and instance: what a new leader starts its table from.
    pub fn leases(&self) -> impl Iterator<Item = Lease<'_>> {
        self.topology.leases()
    }

    /// Every route as it was applied.
    pub fn routes(&self) -> impl Iterator<Item = (&RouteName, &StoredRoute)> {
        self.topology.routes.iter()
    }

    /// One route as it was applied.
    #[must_use]
    pub fn route(&self, name: &RouteName) -> Option<&StoredRoute> {
        self.topology.routes.get(name)
    }

    /// Every policy as it was applied.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicyName, &StoredPolicy)> {
        self.topology.policies.iter()
    }

    /// One policy as it was applied.
    #[must_use]
    pub fn policy(&self, name: &PolicyName) -> Option<&StoredPolicy> {
        self.topology.policies.get(name)
    }

    /// How many routes rule requests to a service.
    #[must_use]
    pub fn route_count(&self, service: &ServiceName) -> usize {
        self.topology.routes_on.get(service).map_or(0, std::collections::BTreeSet::len)
    }

    /// What the log knows of the nodes themselves.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The history of traffic.
    #[must_use]
    pub fn rollups(&self) -> &Rollups {
        &self.rollups
    }

    /// The outcome of a write that was applied before, if it is still remembered: a retry need not be proposed.
    #[must_use]
    pub fn remembered(&self, client: &str, sequence: u64) -> Option<Outcome> {
        self.writers.outcome(client, sequence).cloned()
    }
}

/// Takes away the one document that the command names.
fn deleted(
    topology: &mut Topology,
    at: Moment,
    delete: &DeleteConfig,
    touched: &mut Touched,
) -> Result<Vec<String>, Refusal> {
    match (&delete.service, &delete.route, &delete.policy, &delete.grpc_route) {
        (Some(service), None, None, None) => {
            let name = ServiceName::try_from(service).map_err(|error| error.within("service"))?;
            topology.delete_service(at, &name, touched)
        }
        (None, Some(route), None, None) => {
            let name = RouteName::try_from(route).map_err(|error| error.within("route"))?;
            topology.delete_route(at, &name, touched)
        }
        (None, None, None, Some(route)) => {
            let name = RouteName::try_from(route).map_err(|error| error.within("grpc_route"))?;
            topology.delete_route(at, &name.of_kind(RouteKind::Grpc), touched)
        }
        (None, None, Some(policy), None) => {
            let name = PolicyName::try_from(policy).map_err(|error| error.within("policy"))?;
            topology.delete_policy(at, &name, touched)
        }
        _ => {
            let rule = "delete_config: must name a service, a route or a policy, and one of them";
            Err(Refusal::invalid(rule))
        }
    }
}

fn done(actions: Vec<String>) -> Answer {
    Answer::Done(Done { actions })
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(Refused { reason: refusal.reason.into(), message: refusal.message })
}

fn counted(counting: Counting) -> Answer {
    match counting {
        Counting::Added => done(Vec::new()),
        Counting::OutsideHistory(windows) => Answer::OutsideHistory(OutsideHistory { windows }),
        Counting::AlreadyCounted(counted) => Answer::AlreadyCounted(AlreadyCounted { counted }),
    }
}

fn expiry(lease: &api::log::v1::ExpiredLease) -> Result<Expiry, Refusal> {
    let registered_index = lease.registered_index;
    lease_key(lease.lease.as_ref()).map(|lease| Expiry { lease, registered_index })
}

fn lease_key(message: Option<&api::v1::LeaseKey>) -> Result<LeaseKey, Refusal> {
    let message = message.ok_or_else(|| Refusal::invalid("lease: is missing"))?;
    LeaseKey::try_from(message).map_err(|error| error.within("lease").into())
}

fn each<'a, M, T: TryFrom<&'a M, Error = FieldError>>(
    messages: &'a [M],
    field: &str,
) -> Result<Vec<T>, Refusal> {
    let convert =
        |(at, message)| T::try_from(message).map_err(|error| error.within(&format!("{field}[{at}]")).into());
    messages.iter().enumerate().map(convert).collect()
}
