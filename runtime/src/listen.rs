//! Opens listening sockets, and accepts connections with the options that every one of them needs.
//!
//! Every server of Penstock listens through here, so that TCP_NODELAY is set on each accepted socket (without it a push
//! to 200 streams takes 44 ms instead of 1.6), a process out of files pauses instead of spinning, and a taken port names
//! who holds it. Knows nothing of what is spoken on the connection.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::time::Duration;

use futures_util::Stream;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use crate::backoff::Backoff;
use crate::port_holder::{Holder, holder_of};

/// Connections that the kernel completes before they are accepted. Fewer drops connection bursts of a restarting fleet;
/// the kernel caps it at `net.core.somaxconn` anyway (4096 on today's systems).
const BACKLOG: i32 = 4096;
/// First and longest pause of accepting when the process is out of files or memory. Shorter spins and floods the log;
/// longer leaves clients waiting after the shortage has passed.
const SHORTAGE_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Whether other sockets of this user may listen on the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// This socket alone: a second process on the port is an error, as it should be.
    Alone,
    /// One socket for each worker thread on the same address; the kernel spreads connections (SO_REUSEPORT).
    BetweenWorkers,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has it.
    #[error("cannot listen on {address}: {}; stop that, or choose another address", taken_by(.holder.as_ref()))]
    Taken {
        /// The address that was asked for.
        address: SocketAddr,
        /// The process that has it, as far as can be seen from here.
        holder: Option<Holder>,
    },
    /// No interface of this machine has the address.
    #[error(
        "cannot listen on {address}: no interface here has this address; `ip address` lists those that there are, 0.0.0.0 takes all"
    )]
    NotHere {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The port is privileged.
    #[error(
        "cannot listen on {address}: not permitted; choose a port from 1024, or grant CAP_NET_BIND_SERVICE"
    )]
    NotPermitted {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Anything else, in the system's words.
    #[error("cannot listen on {address}: {source}")]
    System {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

fn taken_by(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!("the port is taken by `{}` (process {})", holder.program, holder.process),
        None => "the port is taken by a process that cannot be seen from here (`ss -ltnp` as root shows it)"
            .to_owned(),
    }
}

/// Opens a socket that listens on `address` (port 0: the system picks one). It does not block, and can be carried to
/// the thread that will accept from it.
pub fn bind(address: SocketAddr, share: Share) -> Result<StdTcpListener, BindError> {
    open(address, share).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address, holder: holder_of(address.port()) },
        io::ErrorKind::AddrNotAvailable => BindError::NotHere { address },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { address },
        _ => BindError::System { address, source },
    })
}

fn open(address: SocketAddr, share: Share) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted process must not wait a minute for the old one's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if share == Share::BetweenWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listening socket on the current runtime.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Opens a socket and puts it on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(address: SocketAddr, share: Share) -> Result<Self, BindError> {
        let socket = bind(address, share)?;
        Self::from_std(socket).map_err(|source| BindError::System { address, source })
    }

    /// Puts a socket from [`bind`] on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn from_std(socket: StdTcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { inner: TcpListener::from_std(socket)?, address })
    }

    /// The address that it really listens on, with the port that the system picked.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, with TCP_NODELAY set. Never fails: a connection that broke before it was accepted is passed
    /// over, and a shortage of files or memory is waited out. Cancel safe.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        let mut pauses = Backoff::new(SHORTAGE_PAUSE.0, SHORTAGE_PAUSE.1);
        loop {
            match self.inner.accept().await {
                Ok((stream, from)) => {
                    if stream.set_nodelay(true).is_ok() {
                        return (stream, from);
                    }
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    let pause = pauses.next(1.0);
                    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    warn!(address = %self.address, %error, pause_ms, "cannot accept; pausing");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// The connections as a stream without end, as tonic's `serve_with_incoming` takes it.
    pub fn incoming(self) -> impl Stream<Item = io::Result<TcpStream>> + Send {
        futures_util::stream::unfold(self, |listener| async move {
            let (stream, _) = listener.accept().await;
            Some((Ok(stream), listener))
        })
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on should panic
    use futures_util::StreamExt;

    use super::*;

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[tokio::test]
    async fn accepted_connections_have_nodelay_set() {
        let listener = Listener::bind(any_port(), Share::Alone).unwrap();
        let client = TcpStream::connect(listener.local_address()).await.unwrap();
        let (stream, from) = listener.accept().await;
        assert!(stream.nodelay().unwrap());
        assert_eq!(from, client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn connections_come_as_a_stream_too() {
        let listener = Listener::bind(any_port(), Share::Alone).unwrap();
        let address = listener.local_address();
        let mut incoming = std::pin::pin!(listener.incoming());
        for _ in 0..2 {
            let client = TcpStream::connect(address).await.unwrap();
            let stream = incoming.next().await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
        }
    }

    #[test]
    fn a_taken_port_names_the_address_the_holder_and_what_to_do() {
        let first = bind(any_port(), Share::Alone).unwrap();
        let address = first.local_addr().unwrap();
        let said = bind(address, Share::Alone).unwrap_err().to_string();
        assert!(said.starts_with(&format!("cannot listen on {address}: the port is taken by `")), "{said}");
        assert!(said.contains(&format!("(process {})", std::process::id())), "{said}");
        assert!(said.ends_with("stop that, or choose another address"), "{said}");
    }

    #[test]
    fn workers_share_an_address_when_each_asks_for_it() {
        let first = bind(any_port(), Share::BetweenWorkers).unwrap();
        assert!(bind(first.local_addr().unwrap(), Share::BetweenWorkers).is_ok());
        assert!(bind(first.local_addr().unwrap(), Share::Alone).is_err());
    }

    #[test]
    fn an_address_of_another_machine_says_where_to_look() {
        let said = bind("192.0.2.1:0".parse().unwrap(), Share::Alone).unwrap_err().to_string();
        assert!(said.contains("no interface here has this address"), "{said}");
    }
}
