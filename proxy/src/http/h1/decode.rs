//! The body of an answer: where it ends (RFC 9112, section 6.3) and what it holds. Pure: takes from a read buffer.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Longest line of a chunk's size with its extension.
const CHUNK_LINE_BYTES_MAX: usize = 4096;

/// Longest trailer section.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Most trailers of an answer.
const TRAILERS_MAX: usize = 32;

/// The answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer's body is not framed as HTTP/1.1 has it")]
pub struct Unreadable;

/// What a buffer held.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// The trailers; nothing follows.
    Trailers(HeaderMap),
    /// The body is whole.
    End,
    /// Read more first.
    More,
}

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// So many bytes are still to come.
    Sized(u64),
    /// The next is a chunk's size.
    ChunkSize,
    /// So many bytes of this chunk are still to come.
    ChunkData(u64),
    /// The next is the line end after a chunk.
    ChunkEnd,
    /// The next is the trailer section.
    Trailer,
    /// It ends with the connection.
    UntilClose,
}

impl Decoder {
    /// An answer without a body.
    pub const EMPTY: Self = Self::Sized(0);

    /// Whether the body is whole.
    #[must_use]
    pub fn is_done(self) -> bool {
        self == Self::EMPTY
    }

    /// Bytes still to come, where the answer stated them.
    #[must_use]
    pub fn remaining(self) -> Option<u64> {
        match self {
            Self::Sized(left) => Some(left),
            _ => None,
        }
    }

    /// Takes the next piece out of `read`.
    ///
    /// # Errors
    /// If the chunked coding is malformed.
    pub fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, Unreadable> {
        loop {
            match *self {
                Self::Sized(0) => return Ok(Decoded::End),
                _ if read.is_empty() => return Ok(Decoded::More),
                Self::Sized(left) => {
                    let (piece, left) = piece(read, left);
                    *self = Self::Sized(left);
                    return Ok(Decoded::Data(piece));
                }
                Self::UntilClose => return Ok(Decoded::Data(read.split().freeze())),
                Self::ChunkSize => {
                    let Some(end) = find(read, b"\r\n") else {
                        return more_unless(read.len() > CHUNK_LINE_BYTES_MAX);
                    };
                    let size = chunk_size(&read[..end])?;
                    read.advance(end + 2);
                    *self = if size == 0 { Self::Trailer } else { Self::ChunkData(size) };
                }
                Self::ChunkData(left) => {
                    let (piece, left) = piece(read, left);
                    *self = if left == 0 { Self::ChunkEnd } else { Self::ChunkData(left) };
                    return Ok(Decoded::Data(piece));
                }
                Self::ChunkEnd => {
                    if read.len() < 2 {
                        return Ok(Decoded::More);
                    }
                    if !read.starts_with(b"\r\n") {
                        return Err(Unreadable);
                    }
                    read.advance(2);
                    *self = Self::ChunkSize;
                }
                Self::Trailer => return self.trailers(read),
            }
        }
    }

    fn trailers(&mut self, read: &mut BytesMut) -> Result<Decoded, Unreadable> {
        if read.starts_with(b"\r\n") {
            read.advance(2);
            *self = Self::EMPTY;
            return Ok(Decoded::End);
        }
        let Some(end) = find(read, b"\r\n\r\n") else { return more_unless(read.len() > TRAILER_BYTES_MAX) };
        let section = read.split_to(end + 4);
        let mut lines = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        let Ok(httparse::Status::Complete((_, lines))) = httparse::parse_headers(&section, &mut lines) else {
            return Err(Unreadable);
        };
        let mut trailers = HeaderMap::with_capacity(lines.len());
        for line in lines {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Unreadable)?;
            trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| Unreadable)?);
        }
        *self = Self::EMPTY;
        Ok(Decoded::Trailers(trailers))
    }
}

fn more_unless(too_long: bool) -> Result<Decoded, Unreadable> {
    if too_long { Err(Unreadable) } else { Ok(Decoded::More) }
}

fn piece(read: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let step = read.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (read.split_to(step).freeze(), left - step as u64)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn chunk_size(line: &[u8]) -> Result<u64, Unreadable> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 {
        return Err(Unreadable);
    }
    digits.iter().try_fold(0, |size, digit| {
        (*digit as char).to_digit(16).map(|digit| size << 4 | u64::from(digit)).ok_or(Unreadable)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    /// Body, trailers and what was left over, feeding `step` bytes at a time.
    fn decoded(
        mut decoder: Decoder,
        text: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, usize, usize), Unreadable> {
        let (mut read, mut body, mut trailers) = (BytesMut::new(), Vec::new(), 0);
        let mut pieces = text.chunks(step);
        loop {
            match decoder.decode(&mut read)? {
                Decoded::Data(bytes) => body.extend_from_slice(&bytes),
                Decoded::Trailers(map) => trailers = map.len(),
                Decoded::End => {
                    return Ok((body, trailers, read.len() + pieces.map(<[u8]>::len).sum::<usize>()));
                }
                Decoded::More => {
                    read.extend_from_slice(pieces.next().expect("the body should be whole by now"));
                }
            }
        }
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let chunked = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\ngrpc-status: 0\r\nx: y\r\n\r\nnext";
        for step in [1, 2, 3, 5, 100] {
            assert_eq!(decoded(Decoder::ChunkSize, chunked, step), Ok((b"hello world".to_vec(), 2, 4)));
            assert_eq!(decoded(Decoder::Sized(5), b"hellonext", step), Ok((b"hello".to_vec(), 0, 4)));
            assert_eq!(decoded(Decoder::ChunkSize, b"0\r\n\r\n", step), Ok((Vec::new(), 0, 0)));
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in ["\r\n", "x\r\n", "5\r\nhelloworld", "1234567890abcdef0\r\n", "0\r\nbad line\r\n\r\n"] {
            assert_eq!(decoded(Decoder::ChunkSize, text.as_bytes(), 100), Err(Unreadable), "{text:?}");
        }
    }
}
