//! The gRPC face of discovery: carries requests to the shard and answers from it. One task and one bounded channel per
//! stream; a client that does not read fills its own channel and nobody else's. Holds no rule.

use std::sync::Arc;

use actix::Addr;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, Streaming};

use super::actor::ShardActor;
use super::messages::{CloseStream, OpenStream, Take};
use super::push::Push;
use super::session::Way;
use super::shard::{Request, Sent};

/// Answers that may wait for the connection: one per kind, and the end. More are never in flight.
const ANSWERS_PER_STREAM: usize = 5;

/// Requests of all streams that may wait for the shard. Fewer leave it idle between two; more crowd the catalog's
/// changes out of its mailbox.
const REQUESTS_WAITING: usize = 256;

/// The ADS service of one shard.
#[derive(Clone)]
pub struct Streams {
    shard: Addr<ShardActor>,
    waiting: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new(shard: Addr<ShardActor>) -> Self {
        Self { shard, waiting: Arc::new(Semaphore::new(REQUESTS_WAITING)) }
    }

    async fn open<R: Send + 'static, A: Send + 'static>(
        &self,
        way: Way,
        requests: Streaming<R>,
        read: fn(R) -> Request,
        written: fn(&Push) -> A,
    ) -> Result<Response<BoxStream<'static, Result<A, Status>>>, Status> {
        let (out, answers) = mpsc::channel(ANSWERS_PER_STREAM);
        let opened = self.shard.send(OpenStream { way, out }).await;
        let id = opened.map_err(|_| Status::unavailable("this node stops: connect to another node"))??;
        let (unread, streams) = (CancellationToken::new(), self.clone());
        let reader = unread.clone().drop_guard();
        tokio::spawn(async move {
            // Ends with the requests, or once nobody reads the answers any more.
            tokio::select! {
                () = streams.carry(id, requests, read) => {}
                () = unread.cancelled() => {}
            }
            // An error means that the shard is gone, and the session with it.
            let _closed = streams.shard.send(CloseStream(id)).await;
        });
        let ended = Status::unavailable("this node ended the stream: read all answers, and connect again");
        let answers = ReceiverStream::new(answers)
            .map(move |sent| {
                let _reader = &reader;
                match sent {
                    Sent::Push(push) => Ok(written(&push)),
                    Sent::Close(status) => Err(status),
                }
            })
            .chain(stream::iter([Err(ended)]));
        Ok(Response::new(answers.boxed()))
    }

    async fn carry<R>(
        &self,
        id: super::shard::SessionId,
        mut requests: Streaming<R>,
        read: fn(R) -> Request,
    ) {
        while let Ok(Some(request)) = requests.message().await {
            let Ok(_waiting) = self.waiting.acquire().await else { return };
            if self.shard.send(Take { id, request: read(request) }).await.is_err() {
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Streams {
    type StreamAggregatedResourcesStream = BoxStream<'static, Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = BoxStream<'static, Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: tonic::Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let read = |request| Request::Whole(Box::new(request));
        self.open(Way::Whole, request.into_inner(), read, Push::whole).await
    }

    async fn delta_aggregated_resources(
        &self,
        request: tonic::Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let read = |request| Request::Delta(Box::new(request));
        self.open(Way::Delta, request.into_inner(), read, Push::delta).await
    }
}
