//! The socket as the server sees it: each byte that is read passes the strict framing first. What must be refused ends
//! the stream here, and the connection's task answers it. Must never alter a byte that it passes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::framing::Framing;
use super::state::Signs;

/// A socket whose requests are checked.
#[derive(Debug)]
pub struct Guard {
    /// There until the guard is dropped, which leaves it in the signs.
    stream: Option<TcpStream>,
    prefix: Bytes,
    framing: Framing,
    signs: Rc<Signs>,
}

impl Guard {
    /// Guards `stream`, of which `prefix` was read already.
    #[must_use]
    pub fn new(stream: TcpStream, prefix: Bytes, signs: Rc<Signs>) -> Self {
        Self { stream: Some(stream), prefix, framing: Framing::default(), signs }
    }

    /// Passes everything: for HTTP/2, whose framing has no two readings.
    #[must_use]
    pub fn unchecked(stream: TcpStream, prefix: Bytes, signs: Rc<Signs>) -> Self {
        let mut guard = Self::new(stream, prefix, signs);
        guard.framing.open_tunnel();
        guard
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("the socket is taken out only when the guard is dropped"))
    }

    /// Looks at what was just read; `false` ends the stream.
    fn passes(&mut self, bytes: &[u8]) -> bool {
        if self.signs.tunnel.get() {
            self.framing.open_tunnel();
        }
        match self.framing.accept(bytes) {
            Ok(()) => {
                if !self.framing.in_head() {
                    self.signs.head_since.set(None);
                } else if self.signs.head_since.get().is_none() {
                    self.signs.head_since.set(Some(Instant::now()));
                }
                true
            }
            Err(refusal) => {
                // While another request's answer is being written, nothing can be said in between.
                self.signs.is_mute.set(self.signs.running.get() > 0);
                self.signs.refusal.set(Some(refusal));
                false
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.signs.returned.replace(self.stream.take());
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.signs.refusal.get().is_some() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if this.prefix.is_empty() {
            std::task::ready!(this.stream().poll_read(cx, buf))?;
        } else {
            let step = this.prefix.len().min(buf.remaining());
            buf.put_slice(&this.prefix[..step]);
            this.prefix.advance(step);
            if this.prefix.is_empty() {
                this.prefix = Bytes::new(); // gives its memory back, which an empty slice still holds
            }
        }
        if !this.passes(&buf.filled()[before..]) {
            buf.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(TcpStream::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    /// Does nothing: something may have to be said after the last request. Dropping the socket closes it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
