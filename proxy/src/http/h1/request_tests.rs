//! What is taken as a request and what is refused, whole streams of requests at a time and however they are cut.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use super::super::decode::Decoded;
use super::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";

const BOUNDS: HeadBounds = HeadBounds::OF_APPLICATIONS;

const BAD_BODY: Refusal = Refusal::Malformed("the body");

/// Reads a stream of requests with their bodies, `step` bytes at a time; the heads, or why one was refused.
fn read(text: &str, step: usize) -> Result<Vec<RequestHead>, Refusal> {
    let (mut buffer, mut searched, mut heads) = (BytesMut::new(), 0, Vec::new());
    let mut body = None;
    for bytes in text.as_bytes().chunks(step) {
        buffer.extend_from_slice(bytes);
        loop {
            if body.is_none() {
                let Some(head) = take_head(&mut buffer, &mut searched, BOUNDS, HeaderMap::new)? else {
                    break;
                };
                body = Some(head.body);
                heads.push(head);
            }
            match body.as_mut().unwrap().decode_strictly(&mut buffer).map_err(|_| BAD_BODY)? {
                Decoded::More => break,
                Decoded::Data(_) => {}
                Decoded::End | Decoded::Trailers(..) => body = None,
            }
        }
    }
    Ok(heads)
}

/// How many requests there are; the verdict must be the same however the bytes are cut.
fn verdict(text: &str) -> Result<usize, Refusal> {
    let whole = read(text, text.len()).map(|heads| heads.len());
    for step in [1, 2, 3, 7, 64] {
        let cut = read(text, step).map(|heads| heads.len());
        assert_eq!(cut, whole, "cut every {step} bytes: {text:?}");
    }
    whole
}

#[test]
fn requests_that_frame_in_one_way_only_pass() {
    let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: Chunked\r\n\r\n4;a=b\r\nbody\r\n0\r\nx: y\r\n\r\n";
    for text in [GET, post, chunked, "\r\n\r\nGET / HTTP/1.0\r\n\r\n"] {
        assert_eq!(verdict(text), Ok(1), "{text:?}");
    }
    assert_eq!(verdict(&[GET, chunked, post, "\r\n", chunked, GET].concat()), Ok(5));
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
        of("content-length:", ""),
        of("transfer-encoding: gzip, chunked", ""),
        of("transfer-encoding: chunked\r\ntransfer-encoding: chunked", ""),
        of("transfer-encoding: \x0bchunked", ""),
        of("x: a\r\n folded", ""),
        of("x: a\0b", ""),
        of("x: a\rb", ""),
        of("host: other", ""),
        of("transfer-encoding: chunked", "5\nhello\r\n"),
        of("transfer-encoding: chunked", "\r\n"),
        of("transfer-encoding: chunked", "0x5\r\nhello\r\n"),
        of("transfer-encoding: chunked", "5\r\nhelloo\r\n"),
        of("transfer-encoding: chunked", "fffffffffffffffff\r\n"),
        "GET / HTTP/1.1\nhost: web\n\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: web\r\n\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\nhost: web\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nhost: web\r\n\r\n".to_owned(),
        "GET web HTTP/1.1\r\nhost: web\r\n\r\n".to_owned(),
        "GET ftp://web/ HTTP/1.1\r\nhost: web\r\n\r\n".to_owned(),
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        "not http at all\r\n\r\n".to_owned(),
    ] {
        assert!(matches!(verdict(&text), Err(Refusal::Malformed(_))), "{text:?}: {:?}", verdict(&text));
    }
}

#[test]
fn a_head_past_the_bound_is_refused_before_its_end_has_come() {
    let (mut buffer, mut searched) = (BytesMut::from("GET / HTTP/1.1\r\nhost: web\r\nx: "), 0);
    for _ in 0..BOUNDS.bytes / 1024 - 1 {
        buffer.extend_from_slice(&[b'a'; 1024]);
        assert!(take_head(&mut buffer, &mut searched, BOUNDS, HeaderMap::new).unwrap().is_none());
    }
    buffer.extend_from_slice(&[b'a'; 1024]);
    let refused = take_head(&mut buffer.clone(), &mut searched.clone(), BOUNDS, HeaderMap::new);
    assert_eq!(refused.unwrap_err(), Refusal::HeadTooLarge);
    let of_a_proxy = take_head(&mut buffer, &mut searched, HeadBounds::OF_PROXIES, HeaderMap::new);
    assert!(of_a_proxy.unwrap().is_none(), "which may have added to it");
    for (more, is_taken) in [(BOUNDS.lines - 1, true), (BOUNDS.lines, false)] {
        let many = format!("GET / HTTP/1.1\r\nhost: web\r\n{}\r\n", "a: b\r\n".repeat(more));
        assert_eq!(verdict(&many), if is_taken { Ok(1) } else { Err(Refusal::HeadTooLarge) });
    }
}

#[test]
fn a_connection_lives_on_as_its_version_and_its_headers_say() {
    for (line, version, keep_alive) in [
        ("x: y", "1.1", true),
        ("connection: a, Close", "1.1", false),
        ("x: y", "1.0", false),
        ("connection: Keep-Alive", "1.0", true),
        ("connection: keep-alive, close", "1.0", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nhost: web\r\n{line}\r\n\r\n");
        assert_eq!(read(&text, 9).unwrap()[0].keep_alive, keep_alive, "{line} in {version}");
    }
}

#[test]
fn every_form_of_target_is_read_and_the_caller_waits_to_continue_only_with_a_body() {
    for (text, path) in [
        ("GET /a?b=c HTTP/1.1", "/a?b=c"),
        ("GET http://web/a?b HTTP/1.1", "/a?b"),
        ("OPTIONS * HTTP/1.1", "*"),
        ("CONNECT web:80 HTTP/1.1", ""),
    ] {
        let heads = read(&format!("{text}\r\nhost: web\r\nexpect: 100-Continue\r\n\r\n"), 5).unwrap();
        assert_eq!(heads[0].parts.uri.path_and_query().map_or("", |path| path.as_str()), path);
        assert!(!heads[0].expects_continue);
    }
    let put = "PUT / HTTP/1.1\r\nhost: web\r\nexpect: 100-Continue\r\ncontent-length: 1\r\n\r\nx";
    assert!(read(put, 5).unwrap()[0].expects_continue);
}
