//! One connection to an endpoint that speaks HTTP/1.1: a socket and what was read or is to be written.
//! Holds no buffer while it is idle.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::http::breaker::Place;

/// What one read asks for. Smaller costs system calls on large bodies, larger costs memory per busy connection.
const READ_BYTES: usize = 16 * 1024;

/// Past this much unwritten, a body is not read any further.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Largest write buffer that an idle link keeps: a head's, as a rule.
const IDLE_WRITE_BYTES_MAX: usize = 1024;

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    /// Bytes of the answer that were read and not used yet.
    pub read: BytesMut,
    /// Bytes of the request that were not written yet.
    pub write: BytesMut,
    /// Whether it carried a request before: then it may have died since.
    pub reused: bool,
    /// Since when it is in the pool.
    pub idle_since: Instant,
    /// Its place among the connections of its cluster; the application itself has none.
    pub place: Option<Place>,
}

impl Link {
    /// A link over a connection that was just made.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        let (read, write) = (BytesMut::new(), BytesMut::new());
        Self { stream, read, write, reused: false, idle_since: Instant::now(), place: None }
    }

    /// Reads once into `read`; zero is the end of the stream.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(READ_BYTES);
        pin!(self.stream.read_buf(&mut self.read)).poll(cx)
    }

    /// Writes all of `write`.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.write.is_empty() {
            let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &self.write))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes::Buf::advance(&mut self.write, written);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether nothing is left in it, neither read nor to be written.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }

    /// Whether enough waits to be written that no more should be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.write.len() >= WRITE_BYTES_MAX
    }

    /// Makes it ready for the pool; its read buffer, which is empty, is handed back for another link.
    pub fn park(&mut self, now: Instant) -> BytesMut {
        self.reused = true;
        self.idle_since = now;
        self.write.clear();
        if self.write.capacity() > IDLE_WRITE_BYTES_MAX {
            self.write = BytesMut::new();
        }
        std::mem::take(&mut self.read)
    }

    /// Whether the endpoint closed it, or spoke without being asked, while it was idle. Makes no system call unless the
    /// socket is known to be readable.
    pub fn is_stale(&mut self) -> bool {
        let mut probe = [0_u8; 1];
        let mut cx = Context::from_waker(Waker::noop());
        pin!(self.stream.read(&mut probe)).poll(&mut cx).is_ready()
    }

    /// The socket and what was read beyond the answer's head, after an upgrade.
    #[must_use]
    pub fn into_tunnel(self) -> (TcpStream, BytesMut) {
        (self.stream, self.read)
    }
}
