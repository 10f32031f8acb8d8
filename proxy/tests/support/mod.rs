//! A worker between real servers and real clients, all on one thread and on ports that the kernel chooses. The snapshot is
//! set directly: there is no control plane here.
// A panic is how a test fails; no test target uses all of this, and each has it as a module of its own.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod frames;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh::{
    Authority, Direction, Edge, EdgeTraffic, Endpoint, Health, InstanceName, Locality, Protocol, Revision,
    RouteRule, ServicePolicy,
};
use proxy::resources::Pressure;
use proxy::settings::InboundMode;
use proxy::snapshot::{DEMAND_QUEUE, Demand, EndpointSet, Known, Published, ServiceView, Snapshot};
use proxy::worker::{InboundSettings, Limits, WorkerSettings, Workers, start_here};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Runs a test with a `LocalSet`, as workers and local tasks need it.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Limits short enough for a test to see them pass, and longer than a busy machine holds up a thread that has something to do.
pub const SHORT: Limits = Limits {
    head: Duration::from_millis(500),
    idle: Duration::from_secs(300),
    demand: Duration::from_millis(500),
    sweep: Duration::from_millis(5),
};

/// Lets futures run on the test's own thread.
#[derive(Clone, Copy)]
pub struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// An application that says its name, and remembers what it was asked.
pub struct App {
    pub address: SocketAddr,
    pub connections: Rc<Cell<u32>>,
    pub requests: Rc<RefCell<Vec<http::request::Parts>>>,
    pub task: tokio::task::JoinHandle<()>,
}

/// An application that answers each request with `name` or, where there is one, the request's body.
pub async fn app(name: &'static str, protocol: Protocol) -> App {
    serving(protocol, move |_, body: Bytes| {
        let body = if body.is_empty() { Bytes::from_static(name.as_bytes()) } else { body };
        Response::builder().header("x-app", name).body(Full::new(body).boxed()).unwrap()
    })
    .await
}

pub type AppBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// An application that answers by `answer`.
pub async fn serving(
    protocol: Protocol,
    answer: impl Fn(&http::request::Parts, Bytes) -> Response<AppBody> + Clone + 'static,
) -> App {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, requests) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
    let (counted, seen) = (Rc::clone(&connections), Rc::clone(&requests));
    let task = tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            counted.set(counted.get() + 1);
            let (seen, answer) = (Rc::clone(&seen), answer.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (seen, answer) = (Rc::clone(&seen), answer.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let response = answer(&parts, body);
                    seen.borrow_mut().push(parts);
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::task::spawn_local(async move {
                let io = TokioIo::new(stream);
                let _ = match protocol {
                    Protocol::Http1 | Protocol::Opaque => {
                        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                    }
                    _ => hyper::server::conn::http2::Builder::new(Local).serve_connection(io, service).await,
                };
            });
        }
    });
    App { address, connections, requests, task }
}

/// An endpoint of `workload` at `address`.
pub fn endpoint(workload: &str, address: SocketAddr, weight: u32) -> Endpoint {
    Endpoint {
        instance: InstanceName(format!("{workload}-{}", address.port())),
        address,
        workload: workload.parse().unwrap(),
        locality: Locality::default(),
        weight,
        health: Health::Ready,
    }
}

/// A service with rules.
pub struct Declared {
    pub name: &'static str,
    pub protocol: Protocol,
    pub rules: Vec<RouteRule>,
    pub policy: ServicePolicy,
    pub endpoints: Vec<Endpoint>,
}

/// A service without rules.
pub fn service(name: &'static str, protocol: Protocol, endpoints: Vec<Endpoint>) -> Declared {
    Declared { name, protocol, rules: Vec::new(), policy: ServicePolicy::default(), endpoints }
}

/// A snapshot of these services; `absent` is known not to exist.
pub fn snapshot(services: &[Declared]) -> Snapshot {
    let sets: BTreeMap<Authority, Arc<EndpointSet>> = services
        .iter()
        .map(|service| {
            let authority: Authority = service.name.parse().unwrap();
            let set = EndpointSet {
                authority: authority.clone(),
                protocol: service.protocol,
                policy: Arc::new(service.policy.clone()),
                revision: Revision::new(1, 1),
                endpoints: service.endpoints.clone(),
            };
            (authority, Arc::new(set))
        })
        .collect();
    let mut known: HashMap<Authority, Known> = services
        .iter()
        .map(|service| {
            let authority: Authority = service.name.parse().unwrap();
            let view = ServiceView {
                authority: authority.clone(),
                rules: service.rules.clone(),
                clusters: sets.clone(),
            };
            (authority, Known::Service(Arc::new(view)))
        })
        .collect();
    known.insert("absent".parse().unwrap(), Known::Unknown);
    Snapshot::new(known)
}

/// A worker, and the other end of what it speaks to.
pub struct Mesh {
    pub workers: Workers,
    pub published: Arc<Published>,
    pub demands: mpsc::Receiver<Demand>,
    pub outbound: SocketAddr,
}

/// The settings of a worker without inbound.
pub fn settings() -> WorkerSettings {
    WorkerSettings {
        workers: 1,
        outbound: "127.0.0.1:0".parse().unwrap(),
        inbound: None,
        upstreams: Vec::new(),
        intercept: false,
        has_control: true,
        workload: "shop.demo".parse().unwrap(),
        locality: Locality::default(),
        seed: 11,
        pressure: Pressure::default(),
        recorder: None,
    }
}

/// Settings with an inbound side for `app`, which serves `web`.
pub fn with_inbound(app: SocketAddr, protocol: Protocol) -> WorkerSettings {
    let inbound = InboundSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        application: app,
        protocol,
        mode: InboundMode::Redirect,
        requests_max: None,
        serves: vec!["web".parse().unwrap()],
    };
    WorkerSettings { inbound: Some(inbound), ..settings() }
}

/// Starts a worker that knows `services`.
pub fn mesh(settings: &WorkerSettings, services: &[Declared]) -> Mesh {
    mesh_with(settings, Limits::default(), services)
}

/// Starts a worker with limits of its own.
pub fn mesh_with(settings: &WorkerSettings, limits: Limits, services: &[Declared]) -> Mesh {
    let published = Published::new();
    published.publish(snapshot(services));
    let (demand, demands) = mpsc::channel(DEMAND_QUEUE);
    let workers = start_here(settings, limits, &published, &demand).unwrap();
    let outbound = workers.outbound_address;
    Mesh { workers, published, demands, outbound }
}

/// A client's own connection; cloned senders are not needed for HTTP/1.1.
pub type Http1 = hyper::client::conn::http1::SendRequest<Full<Bytes>>;
pub type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// Connects as an HTTP/1.1 client.
pub async fn http1(address: SocketAddr) -> Http1 {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

/// Connects as an HTTP/2 client with prior knowledge.
pub async fn http2(address: SocketAddr) -> Http2 {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(Local, TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

/// A GET for `host`.
pub fn get(host: &str, path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", host).body(Full::default()).unwrap()
}

/// An answer as a whole.
pub struct Answered {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub trailers: Option<http::HeaderMap>,
}

/// Reads an answer to its end.
pub async fn whole(response: Response<Incoming>) -> Answered {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    Answered { status: parts.status.as_u16(), headers: parts.headers, body: collected.to_bytes(), trailers }
}

/// Sends over HTTP/1.1 and reads the whole answer.
pub async fn ask(client: &mut Http1, request: Request<Full<Bytes>>) -> Answered {
    client.ready().await.unwrap();
    whole(client.send_request(request).await.unwrap()).await
}

/// Writes `bytes` on a connection of their own and returns all that comes back.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await; // the far side may have answered and closed before the end
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// What edges of one direction carried, by caller, service and callee.
pub async fn edges(workers: &Workers, direction: Direction) -> Vec<(Edge, EdgeTraffic)> {
    let taken = workers.take().await;
    taken.edges.into_iter().filter(|(edge, _)| edge.direction == direction).collect()
}
