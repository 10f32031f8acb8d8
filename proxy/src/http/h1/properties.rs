//! What must hold of any bytes that a caller or an endpoint sends: they are read the same however they are cut, what is
//! accepted of a caller is read as hyper reads it, and what goes on is read there as it was read here. For seeded mutations
//! (`mutation_tests`) and for fuzzing alone.
#![allow(clippy::unwrap_used)] // a panic is how a property fails

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::answer;
use super::decode::{Decoded, Decoder, Unreadable};
use super::encode::{self, Coding};
use super::reply::{self, Asked, Framing};
use super::request::take_head;
use crate::http::head_bounds::HeadBounds;
use crate::http::hop;
use crate::http::passing::{name_host, prepare};

/// A stream of requests gets one reading, whole and cut every `step` bytes, and the one that hyper gives it. How many requests
/// were whole.
///
/// # Panics
/// If it does not.
pub fn requests_are_read_alike(bytes: &[u8], step: usize) -> usize {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    let (seen, end) = ours(bytes, bytes.len());
    assert_eq!(ours(bytes, step), (seen.clone(), end), "cut every {step} bytes: {:?}", text());
    if !seen.is_empty() {
        // hyper ends a connection that does not stay open, and may be stricter in what comes after: what both saw must agree.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let theirs = runtime.block_on(hypers(bytes));
        let both = seen.len().min(theirs.len());
        assert_eq!(seen[..both], theirs[..both], "{:?}", text());
        assert!(both > 0, "hyper refused what was accepted here: {:?}", text());
    }
    seen.len()
}

/// Each request that is read goes on as one request: with its method, its body, and the headers that are not for this connection
/// alone.
///
/// # Panics
/// If it does not.
pub fn requests_go_on_alike(bytes: &[u8]) {
    let (mut buffer, mut searched) = (BytesMut::from(bytes), 0);
    let bounds = HeadBounds::OF_APPLICATIONS;
    while let Ok(Some(mut head)) = take_head(&mut buffer, &mut searched, bounds, HeaderMap::new) {
        let has_body = !head.body.is_done();
        let Some((body, trailers, section)) = whole(|| head.body.decode_strictly(&mut buffer)) else {
            return;
        };
        if head.parts.method == Method::CONNECT {
            return; // joins two connections, and never goes on as a request
        }
        prepare(&mut head.parts);
        name_host(&mut head.parts, || b"web".to_vec());
        let mut out = BytesMut::new();
        let coding = encode::put_head(&mut out, &head.parts, has_body, &head.spelled);
        encode::put_piece(&mut out, coding, &body);
        encode::put_end(&mut out, coding, Some(&trailers), &section);
        let (seen, end) = read(&out, out.len(), HeadBounds::OF_PROXIES);
        let text =
            || format!("{:?} went on as {:?}", String::from_utf8_lossy(bytes), String::from_utf8_lossy(&out));
        assert!(end == End::Whole && seen.len() == 1, "{end:?}: {}", text());
        let mut sent = seen.into_iter().next().unwrap();
        if coding == Coding::Chunked {
            sent.headers.remove(header::TRANSFER_ENCODING);
        } else if !has_body && !head.parts.headers.contains_key(header::CONTENT_LENGTH) {
            sent.headers.remove(header::CONTENT_LENGTH); // that there is none may be stated
        }
        assert_eq!((sent.method, sent.body), (head.parts.method, body), "{}", text());
        assert_eq!(sent.headers, head.parts.headers, "{}", text());
    }
}

/// An answer that is read goes back as one answer: with its status, its body, and the headers that are not for this connection
/// alone.
///
/// # Panics
/// If it does not.
pub fn answers_go_back_alike(bytes: &[u8]) {
    let (mut buffer, mut headers) = (BytesMut::from(bytes), HeaderMap::new());
    let bounds = HeadBounds::OF_APPLICATIONS;
    let Ok(Some(mut head)) = answer::take_head(&mut buffer, &Method::GET, bounds, &mut headers) else {
        return;
    };
    if head.status.is_informational() || head.body == Decoder::UntilClose {
        return; // not the end of an exchange, and an end that bytes alone do not tell
    }
    let size = head.body.remaining();
    let Some((body, trailers, section)) = whole(|| head.body.decode(&mut buffer)) else { return };
    hop::strip(&mut head.headers);
    let asked = Asked { version: Version::HTTP_11, is_head: false, closes: false, is_tunnel: false };
    let mut out = BytesMut::new();
    let framing = reply::put_head(&mut out, head.status, &head.headers, size, asked, &head.spelled);
    let coding = if framing == Framing::Chunked { Coding::Chunked } else { Coding::Sized };
    encode::put_piece(&mut out, coding, &body);
    encode::put_end(&mut out, coding, Some(&trailers), &section);
    let text =
        || format!("{:?} went back as {:?}", String::from_utf8_lossy(bytes), String::from_utf8_lossy(&out));
    let expected = (Some(head.status.as_u16()), body, Ok(true));
    assert_eq!(answered(&out, out.len()), expected, "{}", text());
}

/// A body to its end, with its trailers and their section as it came; nothing if it does not end, or cannot be read.
fn whole(mut next: impl FnMut() -> Result<Decoded, Unreadable>) -> Option<(Vec<u8>, HeaderMap, Bytes)> {
    let mut body = Vec::new();
    loop {
        match next() {
            Ok(Decoded::Data(piece)) => body.extend_from_slice(&piece),
            Ok(Decoded::End) => return Some((body, HeaderMap::new(), Bytes::new())),
            Ok(Decoded::Trailers(trailers, section)) => return Some((body, trailers, section)),
            Ok(Decoded::More) | Err(_) => return None,
        }
    }
}

/// An answer gets one reading, whole and cut every `step` bytes.
///
/// # Panics
/// If it does not.
pub fn answers_are_read_alike(bytes: &[u8], step: usize) {
    let whole = answered(bytes, bytes.len());
    assert_eq!(answered(bytes, step), whole, "cut every {step} bytes: {:?}", String::from_utf8_lossy(bytes));
}

/// One request as a reader saw it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// How a stream of requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Between two requests.
    Whole,
    /// Inside a request.
    Inside,
    /// It was refused.
    Refused,
}

/// Reads a stream of requests as the outbound side does, `step` bytes at a time: those that were whole, and how it ended.
pub(super) fn ours(bytes: &[u8], step: usize) -> (Vec<Seen>, End) {
    read(bytes, step, HeadBounds::OF_APPLICATIONS)
}

/// The same within these bounds.
fn read(bytes: &[u8], step: usize, bounds: HeadBounds) -> (Vec<Seen>, End) {
    let (mut buffer, mut searched, mut seen) = (BytesMut::new(), 0, Vec::new());
    let mut running: Option<(Decoder, Seen)> = None;
    for piece in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let Some((body, request)) = &mut running else {
                match take_head(&mut buffer, &mut searched, bounds, HeaderMap::new) {
                    Err(_) => return (seen, End::Refused),
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        let target = head.parts.uri.to_string();
                        let (method, headers) = (head.parts.method, head.parts.headers);
                        running = Some((head.body, Seen { method, target, headers, body: Vec::new() }));
                    }
                }
                continue;
            };
            match body.decode_strictly(&mut buffer) {
                Err(_) => return (seen, End::Refused),
                Ok(Decoded::More) => break,
                Ok(Decoded::Data(piece)) => request.body.extend_from_slice(&piece),
                Ok(Decoded::End | Decoded::Trailers(..)) => {
                    seen.extend(running.take().map(|(_, request)| request));
                }
            }
        }
    }
    let end = if running.is_none() && buffer.is_empty() { End::Whole } else { End::Inside };
    (seen, end)
}

/// Reads the same as hyper does.
async fn hypers(bytes: &[u8]) -> Vec<Seen> {
    let seen: Rc<RefCell<Vec<Seen>>> = Rc::default();
    let (mut near, far) = tokio::io::duplex(256 * 1024);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let told = Rc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let told = Rc::clone(&told);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let target = parts.uri.to_string();
            told.borrow_mut().push(Seen { method: parts.method, target, headers: parts.headers, body });
            Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let _ = server.half_close(true).serve_connection(TokioIo::new(far), service).await; // a refusal is an end too
    drop(near);
    seen.take()
}

/// Reads an answer, `step` bytes at a time: its status, its body, and whether it was read to its end.
fn answered(bytes: &[u8], step: usize) -> (Option<u16>, Vec<u8>, Result<bool, ()>) {
    let (mut buffer, mut headers, mut status, mut body) =
        (BytesMut::new(), HeaderMap::new(), None, Vec::new());
    let (mut decoder, bounds) = (None, HeadBounds::OF_PROXIES);
    for piece in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let Some(running) = &mut decoder else {
                match answer::take_head(&mut buffer, &Method::GET, bounds, &mut headers) {
                    Err(_) => return (status, body, Err(())),
                    Ok(None) => break,
                    Ok(Some(head)) if head.status.is_informational() => status = Some(head.status.as_u16()),
                    Ok(Some(head)) => {
                        status = Some(head.status.as_u16());
                        decoder = Some(head.body);
                    }
                }
                continue;
            };
            match running.decode(&mut buffer) {
                Err(_) => return (status, body, Err(())),
                Ok(Decoded::More) => break,
                Ok(Decoded::Data(piece)) => body.extend_from_slice(&piece),
                Ok(Decoded::End | Decoded::Trailers(..)) => return (status, body, Ok(true)),
            }
        }
    }
    (status, body, Ok(false))
}
