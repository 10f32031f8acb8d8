//! The body of a message: where it ends (RFC 9112, section 6.3) and what it holds. Pure: takes from a read buffer.
//! Must never accept in a request what two readers could frame in two ways: that is how requests are smuggled.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::hop;

/// Longest line of a chunk's size with its extension. Nobody is known to use extensions; longer only feeds a hostile peer.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// Longest trailer section.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Most trailers of a message.
const TRAILERS_MAX: usize = 32;

/// What frames or routes a message and must not stand in its trailers (RFC 9110, section 6.5.1).
const NEVER_TRAILERS: [HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST];

/// The message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is not framed as HTTP/1.1 has it")]
pub struct Unreadable;

/// What a buffer held.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// The trailers, and their section as it came over HTTP/1, for the spelling of their names; nothing follows.
    Trailers(HeaderMap, Bytes),
    /// The body is whole.
    End,
    /// Read more first.
    More,
}

/// How a message's body ends.
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
    /// A message without a body.
    pub const EMPTY: Self = Self::Sized(0);

    /// Whether the body is whole.
    #[must_use]
    pub fn is_done(self) -> bool {
        self == Self::EMPTY
    }

    /// Bytes still to come, where the message stated them.
    #[must_use]
    pub fn remaining(self) -> Option<u64> {
        match self {
            Self::Sized(left) => Some(left),
            _ => None,
        }
    }

    /// Takes the next piece of an answer's body out of `read`. Servers of old pad a chunk's size with blanks, which is let
    /// pass: nobody reads the answer beside us.
    ///
    /// # Errors
    /// If the chunked coding is malformed.
    pub fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, Unreadable> {
        self.decoded(read, false)
    }

    /// Takes the next piece of a request's body out of `read`.
    ///
    /// # Errors
    /// If the chunked coding could be read in more than one way.
    pub fn decode_strictly(&mut self, read: &mut BytesMut) -> Result<Decoded, Unreadable> {
        self.decoded(read, true)
    }

    fn decoded(&mut self, read: &mut BytesMut, is_strict: bool) -> Result<Decoded, Unreadable> {
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
                    let Some(end) = line_end(read, CHUNK_LINE_BYTES_MAX)? else { return Ok(Decoded::More) };
                    let size = chunk_size(&read[..end], is_strict)?;
                    read.advance(end + 2);
                    *self = if size == 0 { Self::Trailer } else { Self::ChunkData(size) };
                }
                Self::ChunkData(left) => {
                    let (piece, left) = piece(read, left);
                    *self = if left == 0 { Self::ChunkEnd } else { Self::ChunkData(left) };
                    return Ok(Decoded::Data(piece));
                }
                Self::ChunkEnd => {
                    if !b"\r\n".starts_with(&read[..read.len().min(2)]) {
                        return Err(Unreadable);
                    }
                    if read.len() < 2 {
                        return Ok(Decoded::More);
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
        let Some(end) = section_end(read)? else { return Ok(Decoded::More) };
        let section = read.split_to(end).freeze();
        let mut lines = [httparse::EMPTY_HEADER; TRAILERS_MAX];
        let Ok(httparse::Status::Complete((_, lines))) = httparse::parse_headers(&section, &mut lines) else {
            return Err(Unreadable);
        };
        let mut trailers = HeaderMap::with_capacity(lines.len());
        for line in lines {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Unreadable)?;
            // One who merges trailers into the head must not be told another framing or another host there.
            if NEVER_TRAILERS.contains(&name) {
                return Err(Unreadable);
            }
            trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| Unreadable)?);
        }
        hop::strip(&mut trailers); // what is for this connection is no less so behind the body
        *self = Self::EMPTY;
        Ok(Decoded::Trailers(trailers, section))
    }
}

fn piece(read: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let step = read.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (read.split_to(step).freeze(), left - step as u64)
}

/// Where the line ends that begins at 0, without its CRLF. A bare line feed is an end to some readers and none to others.
fn line_end(bytes: &[u8], longest: usize) -> Result<Option<usize>, Unreadable> {
    match bytes.iter().take(longest + 2).position(|byte| *byte == b'\n') {
        Some(feed) if feed > 0 && bytes[feed - 1] == b'\r' => Ok(Some(feed - 1)),
        Some(_) => Err(Unreadable),
        None if bytes.len() > longest + 1 => Err(Unreadable),
        None => Ok(None),
    }
}

/// Where the trailer section ends that begins at 0, with its empty line.
fn section_end(bytes: &[u8]) -> Result<Option<usize>, Unreadable> {
    let mut at = 0;
    while let Some(length) = line_end(&bytes[at..], TRAILER_BYTES_MAX - at)? {
        at += length + 2;
        if length == 0 {
            return Ok(Some(at));
        }
        if at > TRAILER_BYTES_MAX {
            return Err(Unreadable);
        }
    }
    Ok(None)
}

/// The size that a chunk's line states. Extensions are skipped (RFC 9112, section 7.1.1).
fn chunk_size(line: &[u8], is_strict: bool) -> Result<u64, Unreadable> {
    let mut parts = line.splitn(2, |byte| *byte == b';');
    let digits = parts.next().unwrap_or_default();
    if parts.next().is_some_and(|extension| extension.iter().any(u8::is_ascii_control)) {
        return Err(Unreadable);
    }
    let digits = if is_strict { digits } else { digits.trim_ascii_end() };
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
                Decoded::Trailers(map, _) => trailers = map.len(),
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
        for text in [
            "\r\n",
            "x\r\n",
            "5\nhello\r\n",
            "5;a\nb\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5\r\nhelloworld",
            "1234567890abcdef0\r\n",
            "0\r\nbad line\r\n\r\n",
            "0\r\nx: y\n\r\n",
            "0\r\ncontent-length: 5\r\n\r\n",
        ] {
            assert_eq!(decoded(Decoder::ChunkSize, text.as_bytes(), 100), Err(Unreadable), "{text:?}");
        }
    }

    #[test]
    fn trailers_keep_their_section_and_lose_what_is_for_the_connection() {
        let mut read =
            BytesMut::from("0\r\nX-Sum: 7\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\r\nnext");
        let Ok(Decoded::Trailers(trailers, section)) = Decoder::ChunkSize.decode_strictly(&mut read) else {
            panic!("these are trailers")
        };
        assert_eq!((trailers.len(), trailers["x-sum"].as_bytes(), &read[..]), (1, &b"7"[..], &b"next"[..]));
        assert!(section.starts_with(b"X-Sum: 7\r\n"), "{section:?}");
    }

    #[test]
    fn a_padded_size_passes_in_an_answer_and_not_in_a_request() {
        let text = "5 \r\nhello\r\n0\r\n\r\n";
        assert_eq!(Decoder::ChunkSize.decode(&mut text.into()), Ok(Decoded::Data(Bytes::from("hello"))));
        assert_eq!(Decoder::ChunkSize.decode_strictly(&mut text.into()), Err(Unreadable));
    }

    #[test]
    fn a_line_or_a_section_without_end_is_refused_at_its_bound() {
        let line = format!("5;{}", "a".repeat(CHUNK_LINE_BYTES_MAX));
        assert_eq!(Decoder::ChunkSize.decode(&mut line[..].into()), Err(Unreadable));
        let section = format!("0\r\n{}", "a: b\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1));
        assert_eq!(Decoder::ChunkSize.decode(&mut section[..].into()), Err(Unreadable));
    }
}
