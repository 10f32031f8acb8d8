//! What waits to be written to a caller: heads and small pieces copied together, a large piece beside them, so that an
//! answer that is there as a whole leaves in one system call. Holds no buffer once it is flushed and taken.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::encode::{Coding, put_chunk_size, put_end, put_piece};

/// Pieces up to this size are copied beside the head. Larger, and copying costs more than the second slice.
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// Past this much unwritten, no more should be added.
const WAITING_BYTES_MAX: usize = 16 * 1024;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Heads, framing and small pieces.
    pub(super) bytes: BytesMut,
    /// A large piece, which comes after `bytes`.
    piece: Bytes,
    /// What comes after the large piece.
    tail: &'static [u8],
}

impl Outbox {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.piece.len() + self.tail.len()
    }

    /// Whether it must be flushed before more is added.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= WAITING_BYTES_MAX || !self.piece.is_empty() || !self.tail.is_empty()
    }

    /// Adds a piece of a body. It must not be full.
    pub(super) fn put_piece(&mut self, coding: Coding, piece: Bytes) {
        assert!(!self.is_full(), "what comes after a large piece waits until that is written");
        if piece.len() <= COPIED_BYTES_MAX {
            return put_piece(&mut self.bytes, coding, &piece);
        }
        if coding == Coding::Chunked {
            put_chunk_size(&mut self.bytes, piece.len());
            self.tail = b"\r\n";
        }
        self.piece = piece;
    }

    /// Adds the end of a body; `spelled` is the section of its trailers as it came. It must not be full.
    pub(super) fn put_end(&mut self, coding: Coding, trailers: Option<&HeaderMap>, spelled: &[u8]) {
        assert!(!self.is_full(), "what comes after a large piece waits until that is written");
        put_end(&mut self.bytes, coding, trailers, spelled);
    }

    /// Writes all of it.
    pub(super) fn poll_flush(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let stream = Pin::new(&mut *stream);
            let written = if self.piece.is_empty() && self.tail.is_empty() {
                ready!(stream.poll_write(cx, &self.bytes))?
            } else {
                let slices = [&self.bytes[..], &self.piece, self.tail].map(IoSlice::new);
                ready!(stream.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, mut count: usize) {
        let step = count.min(self.bytes.len());
        self.bytes.advance(step);
        count -= step;
        let step = count.min(self.piece.len());
        self.piece.advance(step);
        if self.piece.is_empty() {
            self.piece = Bytes::new(); // an empty slice would still hold its memory
        }
        self.tail = &self.tail[count - step..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_piece_goes_between_its_framing_however_much_is_written_at_a_time() {
        for step in [1, 7, 5000, 100_000] {
            let (mut out, mut seen) = (Outbox::default(), Vec::new());
            out.put_piece(Coding::Chunked, Bytes::from_static(b"head"));
            assert!(!out.is_full());
            out.put_piece(Coding::Chunked, Bytes::from(vec![b'x'; 9000]));
            assert!(out.is_full());
            while !out.is_empty() {
                let all = [&out.bytes[..], &out.piece, out.tail].concat();
                let count = step.min(all.len());
                seen.extend_from_slice(&all[..count]);
                out.written(count);
            }
            let expected = [&b"4\r\nhead\r\n2328\r\n"[..], &[b'x'; 9000], b"\r\n"].concat();
            assert!(seen == expected, "written {step} at a time");
        }
    }
}
