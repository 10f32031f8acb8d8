//! Opens a connection to an endpoint, with what every connection of a mesh needs: no Nagle, and a bound on how long a host
//! that vanished without a word can hold requests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use super::own;
use super::refusal::Refusal;
use super::upstream::Upstream;
use crate::resources::{Use, is_one_too_many, is_out_of_files, out_of_files};
use crate::transparent;

/// Longest time to connect. Endpoints are near: what has not answered a SYN in a second will hardly serve.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// After this long without a byte the kernel asks whether the far host still lives, and how often it asks.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// How long sent bytes may stay unacknowledged before the connection counts as dead.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// Connects to `upstream`, for requests.
///
/// # Errors
/// What the system said, or `TimedOut`.
pub(super) async fn dial(upstream: &Upstream) -> io::Result<TcpStream> {
    let stream = reach(upstream).await?;
    bound_silence(&stream)?;
    Ok(stream)
}

/// Connects to `upstream` in the name that it is reached by, for bytes of any kind.
///
/// # Errors
/// What the system said, or `TimedOut`.
pub(crate) async fn reach(upstream: &Upstream) -> io::Result<TcpStream> {
    let time = upstream.connect_timeout.get();
    let reached = connect_as(upstream.client, upstream.address, time).await;
    if upstream.client.is_some()
        && reached.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    {
        transparent::unanswered();
    }
    reached
}

/// What the caller is told where no connection could be made.
pub(crate) fn unconnected(error: &io::Error) -> Refusal {
    if is_out_of_files(error) { Refusal::OutOfFiles } else { Refusal::ConnectFailed }
}

/// Bounds how long a connection for requests may leave bytes unacknowledged.
///
/// # Errors
/// The socket is gone.
pub(crate) fn bound_silence(stream: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// Lifts that bound: from here the connection is for bytes of any kind.
///
/// # Errors
/// The socket is gone.
pub(crate) fn unbound_silence(stream: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(Duration::ZERO))?;
    Ok(())
}

/// Connects to `address` within `time`, for bytes of any kind. A receiver may leave them waiting for as long as it likes:
/// the kernel's time for unacknowledged bytes also ends connections whose far side only does not read.
///
/// # Errors
/// What the system said, or `TimedOut`.
pub(crate) async fn connect(address: SocketAddr, time: Duration) -> io::Result<TcpStream> {
    connect_as(None, address, time).await
}

async fn connect_as(client: Option<IpAddr>, address: SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let connecting = tokio::time::timeout(time, opened(client, address));
    let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if is_one_too_many(&stream, Use::Endpoint) {
        return Err(out_of_files());
    }
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    Ok(stream)
}

async fn opened(client: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    if client.is_none() && !own::is_kept() {
        return TcpStream::connect(address).await;
    }
    // Step by step, so that our end is noted before this thread can accept the connection from itself.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(client) = client {
        transparent::allow(&SockRef::from(&socket), client.is_ipv4())?;
        socket.bind(&SocketAddr::new(client, 0).into())?;
    }
    if let Err(error) = socket.connect(&address.into())
        && error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error())
    {
        return Err(error);
    }
    own::note(socket.local_addr()?.as_socket(), address);
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// Has the kernel look after a connection on which nothing may be said for days; after those too that are accepted from a listener
/// (Linux hands its options down).
///
/// # Errors
/// The socket is gone.
pub(crate) fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}
