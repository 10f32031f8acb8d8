//! Checks the documents of one `apply`: every file, every document, every field, and then one command or all complaints.
//! Called by config's gRPC face before anything is proposed; nothing is written when one document is wrong.

use std::collections::BTreeMap;

use api::log::v1::PutConfig;
use api::v1::{Complaint, QualifiedName, SourceFile};
use mesh::{Route, RouteKind, Service, TrafficPolicy};
use runtime::settings::nearest;
use runtime::yaml::{self, Content, Node, Position};

use super::complaints::Complaints;
use super::fields::{Fields, shown};
use super::metadata::Metadata;
use super::{policy, route, service};
use crate::catalog::limits::DOCUMENTS_MAX;

/// Most bytes of all files together.
pub const BYTES_MAX: usize = 4 << 20;

/// Longest name of a file, which each complaint repeats: Linux's longest path.
const NAME_BYTES_MAX: usize = 4096;

const START: Position = Position { line: 1, column: 1 };

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A service and its ports.
    Service,
    /// Rules for the requests to a service.
    HttpRoute,
    /// Rules for the calls of gRPC to a service.
    GrpcRoute,
    /// What Kubernetes and Gateway API have no field for.
    TrafficPolicy,
}

/// The kinds, for a complaint.
const EXPECTED: &str = "expected Service, HTTPRoute, GRPCRoute or TrafficPolicy";

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Service, Self::HttpRoute, Self::GrpcRoute, Self::TrafficPolicy];

    /// As `kind` of a document says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::HttpRoute => RouteKind::Http.as_str(),
            Self::GrpcRoute => RouteKind::Grpc.as_str(),
            Self::TrafficPolicy => "TrafficPolicy",
        }
    }

    /// As `apiVersion` of a document says it.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Service => "v1",
            Self::HttpRoute | Self::GrpcRoute => "gateway.networking.k8s.io/v1",
            Self::TrafficPolicy => "penstock.io/v1alpha1",
        }
    }

    /// The kind that `text` names: as a document does, or as a person types it (`service`, `services`, `svc`, `httproutes`).
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "service" | "services" | "svc" => Some(Self::Service),
            "httproute" | "httproutes" => Some(Self::HttpRoute),
            "grpcroute" | "grpcroutes" => Some(Self::GrpcRoute),
            "trafficpolicy" | "trafficpolicies" => Some(Self::TrafficPolicy),
            _ => None,
        }
    }
}

/// One good document.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedDocument {
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub name: QualifiedName,
    /// Where it stands.
    pub file: String,
    /// Its first line.
    pub line: usize,
}

/// All documents are good.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What writes them, all or none.
    pub command: PutConfig,
    /// One for each action in the command's outcome, in that order: services, then routes, then policies.
    pub documents: Vec<CheckedDocument>,
}

/// Checks every document of every file.
///
/// # Errors
/// Every complaint, in the order of the files and lines; when there is one, nothing may be written.
pub fn check(files: &[SourceFile]) -> Result<Checked, Vec<Complaint>> {
    let mut complaints = Complaints::default();
    let bytes: usize = files.iter().map(|file| file.yaml.len()).sum();
    if bytes > BYTES_MAX {
        complaints.in_file(files.first().map_or("", |file| &file.name));
        let message =
            format!("all files together must be at most {BYTES_MAX} bytes, are {bytes}: apply them in parts");
        complaints.add(START, "", message);
        return Err(complaints.into_list());
    }
    if let Some(file) = files.iter().find(|file| file.name.len() > NAME_BYTES_MAX) {
        let message = format!("a file's name must be at most {NAME_BYTES_MAX} bytes, is {}", file.name.len());
        complaints.add(START, "", message);
        return Err(complaints.into_list());
    }
    let mut found = Found::default();
    for file in files {
        complaints.in_file(&file.name);
        let parsed = yaml::parse(&file.yaml);
        for fault in &parsed.faults {
            complaints.add(fault.position, "", fault.what.as_str());
        }
        let documents: Vec<_> =
            parsed.documents.iter().filter(|node| node.content != Content::Null).collect();
        if documents.is_empty() && parsed.faults.is_empty() {
            complaints.add(START, "", format!("holds no document: {EXPECTED}"));
        }
        for node in documents {
            found.read(node, &mut complaints);
        }
    }
    if found.count > DOCUMENTS_MAX {
        let message = format!(
            "at most {DOCUMENTS_MAX} documents at a time, these are {}: apply them in parts",
            found.count
        );
        complaints.add(START, "", message);
    }
    if complaints.count() > 0 { Err(complaints.into_list()) } else { Ok(found.checked()) }
}

/// The documents so far.
#[derive(Default)]
struct Found {
    count: usize,
    services: Vec<(Service, CheckedDocument)>,
    routes: Vec<(Route, CheckedDocument)>,
    policies: Vec<(TrafficPolicy, CheckedDocument)>,
    /// Where each name was first, by kind, namespace and name.
    first: BTreeMap<(Kind, String, String), String>,
}

impl Found {
    fn read(&mut self, node: &Node, complaints: &mut Complaints) {
        self.count += 1;
        if self.count > DOCUMENTS_MAX {
            return; // one complaint for all of them
        }
        let Some(mut fields) = Fields::of(node, "", complaints) else { return };
        let Some(kind) = kind(&mut fields, complaints) else { return };
        fields.ignore(&["status"]);
        let metadata = Metadata::read(&mut fields, complaints);
        // Without a name, the rest is read for its complaints.
        let name = metadata.as_ref().map(|metadata| metadata.name.clone());
        let read_as = metadata.unwrap_or_else(|| Metadata::unnamed(node.position));
        let document = CheckedDocument {
            kind,
            name: read_as.name.clone(),
            file: complaints.file().to_owned(),
            line: node.position.line,
        };
        match kind {
            Kind::Service => {
                let service = service::read(&mut fields, &read_as, complaints);
                self.services.extend(service.map(|service| (service, document)));
            }
            Kind::HttpRoute | Kind::GrpcRoute => {
                let of = if kind == Kind::GrpcRoute { RouteKind::Grpc } else { RouteKind::Http };
                let route = route::read(of, &mut fields, &read_as, complaints);
                self.routes.extend(route.map(|route| (route, document)));
            }
            Kind::TrafficPolicy => {
                let policy = policy::read(&mut fields, &read_as, complaints);
                self.policies.extend(policy.map(|policy| (policy, document)));
            }
        }
        fields.finish(complaints);
        if let Some(name) = name {
            self.once(kind, name, read_as.name_at, complaints);
        }
    }

    /// Complains of a document that was there before.
    fn once(&mut self, kind: Kind, name: QualifiedName, at: Position, complaints: &mut Complaints) {
        let here = format!("{} line {}", complaints.file(), at.line);
        let QualifiedName { name, namespace } = name;
        let told = format!("{} {namespace}/{name}", kind.as_str());
        if let Some(first) = self.first.get(&(kind, namespace.clone(), name.clone())) {
            complaints.add(at, "metadata.name", format!("{told} is there twice, first at {first}"));
        } else {
            self.first.insert((kind, namespace, name), here);
        }
    }

    fn checked(self) -> Checked {
        let mut command = PutConfig::default();
        let mut documents = Vec::with_capacity(self.count);
        for (service, document) in self.services {
            command.services.push((&service).into());
            documents.push(document);
        }
        for (route, document) in self.routes {
            command.routes.push((&route).into());
            documents.push(document);
        }
        for (policy, document) in self.policies {
            command.policies.push((&policy).into());
            documents.push(document);
        }
        Checked { command, documents }
    }
}

/// Reads `kind` and `apiVersion`. Without a known kind there is nothing to hold the rest against.
fn kind(fields: &mut Fields<'_>, complaints: &mut Complaints) -> Option<Kind> {
    let had = complaints.count();
    let text = fields.text("kind", complaints);
    if text.is_none() && complaints.count() == had {
        fields.missing("kind", EXPECTED, complaints);
    }
    let (text, position) = text?;
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == text) else {
        let meant = Kind::named(text).map(Kind::as_str).or_else(|| {
            let near = text.len() <= 64;
            near.then(|| nearest(text, Kind::ALL.into_iter().map(Kind::as_str))).flatten()
        });
        let advice = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
        let message = format!("{} is not a kind that Penstock takes: {EXPECTED}{advice}", shown(text));
        complaints.add(position, "kind", message);
        return None;
    };
    let had = complaints.count();
    let expected = kind.api_version();
    match fields.text("apiVersion", complaints) {
        Some((version, _)) if version == expected => {}
        Some((version, position)) => {
            let message = format!("{} must be {expected} for kind {}", shown(version), kind.as_str());
            complaints.add(position, "apiVersion", message);
        }
        None if complaints.count() == had => {
            fields.missing("apiVersion", &format!("write {expected} for kind {}", kind.as_str()), complaints);
        }
        None => {}
    }
    Some(kind)
}
