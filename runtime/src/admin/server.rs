//! The tiny HTTP/1 server behind the admin port: small answers to probes, scrapers and people.
//!
//! Built with [`Admin`], started by `main`, asked by kubelets, Prometheus and `curl`. It bounds its connections, the time
//! for a request's head, and the time for an answer, so that no client can hold it: at the bound, the oldest connection that
//! waits for no answer makes room for the next. What changes the process is taken from this host alone unless the program
//! says otherwise. Must never serve the mesh's own traffic.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounter, Registry, TextEncoder};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Readiness, log_level};
use crate::listen::{BindError, Listener, Share, bind};

/// Open connections at most. Probes and scrapers need a handful; each more is memory that a stranger may take.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take for a request's head, also while it keeps an idle connection. Shorter breaks people who type
/// by hand; longer keeps the places of clients that are gone.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live in all. A scraper dials again; a client that reads one byte a second is let go.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(60);
/// How long a route may take. Prometheus gives up after ten seconds by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(9);
/// Largest request head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Largest body of a change.
const CHANGE_BYTES_MAX: usize = 4096;

/// Pages that every process has.
const PAGES: [&str; 4] = ["/live", "/ready", "/metrics", log_level::PATH];

/// An answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Plain text with a status.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// A JSON document.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: body.into() }
    }
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Route = Box<dyn Fn(String) -> Answering + Send + Sync>;
type Refreshing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The admin server of one process, before it starts.
pub struct Admin {
    registry: Registry,
    readiness: Readiness,
    routes: BTreeMap<&'static str, Route>,
    refresh: Option<Box<dyn Fn() -> Refreshing + Send + Sync>>,
    is_changed_from_anywhere: bool,
    waits: IntCounter,
    head_timeout: Duration,
}

/// Why the admin server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its thread or runtime could not be made.
    #[error("cannot start the admin server's thread: {0}; the process is out of threads, memory or files")]
    Thread(#[from] std::io::Error),
}

impl Admin {
    /// A server that shows the metrics of `registry` and the state of `readiness`.
    pub fn new(registry: Registry, readiness: Readiness) -> Self {
        let help = "Connections to the admin port that waited because the most allowed were open";
        let waits = IntCounter::new("penstock_admin_connection_waits_total", help)
            .expect("the name and the help text are valid");
        if registry.register(Box::new(waits.clone())).is_err() {
            debug!("another admin server counts its waits in this registry already");
        }
        Self {
            registry,
            readiness,
            routes: BTreeMap::new(),
            refresh: None,
            is_changed_from_anywhere: false,
            waits,
            head_timeout: HEAD_TIMEOUT,
        }
    }

    /// Answers GET of exactly `path` by `answer`, which is given the query (without `?`, empty if there is none).
    #[must_use]
    pub fn route<F, A>(mut self, path: &'static str, answer: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.routes.insert(path, Box::new(move |query| Box::pin(answer(query))));
        self
    }

    /// Takes changes (`PUT`) from other hosts too. Whoever reaches the port can then change the process.
    #[must_use]
    pub fn changed_from_anywhere(mut self, is_allowed: bool) -> Self {
        self.is_changed_from_anywhere = is_allowed;
        self
    }

    /// Runs before each answer of `/metrics`: the place to fetch counts that other threads keep for themselves.
    #[must_use]
    pub fn before_metrics<F, A>(mut self, refresh: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        self.refresh = Some(Box::new(move || Box::pin(refresh())));
        self
    }

    /// Listens on `address` and serves on a thread of its own until [`Running::stop`], or until it is dropped.
    pub fn start(self, address: SocketAddr) -> Result<Running, StartError> {
        self.start_on(bind(address, Share::Alone)?)
    }

    /// The same on a socket that listens already and does not block, such as one of the process before this.
    pub fn start_on(self, socket: std::net::TcpListener) -> Result<Running, StartError> {
        let shared = socket.try_clone()?;
        let address = socket.local_addr()?;
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                match Listener::from_std(socket) {
                    Ok(listener) => serve(listener, Arc::new(self), until).await,
                    Err(error) => warn!(%error, "the admin server cannot use its socket"),
                }
            });
        })?;
        info!(%address, "admin server listens");
        Ok(Running { address, shared, stop, thread: Some(thread) })
    }

    async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Answer {
        let path = request.uri().path();
        if !(PAGES.contains(&path) || self.routes.contains_key(path)) {
            return Answer::text(
                StatusCode::NOT_FOUND,
                format!("no such page; there are {}\n", self.paths()),
            );
        }
        if request.method() == Method::PUT && path == log_level::PATH {
            return self.change(request, from).await;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let body = format!("only GET and HEAD are answered here, and PUT of {}\n", log_level::PATH);
            return Answer::text(StatusCode::METHOD_NOT_ALLOWED, body);
        }
        match path {
            "/live" => Answer::text(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/metrics" => self.metrics().await,
            log_level::PATH => log_level::shown(),
            _ => match self.routes.get(path) {
                Some(route) => route(request.uri().query().unwrap_or_default().to_owned()).await,
                None => unreachable!("the path was found among the routes above"),
            },
        }
    }

    /// Changes the process, if the one who asks may. A page in a browser on this host cannot: a `PUT` to another origin
    /// needs that origin's leave, which is never given.
    async fn change(&self, request: Request<Incoming>, from: SocketAddr) -> Answer {
        if !self.may_change(from) {
            info!(%from, path = request.uri().path(), "refused a change over the admin port");
            return Answer::text(
                StatusCode::FORBIDDEN,
                "changes are taken from this host alone: ask by its loopback address\n",
            );
        }
        match Limited::new(request.into_body(), CHANGE_BYTES_MAX).collect().await {
            Ok(body) => log_level::changed(&body.to_bytes()),
            Err(_) => Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or broke off\n"),
        }
    }

    fn may_change(&self, from: SocketAddr) -> bool {
        self.is_changed_from_anywhere || from.ip().to_canonical().is_loopback()
    }

    fn paths(&self) -> String {
        PAGES.into_iter().chain(self.routes.keys().copied()).collect::<Vec<_>>().join(", ")
    }

    fn ready(&self) -> Answer {
        let lacking = self.readiness.lacking();
        if lacking.is_empty() {
            return Answer::text(StatusCode::OK, "ready\n");
        }
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", lacking.join("\n")))
    }

    async fn metrics(&self) -> Answer {
        if let Some(refresh) = &self.refresh {
            refresh().await;
        }
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => Answer {
                status: StatusCode::OK,
                content_type: "text/plain; version=0.0.4",
                body: text.into(),
            },
            Err(error) => Answer::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("cannot write the metrics: {error}\n"),
            ),
        }
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("paths", &self.paths()).finish()
    }
}

/// The admin server while it runs.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    shared: std::net::TcpListener,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// The address that it really listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Another descriptor of its socket, for a process that takes over.
    pub fn socket(&self) -> std::io::Result<std::net::TcpListener> {
        self.shared.try_clone()
    }

    /// Stops serving and waits for the thread. The last thing that a process stops: probes should see it drain.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the admin server's thread had panicked");
        }
    }
}

/// One connection, as it holds a place.
#[derive(Default)]
struct Place {
    is_answered: AtomicBool,
    end: CancellationToken,
}

/// Ends the oldest connection to which no answer is on its way; where there is none, one ends by itself soon.
fn make_room(places: &VecDeque<Weak<Place>>) {
    let mut open = places.iter().filter_map(Weak::upgrade);
    if let Some(oldest) = open.find(|place| !place.is_answered.load(Ordering::Relaxed)) {
        oldest.end.cancel();
    }
}

async fn serve(listener: Listener, admin: Arc<Admin>, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut places = VecDeque::new();
    loop {
        let accepted = async {
            let (stream, from) = listener.accept().await;
            places.retain(|place: &Weak<Place>| place.strong_count() > 0);
            if room.available_permits() == 0 {
                admin.waits.inc();
                make_room(&places);
            }
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit.expect("the semaphore is never closed"), stream, from)
        };
        let (permit, stream, from) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = accepted => accepted,
        };
        let place = Arc::new(Place::default());
        places.push_back(Arc::downgrade(&place));
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            tokio::select! {
                () = converse(&admin, &place, stream, from) => {}
                () = place.end.cancelled() => debug!("an admin connection made room for another"),
            }
            drop(permit);
        });
    }
}

async fn converse(admin: &Admin, place: &Place, stream: TcpStream, from: SocketAddr) {
    let answered = |request| async move {
        place.is_answered.store(true, Ordering::Relaxed);
        let response = respond(admin, request, from).await;
        place.is_answered.store(false, Ordering::Relaxed);
        response
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(admin.head_timeout)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answered));
    match tokio::time::timeout(CONNECTION_LIFE_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin connection ended badly"),
        Err(_) => debug!("an admin connection lived too long"),
    }
}

async fn respond(
    admin: &Admin,
    request: Request<Incoming>,
    from: SocketAddr,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer =
        tokio::time::timeout(ANSWER_TIMEOUT, admin.answer(request, from)).await.unwrap_or_else(|_| {
            Answer::text(
                StatusCode::GATEWAY_TIMEOUT,
                "the answer took too long; the process is overloaded or stuck\n",
            )
        });
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(answer.content_type));
    Ok(response)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
