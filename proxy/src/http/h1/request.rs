//! Reads the head of a request and says how its body is framed (RFC 9112). Pure: takes from a read buffer, and gives the
//! same verdict however the bytes were cut. Must never accept what two readers could frame in two ways: that is how
//! requests are smuggled.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request};

use super::decode::Decoder;
use crate::http::head_bounds::HeadBounds;
use crate::http::refusal::Refusal;

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and headers, as they came.
    pub parts: request::Parts,
    /// How its body ends.
    pub body: Decoder,
    /// Whether the connection may carry another request after it.
    pub keep_alive: bool,
    /// The head as it came, for the spelling of its names.
    pub spelled: Bytes,
    /// Whether the caller waits for `100 (Continue)` before it sends the body.
    pub expects_continue: bool,
}

/// Takes a whole head within `bounds` out of `read`, or nothing. `searched` is how much of it is known not to end a head; the
/// caller keeps it between calls, zero at first. `headers`, which must be empty, lends its memory.
///
/// # Errors
/// If the request must be refused; the connection cannot be read any further.
pub fn take_head(
    read: &mut BytesMut,
    searched: &mut usize,
    bounds: HeadBounds,
    headers: impl FnOnce() -> HeaderMap,
) -> Result<Option<RequestHead>, Refusal> {
    if *searched == 0 {
        // Empty lines before a request line are skipped (RFC 9112, section 2.2).
        while read.starts_with(b"\r\n") {
            read.advance(2);
        }
        if read[..] == *b"\r" {
            return Ok(None); // the first half of another one, perhaps
        }
    }
    let Some(end) = head_end(read, searched, bounds.bytes)? else { return Ok(None) };
    *searched = 0;
    parsed(&read.split_to(end).freeze(), bounds.lines, headers()).map(Some)
}

/// Where the head that begins at 0 ends, looking from `searched` on.
fn head_end(bytes: &[u8], searched: &mut usize, bytes_max: usize) -> Result<Option<usize>, Refusal> {
    let mut at = *searched;
    while let Some(step) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let feed = at + step;
        if feed == 0 || bytes[feed - 1] != b'\r' {
            return Err(Refusal::Malformed("a line of the head ends without a carriage return"));
        }
        if feed >= 3 && bytes[feed - 2] == b'\n' {
            let end = feed + 1;
            return if end > bytes_max { Err(Refusal::HeadTooLarge) } else { Ok(Some(end)) };
        }
        at = feed + 1;
    }
    if bytes.len() > bytes_max {
        return Err(Refusal::HeadTooLarge);
    }
    *searched = bytes.len();
    Ok(None)
}

/// Reads a head that is whole.
fn parsed(head: &Bytes, lines_max: usize, mut headers: HeaderMap) -> Result<RequestHead, Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed("the head of the request is malformed");
    let mut lines = [const { MaybeUninit::uninit() }; HeadBounds::OF_PROXIES.lines];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut lines[..lines_max]) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(MALFORMED),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(error) => return Err(Refusal::Malformed(why(error))),
    }
    let version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let method = request.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let method = method.ok_or(Refusal::Malformed("the method is malformed"))?;
    let uri = target(&method, &head.slice_ref(request.path.unwrap_or_default().as_bytes()))?;
    headers.reserve(request.headers.len() + 1); // the proxy adds one
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| MALFORMED)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).map_err(|_| MALFORMED)?;
        headers.append(name, value);
    }
    let body = framing(version, &headers)?;
    let keep_alive = match version {
        Version::HTTP_11 => !says(&headers, b"close"),
        _ => says(&headers, b"keep-alive") && !says(&headers, b"close"),
    };
    let expects = headers.get(header::EXPECT);
    let expects_continue = version == Version::HTTP_11
        && !body.is_done()
        && expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, headers);
    Ok(RequestHead { parts, body, keep_alive, spelled: head.clone(), expects_continue })
}

/// The request target, in the form that its method has (RFC 9112, section 3.2).
fn target(method: &Method, text: &Bytes) -> Result<Uri, Refusal> {
    const BAD: Refusal = Refusal::Malformed("the request target is malformed");
    if text.starts_with(b"/") {
        return PathAndQuery::from_maybe_shared(text.clone()).map(Uri::from).map_err(|_| BAD);
    }
    let uri = Uri::from_maybe_shared(text.clone()).map_err(|_| BAD)?;
    let is_of_its_form = match uri.scheme_str() {
        Some(scheme) => scheme.eq_ignore_ascii_case("http") && uri.authority().is_some(),
        None => *method == Method::CONNECT || (*method == Method::OPTIONS && &text[..] == b"*"),
    };
    if is_of_its_form { Ok(uri) } else { Err(BAD) }
}

/// What follows the head (RFC 9112, section 6.3), or why the request is refused.
fn framing(version: Version, headers: &HeaderMap) -> Result<Decoder, Refusal> {
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && version == Version::HTTP_11) {
        return Err(Refusal::Malformed("a request needs exactly one host header"));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if lengths.next().is_some() || (length.is_some() && coding.is_some()) {
        return Err(Refusal::TwoLengths);
    }
    if let Some(coding) = coding {
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Malformed("the only transfer-encoding that is taken is chunked"));
        }
        if version == Version::HTTP_10 {
            return Err(Refusal::Malformed("HTTP/1.0 has no transfer-encoding"));
        }
        return Ok(Decoder::ChunkSize);
    }
    let Some(length) = length else { return Ok(Decoder::EMPTY) };
    let length = body_length(length.as_bytes());
    length.map(Decoder::Sized).ok_or(Refusal::Malformed("the content-length is not a number"))
}

/// The length that a content-length states. Digits only: neither a sign nor a list (RFC 9110, section 8.6).
pub(super) fn body_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether a `connection` header holds `option`.
pub(super) fn says(headers: &HeaderMap, option: &[u8]) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(option))
    })
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
#[path = "request_tests.rs"]
mod tests;
