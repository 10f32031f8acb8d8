//! Reads the head of an answer and says how its body is framed (RFC 9112, section 6.3). Pure: takes from a read buffer.
//! As strict as the request's side: an answer with two lengths is refused, so that no reader after us can be split.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::decode::{Decoder, Unreadable};
use super::request::{body_length, says};
use crate::http::head_bounds::HeadBounds;

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, as they came.
    pub headers: HeaderMap,
    /// The head as it came, for the spelling of its names.
    pub spelled: Bytes,
    /// How its body ends.
    pub body: Decoder,
    /// Whether the connection may carry another request after it.
    pub keep_alive: bool,
}

/// Takes a whole head within `bounds` out of `read`, or nothing. `headers` is filled anew; what it holds is dropped.
pub(super) fn take_head(
    read: &mut BytesMut,
    method: &Method,
    bounds: HeadBounds,
    headers: &mut HeaderMap,
) -> Result<Option<AnswerHead>, Unreadable> {
    if read.is_empty() {
        return Ok(None);
    }
    let mut lines = [const { MaybeUninit::uninit() }; HeadBounds::OF_PROXIES.lines];
    let lines = &mut lines[..bounds.lines];
    let mut answer = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut answer, read, lines) {
        Ok(httparse::Status::Complete(length)) if length <= bounds.bytes => length,
        Ok(httparse::Status::Partial) if read.len() <= bounds.bytes => return Ok(None),
        _ => return Err(Unreadable),
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Unreadable)?;
    let version = if answer.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    // Where each line lies, because the buffer must be split before its values can share it.
    let base = read.as_ptr() as usize;
    let count = answer.headers.len();
    let mut places = [(0_u32, 0_u32, 0_u32, 0_u32); HeadBounds::OF_PROXIES.lines];
    for (place, line) in places.iter_mut().zip(answer.headers.iter()) {
        let at = |slice: &[u8]| {
            let start = if slice.is_empty() { 0 } else { slice.as_ptr() as usize - base };
            let fits = "a head is at most some ten thousand bytes";
            (u32::try_from(start).expect(fits), u32::try_from(start + slice.len()).expect(fits))
        };
        let (name, value) = (at(line.name.as_bytes()), at(line.value));
        *place = (name.0, name.1, value.0, value.1);
    }
    let head = read.split_to(length).freeze();
    headers.clear();
    headers.reserve(count);
    for (name, name_end, value, value_end) in &places[..count] {
        let name =
            HeaderName::from_bytes(&head[*name as usize..*name_end as usize]).map_err(|_| Unreadable)?;
        let value = HeaderValue::from_maybe_shared(head.slice(*value as usize..*value_end as usize))
            .map_err(|_| Unreadable)?;
        headers.append(name, value);
    }
    let body = framing(status, version, method, headers)?;
    let keep_alive = version == Version::HTTP_11 && body != Decoder::UntilClose && !says(headers, b"close");
    Ok(Some(AnswerHead { status, headers: std::mem::take(headers), spelled: head, body, keep_alive }))
}

fn framing(
    status: StatusCode,
    version: Version,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Decoder, Unreadable> {
    let mut length: Option<u64> = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let stated = body_length(value.as_bytes()).ok_or(Unreadable)?;
        if length.is_some_and(|length| length != stated) {
            return Err(Unreadable);
        }
        length = Some(stated);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some() && (length.is_some() || codings.next().is_some() || version == Version::HTTP_10) {
        return Err(Unreadable);
    }
    if *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Decoder::EMPTY);
    }
    match (coding, length) {
        (Some(coding), _) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Decoder::ChunkSize),
        (Some(_), _) => Err(Unreadable),
        (None, Some(length)) => Ok(Decoder::Sized(length)),
        (None, None) => Ok(Decoder::UntilClose),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails
    use super::*;

    fn read(text: &str, method: &Method) -> Result<Option<AnswerHead>, Unreadable> {
        take_head(&mut BytesMut::from(text), method, HeadBounds::OF_APPLICATIONS, &mut HeaderMap::new())
    }

    #[test]
    fn each_way_to_frame_a_body_is_told_apart() {
        for (text, method, body, keep_alive) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Method::GET, Decoder::Sized(5), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Method::HEAD, Decoder::EMPTY, true),
            ("HTTP/1.1 304 \r\ncontent-length: 5\r\n\r\n", Method::GET, Decoder::EMPTY, true),
            ("HTTP/1.1 204 No\r\n\r\n", Method::GET, Decoder::EMPTY, true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Method::GET, Decoder::ChunkSize, true),
            ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, Decoder::UntilClose, false),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: x, Close\r\n\r\n",
                Method::GET,
                Decoder::Sized(1),
                false,
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", Method::GET, Decoder::Sized(1), false),
        ] {
            let head = read(text, &method).unwrap().unwrap();
            assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{text:?}");
        }
    }

    #[test]
    fn an_answer_that_can_be_read_in_two_ways_is_refused() {
        for lines in [
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: gzip",
            "content-length: five",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
            assert_eq!(read(&text, &Method::GET).unwrap_err(), Unreadable, "{lines:?}");
        }
        assert!(read("SSH-2.0-OpenSSH\r\n", &Method::GET).is_err());
    }

    #[test]
    fn a_part_of_a_head_waits_and_what_follows_it_stays() {
        assert!(read("HTTP/1.1 200 OK\r\ncontent-le", &Method::GET).unwrap().is_none());
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\nx:\r\ncontent-length: 4\r\n\r\nbody");
        let bounds = HeadBounds::OF_APPLICATIONS;
        let head = take_head(&mut bytes, &Method::GET, bounds, &mut HeaderMap::new()).unwrap().unwrap();
        assert_eq!((head.headers.len(), head.headers["x"].len(), &bytes[..]), (2, 0, &b"body"[..]));
    }
}
