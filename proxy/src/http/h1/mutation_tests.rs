//! The corpus and seeded mutations of it: nothing panics, the verdict is the same however the bytes are cut, and what is
//! accepted is read as hyper reads it.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::answer;
use super::decode::{Decoded, Decoder};
use super::request::take_head;
use crate::mutations::{files, mutations};

/// One request as a reader saw it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// How a stream of requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Between two requests.
    Whole,
    /// Inside a request.
    Inside,
    /// It was refused.
    Refused,
}

/// Reads a stream of requests as the server does, `step` bytes at a time: those that were whole, and how it ended.
fn ours(bytes: &[u8], step: usize) -> (Vec<Seen>, End) {
    let (mut buffer, mut searched, mut seen) = (BytesMut::new(), 0, Vec::new());
    let mut running: Option<(Decoder, Seen)> = None;
    for piece in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let Some((body, request)) = &mut running else {
                match take_head(&mut buffer, &mut searched, HeaderMap::new) {
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
            Ok::<_, hyper::Error>(Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    let _ = server.half_close(true).serve_connection(TokioIo::new(far), service).await; // a refusal is an end too
    drop(near);
    seen.take()
}

#[test]
fn every_request_of_the_corpus_gets_its_verdict() {
    for (folder, is_accepted) in [("requests/accepted", true), ("requests/refused", false)] {
        for (name, bytes) in files(folder) {
            let (seen, end) = ours(&bytes, bytes.len());
            let expected = if is_accepted { End::Whole } else { End::Refused };
            assert_eq!(end, expected, "{folder}/{name}: {seen:?}");
            for step in [1, 2, 3, 5, 64] {
                assert_eq!(ours(&bytes, step), (seen.clone(), end), "{name} cut every {step} bytes");
            }
        }
    }
}

#[test]
fn mutated_requests_are_read_the_same_however_they_are_cut_and_as_hyper_reads_them() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut accepted = 0;
    for (number, bytes) in mutations(&["requests/accepted", "requests/refused"]).enumerate() {
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        let (seen, end) = ours(&bytes, bytes.len());
        let cut = ours(&bytes, 1 + number % 17);
        assert_eq!(cut, (seen.clone(), end), "mutation {number}: {:?}", text());
        if seen.is_empty() {
            continue;
        }
        accepted += 1;
        // hyper ends a connection that does not stay open, and may be stricter in what comes after: what both saw must agree.
        let theirs = runtime.block_on(hypers(&bytes));
        let both = seen.len().min(theirs.len());
        assert_eq!(seen[..both], theirs[..both], "mutation {number}: {:?}", text());
        assert!(both > 0, "mutation {number}: hyper refused what was accepted here: {:?}", text());
    }
    assert!(accepted > 50, "{accepted} mutations held a request");
}

/// Reads an answer, `step` bytes at a time: its status, its body, and whether it was read to its end.
fn answered(bytes: &[u8], step: usize) -> (Option<u16>, Vec<u8>, Result<bool, ()>) {
    let (mut buffer, mut headers, mut status, mut body) =
        (BytesMut::new(), HeaderMap::new(), None, Vec::new());
    let mut decoder = None;
    for piece in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let Some(running) = &mut decoder else {
                match answer::take_head(&mut buffer, &Method::GET, &mut headers) {
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

#[test]
fn mutated_answers_are_read_the_same_however_they_are_cut() {
    for (number, bytes) in mutations(&["answers"]).enumerate() {
        let whole = answered(&bytes, bytes.len());
        let cut = answered(&bytes, 1 + number % 13);
        assert_eq!(cut, whole, "mutation {number}: {:?}", String::from_utf8_lossy(&bytes));
    }
}
