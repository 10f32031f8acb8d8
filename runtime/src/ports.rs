//! Free ports for processes that must know each other's addresses before they listen: the demo's, the benchmarks', the tests'.
//!
//! Below the range from which the kernel takes ports of outgoing connections: a port of that range can be gone again
//! by the time a child binds it, or while it is restarted.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Where the search begins: above the ports that services of a system are wont to have.
const LOWEST: u16 = 10_000;

/// Ports tried for each that is wanted; on a machine where so many are taken, something else is wrong.
const TRIES_MAX: u16 = 1_000;

/// Listeners on `number` free ports of the loopback, none of which this process was given before. Drop each just before
/// its child is started.
///
/// # Errors
/// If too few are free.
pub fn reserve(number: usize) -> io::Result<Vec<TcpListener>> {
    (0..number).map(|_| one()).collect()
}

/// Addresses that nobody listens on, all different: as of [`reserve`], already let go. None is held open, because a child that
/// is just being started holds copies of all that its parent has open, and would keep another child from its port.
///
/// # Errors
/// If too few are free.
pub fn addresses(number: usize) -> io::Result<Vec<SocketAddr>> {
    reserve(number)?.iter().map(TcpListener::local_addr).collect()
}

fn one() -> io::Result<TcpListener> {
    let span = outgoing_begin().saturating_sub(LOWEST);
    if span == 0 {
        return TcpListener::bind((Ipv4Addr::LOCALHOST, 0)); // the kernel may take any port for itself: no better place
    }
    let mut tried = 0;
    loop {
        let port = LOWEST + cursor().fetch_add(1, Ordering::Relaxed) % span;
        tried += 1;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < TRIES_MAX => {}
            outcome => return outcome,
        }
    }
}

/// Where the next search goes on. Each process begins elsewhere, so that two that search at once do not meet.
fn cursor() -> &'static AtomicU16 {
    static CURSOR: OnceLock<AtomicU16> = OnceLock::new();
    CURSOR.get_or_init(|| {
        let chance = RandomState::new().hash_one(std::process::id()).to_le_bytes();
        AtomicU16::new(u16::from_le_bytes([chance[0], chance[1]]))
    })
}

/// The first port that the kernel gives to outgoing connections.
fn outgoing_begin() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_though_it_is_free_again() {
        let mut given = BTreeSet::new();
        for _ in 0..50 {
            for address in addresses(4).unwrap() {
                assert!(given.insert(address.port()));
            }
        }
        assert!(given.into_iter().all(|port| port < outgoing_begin() || outgoing_begin() <= LOWEST));
    }
}
