//! Real proxies that follow a service whose one endpoint moves, with requests through each of them all the time.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Child;
use std::time::Duration;

use api::v1::registration_client::RegistrationClient;
use api::v1::{Authority, Endpoint, Protocol, QualifiedName, RegisterRequest, WriteId};
use cli::connection::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cluster::{PATIENCE, Scratch, free_addresses, penstock};

/// A server that answers each request with its own name.
pub(crate) async fn server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, name));
        }
    });
    address
}

/// Answers requests on one connection until it is closed. A request of these tests has a head and no body.
async fn answer(mut stream: TcpStream, name: &str) {
    let mut head = Vec::new();
    while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            if stream.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Registers the one endpoint of `service`, or moves it; `sequence` rises by one with each call.
pub(crate) async fn register(service: &str, address: SocketAddr, sequence: u64, connection: &mut Connection) {
    let service = Some(QualifiedName { name: service.to_owned(), namespace: "default".to_owned() });
    let request = RegisterRequest {
        id: Some(WriteId { client: "mover".to_owned(), sequence, since: None }),
        authority: Some(Authority { service: service.clone(), port: 80 }),
        protocol: Protocol::Http1.into(),
        endpoint: Some(Endpoint {
            instance: "the-one".to_owned(),
            address: address.to_string(),
            workload: service,
            ..Endpoint::default()
        }),
        lease_seconds: 3600,
    };
    let call = |channel| {
        let request = request.clone();
        async move { RegistrationClient::new(channel).register(request).await }
    };
    connection.ask(call).await.unwrap();
}

/// Proxies, and a client of each that asks for `web` without end.
pub(crate) struct Followers {
    processes: Vec<Child>,
    clients: Vec<JoinHandle<Heard>>,
    stop: watch::Sender<bool>,
    /// Where each takes requests.
    pub(crate) outbound: Vec<SocketAddr>,
    _scratch: Scratch,
}

/// What one client heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) good: u64,
    pub(crate) failures: Vec<String>,
}

impl Followers {
    /// Starts a proxy for each list of control nodes; returns when each serves `web`, with a client at each.
    pub(crate) async fn start(control: &[Vec<String>]) -> Self {
        let number = control.len();
        let scratch = Scratch::new("followers");
        let addresses = free_addresses(number * 2);
        let (outbound, admin) = addresses.split_at(number);
        let start = |at: usize| {
            let words = [
                format!("--name=follower-{at}"),
                format!("--workload=follower-{at}"),
                format!("--control={}", control[at].join(",")),
                format!("--outbound-address={}", outbound[at]),
                format!("--admin-address={}", admin[at]),
            ];
            let log = File::create(scratch.0.join(format!("proxy-{at}.log"))).unwrap();
            penstock("proxy", &words).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
        };
        let processes = (0..number).map(start).collect();
        let (stop, stopped) = watch::channel(false);
        let outbound = outbound.to_vec();
        let mut followers = Self { processes, clients: Vec::new(), stop, outbound, _scratch: scratch };
        followers.all_answer(|_| true).await;
        followers.clients =
            followers.outbound.iter().map(|proxy| tokio::spawn(ask(*proxy, stopped.clone()))).collect();
        followers
    }

    /// Waits until every proxy gives an answer that `fits`.
    pub(crate) async fn all_answer(&self, fits: impl Fn(&str) -> bool) {
        for proxy in &self.outbound {
            let mut looks = interval(Duration::from_millis(20));
            let followed = async {
                while !request(*proxy, "web").await.is_ok_and(|body| fits(&body)) {
                    looks.tick().await;
                }
            };
            assert!(timeout(PATIENCE, followed).await.is_ok(), "the proxy at {proxy} has not followed");
        }
    }

    /// Ends the clients, and tells what each heard.
    pub(crate) async fn end(mut self) -> Vec<Heard> {
        self.stop.send(true).unwrap();
        let mut all = Vec::new();
        for client in std::mem::take(&mut self.clients) {
            all.push(client.await.unwrap());
        }
        all
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn ask(proxy: SocketAddr, stopped: watch::Receiver<bool>) -> Heard {
    let mut heard = Heard::default();
    let mut turns = interval(Duration::from_millis(10));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        turns.tick().await;
        match request(proxy, "web").await {
            Ok(_) => heard.good += 1,
            Err(why) => heard.failures.push(why),
        }
    }
    heard
}

/// The body of an answer 200 to one request for `service`; everything else is a failure.
pub(crate) async fn request(proxy: SocketAddr, service: &str) -> Result<String, String> {
    let exchanged = async {
        let mut stream = TcpStream::connect(proxy).await?;
        let head = format!("GET / HTTP/1.1\r\nhost: {service}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, exchanged).await.map_err(|_| "no answer".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(answer),
    }
}
