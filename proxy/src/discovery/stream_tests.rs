//! Stream and feed against nodes that speak real gRPC over real sockets; each node's answers are scripted by the test.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use api::xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::fixtures::{authority, cluster, endpoints, node, removal, response, routes};
use super::*;
use crate::metrics::Metrics;
use crate::snapshot::{Demand, Known, Published, Snapshot};

/// Nothing here takes long; a test that hangs should say where.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node's end of one stream.
struct Session {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

struct Service(mpsc::Sender<Session>);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Out<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Out<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("the proxy follows the incremental stream"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::channel(16);
        let session = Session { requests: request.into_inner(), responses };
        self.0.send(session).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// A control node on a runtime of its own, so that dropping that kills every connection at once.
struct ScriptedNode {
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl ScriptedNode {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, sessions) = mpsc::channel(4);
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            let service = AggregatedDiscoveryServiceServer::new(Service(sender));
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        Self { address, sessions, runtime: Some(runtime) }
    }

    async fn accept(&mut self) -> Session {
        within(self.sessions.recv()).await.unwrap()
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Session {
    /// The next request that is no acknowledgement.
    async fn asked(&mut self) -> DeltaDiscoveryRequest {
        loop {
            let request = self.request().await;
            if request.response_nonce.is_empty() {
                return request;
            }
        }
    }

    async fn request(&mut self) -> DeltaDiscoveryRequest {
        within(self.requests.message()).await.unwrap().unwrap()
    }

    async fn answer(&self, response: DeltaDiscoveryResponse) {
        within(self.responses.send(Ok(response))).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it came in time")
}

/// The proxy's half, with the test in the place of a worker.
struct Worker {
    demands: mpsc::Sender<Demand>,
    published: Arc<Published>,
    uplink: Uplink,
    _used: mpsc::Sender<Vec<mesh::Authority>>,
}

fn follow(nodes: &[SocketAddr]) -> Worker {
    let Metrics { feed, stream, .. } = Metrics::new();
    let published = Published::new();
    let (demands, wanted) = mpsc::channel(16);
    let (used_sender, used) = mpsc::channel(1);
    let (event_sender, events) = mpsc::channel(1);
    let (uplink_sender, uplink) = watch::channel(None);
    let addresses = nodes.iter().map(ToString::to_string).collect();
    let addresses = Addresses::new(addresses, "caller-1");
    tokio::spawn(carry(addresses, event_sender, uplink_sender, stream, || 0.5));
    let subscriber = Subscriber::new(node(), Bounds::default());
    let (_, questions) = mpsc::channel(1);
    let asked = Asked { demands: wanted, questions, uplink: uplink.clone() };
    tokio::spawn(Feed::new(subscriber, Arc::clone(&published), feed).run(asked, used, events));
    Worker { demands, published, uplink, _used: used_sender }
}

impl Worker {
    async fn want(&self, text: &str) {
        self.demands.send(Demand::Service(authority(text))).await.unwrap();
    }

    /// Waits until a snapshot says `expected` of the ports of `text`: `None` when it is unknown.
    async fn sees(&self, text: &str, expected: Option<&[u16]>) {
        let mut versions = self.published.reader().versions();
        while shown(&self.published.current(), text).as_ref().map(Option::as_deref) != Some(expected) {
            within(versions.changed()).await.unwrap();
        }
    }
}

/// What a snapshot says of `text`: nothing yet, unknown, or its ports.
fn shown(snapshot: &Snapshot, text: &str) -> Option<Option<Vec<u16>>> {
    Some(match snapshot.service(&authority(text))? {
        Known::Unknown => None,
        Known::Service(view) => {
            let endpoints = view.clusters[&authority(text)].endpoints.iter();
            Some(endpoints.map(|endpoint| endpoint.address.port()).collect())
        }
    })
}

/// Lets a session give `web` at revision 1.5, served at port 1, once it is wanted.
async fn serve_web(session: &mut Session) {
    while session.asked().await.resource_names_subscribe.is_empty() {}
    session.answer(response(Kind::Clusters, "1", vec![cluster("web", "1.5", "http")])).await;
    session.answer(response(Kind::Endpoints, "2", vec![endpoints("web", "1.5", &[1])])).await;
    session.answer(response(Kind::Routes, "3", vec![routes("web", "1.5", &[])])).await;
}

#[tokio::test]
async fn a_service_is_found_followed_and_lost_over_a_real_stream() {
    let mut node = ScriptedNode::start();
    let worker = follow(&[node.address]);
    let mut session = node.accept().await;
    let first = session.asked().await;
    assert_eq!(first.node.unwrap().user_agent_name, "penstock");
    worker.want("web").await;
    serve_web(&mut session).await;
    worker.sees("web", Some(&[1])).await;
    session.answer(response(Kind::Endpoints, "4", vec![endpoints("web", "1.6", &[1, 2])])).await;
    worker.sees("web", Some(&[1, 2])).await;
    session.answer(removal(Kind::Routes, "5", "1.7", &["web"])).await;
    worker.sees("web", None).await;
    while session.request().await.response_nonce != "5" {}
}

#[tokio::test]
async fn a_bad_resource_is_refused_on_the_stream_and_the_last_good_one_stays() {
    let mut node = ScriptedNode::start();
    let worker = follow(&[node.address]);
    let mut session = node.accept().await;
    worker.want("web").await;
    serve_web(&mut session).await;
    worker.sees("web", Some(&[1])).await;
    session.answer(response(Kind::Clusters, "4", vec![cluster("web", "1.6", "gopher")])).await;
    let refusal = loop {
        let request = session.request().await;
        if request.response_nonce == "4" {
            break request.error_detail.unwrap();
        }
    };
    assert!(refusal.message.contains("protocol \"gopher\" is not known"), "{refusal:?}");
    worker.sees("web", Some(&[1])).await;
}

#[tokio::test]
async fn when_a_node_dies_the_next_one_resumes_with_what_is_held_and_the_snapshot_stays() {
    let nodes = [ScriptedNode::start(), ScriptedNode::start()];
    let order = Addresses::new(nodes.iter().map(|node| node.address.to_string()).collect(), "caller-1");
    let first = order.clone().advance().unwrap();
    let [one, other] = nodes;
    let (mut dying, mut next) = if one.address.to_string() == first { (one, other) } else { (other, one) };
    let mut worker = follow(&[dying.address, next.address]);
    let mut session = dying.accept().await;
    worker.want("web").await;
    serve_web(&mut session).await;
    worker.sees("web", Some(&[1])).await;
    within(worker.uplink.wait_for(Option::is_some)).await.unwrap();
    let version = worker.published.current().version();

    drop(dying);
    let mut session = next.accept().await;
    for kind in Kind::ALL {
        let request = session.asked().await;
        assert_eq!(request.type_url, kind.type_url());
        let held = request.initial_resource_versions;
        assert_eq!(held.get(&authority("web").to_string()).map(String::as_str), Some("1.5"));
        assert_eq!(request.node.is_some(), kind == Kind::Clusters);
    }
    assert_eq!(worker.published.current().version(), version, "nothing changed for workers");

    session.answer(response(Kind::Endpoints, "1", vec![endpoints("web", "1.6", &[2])])).await;
    worker.sees("web", Some(&[2])).await;
}

#[tokio::test]
async fn with_no_node_at_all_the_last_snapshot_stays_in_use() {
    let mut node = ScriptedNode::start();
    let address = node.address;
    let mut worker = follow(&[address]);
    let mut session = node.accept().await;
    worker.want("web").await;
    serve_web(&mut session).await;
    worker.sees("web", Some(&[1])).await;
    within(worker.uplink.wait_for(Option::is_some)).await.unwrap();
    drop((session, node));
    within(worker.uplink.wait_for(Option::is_none)).await.unwrap();
    worker.sees("web", Some(&[1])).await;
}
