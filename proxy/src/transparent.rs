//! Sockets with addresses that are not this host's (IP_TRANSPARENT): the inbound listener takes connections to any port, and
//! the application is reached in its callers' names. Only where `inbound_mode` is `tproxy`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use socket2::SockRef;

/// Lets `socket` bind to, and take connections for, any address.
///
/// # Errors
/// What the system said; without the right to do so, what grants it.
pub(crate) fn allow(socket: &SockRef<'_>, is_ipv4: bool) -> io::Result<()> {
    let set = if is_ipv4 { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) };
    set.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            "inbound_mode tproxy needs CAP_NET_RAW: start the proxy by `setpriv --inh-caps=+net_raw \
             --ambient-caps=+net_raw ...`, or use inbound_mode redirect",
        ),
        _ => error,
    })
}

/// The address for which a connection to `application` may stand, if its caller is elsewhere.
pub(crate) fn client(peer: Option<SocketAddr>) -> Option<IpAddr> {
    let ip = peer?.ip().to_canonical();
    let is_elsewhere = match ip {
        IpAddr::V4(ip) => !ip.is_loopback(),
        // One of a single link means nothing on the loopback.
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local()),
    };
    is_elsewhere.then_some(ip)
}

/// A connection in a caller's name was not answered in time: as a rule its answers have no way back.
pub(crate) fn unanswered() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "the application does not answer connections in its callers' names: is it overloaded, or was `penstock proxy init \
             --inbound-mode tproxy` not run on this host?"
        );
    });
}
