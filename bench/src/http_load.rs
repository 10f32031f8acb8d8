//! An upstream server and a load generator over hyper, both in this process; only the proxy between them is measured.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
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
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(BODY))))
}

/// Serves until the runtime ends; tells where.
pub(crate) async fn upstream() -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
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
    let uri = match http {
        Http::One => "/bench".to_owned(),
        Http::Two(_) => format!("http://{authority}/bench"),
    };
    let mut request = Request::get(uri);
    if http == Http::One {
        request = request.header("host", authority);
    }
    request.body(Full::default()).expect("a constant request is well formed")
}

/// Answers 200 with a whole body, or says what came instead.
async fn whole(response: hyper::Result<Response<Incoming>>) -> Result<(), String> {
    let response = response.map_err(|error| error.to_string())?;
    let (status, reason) = (response.status(), response.headers().get("penstock-error").cloned());
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    if status.is_success() && body.len() == BODY.len() {
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
        Http::Two(streams) => {
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
    authority: &str,
    http: Http,
    connections: usize,
    requests: usize,
) -> Result<Vec<f64>, Failed> {
    let each = requests / connections;
    let loops = (0..connections).map(|_| connection(proxy, authority.to_owned(), http, each));
    let answers =
        tokio::time::timeout(Duration::from_secs(120), futures_util::future::try_join_all(loops)).await;
    match answers {
        Ok(Ok(latencies)) => Ok(latencies.concat()),
        Ok(Err(reason)) => Err(Failed::Other(format!("a request through {proxy} failed: {reason}"))),
        Err(_) => Err(Failed::Other(format!("the load through {proxy} did not end within 120 s"))),
    }
}
