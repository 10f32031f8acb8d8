//! Floods over HTTP/2, frame by frame: each costs the proxy a bounded amount, the flooder is told to go away where that is
//! due, and everybody else is served meanwhile.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use mesh::Protocol;
use support::{App, Mesh, SHORT, ask, endpoint, get, http1, mesh_with, run, service, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

// Frame types and flags (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `GET http://web/` and `POST http://web/` in HPACK: static indices, and a literal authority.
const GET: &[u8] = b"\x82\x86\x84\x41\x03web";
const POST: &[u8] = b"\x83\x86\x84\x41\x03web";

/// More than the sockets between the two ends hold: what is taken past this is held by the proxy.
const UNREAD_BYTES_MAX: usize = 48 * 1024 * 1024;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn one_service() -> (App, Mesh) {
    let web = support::app("web-1", Protocol::Http1).await;
    let services = [service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])];
    let mesh = mesh_with(&settings(), SHORT, &services);
    (web, mesh)
}

/// A caller that has sent the preface and `settings`.
async fn flooder(mesh: &Mesh, settings: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(mesh.outbound).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    stream
}

/// Reads frames and hands them to `each` until that says enough or the connection ends; `true` if it said so.
async fn frames(
    stream: &mut (impl AsyncReadExt + Unpin),
    mut each: impl FnMut(u8, u8, u32, &[u8]) -> bool,
) -> bool {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return false;
        }
        let id = u32::from_be_bytes(head[5..9].try_into().unwrap());
        if each(head[3], head[4], id, &payload) {
            return true;
        }
    }
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
        let stream = flooder(&mesh, &[]).await;
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
        let stream = flooder(&mesh, &[]).await;
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
        let stream = flooder(&mesh, &[]).await;
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
    let stream = flooder(&mesh, &[]).await;
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
        let stream = flooder(&mesh, &[]).await;
        let mut flood = frame(HEADERS, END_HEADERS, 1, POST);
        (0..100_000).for_each(|_| flood.extend(frame(DATA, 0, 1, &[])));
        assert_eq!(farewell(stream, flood).await, Some(ENHANCE_YOUR_CALM));
        others_are_served(&mesh).await;
    });
}

#[test]
fn answers_to_one_who_opens_no_window_are_not_read_ahead_and_come_once_it_does() {
    const STREAMS: u32 = 50;
    const SIZE: usize = 256 * 1024;
    run(async {
        let web = support::serving(Protocol::Http1, |_, _| {
            Response::new(Full::new(Bytes::from(vec![b'x'; SIZE])).boxed())
        })
        .await;
        let services = [service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])];
        let mesh = mesh_with(&settings(), SHORT, &services);
        // SETTINGS_INITIAL_WINDOW_SIZE of zero.
        let mut stream = flooder(&mesh, &[0, 4, 0, 0, 0, 0]).await;
        for number in 0..STREAMS {
            let ask = frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, GET);
            stream.write_all(&ask).await.unwrap();
        }
        let mut heads = 0;
        frames(&mut stream, |kind, _, _, payload| {
            assert!(kind != DATA || payload.is_empty(), "no window is open");
            heads += u32::from(kind == HEADERS);
            heads == STREAMS
        })
        .await;
        others_are_served(&mesh).await;
        let open = u32::try_from(SIZE).unwrap().to_be_bytes();
        stream
            .write_all(&frame(WINDOW_UPDATE, 0, 0, &(STREAMS * u32::from_be_bytes(open)).to_be_bytes()))
            .await
            .unwrap();
        for number in 0..STREAMS {
            stream.write_all(&frame(WINDOW_UPDATE, 0, 2 * number + 1, &open)).await.unwrap();
        }
        let (mut bytes, mut ended) = (0, 0);
        frames(&mut stream, |kind, flags, _, payload| {
            if kind == DATA {
                bytes += payload.len();
                ended += u32::from(flags & END_STREAM != 0);
            }
            ended == STREAMS
        })
        .await;
        assert_eq!(bytes, SIZE * STREAMS as usize);
    });
}
