//! An upstream server and a load generator over hyper, both in this process; only the proxy between them is measured.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::process::Failed;

/// Answer of the upstream: about what a small API sends.
const BODY: &[u8] = &[b'x'; 100];

/// What is spoken on both sides of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    /// One request in flight per connection.
    One,
    /// This many streams in flight per connection.
    Two(usize),
    /// This many unary calls in flight per connection.
    Grpc(usize),
}

impl Http {
    /// The service that speaks it, as the benchmarks register and configure it.
    pub(crate) fn authority(self) -> &'static str {
        if self == Self::One { "one.bench" } else { "two.bench" }
    }
}

/// A message of gRPC: about what a small call sends.
const MESSAGE: &[u8] = b"\0\0\0\0\x20................................";

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    if !request.headers().contains_key("te") {
        return Ok(Response::new(Full::new(Bytes::from_static(BODY)).boxed()));
    }
    let _ = request.into_body().collect().await; // a caller that left gets its answer nowhere
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(MESSAGE)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// Serves until the runtime ends; tells where.
pub(crate) async fn upstream() -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("0.0.0.0:0").await?; // endpoints by the thousand have addresses of their own
    let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr()?.port()));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(socket), service_fn(answer)).await;
            });
        }
    });
    Ok(address)
}

fn request(http: Http, authority: &str) -> Request<Full<Bytes>> {
    let request = match http {
        Http::One => Request::get("/bench").header("host", authority).body(Full::default()),
        Http::Two(_) => Request::get(format!("http://{authority}/bench")).body(Full::default()),
        Http::Grpc(_) => Request::post(format!("http://{authority}/bench.Bench/Call"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(MESSAGE))),
    };
    request.expect("a constant request is well formed")
}

/// Answers 200 with a whole body, or says what came instead.
async fn whole(response: hyper::Result<Response<Incoming>>) -> Result<(), String> {
    let response = response.map_err(|error| error.to_string())?;
    let (status, reason) = (response.status(), response.headers().get("penstock-error").cloned());
    let is_grpc = response.headers().get("content-type").is_some_and(|value| value == "application/grpc");
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    let is_told = body
        .trailers()
        .is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|status| status == "0"));
    let (body, expected) = (body.to_bytes(), if is_grpc { MESSAGE } else { BODY });
    if status.is_success() && body.len() == expected.len() && is_told == is_grpc {
        return Ok(());
    }
    Err(format!("{status} with {} bytes, {reason:?}", body.len()))
}

/// One connection's worth of a closed loop.
async fn connection(
    proxy: SocketAddr,
    authority: String,
    http: Http,
    requests: usize,
) -> Result<Vec<f64>, String> {
    let socket = TcpStream::connect(proxy).await.map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let io = TokioIo::new(socket);
    let mut latencies = Vec::with_capacity(requests);
    match http {
        Http::One => {
            let (mut sender, driver) =
                hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
            tokio::spawn(driver);
            for _ in 0..requests {
                let begun = Instant::now();
                sender.ready().await.map_err(|error| error.to_string())?;
                whole(sender.send_request(request(http, &authority)).await).await?;
                latencies.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
        }
        Http::Two(streams) | Http::Grpc(streams) => {
            let (sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(driver);
            let loops = (0..streams).map(|_| {
                let (mut sender, authority) = (sender.clone(), authority.clone());
                async move {
                    let mut latencies = Vec::new();
                    for _ in 0..requests / streams {
                        let begun = Instant::now();
                        whole(sender.send_request(request(http, &authority)).await).await?;
                        latencies.push(begun.elapsed().as_secs_f64() * 1000.0);
                    }
                    Ok::<_, String>(latencies)
                }
            });
            latencies = futures_util::future::try_join_all(loops).await?.concat();
        }
    }
    Ok(latencies)
}

/// Sends about `requests` through `proxy` over `connections`, and gives every latency in milliseconds.
pub(crate) async fn closed_loop(
    proxy: SocketAddr,
    http: Http,
    connections: usize,
    requests: usize,
) -> Result<Vec<f64>, Failed> {
    let each = requests / connections;
    let loops = (0..connections).map(|_| connection(proxy, http.authority().to_owned(), http, each));
    let answers =
        tokio::time::timeout(Duration::from_secs(120), futures_util::future::try_join_all(loops)).await;
    match answers {
        Ok(Ok(latencies)) => Ok(latencies.concat()),
        Ok(Err(reason)) => Err(Failed::Other(format!("a request through {proxy} failed: {reason}"))),
        Err(_) => Err(Failed::Other(format!("the load through {proxy} did not end within 120 s"))),
    }
}

/// Sends `rate` requests a second over `connections` for `seconds`, on time whether or not the ones before are answered, and
/// gives every latency in milliseconds: from when a request was due if its connection was late, else from when it was sent,
/// since the timer's own coarseness is not the proxy's.
pub(crate) async fn steady(
    proxy: SocketAddr,
    authority: &str,
    rate: u32,
    connections: u32,
    seconds: u32,
) -> Result<Vec<f64>, Failed> {
    let (gap, each) = (Duration::from_secs(1) * connections / rate, rate * seconds / connections);
    let begin = Instant::now() + Duration::from_millis(50);
    let loops = (0..connections).map(|number| {
        let first = begin + Duration::from_secs(1) / rate * number;
        async move {
            let mut sender = connected(proxy).await?;
            let mut latencies = Vec::with_capacity(each as usize);
            for turn in 0..each {
                let due = first + gap * turn;
                let is_late = Instant::now() > due;
                tokio::time::sleep_until(due.into()).await;
                let begun = if is_late { due } else { Instant::now() };
                sender.ready().await.map_err(|error| error.to_string())?;
                whole(sender.send_request(request(Http::One, authority)).await).await?;
                latencies.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            Ok::<_, String>(latencies)
        }
    });
    let all = futures_util::future::try_join_all(loops).await;
    all.map(|all| all.concat())
        .map_err(|reason| Failed::Other(format!("a request through {proxy} failed: {reason}")))
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

async fn connected(proxy: SocketAddr) -> Result<Sender, String> {
    let socket = TcpStream::connect(proxy).await.map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let made = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (sender, driver) = made.map_err(|error| error.to_string())?;
    tokio::spawn(driver);
    Ok(sender)
}

/// Opens `count` connections one after the other, sends one request on each to the `authorities` in turn, and hands them over.
pub(crate) async fn kept(
    proxy: SocketAddr,
    authorities: &[String],
    count: usize,
) -> Result<Vec<Sender>, Failed> {
    let failed = |reason: String| Failed::Other(format!("a request through {proxy} failed: {reason}"));
    let mut senders = Vec::with_capacity(count);
    for authority in authorities.iter().cycle().take(count) {
        let mut sender = connected(proxy).await.map_err(failed)?;
        whole(sender.send_request(request(Http::One, authority)).await).await.map_err(failed)?;
        senders.push(sender);
    }
    Ok(senders)
}

/// Sends `requests` over one connection to the `authorities` in turn.
pub(crate) async fn in_turn(
    proxy: SocketAddr,
    authorities: &[String],
    requests: usize,
) -> Result<(), Failed> {
    let failed = |reason: String| Failed::Other(format!("a request through {proxy} failed: {reason}"));
    let mut sender = connected(proxy).await.map_err(failed)?;
    for authority in authorities.iter().cycle().take(requests) {
        sender.ready().await.map_err(|error| failed(error.to_string()))?;
        whole(sender.send_request(request(Http::One, authority)).await).await.map_err(failed)?;
    }
    Ok(())
}
