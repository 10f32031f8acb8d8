//! Where an accepted connection was going before the rules of the host (`penstock proxy init`) sent it here. Asks the kernel
//! once per connection, and only where interception is on; must never decide what becomes of it.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::http::own;

/// How a connection came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// By our own address.
    Direct,
    /// On its way to this address.
    Redirected(SocketAddr),
    /// It is our own.
    Loop,
}

/// How `stream` came here, where we listen at `port`.
#[must_use]
pub fn arrival(stream: &TcpStream, port: u16) -> Arrival {
    let (Ok(ours), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return Arrival::Direct };
    // A listener of `[::]` may take IPv4 too, and shows it as IPv6.
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (ours, peer) = (canonical(ours), canonical(peer));
    // One that was taken as it came (TPROXY) has the destination for its end; of one that was redirected the kernel knows it.
    let original = if ours.port() == port { rewritten(stream, ours) } else { Some(ours) };
    match original {
        None => Arrival::Direct,
        Some(original) if own::is_ours(peer, original) => Arrival::Loop,
        Some(original) => Arrival::Redirected(original),
    }
}

/// Where a connection that ends at `ours` was going before that was rewritten. Without the connection tracker nothing is: then
/// the kernel knows of no other destination.
fn rewritten(stream: &TcpStream, ours: SocketAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = if ours.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original.ok()?.as_socket().filter(|original| *original != ours)
}
