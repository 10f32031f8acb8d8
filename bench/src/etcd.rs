//! As much of etcd's v3 gRPC API as a benchmark needs: put, range, who leads, and who shall. Messages by hand, field numbers as in
//! etcd's `rpc.proto`.

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// `etcdserverpb.PutRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: bytes::Bytes,
}

/// `etcdserverpb.RangeRequest` of one key, linearizable as is etcd's default.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: bytes::Bytes,
}

/// `etcdserverpb.RangeResponse`, as much as is asked of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RangeResponse {
    #[prost(int64, tag = "4")]
    pub(crate) count: i64,
}

/// `etcdserverpb.MoveLeaderRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MoveLeaderRequest {
    #[prost(uint64, tag = "1")]
    pub(crate) target: u64,
}

/// `etcdserverpb.MoveLeaderResponse`, its header left out.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MoveLeaderResponse {}

/// `etcdserverpb.PutResponse`, its header left out.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutResponse {}

/// `etcdserverpb.StatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusRequest {}

/// `etcdserverpb.StatusResponse`, as much as is asked of it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    pub(crate) leader: u64,
}

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
}

/// Where a put goes.
pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
/// Where a read goes.
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";

async fn unary<Q, A>(channel: Channel, path: &'static str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec: ProstCodec<Q, A> = ProstCodec::default();
    let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

/// One durable write.
pub(crate) async fn put(channel: Channel, key: String, value: bytes::Bytes) -> Result<(), Status> {
    let request = PutRequest { key: key.into(), value };
    unary::<_, PutResponse>(channel, PUT, request).await.map(drop)
}

/// One linearizable read.
pub(crate) async fn range(channel: Channel, key: &'static str) -> Result<i64, Status> {
    let request = RangeRequest { key: key.into() };
    unary::<_, RangeResponse>(channel, RANGE, request).await.map(|answer| answer.count)
}

/// The id of the member behind this channel.
pub(crate) async fn member(channel: Channel) -> Result<u64, Status> {
    let status: StatusResponse = unary(channel, STATUS, StatusRequest {}).await?;
    status
        .header
        .map(|header| header.member_id)
        .ok_or_else(|| Status::internal("etcd answered without a header"))
}

/// Makes the leader behind this channel hand over to `target`.
pub(crate) async fn move_leader(channel: Channel, target: u64) -> Result<(), Status> {
    let path = "/etcdserverpb.Maintenance/MoveLeader";
    unary::<_, MoveLeaderResponse>(channel, path, MoveLeaderRequest { target }).await.map(drop)
}

const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Whether the member behind this channel leads; an error when there is no leader.
pub(crate) async fn leads(channel: Channel) -> Result<bool, Status> {
    let status: StatusResponse = unary(channel, STATUS, StatusRequest {}).await?;
    match (status.header, status.leader) {
        (_, 0) => Err(Status::unavailable("no leader")),
        (Some(header), leader) => Ok(header.member_id == leader),
        (None, _) => Err(Status::internal("etcd answered without a header")),
    }
}
