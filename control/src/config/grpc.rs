//! The gRPC face of config: checks every document at once, carries one command through the door, shows what is stored.
//! It keeps nothing, so that any node takes any call; a call with complaints writes nothing.

use std::sync::Arc;

use api::FieldError;
use api::log::v1::{Command, DeleteConfig, PutConfig, command::Body};
use api::v1::config_server::Config;
use api::v1::{
    ApplyRequest, ApplyResponse, DeleteRequest, DeleteResponse, Document, GetRequest, GetResponse, Outcome,
    QualifiedName, Revision, WriteId,
};
use mesh::{PolicyName, Route, RouteName, Service, ServiceName, TrafficPolicy};
use runtime::settings::nearest;
use tonic::{Request, Response, Status};

use super::check::{CheckedDocument, Kind, check};
use super::render::{kind_of, route_yaml, service_yaml};
use super::render_policy::policy_yaml;
use crate::catalog::Catalog;
use crate::replica::{Door, refusal};

/// The config service of one node; cheap to clone.
#[derive(Clone)]
pub struct ConfigService {
    door: Door,
}

/// One stored document, before it is rendered.
enum Stored {
    Service(Arc<Service>, mesh::Revision),
    Route(Arc<Route>, mesh::Revision),
    Policy(Arc<TrafficPolicy>, mesh::Revision),
}

impl ConfigService {
    /// Reads and writes through this door.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self { door }
    }

    async fn write(&self, id: Option<WriteId>, body: Body) -> Result<(Revision, Vec<String>), Status> {
        if let Some(id) = &id {
            api::WriteId::try_from(id).map_err(|error| invalid(&error.within("id")))?;
        }
        let outcome = self.door.propose(Command { id, at_ms: 0, body: Some(body) }).await;
        refusal::done(outcome.map_err(|error| refusal::for_client(&error))?)
    }

    async fn consult<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Catalog) -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.door.consult(question).await.map_err(|error| refusal::of_read(&error))
    }
}

#[tonic::async_trait]
impl Config for ConfigService {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let ApplyRequest { id, files, dry_run } = request.into_inner();
        let checked = match check(&files) {
            Ok(checked) => checked,
            Err(complaints) => {
                return Ok(Response::new(ApplyResponse { complaints, ..ApplyResponse::default() }));
            }
        };
        let (revision, actions) = if dry_run {
            let command = checked.command;
            self.consult(move |catalog| (catalog.applied().into(), foreseen(catalog, &command))).await?
        } else {
            self.write(id, Body::PutConfig(checked.command)).await?
        };
        let outcomes =
            checked.documents.into_iter().zip(actions).map(|(document, action)| outcome(document, action));
        let (outcomes, revision) = (outcomes.collect(), Some(revision));
        Ok(Response::new(ApplyResponse { complaints: Vec::new(), outcomes, revision }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let DeleteRequest { id, kind, name } = request.into_inner();
        let kind = named_kind(&kind)?;
        let name = name.ok_or_else(|| Status::invalid_argument("name: is missing"))?;
        let target = match kind {
            Kind::Service => {
                ServiceName::try_from(&name).map_err(|error| invalid(&error.within("name")))?;
                DeleteConfig { service: Some(name.clone()), ..DeleteConfig::default() }
            }
            Kind::HttpRoute => {
                RouteName::try_from(&name).map_err(|error| invalid(&error.within("name")))?;
                DeleteConfig { route: Some(name.clone()), ..DeleteConfig::default() }
            }
            Kind::GrpcRoute => {
                RouteName::try_from(&name).map_err(|error| invalid(&error.within("name")))?;
                DeleteConfig { grpc_route: Some(name.clone()), ..DeleteConfig::default() }
            }
            Kind::TrafficPolicy => {
                PolicyName::try_from(&name).map_err(|error| invalid(&error.within("name")))?;
                DeleteConfig { policy: Some(name.clone()), ..DeleteConfig::default() }
            }
        };
        let (revision, actions) = self.write(id, Body::DeleteConfig(target)).await?;
        let action = actions.into_iter().next().unwrap_or_else(|| "deleted".to_owned());
        let outcome = Outcome { kind: kind.as_str().to_owned(), name: Some(name), action };
        Ok(Response::new(DeleteResponse { outcome: Some(outcome), revision: Some(revision) }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { kind, name, namespace } = request.into_inner();
        let kind = if kind.is_empty() { None } else { Some(named_kind(&kind)?) };
        let asked = name.clone();
        let stored = self.consult(move |catalog| stored(catalog, kind, asked.as_ref(), &namespace)).await?;
        if let Some(name) = name
            && stored.is_empty()
        {
            return Err(self.not_found(kind, &name).await?);
        }
        Ok(Response::new(GetResponse { documents: stored.iter().map(document).collect() }))
    }
}

impl ConfigService {
    /// The status for a document that does not exist: what was asked, why it may be missing, what comes near.
    async fn not_found(&self, kind: Option<Kind>, name: &QualifiedName) -> Result<Status, Status> {
        let what = kind.map_or("document", Kind::as_str);
        let text = format!("{}.{}", name.name, name.namespace);
        let (registered, known) = {
            let service = ServiceName::try_from(name).ok();
            let question = move |catalog: &Catalog| {
                let registered = service.is_some_and(|service| catalog.service(&service).is_some());
                let names = stored(catalog, kind, None, "").iter().map(shown).collect::<Vec<String>>();
                (registered, names)
            };
            self.consult(question).await?
        };
        let hint = match nearest(&text, known.iter().map(String::as_str)) {
            _ if registered && kind.is_none_or(|kind| kind == Kind::Service) => {
                "; the service exists by registration alone, and was never applied".to_owned()
            }
            Some(near) => format!("; there is {near}"),
            None => String::new(),
        };
        Ok(Status::not_found(format!("{what} {text} does not exist{hint}")))
    }
}

fn named_kind(text: &str) -> Result<Kind, Status> {
    let known = || Kind::ALL.map(Kind::as_str).join(" or ");
    Kind::named(text).ok_or_else(|| {
        Status::invalid_argument(format!("{text:?} is no kind of document: expected {}", known()))
    })
}

fn invalid(error: &FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn outcome(document: CheckedDocument, action: String) -> Outcome {
    Outcome { kind: document.kind.as_str().to_owned(), name: Some(document.name), action }
}

/// What a command would do to each of its documents: services, then routes, then policies.
fn foreseen(catalog: &Catalog, command: &PutConfig) -> Vec<String> {
    let action = |same: Option<bool>| match same {
        None => "created".to_owned(),
        Some(true) => "unchanged".to_owned(),
        Some(false) => "changed".to_owned(),
    };
    let services =
        command.services.iter().filter_map(|message| Service::try_from(message).ok()).map(|service| {
            let declared = catalog.service(&service.name).and_then(|stored| stored.declared.as_ref());
            action(declared.map(|(declared, _)| **declared == service))
        });
    let routes = command.routes.iter().filter_map(|message| Route::try_from(message).ok()).map(|route| {
        let stored = catalog.route(&route.name);
        action(stored.map(|stored| *stored.route == route))
    });
    let policies =
        command.policies.iter().filter_map(|message| TrafficPolicy::try_from(message).ok()).map(|policy| {
            let stored = catalog.policy(&policy.name);
            action(stored.map(|stored| *stored.policy == policy))
        });
    services.chain(routes).chain(policies).collect()
}

/// The declared documents of a kind (or of each), of one name or namespace (or of each).
fn stored(
    catalog: &Catalog,
    kind: Option<Kind>,
    name: Option<&QualifiedName>,
    namespace: &str,
) -> Vec<Stored> {
    let wanted = |label: &str, space: &str| {
        name.is_none_or(|name| name.name == label && name.namespace == space)
            && (namespace.is_empty() || namespace == space)
    };
    let mut found = Vec::new();
    if kind.is_none_or(|kind| kind == Kind::Service) {
        let services = catalog.services().filter(|(name, _)| wanted(name.name(), name.namespace()));
        found.extend(services.filter_map(|(_, stored)| {
            let (declared, revision) = stored.declared.as_ref()?;
            Some(Stored::Service(Arc::clone(declared), *revision))
        }));
    }
    if kind.is_none_or(|kind| [Kind::HttpRoute, Kind::GrpcRoute].contains(&kind)) {
        let routes = catalog.routes().filter(|(name, _)| {
            kind.is_none_or(|kind| kind == kind_of(name.kind)) && wanted(&name.name, &name.namespace)
        });
        found.extend(routes.map(|(_, stored)| Stored::Route(Arc::clone(&stored.route), stored.revision)));
    }
    if kind.is_none_or(|kind| kind == Kind::TrafficPolicy) {
        let policies = catalog.policies().filter(|(name, _)| wanted(&name.name, &name.namespace));
        found.extend(policies.map(|(_, stored)| Stored::Policy(Arc::clone(&stored.policy), stored.revision)));
    }
    found
}

fn shown(stored: &Stored) -> String {
    match stored {
        Stored::Service(service, _) => service.name.to_string(),
        Stored::Route(route, _) => format!("{}.{}", route.name.name, route.name.namespace),
        Stored::Policy(policy, _) => format!("{}.{}", policy.name.name, policy.name.namespace),
    }
}

fn document(stored: &Stored) -> Document {
    let (kind, name, revision, yaml) = match stored {
        Stored::Service(service, revision) => {
            (Kind::Service, QualifiedName::from(&service.name), revision, service_yaml(service))
        }
        Stored::Route(route, revision) => {
            (kind_of(route.name.kind), QualifiedName::from(&route.name), revision, route_yaml(route))
        }
        Stored::Policy(policy, revision) => {
            (Kind::TrafficPolicy, QualifiedName::from(&policy.name), revision, policy_yaml(policy))
        }
    };
    Document { kind: kind.as_str().to_owned(), name: Some(name), revision: Some((*revision).into()), yaml }
}
