//! The gRPC face of questions: linearizable ones go through the door to the catalog, the others to every node. Step 12 of the
//! way of the data. Holds no rule: `stat.rs`, `lists.rs` and `members.rs` answer.

use std::sync::Arc;
use std::time::Duration;

use api::v1::query_server::Query;
use api::v1::{
    EndpointsRequest, EndpointsResponse, MembersRequest, MembersResponse, ProxiesRequest, ProxiesResponse,
    ProxyRow, RevisionRequest, RevisionResponse, ServicesRequest, ServicesResponse, StatRequest,
    StatResponse,
};
use futures_util::future::join_all;
use tonic::{Request, Response, Status};

use super::lists::{self, ListError};
use super::members;
use super::stat::{self, StatError};
use crate::catalog::Catalog;
use crate::replica::peers::Own;
use crate::replica::{Door, Fresh, WallClock, refusal};

/// The proxies connected to this node; discovery answers, `node.rs` wires.
#[tonic::async_trait]
pub trait ConnectedProxies: Send + Sync + 'static {
    /// A row per proxy of this node.
    async fn rows(&self) -> Vec<ProxyRow>;
}

/// The query service of one node; cheap to clone.
#[derive(Clone)]
pub struct QueryService {
    door: Door,
    wall: WallClock,
    proxies: Arc<dyn ConnectedProxies>,
}

impl QueryService {
    /// Answers from this door's catalog.
    pub fn new(door: Door, wall: WallClock, proxies: Arc<dyn ConnectedProxies>) -> Self {
        Self { door, wall, proxies }
    }

    /// What the catalog answers, and how many milliseconds old that is at most.
    async fn ask<T: Send + 'static>(
        &self,
        stale_ms_max: u64,
        question: impl FnOnce(&Catalog) -> T + Send + 'static,
    ) -> Result<(T, u64), Status> {
        let fresh = match stale_ms_max {
            0 => Fresh::Linearizable,
            bound => Fresh::Within(Duration::from_millis(bound)),
        };
        let asked =
            self.door.consult_as(fresh, move |seen| (question(seen.catalog), stale_ms(seen.stale))).await;
        asked.map_err(|error| refusal::of_read(&error))
    }

    /// How this node stands, as a row.
    ///
    /// # Errors
    /// If the replica has stopped.
    pub async fn own_row(&self) -> Result<api::v1::MemberRow, Status> {
        let ground = self.door.ground().await;
        let ground = ground.ok_or_else(|| Status::unavailable("this node is stopping; ask another one"))?;
        Ok(members::row(self.own(), &ground, (self.wall)()))
    }

    /// The proxies of this node alone.
    pub async fn own_proxies(&self) -> ProxiesResponse {
        let mut proxies = self.proxies.rows().await;
        proxies.iter_mut().for_each(|row| row.node = self.own().node.0);
        ProxiesResponse { proxies, missing_nodes: Vec::new() }
    }

    fn own(&self) -> &Own {
        self.door.peers().identity().own()
    }
}

/// Whole milliseconds, never fewer than it is.
fn stale_ms(stale: Duration) -> u64 {
    u64::try_from(stale.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl Query for QueryService {
    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        let request = request.into_inner();
        let answered = self.ask(request.stale_ms_max, move |catalog| stat::answer(catalog, &request)).await?;
        match answered {
            (Ok(response), stale_ms) => Ok(Response::new(StatResponse { stale_ms, ..response })),
            (Err(StatError::Invalid(reason)), _) => Err(Status::invalid_argument(reason)),
            (Err(StatError::NotFound(reason)), _) => Err(Status::not_found(reason)),
        }
    }

    async fn services(
        &self,
        request: Request<ServicesRequest>,
    ) -> Result<Response<ServicesResponse>, Status> {
        let request = request.into_inner();
        let (response, stale_ms) =
            self.ask(request.stale_ms_max, move |catalog| lists::services(catalog, &request)).await?;
        Ok(Response::new(ServicesResponse { stale_ms, ..response }))
    }

    async fn endpoints(
        &self,
        request: Request<EndpointsRequest>,
    ) -> Result<Response<EndpointsResponse>, Status> {
        let request = request.into_inner();
        let answered =
            self.ask(request.stale_ms_max, move |catalog| lists::endpoints(catalog, &request)).await?;
        match answered {
            (Ok(response), stale_ms) => Ok(Response::new(EndpointsResponse { stale_ms, ..response })),
            (Err(ListError::Invalid(error)), _) => Err(Status::invalid_argument(error.to_string())),
            (Err(ListError::NotFound(reason)), _) => Err(Status::not_found(reason)),
        }
    }

    async fn revision(&self, _: Request<RevisionRequest>) -> Result<Response<RevisionResponse>, Status> {
        // Of a node that waits for its group, or in a life that has not begun: it would vouch for nothing.
        let ground = self.door.ground().await.filter(|ground| ground.begun);
        let applied = ground.map(|ground| ground.applied);
        let applied =
            applied.ok_or_else(|| Status::unavailable("this node has applied nothing; ask another one"))?;
        Ok(Response::new(RevisionResponse { revision: Some(applied.into()) }))
    }

    async fn members(&self, _: Request<MembersRequest>) -> Result<Response<MembersResponse>, Status> {
        let peers = self.door.peers();
        let known = peers.identity().roster().peers().into_iter();
        let asked = known.map(|(peer, known)| async move { (peer, known.address, peers.status(peer).await) });
        let (own, ground, asked) = futures_util::join!(self.own_row(), self.door.ground(), join_all(asked));
        let ground = ground.ok_or_else(|| Status::unavailable("this node is stopping; ask another one"))?;
        Ok(Response::new(MembersResponse {
            cluster: self.own().cluster.clone(),
            members: members::rows(&ground.status.membership, own?, asked),
            answered_by: self.own().node.0,
            commands: ground.members.version(),
        }))
    }

    async fn proxies(&self, request: Request<ProxiesRequest>) -> Result<Response<ProxiesResponse>, Status> {
        let mut response = self.own_proxies().await;
        if request.into_inner().this_node_only {
            return Ok(Response::new(response));
        }
        let peers = self.door.peers();
        let asked = peers.peers().into_iter().map(|peer| async move { (peer, peers.proxies(peer).await) });
        for (peer, answer) in join_all(asked).await {
            match answer {
                Ok(theirs) => response.proxies.extend(theirs.proxies),
                Err(_) => response.missing_nodes.push(peer.0),
            }
        }
        response.proxies.sort_by(|a, b| (&a.proxy, a.node).cmp(&(&b.proxy, b.node)));
        Ok(Response::new(response))
    }
}
