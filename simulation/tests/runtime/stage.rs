//! The stage of a scenario: three control nodes, each a host with its own disk, and whoever uses them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use consensus::NodeId;
use control::{Incoming, Settings, Surroundings};
use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use mesh::Timestamp;
use runtime::dial::{Carrier, Dialler};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::disk::{HostDisk, Room};

/// Nodes of the group.
pub(crate) const NODES: u64 = 3;
/// Where nodes serve clients, and each other.
const CLIENTS: u16 = 4100;
const PEERS: u16 = 4101;
/// When every world begins: some moment of 2026.
const BEGINS: Duration = Duration::from_secs(1_790_000_000);
/// A call of a test's client.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// A simulated world. Time passes in [`Stage::pass`] alone.
pub(crate) struct Stage {
    pub(crate) sim: Sim<'static>,
    rooms: BTreeMap<u64, Room>,
}

impl Stage {
    /// Three nodes that found a group, with what `adjust` sets differently.
    pub(crate) fn new(seed: u64, adjust: impl FnOnce(&mut turmoil::Builder)) -> Self {
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(seed)
            // The time of day must be the seed's too: epochs and windows are made of it.
            .epoch(UNIX_EPOCH + BEGINS)
            .enable_random_order()
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(Duration::from_secs(600))
            .min_message_latency(Duration::from_micros(100))
            .max_message_latency(Duration::from_millis(2))
            .tcp_capacity(4096);
        // A crash tears a write at the blocks of a disk.
        builder.fs().block_size(512);
        adjust(&mut builder);
        let mut sim = builder.build();
        let rooms: BTreeMap<u64, Room> = (1..=NODES).map(|node| (node, Room::default())).collect();
        for (&node, room) in &rooms {
            let room = room.clone();
            sim.host(host(node), move || serve(node, seed, room.clone()));
        }
        Self { sim, rooms }
    }

    /// The room on a node's disk.
    pub(crate) fn room(&self, node: u64) -> &Room {
        &self.rooms[&node]
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If a host's program ends, or fails.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().unwrap();
        }
    }

    /// Lets time pass until `done`, at most for `patience`; answers whether it was done.
    pub(crate) fn until(&mut self, patience: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = self.sim.elapsed() + patience;
        while self.sim.elapsed() < end {
            if done() {
                return true;
            }
            self.sim.step().unwrap();
        }
        done()
    }

    /// Cuts a node off from the others and from everybody else named, both ways.
    pub(crate) fn isolate(&mut self, node: u64, others: &[&str]) {
        for other in peers_of(node).iter().map(String::as_str).chain(others.iter().copied()) {
            self.sim.partition(host(node), other);
        }
    }

    /// Takes back what [`Self::isolate`] did.
    pub(crate) fn rejoin(&mut self, node: u64, others: &[&str]) {
        for other in peers_of(node).iter().map(String::as_str).chain(others.iter().copied()) {
            self.sim.repair(host(node), other);
        }
    }

    /// Kills a node, loses what its disk had not synced, and starts it again after `pause`.
    pub(crate) fn crash(&mut self, node: u64, pause: Duration) {
        self.sim.crash(host(node));
        self.pass(pause);
        self.sim.bounce(host(node));
    }
}

/// The name of a node's host.
pub(crate) fn host(node: u64) -> String {
    format!("node-{node}")
}

/// Every node but this one.
pub(crate) fn peers_of(node: u64) -> Vec<String> {
    (1..=NODES).filter(|other| *other != node).map(host).collect()
}

/// Where clients reach a node.
pub(crate) fn address(node: u64) -> String {
    format!("{}:{CLIENTS}", host(node))
}

/// The program of a node's host.
async fn serve(node: u64, seed: u64, room: Room) -> turmoil::Result {
    let surroundings = Surroundings {
        disk: Arc::new(HostDisk::here(room)),
        wall,
        dialler: dialler(),
        // Each start of a node draws other timeouts, as it does in a process.
        seed: seed ^ node << 32 ^ u64::try_from(turmoil::elapsed().as_millis())?,
        is_threadless: true,
    };
    let clients = incoming(CLIENTS).await?;
    let peers = incoming(PEERS).await?;
    let _door = control::start_here(settings(node), surroundings, clients, peers)?;
    std::future::pending().await
}

fn settings(node: u64) -> Settings {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Settings {
        node: NodeId(node),
        peers: (1..=NODES)
            .map(|node| (NodeId(node), format!("{}:{PEERS}", host(node))))
            .collect::<BTreeMap<_, _>>(),
        client_address: any,
        peer_address: any,
        ..Settings::alone(PathBuf::from("/penstock"))
    }
}

/// Lets simulated time pass on the host that waits here; no wall time does.
pub(crate) async fn pause(time: Duration) {
    // polls: within the simulation, where each pause is an event of the seed's story.
    tokio::time::sleep(time).await;
}

/// The simulated time of day.
pub(crate) fn wall() -> Timestamp {
    let since = turmoil::since_epoch().unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Dials over the simulated network.
pub(crate) fn dialler() -> Dialler {
    Dialler::Given(Arc::new(|address| {
        Box::pin(async move {
            let host = address.host().unwrap_or_default().to_owned();
            let stream = TcpStream::connect((host, address.port_u16().unwrap_or_default())).await?;
            Ok(TokioIo::new(Box::new(stream) as Box<dyn Carrier>))
        })
    }))
}

/// A client's connection to a node, made with its first call.
pub(crate) fn channel(node: u64) -> Channel {
    let Dialler::Given(dial) = dialler() else { unreachable!("this dialler is given") };
    Endpoint::from_shared(format!("http://{}", address(node)))
        .unwrap()
        .timeout(CALL_TIMEOUT)
        .connect_timeout(CALL_TIMEOUT)
        .connect_with_connector_lazy(tower::service_fn(move |address| dial(address)))
}

async fn incoming(port: u16) -> io::Result<Incoming<Accepted>> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let accepted = futures_util::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    });
    Ok(accepted.boxed())
}

/// An accepted connection, of which nothing is told.
pub(crate) struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
