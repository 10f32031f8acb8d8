//! The faces of the rooms: the gRPC services of the clients' port, and what the peers' service asks of the rooms above the
//! replica. Wiring only.

use std::sync::Arc;

use api::peer::v1::OperateRequest;
use api::v1::backup_server::BackupServer;
use api::v1::config_server::ConfigServer;
use api::v1::members_server::MembersServer;
use api::v1::query_server::QueryServer;
use api::v1::registration_server::RegistrationServer;
use api::v1::reports_server::ReportsServer;
use api::v1::{MemberRow, MembersChanged, ProxiesResponse, ProxyRow};
use bytes::Bytes;
use tonic::Status;
use tonic::transport::server::Router;

use crate::backup::BackupService;
use crate::config::ConfigService;
use crate::discovery::Discovery;
use crate::intake::RegistrationService;
use crate::members::MembersService;
use crate::query::{ConnectedProxies, QueryService};
use crate::replica::Door;
use crate::replica::peers::Rooms;
use crate::rollup::ReportsService;

/// Largest message of a client: a report is at most 1 MiB, an `apply` 4 MiB, with some room for their frames.
const MESSAGE_BYTES_MAX: usize = 5 << 20;
/// Largest answer: `stat` per edge of the largest mesh.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The services that clients call, beside discovery's own.
#[derive(Clone)]
pub(super) struct Faces {
    pub(super) door: Door,
    pub(super) registration: RegistrationService,
    pub(super) config: ConfigService,
    pub(super) reports: ReportsService,
    pub(super) query: QueryService,
    pub(super) members: MembersService,
    pub(super) backup: BackupService,
}

impl Faces {
    pub(super) fn add_to(self, router: Router) -> Router {
        router
            .add_service(
                RegistrationServer::new(self.registration).max_decoding_message_size(MESSAGE_BYTES_MAX),
            )
            .add_service(
                ConfigServer::new(self.config)
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(ANSWER_BYTES_MAX),
            )
            .add_service(ReportsServer::new(self.reports).max_decoding_message_size(MESSAGE_BYTES_MAX))
            .add_service(MembersServer::new(self.members))
            .add_service(QueryServer::new(self.query).max_encoding_message_size(ANSWER_BYTES_MAX))
            .add_service(BackupServer::new(self.backup))
    }
}

/// What this node's rooms tell its peers.
pub(super) struct OwnRooms {
    pub(super) registration: RegistrationService,
    pub(super) query: QueryService,
    pub(super) members: MembersService,
}

#[tonic::async_trait]
impl Rooms for OwnRooms {
    async fn renew(&self, leases: Vec<Bytes>) -> Result<Vec<Bytes>, Status> {
        self.registration.renew_here(leases).await
    }

    async fn operate(&self, asked: OperateRequest) -> Result<MembersChanged, Status> {
        self.members.here(asked).await
    }

    async fn status(&self) -> Result<MemberRow, Status> {
        self.query.own_row().await
    }

    async fn proxies(&self) -> Result<ProxiesResponse, Status> {
        Ok(self.query.own_proxies().await)
    }
}

/// The sessions of this node's discovery, as query asks for them.
pub(super) struct Sessions(pub(super) Discovery);

#[tonic::async_trait]
impl ConnectedProxies for Sessions {
    async fn rows(&self) -> Vec<ProxyRow> {
        self.0.proxies().await.unwrap_or_default()
    }
}

/// Sessions, shared.
pub(super) fn sessions(discovery: Discovery) -> Arc<dyn ConnectedProxies> {
    Arc::new(Sessions(discovery))
}
