//! A control node that gives set answers, on a port of its own and a thread of its own.

use std::net::TcpListener;

use api::v1;
use api::v1::backup_server::{Backup, BackupServer};
use api::v1::config_server::{Config, ConfigServer};
use api::v1::query_server::{Query, QueryServer};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// One that runs until it is dropped.
pub(crate) struct StandIn {
    pub(crate) address: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl StandIn {
    /// A node of a healthy mesh.
    pub(crate) fn start() -> Self {
        Self::answering(Answers { role: "leader", backup: Giving::Whole })
    }

    /// A node that knows no leader.
    pub(crate) fn leaderless() -> Self {
        Self::answering(Answers { role: "candidate", backup: Giving::Whole })
    }

    /// A node that gives backups in this way.
    pub(crate) fn giving(backup: Giving) -> Self {
        Self::answering(Answers { role: "leader", backup })
    }

    fn answering(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, answers, stopped));
        Self { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(listener: TcpListener, answers: Answers, stopped: tokio::sync::oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        let server = Server::builder()
            .add_service(QueryServer::new(answers))
            .add_service(ConfigServer::new(answers))
            .add_service(BackupServer::new(answers))
            .serve_with_incoming(incoming.with_nodelay(Some(true)));
        tokio::select! {
            served = server => served.unwrap(),
            _ = stopped => {}
        }
    });
}

/// An address where nobody listens.
pub(crate) fn refusing_address() -> String {
    runtime::ports::addresses(1).unwrap()[0].to_string()
}

#[derive(Debug, Clone, Copy)]
struct Answers {
    role: &'static str,
    backup: Giving,
}

/// How a backup is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Giving {
    Whole,
    /// The node dies amid it.
    BrokenOff,
    /// The stream ends before all has come.
    Short,
    /// A byte changes on the way.
    Damaged,
    /// The rest never comes.
    Halting,
}

#[tonic::async_trait]
impl Backup for Answers {
    type SaveStream = BoxStream<'static, Result<v1::SavePiece, Status>>;

    async fn save(&self, _: Request<v1::SaveRequest>) -> Result<Response<Self::SaveStream>, Status> {
        let state = control::catalog::Catalog::new(7).snapshot();
        let head = v1::BackupHead {
            cluster: "shop".to_owned(),
            revision: Some(v1::Revision { epoch: 7, index: 0 }),
            taken_ms: 1_790_000_000_000,
            node: 1,
            version: "0.1.0".to_owned(),
            bytes: state.len() as u64,
        };
        let piece = |data: &[u8]| v1::SavePiece { data: data.to_vec(), ..v1::SavePiece::default() };
        let (left, right) = state.split_at(state.len() / 2);
        let mut last = right.to_vec();
        last[0] ^= u8::from(self.backup == Giving::Damaged);
        let sha256 = control::backup::sha256(&state).to_vec();
        let mut pieces = vec![
            Ok(v1::SavePiece { head: Some(head), ..v1::SavePiece::default() }),
            Ok(piece(left)),
            Ok(piece(&last)),
            Ok(v1::SavePiece { sha256, ..v1::SavePiece::default() }),
        ];
        match self.backup {
            Giving::Whole | Giving::Damaged => {}
            Giving::Short | Giving::Halting => pieces.truncate(2),
            Giving::BrokenOff => {
                pieces.truncate(2);
                pieces.push(Err(Status::unavailable("this node is stopping")));
            }
        }
        let given = futures_util::stream::iter(pieces);
        if self.backup == Giving::Halting {
            return Ok(Response::new(Box::pin(given.chain(futures_util::stream::pending()))));
        }
        Ok(Response::new(Box::pin(given)))
    }
}

fn named(name: &str) -> Option<v1::QualifiedName> {
    Some(v1::QualifiedName { name: name.to_owned(), namespace: "default".to_owned() })
}

#[tonic::async_trait]
impl Query for Answers {
    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let asked = request.into_inner();
        let authority = Some(v1::Authority { service: named("web"), port: 80 });
        let traffic = Some(v1::EdgeTraffic { successes: 3, failures: vec![1], ..v1::EdgeTraffic::default() });
        let row = v1::StatRow { authority, traffic, requests_per_second: 0.4, ..v1::StatRow::default() };
        let rows = if asked.to.is_some() { Vec::new() } else { vec![row] };
        Ok(Response::new(v1::StatResponse { rows, ..v1::StatResponse::default() }))
    }

    async fn services(
        &self,
        request: Request<v1::ServicesRequest>,
    ) -> Result<Response<v1::ServicesResponse>, Status> {
        if self.role != "leader" {
            return Err(Status::invalid_argument("no quorum"));
        }
        let service = Some(v1::Service { name: named("web"), ..v1::Service::default() });
        let row = v1::ServiceRow { service, ready_endpoints: 1, endpoints: 1, ..v1::ServiceRow::default() };
        // What this node holds was confirmed 1,234 ms ago, which it says to who bears that.
        let stale_ms = if request.into_inner().stale_ms_max < 1234 { 0 } else { 1234 };
        Ok(Response::new(v1::ServicesResponse { services: vec![row], stale_ms }))
    }

    async fn endpoints(
        &self,
        request: Request<v1::EndpointsRequest>,
    ) -> Result<Response<v1::EndpointsResponse>, Status> {
        match request.into_inner().service {
            Some(name) => {
                Err(Status::not_found(format!("no service is named {}.{}", name.name, name.namespace)))
            }
            None => Ok(Response::new(v1::EndpointsResponse::default())),
        }
    }

    async fn revision(
        &self,
        _: Request<v1::RevisionRequest>,
    ) -> Result<Response<v1::RevisionResponse>, Status> {
        Ok(Response::new(v1::RevisionResponse { revision: Some(v1::Revision { epoch: 1, index: 97 }) }))
    }

    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        let member = v1::MemberRow {
            node: 1,
            role: self.role.to_owned(),
            version: "0.1.0".to_owned(),
            reachable: true,
            ..v1::MemberRow::default()
        };
        Ok(Response::new(v1::MembersResponse {
            cluster: "test".to_owned(),
            members: vec![member],
            answered_by: 1,
            commands: 2,
        }))
    }

    async fn proxies(&self, _: Request<v1::ProxiesRequest>) -> Result<Response<v1::ProxiesResponse>, Status> {
        Ok(Response::new(v1::ProxiesResponse::default()))
    }
}

#[tonic::async_trait]
impl Config for Answers {
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        let asked = request.into_inner();
        let bad = |file: &&v1::SourceFile| file.yaml.contains("BAD");
        let complaint = |file: &v1::SourceFile| v1::Complaint {
            file: file.name.clone(),
            line: 2,
            column: 12,
            field: "metadata.name".to_owned(),
            message: "\"BAD\" is no name".to_owned(),
        };
        let complaints: Vec<v1::Complaint> = asked.files.iter().filter(bad).map(complaint).collect();
        let outcome =
            v1::Outcome { kind: "Service".to_owned(), name: named("web"), action: "created".to_owned() };
        let outcomes = if complaints.is_empty() { vec![outcome] } else { Vec::new() };
        Ok(Response::new(v1::ApplyResponse { complaints, outcomes, revision: None }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let v1::DeleteRequest { kind, name, .. } = request.into_inner();
        if name.as_ref().is_some_and(|name| name.name == "gone") {
            return Err(Status::not_found(format!("no {kind} is named gone.default")));
        }
        let outcome = Some(v1::Outcome { kind, name, action: "deleted".to_owned() });
        Ok(Response::new(v1::DeleteResponse { outcome, revision: None }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let documents = match request.into_inner().name {
            Some(_) => Vec::new(),
            None => vec![v1::Document {
                kind: "Service".to_owned(),
                name: named("web"),
                revision: None,
                yaml: "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n".to_owned(),
            }],
        };
        Ok(Response::new(v1::GetResponse { documents }))
    }
}
