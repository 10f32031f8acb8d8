//! Every policy that there is, applied as documents and carried out by a real proxy over HTTP: none of the resources is
//! refused, and requests visibly go as the documents say.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::found::until;
use crate::http::request;
use crate::mesh::Mesh;
use crate::story::Peer;

/// Requests in a row that must be answered as the documents say.
const IN_A_ROW: u32 = 20;

/// Each field of each kind is in it, so that a client that refuses the shape of one is found.
const DOCUMENTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: SERVICE-changed}
spec:
  parentRefs: [{group: "", kind: Service, name: SERVICE}]
  rules:
    - matches:
        - path: {type: PathPrefix, value: /old}
          queryParams: [{name: v, value: "1"}, {name: w, type: RegularExpression, value: "a.*"}]
          headers: [{name: x-kind, type: RegularExpression, value: "te.*"}]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier:
            set: [{name: x-set, value: by-route}]
            add: [{name: x-added, value: by-route}]
            remove: [x-removed]
        - type: ResponseHeaderModifier
          responseHeaderModifier: {set: [{name: x-answer, value: by-route}]}
        - type: URLRewrite
          urlRewrite: {hostname: rewritten.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
        - type: RequestMirror
          requestMirror: {backendRef: {name: SERVICE-mirror, port: 80}}
      backendRefs: [{name: SERVICE, port: 80}]
      timeouts: {request: 20s, backendRequest: 5s}
      retry: {codes: [503], attempts: 3, backoff: 5ms}
    - matches: [{path: {type: PathPrefix, value: /bare}}]
      filters:
        - type: URLRewrite
          urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
      backendRefs: [{name: SERVICE, port: 80}]
      retry: {codes: [503], attempts: 3, backoff: 5ms}
    - matches: [{path: {type: PathPrefix, value: /whole}}]
      filters:
        - type: URLRewrite
          urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}
      backendRefs: [{name: SERVICE, port: 80}]
      retry: {codes: [503], attempts: 3, backoff: 5ms}
    - matches:
        - path: {type: RegularExpression, value: "/v[0-9]{1,150}/(a|b)+"}
          queryParams: [{name: q, type: RegularExpression, value: "[^x]+"}]
          headers: [{name: x-kind, type: RegularExpression, value: "t..t"}]
      filters:
        - type: URLRewrite
          urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /by-expression}}
      backendRefs: [{name: SERVICE, port: 80}]
      retry: {codes: [503], attempts: 3, backoff: 5ms}
    - matches: [{path: {type: PathPrefix, value: /gone}}]
      filters:
        - type: RequestRedirect
          requestRedirect:
            scheme: https
            hostname: elsewhere.example
            path: {type: ReplacePrefixMatch, replacePrefixMatch: /here}
            statusCode: 301
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: SERVICE-faulty}
spec:
  parentRefs: [{group: "", kind: Service, name: SERVICE}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /fault}}]
      backendRefs: [{name: SERVICE, port: 80}]
---
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: SERVICE-faulty}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: SERVICE-faulty}]
  fault:
    delay: {percent: 100, duration: 5ms}
    abort: {percent: 100, httpStatus: 418}
---
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: SERVICE}
spec:
  targetRefs: [{group: "", kind: Service, name: SERVICE}]
  retry: {codes: [502], grpcCodes: [unavailable, cancelled], attempts: 1}
  retryConstraint: {budget: {percent: 100, interval: 10s}, minRetryRate: {count: 1000, interval: 1s}}
  timeouts: {connect: 2s, streamIdle: 1m}
  balancer: {type: RingHash, hashOn: {cookie: {name: user, ttl: 1h}}}
  slowStart: {window: 10s, minPercent: 20}
  zonePreference: {minEndpoints: 2}
  ejection:
    consecutiveFailures: 1000
    successRate: {minRequests: 1000, minEndpoints: 5}
  circuitBreaker: {maxConnections: 100, maxPendingRequests: 100, maxRequests: 1000}
  rateLimit: {requests: 100000, interval: 1s, burst: 100000}
---
apiVersion: penstock.io/v1alpha1
kind: TrafficPolicy
metadata: {name: SERVICE-mirror}
spec:
  targetRefs: [{group: "", kind: Service, name: SERVICE-mirror}]
  balancer: {type: RoundRobin}
  slowStart: {}
"#;

/// A backend that answers every other request 503, and else says what it was asked.
async fn every_other() -> SocketAddr {
    let count = Arc::new(AtomicU32::new(0));
    serving(move |request| {
        let fails = count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let headers = request.headers();
        let all = |name: &str| {
            let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join(",")
        };
        let told = format!(
            "{} {} set={} added={} removed={}",
            all("host"),
            request.uri(),
            all("x-set"),
            all("x-added"),
            all("x-removed"),
        );
        (if fails { 503 } else { 200 }, told)
    })
    .await
}

async fn serving(
    answer: impl Fn(&Request<Incoming>) -> (u16, String) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let (status, text) = answer(&request);
                let response = Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap();
                async move { Ok::<_, Infallible>(response) }
            });
            let serving = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    address
}

/// A proxy that is called over HTTP at one address.
pub trait HttpPeer: Peer {
    fn outbound(&self) -> SocketAddr;
}

/// Applies everything, and asks until it is carried out; then nothing may have been refused.
pub async fn are_carried_out<P: HttpPeer>() {
    let mut mesh = Mesh::start().await;
    let peer = P::start(&mesh.control()).await;
    let mirrored = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&mirrored);
    let mirror = serving(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        (200, String::new())
    })
    .await;
    mesh.register::<P>("first", P::SERVICE, every_other().await).await;
    mesh.register::<P>("mirror", &format!("{}-mirror", P::SERVICE), mirror).await;
    mesh.apply::<P>(DOCUMENTS.replace("SERVICE", P::SERVICE)).await;

    let outbound = peer.outbound();
    let asked = async |path: &str| {
        let headers =
            [("x-kind", "test"), ("x-removed", "1"), ("x-added", "by-caller"), ("x-set", "by-caller")];
        request(outbound, P::SERVICE, path, &headers).await
    };
    for (path, expected) in [
        (
            "/old/x?v=1&w=abc",
            "rewritten.example /new/x?v=1&w=abc set=by-route added=by-caller,by-route removed=",
        ),
        ("/bare/x?q", "/x?q"),
        ("/whole/x?q", "/all?q"),
        ("/v17/abba?q=1%20y", "/by-expression?q=1%20y"),
    ] {
        let in_a_row = Cell::new(0);
        until(&format!("{}: {path} arrives as {expected:?} {IN_A_ROW} times in a row", P::ID), async || {
            let answer = asked(path).await.ok()?;
            let is_so = answer.status == 200 && answer.body.contains(expected);
            in_a_row.set(if is_so { in_a_row.get() + 1 } else { 0 });
            (in_a_row.get() >= IN_A_ROW).then_some(())
        })
        .await;
    }
    let answer = asked("/old/x?v=1&w=abc").await.unwrap();
    assert_eq!(answer.headers["x-answer"], "by-route");
    assert!(answer.headers["set-cookie"].to_str().unwrap().starts_with("user="), "{:?}", answer.headers);
    until("copies have reached the mirror", async || (mirrored.load(Ordering::Relaxed) > 0).then_some(()))
        .await;
    let other = asked("/old/x?v=2&w=abc").await.unwrap();
    assert!(!other.body.contains("rewritten"), "another rule's request: {}", other.body);
    for path in ["/v17/abbc?q=1", "/v17/abba?q=1x", "/x/v17/abba?q=1"] {
        let other = asked(path).await.unwrap();
        assert!(!other.body.contains("by-expression"), "{path}: {}", other.body);
    }
    let gone = asked("/gone/x?q").await.unwrap();
    assert_eq!(
        (gone.status, &gone.headers["location"]),
        (301, &"https://elsewhere.example/here/x?q".parse().unwrap())
    );
    assert_eq!(asked("/fault").await.unwrap().status, 418);

    // Asserts too that nothing was refused.
    until("it has taken all of it in", async || mesh.followed(P::ID).await).await;
    mesh.stop().await;
}
