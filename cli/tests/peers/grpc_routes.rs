//! A `GRPCRoute` applied as a document and carried out by a real proxy: calls go where their service and method lead, are tried
//! again by gRPC's codes, and other requests to the same paths are left alone.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::v1::Protocol;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::found::until;
use crate::mesh::Mesh;
use crate::policies::HttpPeer;

/// Calls in a row that must be answered as the documents say.
const IN_A_ROW: usize = 20;

/// Longest wait for one answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

const DOCUMENTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: SERVICE-calls}
spec:
  parentRefs: [{group: "", kind: Service, name: SERVICE-calls}]
  rules:
    - matches: [{method: {service: shop.v1.Carts, method: Add}}]
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier: {set: [{name: x-answer, value: by-route}]}
      backendRefs: [{name: SERVICE-adds, port: 80}]
      timeouts: {request: 20s, backendRequest: 5s}
      retry: {grpcCodes: [UNAVAILABLE], attempts: 3, backoff: 5ms}
    - matches:
        - method: {service: shop.v1.Carts}
          headers: [{name: x-kind, value: test}]
      backendRefs: [{name: SERVICE-carts, port: 80}]
    - matches: [{method: {service: shop.v1.Nowhere}}]
    - matches:
        - method: {method: Ping}
        - method: {type: RegularExpression, service: "shop\\.v[2-9]\\..*", method: "(Re)?move"}
      backendRefs: [{name: SERVICE-carts, port: 80}]
---
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: SERVICE-calls}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: SERVICE-calls}]
  timeouts: {streamIdle: 1m}
---
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: SERVICE-adds}
spec:
  targetRefs: [{group: "", kind: Service, name: SERVICE-adds}]
  retryConstraint: {budget: {percent: 100, interval: 10s}, minRetryRate: {count: 1000, interval: 1s}}
"#;

/// A service that says its name, and answers UNAVAILABLE to every other call if it `fails`.
async fn answering(name: &'static str, fails: bool) -> SocketAddr {
    let count = Arc::new(AtomicU32::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            let service = service_fn(move |_: Request<Incoming>| {
                let in_vain = fails && count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
                let answer = Response::builder().header("content-type", "application/grpc");
                let answer = answer.header("grpc-status", if in_vain { "14" } else { "0" });
                let answer = answer.header("x-name", name).body(Full::<Bytes>::default()).unwrap();
                async move { Ok::<_, Infallible>(answer) }
            });
            let serving = server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Who answered a call of `path`, its `grpc-status`, and what the route set; `None` when there was no such answer.
async fn called(
    outbound: SocketAddr,
    service: &str,
    path: &str,
    kind: &str,
) -> Option<(String, String, bool)> {
    let stream = TcpStream::connect(outbound).await.ok()?;
    let shaken = client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.ok()?;
    tokio::spawn(connection);
    let request = Request::post(format!("http://{service}{path}")).header("content-type", kind);
    let request = request.header("te", "trailers").header("x-kind", "test").body(Full::<Bytes>::default());
    let response = timeout(CALL_TIMEOUT, sender.send_request(request.unwrap())).await.ok()?.ok()?;
    let said = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    Some((said("x-name"), said("grpc-status"), said("x-answer") == "by-route"))
}

/// Applies the route, and calls until it is carried out; then nothing may have been refused.
pub async fn are_carried_out<P: HttpPeer>() {
    let mut mesh = Mesh::start().await;
    let peer = P::start(&mesh.control()).await;
    for (part, fails) in [("calls", false), ("carts", false), ("adds", true)] {
        let (service, address) = (format!("{}-{part}", P::SERVICE), answering(part, fails).await);
        mesh.register_as::<P>(part, &service, Protocol::Grpc, address).await;
    }
    mesh.apply::<P>(DOCUMENTS.replace("SERVICE", P::SERVICE)).await;
    let service = format!("{}-calls", P::SERVICE);
    for (path, kind, name, status, is_changed) in [
        ("/shop.v1.Carts/Add", "application/grpc", "adds", "0", true),
        ("/shop.v1.Carts/Remove", "application/grpc+proto", "carts", "0", false),
        ("/shop.v1.Carts2/Add", "application/grpc", "calls", "0", false),
        ("/shop.v1.Carts/Add", "application/json", "calls", "0", false),
        ("/any.Thing/Ping", "application/grpc", "carts", "0", false),
        ("/any.Thing/Pinging", "application/grpc", "calls", "0", false),
        ("/shop.v7.Carts/move", "application/grpc", "carts", "0", false),
        ("/shop.v1.Others/move", "application/grpc", "calls", "0", false),
        ("/shop.v1.Nowhere/Add", "application/grpc", "", "14", false),
    ] {
        let expected = (name.to_owned(), status.to_owned(), is_changed);
        let mut in_a_row = 0;
        until(&format!("{}: {kind} to {path} is answered by {name:?}", P::ID), async || {
            let is_so = called(peer.outbound(), &service, path, kind).await.as_ref() == Some(&expected);
            in_a_row = if is_so { in_a_row + 1 } else { 0 };
            (in_a_row >= IN_A_ROW).then_some(())
        })
        .await;
    }
    // Asserts too that nothing was refused.
    until("it has taken all of it in", async || mesh.followed(P::ID).await).await;
    mesh.stop().await;
}
