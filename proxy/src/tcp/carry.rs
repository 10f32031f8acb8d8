//! Both directions of a connection. One side may end while the other goes on (half-close); a side that breaks off breaks
//! off the other too, so that neither takes a cut-off stream for a whole one.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::ends::{End, Ends};
use super::flow::{Tools, flow};

/// Which way a piece went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the caller to the endpoint.
    There,
    /// From the endpoint to the caller.
    Back,
}

/// Carries bytes both ways until both sides have ended: first what was read of either already, then what comes. `ends` are those of
/// the two, and know afterwards whether one was lost.
///
/// # Errors
/// Either side broke or was lost; then both were reset.
pub async fn carry(
    mut caller: TcpStream,
    mut endpoint: TcpStream,
    read_of_caller: Bytes,
    read_of_endpoint: BytesMut,
    tools: &Tools,
    ends: &Ends,
    carried: impl Fn(Way, usize),
) -> io::Result<()> {
    let carried = |way: Way, bytes: usize| {
        ends.heard(if way == Way::There { End::Caller } else { End::Endpoint }, bytes.max(1));
        if bytes > 0 {
            carried(way, bytes);
        }
    };
    let (from_caller, mut to_caller) = caller.split();
    let (from_endpoint, mut to_endpoint) = endpoint.split();
    let there = async {
        if !read_of_caller.is_empty() {
            carried(Way::There, read_of_caller.len());
            to_endpoint.write_all(&read_of_caller).await?;
        }
        drop(read_of_caller);
        flow(from_caller, to_endpoint, tools, |bytes| carried(Way::There, bytes)).await
    };
    let back = async {
        if !read_of_endpoint.is_empty() {
            carried(Way::Back, read_of_endpoint.len());
            to_caller.write_all(&read_of_endpoint).await?;
        }
        drop(read_of_endpoint);
        flow(from_endpoint, to_caller, tools, |bytes| carried(Way::Back, bytes)).await
    };
    let ended = tokio::select! {
        biased;
        ended = futures_util::future::try_join(there, back) => ended,
        () = ends.silence() => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = &ended {
        if is_of_a_lost_host(error) && ends.lost().is_none() {
            // Of the two that is the one whose connection is no more.
            ends.lose(if caller.peer_addr().is_err() { End::Caller } else { End::Endpoint });
        }
        reset(&caller);
        reset(&endpoint);
    }
    ended.map(|_| ())
}

/// Whether the kernel has given a connection up: nobody answered, or the last router says that nobody can be reached.
fn is_of_a_lost_host(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable)
}

/// Makes the end of `stream` a reset, as the far side must not take what it got for all there was.
pub fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO)); // fails only on a socket that is gone
}
