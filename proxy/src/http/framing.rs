//! Strict reading of the HTTP/1 request framing (RFC 9112): where each head and body begins and ends, and which requests
//! are refused before the server looks at them. Pure: bytes in, verdict out; the guard around the socket carries it out.
//! Must never accept what two readers could frame in two ways: that is how requests are smuggled.

use super::refusal::Refusal;

/// Largest request head. Browsers and gRPC stay far below; larger only feeds memory to a hostile client.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most header lines of a request; the same bound as hyper's parser.
pub const HEADERS_MAX: usize = 100;

/// Longest chunk extension and longest trailer section that is skipped over.
const CHUNK_EXTRA_BYTES_MAX: usize = 16 * 1024;

/// Where in the stream of requests the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Body(u64),
    ChunkSize {
        size: u64,
        digits: u32,
    },
    ChunkExtension {
        size: u64,
    },
    ChunkSizeEnd {
        size: u64,
    },
    ChunkData(u64),
    ChunkDataReturn,
    ChunkDataEnd,
    TrailerStart,
    TrailerLine,
    TrailerLineEnd,
    LastEnd,
    /// After an upgrade nothing is looked at.
    Tunnel,
}

/// Follows one connection's requests.
#[derive(Debug)]
pub struct Framing {
    place: Place,
    partial: Vec<u8>,
    extra_bytes: usize,
}

impl Default for Framing {
    fn default() -> Self {
        Self { place: Place::Head, partial: Vec::new(), extra_bytes: 0 }
    }
}

impl Framing {
    /// Whether a head has begun and not ended.
    #[must_use]
    pub fn in_head(&self) -> bool {
        !self.partial.is_empty()
    }

    /// From here on bytes are passed as they are.
    pub fn open_tunnel(&mut self) {
        self.place = Place::Tunnel;
    }

    /// Takes in the next bytes of the connection.
    ///
    /// # Errors
    /// At the first request that must be refused; the connection cannot be read any further.
    pub fn accept(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Tunnel => return Ok(()),
                Place::Head => self.head(bytes)?,
                Place::Body(left) => {
                    let (left, rest) = skip(left, bytes);
                    self.place = if left == 0 { Place::Head } else { Place::Body(left) };
                    rest
                }
                Place::ChunkData(left) => {
                    let (left, rest) = skip(left, bytes);
                    self.place = if left == 0 { Place::ChunkDataReturn } else { Place::ChunkData(left) };
                    rest
                }
                _ => {
                    self.place = self.chunk_byte(bytes[0])?;
                    &bytes[1..]
                }
            };
        }
        Ok(())
    }

    /// One byte of the chunked coding's own syntax (RFC 9112, section 7.1).
    fn chunk_byte(&mut self, byte: u8) -> Result<Place, Refusal> {
        const BAD: Refusal = Refusal::Malformed("the chunked coding of the body is malformed");
        match (self.place, byte) {
            (Place::ChunkSize { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                if digits >= 15 {
                    return Err(BAD);
                }
                Ok(Place::ChunkSize { size: size << 4 | digit, digits: digits + 1 })
            }
            (Place::ChunkSize { digits: 0, .. }, _) => Err(BAD),
            (Place::ChunkSize { size, .. }, b'\r') => Ok(Place::ChunkSizeEnd { size }),
            (Place::ChunkSize { size, .. }, b';') => Ok(Place::ChunkExtension { size }),
            (Place::ChunkExtension { size }, b'\r') => Ok(Place::ChunkSizeEnd { size }),
            (Place::ChunkExtension { .. }, byte) if byte != b'\n' => self.extra(self.place),
            (Place::ChunkSizeEnd { size: 0 }, b'\n') => Ok(Place::TrailerStart),
            (Place::ChunkSizeEnd { size }, b'\n') => Ok(Place::ChunkData(size)),
            (Place::ChunkDataReturn, b'\r') => Ok(Place::ChunkDataEnd),
            (Place::ChunkDataEnd, b'\n') => Ok(Place::ChunkSize { size: 0, digits: 0 }),
            (Place::TrailerStart, b'\r') => Ok(Place::LastEnd),
            (Place::TrailerStart | Place::TrailerLine, b'\n') => Err(BAD),
            (Place::TrailerLine, b'\r') => Ok(Place::TrailerLineEnd),
            (Place::TrailerStart | Place::TrailerLine, _) => self.extra(Place::TrailerLine),
            (Place::TrailerLineEnd, b'\n') => Ok(Place::TrailerStart),
            (Place::LastEnd, b'\n') => {
                self.extra_bytes = 0;
                Ok(Place::Head)
            }
            _ => Err(BAD),
        }
    }

    fn extra(&mut self, next: Place) -> Result<Place, Refusal> {
        self.extra_bytes += 1;
        if self.extra_bytes > CHUNK_EXTRA_BYTES_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(next)
    }

    /// Bytes of a head; what follows the head is returned.
    fn head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Refusal> {
        if self.partial.is_empty() {
            // Empty lines before a request line are skipped (RFC 9112, section 2.2).
            let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
            let bytes = &bytes[start..];
            if let Some(end) = head_end(bytes, 0)? {
                self.place = framed(&bytes[..end])?;
                return Ok(&bytes[end..]);
            }
            self.partial.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX + 1)]);
        } else {
            let before = self.partial.len();
            self.partial.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX + 1)]);
            if let Some(end) = head_end(&self.partial, before.saturating_sub(3))? {
                let head = std::mem::take(&mut self.partial);
                self.place = framed(&head[..end])?;
                return Ok(&bytes[end - before..]);
            }
        }
        if self.partial.len() > HEAD_BYTES_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(&[])
    }
}

fn skip(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let step = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (left - step as u64, &bytes[step..])
}

/// Where the head that begins at 0 ends, looking from `from` on.
fn head_end(bytes: &[u8], from: usize) -> Result<Option<usize>, Refusal> {
    let mut at = from;
    while let Some(step) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let feed = at + step;
        if feed == 0 || bytes[feed - 1] != b'\r' {
            return Err(Refusal::Malformed("a line of the head ends without a carriage return"));
        }
        if bytes[feed + 1..].starts_with(b"\r\n") {
            let end = feed + 3;
            return if end > HEAD_BYTES_MAX { Err(Refusal::HeadTooLarge) } else { Ok(Some(end)) };
        }
        at = feed + 1;
    }
    Ok(None)
}

/// What follows a whole head (RFC 9112, section 6.3), or why the request is refused.
fn framed(head: &[u8]) -> Result<Place, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Err(Refusal::Malformed("the head of the request is malformed"));
        }
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(error) => return Err(Refusal::Malformed(why(error))),
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            4 if is("host") => hosts += 1,
            14 if is("content-length") && length.replace(header.value).is_some() => {
                return Err(Refusal::TwoLengths);
            }
            17 if is("transfer-encoding") => {
                if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Malformed("the only transfer-encoding that is taken is chunked"));
                }
                chunked = true;
            }
            _ => {}
        }
    }
    if request.version == Some(1) && hosts != 1 {
        return Err(Refusal::Malformed("a request needs exactly one host header"));
    }
    match (length, chunked) {
        (Some(_), true) => Err(Refusal::TwoLengths),
        (None, true) if request.version != Some(1) => {
            Err(Refusal::Malformed("HTTP/1.0 has no transfer-encoding"))
        }
        (None, true) => Ok(Place::ChunkSize { size: 0, digits: 0 }),
        (None, false) => Ok(Place::Head),
        (Some(digits), false) => match body_length(digits) {
            Some(0) => Ok(Place::Head),
            Some(length) => Ok(Place::Body(length)),
            None => Err(Refusal::Malformed("the content-length is not a number")),
        },
    }
}

/// Digits only: neither a sign nor a list (RFC 9110, section 8.6).
fn body_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn why(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header name is malformed",
        httparse::Error::HeaderValue => "a header value is malformed",
        httparse::Error::Version => "the HTTP version of the request line is not 1.0 or 1.1",
        _ => "the request line is malformed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";

    /// The verdict must be the same however the bytes are cut.
    fn verdict(text: &str) -> Result<(), Refusal> {
        let whole = Framing::default().accept(text.as_bytes());
        for step in [1, 2, 3, 7, 64] {
            let mut framing = Framing::default();
            let cut = text.as_bytes().chunks(step).try_for_each(|bytes| framing.accept(bytes));
            assert_eq!(cut, whole, "cut every {step} bytes: {text:?}");
        }
        whole
    }

    #[test]
    fn requests_that_frame_in_one_way_only_pass() {
        let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: Chunked\r\n\r\n4;a=b\r\nbody\r\n0\r\nx: y\r\n\r\n";
        for text in [GET, post, chunked, "\r\n\r\nGET / HTTP/1.0\r\n\r\n"] {
            assert_eq!(verdict(text), Ok(()), "{text:?}");
        }
        assert_eq!(verdict(&[GET, chunked, post, chunked, GET].concat()), Ok(()));
    }

    #[test]
    fn two_lengths_are_refused_in_every_form() {
        for lengths in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 5",
            "content-length: 5\r\ncontent-length: 6",
            "Content-Length: 5\r\ncontent-LENGTH: 5",
        ] {
            let text = format!("POST / HTTP/1.1\r\nhost: web\r\n{lengths}\r\n\r\n");
            assert_eq!(verdict(&text), Err(Refusal::TwoLengths), "{lengths:?}");
        }
    }

    #[test]
    fn what_two_readers_could_frame_in_two_ways_is_refused() {
        let of = |lines: &str, body: &str| format!("POST / HTTP/1.1\r\nhost: web\r\n{lines}\r\n\r\n{body}");
        for text in [
            of("content-length: +5", ""),
            of("content-length: 5, 5", ""),
            of("content-length: 0x5", ""),
            of("content-length : 5", ""),
            of("transfer-encoding: gzip, chunked", ""),
            of("transfer-encoding: chunked\r\ntransfer-encoding: chunked", ""),
            of("x: a\r\n folded", ""),
            of("host: other", ""),
            of("transfer-encoding: chunked", "5\nhello\r\n"),
            of("transfer-encoding: chunked", "\r\n"),
            of("transfer-encoding: chunked", "0x5\r\nhello\r\n"),
            of("transfer-encoding: chunked", "5\r\nhelloo\r\n"),
            of("transfer-encoding: chunked", "fffffffffffffffff\r\n"),
            "GET / HTTP/1.1\nhost: web\n\n".to_owned(),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "GET / HTTP/2.0\r\nhost: web\r\n\r\n".to_owned(),
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            "not http at all\r\n\r\n".to_owned(),
        ] {
            assert!(matches!(verdict(&text), Err(Refusal::Malformed(_))), "{text:?}: {:?}", verdict(&text));
        }
    }

    #[test]
    fn a_head_past_the_bound_is_refused_before_its_end_has_come() {
        let mut framing = Framing::default();
        framing.accept(b"GET / HTTP/1.1\r\nhost: web\r\nx: ").unwrap();
        assert!(framing.in_head());
        let mut verdict = Ok(());
        for _ in 0..=HEAD_BYTES_MAX / 1024 {
            verdict = verdict.and_then(|()| framing.accept(&[b'a'; 1024]));
        }
        assert_eq!(verdict, Err(Refusal::HeadTooLarge));
        let many = format!("GET / HTTP/1.1\r\nhost: web\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX));
        assert_eq!(Framing::default().accept(many.as_bytes()), Err(Refusal::HeadTooLarge));
    }

    #[test]
    fn after_an_upgrade_nothing_is_looked_at() {
        let mut framing = Framing::default();
        framing.accept(GET.as_bytes()).unwrap();
        framing.open_tunnel();
        assert_eq!(framing.accept(b"\n\n\x00anything"), Ok(()));
    }
}
