//! Writes the head of an answer as an HTTP/1 caller reads it. Pure: appends to a buffer.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode, Version, header};

use super::encode::put_line;
use super::spelling::{Spelling, reason};

/// How an answer's body reaches the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, whatever the headers say.
    Absent,
    /// As many bytes as its head states.
    Sized,
    /// In chunks.
    Chunked,
    /// Up to the end of the connection.
    UntilClose,
}

/// What decides an answer's framing beside its own head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The version that the caller speaks.
    pub(super) version: Version,
    /// Whether it asked for the head alone.
    pub(super) is_head: bool,
    /// Whether the connection is to close after this answer.
    pub(super) closes: bool,
    /// Whether bytes are carried as they are behind the head.
    pub(super) is_tunnel: bool,
}

/// Appends the head of an answer whose body is `size` bytes long, if that is known. The connection must be closed after an
/// answer that ends with it. Names keep the spelling of `spelled`, the head as it came over HTTP/1.
pub(super) fn put_head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    size: Option<u64>,
    asked: Asked,
    spelled: &[u8],
) -> Framing {
    let mut spelling = Spelling::of(spelled);
    put_status(out, asked.version, status, spelled);
    let has_none = asked.is_tunnel || status.is_informational() || status == StatusCode::NO_CONTENT;
    let stated = headers.get(header::CONTENT_LENGTH).filter(|_| !has_none);
    let framing = match (stated, size) {
        _ if has_none || asked.is_head || status == StatusCode::NOT_MODIFIED => Framing::Absent,
        (Some(_), _) | (None, Some(_)) => Framing::Sized,
        (None, None) if asked.version == Version::HTTP_11 => Framing::Chunked,
        (None, None) => Framing::UntilClose,
    };
    let mut is_left_out = stated.is_none();
    for (name, value) in headers {
        // A length goes where it stood, once: what came over HTTP/2 may state it more often.
        if *name != header::CONTENT_LENGTH || !std::mem::replace(&mut is_left_out, true) {
            put_line(out, spelling.spelled(name.as_str()), value.as_bytes());
        }
    }
    match (framing, stated, size) {
        (Framing::Sized, None, Some(size)) => put_length(out, size),
        (Framing::Chunked, ..) => put_line(out, spelling.spelled("transfer-encoding"), b"chunked"),
        _ => {}
    }
    if !asked.is_tunnel {
        if asked.closes || framing == Framing::UntilClose {
            put_line(out, spelling.spelled("connection"), b"close");
        } else if asked.version == Version::HTTP_10 {
            put_line(out, spelling.spelled("connection"), b"keep-alive");
        }
    }
    out.put_slice(b"\r\n");
    framing
}

/// Appends an interim answer, which came as `spelled` if that was over HTTP/1.
pub(in crate::http) fn put_interim(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    spelled: &[u8],
) {
    let mut spelling = Spelling::of(spelled);
    put_status(out, Version::HTTP_11, status, spelled);
    for (name, value) in headers {
        if *name != header::CONTENT_LENGTH {
            put_line(out, spelling.spelled(name.as_str()), value.as_bytes());
        }
    }
    out.put_slice(b"\r\n");
}

/// The reason is the endpoint's where it gave one: callers may show it.
fn put_status(out: &mut BytesMut, version: Version, status: StatusCode, spelled: &[u8]) {
    out.reserve(512);
    out.put_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    let reason = reason(spelled, status);
    out.put_slice(reason.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().as_bytes()));
    out.put_slice(b"\r\n");
}

fn put_length(out: &mut BytesMut, size: u64) {
    out.put_slice(b"content-length: ");
    let (mut digits, mut at, mut left) = ([0_u8; 20], 20, size);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).expect("one digit");
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn head(status: u16, length: Option<&str>, size: Option<u64>, asked: Asked) -> (String, Framing) {
        let (mut out, mut headers) = (BytesMut::new(), HeaderMap::new());
        headers.insert("x", "y".parse().unwrap());
        for length in length.into_iter().flat_map(|length| length.split(' ')) {
            headers.append(header::CONTENT_LENGTH, length.parse().unwrap());
        }
        let framing = put_head(&mut out, StatusCode::from_u16(status).unwrap(), &headers, size, asked, b"");
        (String::from_utf8(out.to_vec()).unwrap(), framing)
    }

    const GET: Asked = Asked { version: Version::HTTP_11, is_head: false, closes: false, is_tunnel: false };
    const OLD: Asked = Asked { version: Version::HTTP_10, ..GET };

    #[test]
    fn each_answer_has_the_framing_of_its_kind() {
        for (status, length, size, asked, framing, lines) in [
            (200, Some("5"), Some(5), GET, Framing::Sized, "content-length: 5\r\n"),
            (200, Some("5 5"), None, GET, Framing::Sized, "content-length: 5\r\n"),
            (200, None, Some(1204), GET, Framing::Sized, "content-length: 1204\r\n"),
            (200, None, Some(0), GET, Framing::Sized, "content-length: 0\r\n"),
            (200, None, None, GET, Framing::Chunked, "transfer-encoding: chunked\r\n"),
            (200, None, None, OLD, Framing::UntilClose, "connection: close\r\n"),
            (200, None, Some(3), OLD, Framing::Sized, "content-length: 3\r\nconnection: keep-alive\r\n"),
            (
                200,
                Some("5"),
                Some(0),
                Asked { is_head: true, ..GET },
                Framing::Absent,
                "content-length: 5\r\n",
            ),
            (200, None, Some(0), Asked { is_head: true, ..GET }, Framing::Absent, ""),
            (304, Some("5"), Some(0), GET, Framing::Absent, "content-length: 5\r\n"),
            (204, Some("0"), Some(0), GET, Framing::Absent, ""),
            (200, None, Some(0), Asked { is_tunnel: true, closes: true, ..GET }, Framing::Absent, ""),
            (
                200,
                None,
                Some(2),
                Asked { closes: true, ..GET },
                Framing::Sized,
                "content-length: 2\r\nconnection: close\r\n",
            ),
        ] {
            let (text, found) = head(status, length, size, asked);
            assert_eq!(found, framing, "{text}");
            let (line, rest) = text.split_once("\r\n").unwrap();
            assert!(line.ends_with(&format!(
                " {status} {}",
                StatusCode::from_u16(status).unwrap().canonical_reason().unwrap()
            )));
            assert_eq!(rest, format!("x: y\r\n{lines}\r\n"), "{status} {length:?} {size:?}");
        }
    }
}
