//! Writes a request's head, and the framing of any message's body. Pure: appends to a buffer.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, Method, header, request};

use super::spelling::Spelling;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// By the content-length in the headers, by the end of the connection, or there is none.
    Sized,
    /// In chunks.
    Chunked,
}

/// Appends the head of `parts`, whose hop-by-hop headers are gone already; `has_body` is whether a body follows. Names keep
/// the spelling of `spelled`, the head as it came over HTTP/1.
pub(super) fn put_head(out: &mut BytesMut, parts: &request::Parts, has_body: bool, spelled: &[u8]) -> Coding {
    let mut spelling = Spelling::of(spelled);
    out.reserve(512);
    out.put_slice(parts.method.as_str().as_bytes());
    out.put_u8(b' ');
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    if !parts.headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
    {
        put_line(out, b"host", authority.as_str().as_bytes());
    }
    for (name, value) in &parts.headers {
        put_line(out, spelling.spelled(name.as_str()), value.as_bytes());
    }
    let is_sized = parts.headers.contains_key(header::CONTENT_LENGTH);
    let coding = if has_body && !is_sized {
        put_line(out, spelling.spelled("transfer-encoding"), b"chunked");
        Coding::Chunked
    } else {
        // A method that means to carry a body states that it carries none (RFC 9110, section 8.6).
        if !has_body && !is_sized && matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
            out.put_slice(b"content-length: 0\r\n");
        }
        Coding::Sized
    };
    out.put_slice(b"\r\n");
    coding
}

pub(super) fn put_line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Appends a piece of the body.
pub(super) fn put_piece(out: &mut BytesMut, coding: Coding, piece: &[u8]) {
    if piece.is_empty() {
        return; // an empty chunk would end the body
    }
    if coding == Coding::Chunked {
        put_chunk_size(out, piece.len());
    }
    out.put_slice(piece);
    if coding == Coding::Chunked {
        out.put_slice(b"\r\n");
    }
}

/// Appends the line that opens a chunk.
pub(super) fn put_chunk_size(out: &mut BytesMut, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.put_u8(b"0123456789abcdef"[size >> (4 * place) & 0xf]);
    }
    out.put_slice(b"\r\n");
}

/// Appends the end of the body. Trailers can be told only where the body is chunked. Their names keep the spelling of `spelled`,
/// their section as it came over HTTP/1.
pub(super) fn put_end(out: &mut BytesMut, coding: Coding, trailers: Option<&HeaderMap>, spelled: &[u8]) {
    if coding == Coding::Sized {
        return;
    }
    let mut spelling = Spelling::of_lines(spelled);
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        put_line(out, spelling.spelled(name.as_str()), value.as_bytes());
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;
    use http::Request;

    fn head(request: http::request::Builder, has_body: bool) -> (String, Coding) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut out = BytesMut::new();
        let coding = put_head(&mut out, &parts, has_body, b"");
        (String::from_utf8(out.to_vec()).unwrap(), coding)
    }

    #[test]
    fn a_head_is_written_in_origin_form_with_one_framing() {
        let get = head(Request::get("http://web/a?b=c").header("x", "y"), false);
        assert_eq!(get, ("GET /a?b=c HTTP/1.1\r\nhost: web\r\nx: y\r\n\r\n".to_owned(), Coding::Sized));
        let (text, coding) = head(Request::post("/a").header("host", "web"), true);
        assert!(text.contains("transfer-encoding: chunked\r\n"), "{text}");
        assert_eq!(coding, Coding::Chunked);
        let (text, coding) =
            head(Request::post("/a").header("host", "web").header("content-length", "3"), true);
        assert!(!text.contains("chunked"), "{text}");
        assert_eq!(coding, Coding::Sized);
        assert!(head(Request::post("/").header("host", "web"), false).0.contains("content-length: 0"));
    }

    #[test]
    fn chunks_and_trailers_are_framed_and_an_empty_piece_does_not_end_the_body() {
        let mut out = BytesMut::new();
        put_piece(&mut out, Coding::Chunked, b"");
        put_piece(&mut out, Coding::Chunked, b"hello worlds, all");
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "y".parse().unwrap());
        put_end(&mut out, Coding::Chunked, Some(&trailers), b"X: y\r\n\r\n");
        assert_eq!(&out[..], b"11\r\nhello worlds, all\r\n0\r\nX: y\r\n\r\n");
    }
}
