//! Floods over HTTP/2, frame by frame: each costs the proxy a bounded amount, the flooder is told to go away where that is
//! due, and everybody else is served meanwhile.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use mesh::Protocol;
use support::frames::*;
use support::{App, Mesh, SHORT, ask, endpoint, get, http1, mesh_with, run, service, settings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// More than the sockets between the two ends hold: what is taken past this is held by the proxy.
const UNREAD_BYTES_MAX: usize = 48 * 1024 * 1024;

async fn one_service() -> (App, Mesh) {
    let web = support::app("web-1", Protocol::Http1).await;
    let services = [service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])];
    let mesh = mesh_with(&settings(), SHORT, &services);
    (web, mesh)
}

/// Writes `flood` and tells with which error the proxy went away.
async fn farewell(stream: TcpStream, flood: Vec<u8>) -> Option<u32> {
    let (mut from, mut to) = stream.into_split();
    let writing = tokio::task::spawn_local(async move {
        let _ = to.write_all(&flood).await; // it may be cut off in the middle, which is the point
        to
    });
    let mut error = None;
    frames(&mut from, |kind, _, _, payload| {
        let code = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap()));
        error = code.filter(|code| kind == GOAWAY && *code != 0).or(error);
        error.is_some()
    })
    .await;
    writing.abort();
    error
}

/// Somebody else is served.
async fn others_are_served(mesh: &Mesh) {
    assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 200);
}

#[test]
fn streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection() {
    run(async {
        let (web, mesh) = one_service().await;
        let stream = caller(&mesh, &[]).await;
        let flood = (0..20_000_u32).flat_map(|number| {
            let id = 2 * number + 1;
            let open = frame(HEADERS, END_STREAM | END_HEADERS, id, GET);
            [open, frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat()
        });
        assert_eq!(farewell(stream, flood.collect()).await, Some(ENHANCE_YOUR_CALM));
        let reached = web.requests.borrow().len();
        assert!(reached < 2_000, "{reached} requests of 20,000 reached the service");
        others_are_served(&mesh).await;
    });
}

#[test]
fn a_head_that_is_continued_without_end_ends_the_connection() {
    run(async {
        let (web, mesh) = one_service().await;
        let stream = caller(&mesh, &[]).await;
        let mut flood = frame(HEADERS, END_STREAM, 1, GET);
        // Each a literal header that is not indexed: `x: aaa...`.
        let line = [&b"\x00\x01x\x7f\xf9\x06"[..], &[b'a'; 1016]].concat();
        (0..4_000).for_each(|_| flood.extend(frame(CONTINUATION, 0, 1, &line)));
        let error = farewell(stream, flood).await;
        assert!(matches!(error, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)), "{error:?}");
        assert!(web.requests.borrow().is_empty());
        others_are_served(&mesh).await;
    });
}

#[test]
fn empty_continuations_without_end_end_the_connection() {
    run(async {
        let (web, mesh) = one_service().await;
        let stream = caller(&mesh, &[]).await;
        let mut flood = frame(HEADERS, END_STREAM, 1, GET);
        (0..100_000).for_each(|_| flood.extend(frame(CONTINUATION, 0, 1, &[])));
        let error = farewell(stream, flood).await;
        assert!(matches!(error, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)), "{error:?}");
        assert!(web.requests.borrow().is_empty());
        others_are_served(&mesh).await;
    });
}

/// Who asks without end for what must be acknowledged, and reads nothing, is not read any more.
async fn is_not_read_without_end(question: Vec<u8>) {
    let (_web, mesh) = one_service().await;
    let stream = caller(&mesh, &[]).await;
    let flood = question.repeat(16 * 1024);
    let (mut sent, mut refused) = (0, 0);
    while refused < 20 {
        match stream.try_write(&flood) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                refused += 1;
                others_are_served(&mesh).await; // and the worker has its turn
            }
            Err(_) => break, // sent away, which is fine too
        }
        assert!(sent < UNREAD_BYTES_MAX, "{sent} bytes were taken from one who reads no answer");
    }
}

#[test]
fn pings_without_end_from_one_who_reads_no_answer_are_not_taken() {
    run(is_not_read_without_end(frame(PING, 0, 0, &[7; 8])));
}

#[test]
fn settings_without_end_from_one_who_reads_no_answer_are_not_taken() {
    run(is_not_read_without_end(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])));
}

#[test]
fn empty_pieces_of_a_body_without_end_end_the_connection() {
    run(async {
        let (_web, mesh) = one_service().await;
        let stream = caller(&mesh, &[]).await;
        let mut flood = frame(HEADERS, END_HEADERS, 1, POST);
        (0..100_000).for_each(|_| flood.extend(frame(DATA, 0, 1, &[])));
        assert_eq!(farewell(stream, flood).await, Some(ENHANCE_YOUR_CALM));
        others_are_served(&mesh).await;
    });
}
