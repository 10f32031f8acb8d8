//! Callers over HTTP/2 of whom nothing comes, and those of whom it only seems so: what the endpoint's time is must not count as the
//! caller's, and whoever sends or reads a little now and then is not silent.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::time::Duration;

use mesh::Protocol;
use proxy::worker::Limits;
use support::frames::*;
use support::{Mesh, SHORT, ask, endpoint, get, http1, mesh_with, run, service, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A service whose endpoint is what the test does with each connection to it; callers may be idle for `idle`.
async fn web(idle: Duration) -> (Mesh, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint("web", listener.local_addr().unwrap(), 100);
    let limits = Limits { idle, ..SHORT };
    (mesh_with(&settings(), limits, &[service("web", Protocol::Http1, vec![at])]), listener)
}

/// Sends the head `asked` as stream `id`, and takes the connection that the proxy makes for it.
async fn asked(
    caller: &mut TcpStream,
    listener: &TcpListener,
    id: u32,
    flags: u8,
    asked: &[u8],
) -> TcpStream {
    caller.write_all(&frame(HEADERS, flags | END_HEADERS, id, asked)).await.unwrap();
    listener.accept().await.unwrap().0
}

/// The next stream that is answered.
async fn answered(caller: &mut TcpStream) -> u32 {
    let mut answered = 0;
    let is_answered = frames(caller, |kind, _, id, payload| {
        // What is answered before its body came is reset without an error (RFC 9113, section 8.1).
        assert!(kind != RST_STREAM || payload == [0; 4], "stream {id}");
        answered = id;
        kind == HEADERS
    });
    assert!(is_answered.await);
    answered
}

#[test]
fn a_stream_on_which_no_body_comes_is_answered_and_none_that_waits_for_its_endpoint_beside_it() {
    /// A literal header that is not indexed (RFC 7541, section 6.2.1): `content-type: application/grpc`.
    const GRPC: &[u8] = b"\x0f\x10\x10application/grpc";
    run(async {
        let (mesh, listener) = web(Duration::from_millis(500)).await;
        let mut stream = caller(&mesh, &[]).await;
        let _silent = asked(&mut stream, &listener, 1, 0, POST).await;
        let mut waiting = asked(&mut stream, &listener, 3, END_STREAM, GET).await;
        let _call = asked(&mut stream, &listener, 5, 0, &[POST, GRPC].concat()).await;
        assert_eq!(answered(&mut stream).await, 1);
        // As long once more: had the others been counted as silent, they would be answered before this one.
        let _silent = asked(&mut stream, &listener, 7, 0, POST).await;
        assert_eq!(answered(&mut stream).await, 7);
        waiting.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert_eq!(answered(&mut stream).await, 3);
        let counters = mesh.workers.take().await.counters;
        assert_eq!((counters.stalled_total, counters.requests_running), (2, 1));
    });
}

#[test]
fn whoever_sends_or_reads_a_little_now_and_then_is_not_silent_however_long_it_takes() {
    const SIZE: usize = 1024 * 1024;
    const LITTLE: u32 = 32 * 1024;
    let idle = Duration::from_secs(2);
    run(async {
        let (mesh, listener) = web(idle).await;
        let mut stream = caller(&mesh, &[0, 4, 0, 0, 0, 0]).await; // SETTINGS_INITIAL_WINDOW_SIZE of zero
        let mut sent = asked(&mut stream, &listener, 1, 0, POST).await;
        let mut read = asked(&mut stream, &listener, 3, END_STREAM, GET).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        let answering = tokio::task::spawn_local(async move {
            read.write_all(&[head.as_bytes(), &[b'a'; SIZE]].concat()).await.unwrap();
            read
        });
        let mut by_http1 = TcpStream::connect(mesh.outbound).await.unwrap();
        by_http1.write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10\r\n\r\n").await.unwrap();
        let mut sent_by_http1 = listener.accept().await.unwrap().0;
        let mut often = http1(mesh.outbound).await;
        let mut turns = tokio::time::interval(idle / 4);
        for _ in 0..10 {
            turns.tick().await;
            by_http1.write_all(b"x").await.unwrap();
            assert_eq!(ask(&mut often, get("absent", "/")).await.status, 404);
            let open = LITTLE.to_be_bytes();
            let opened = [frame(WINDOW_UPDATE, 0, 0, &open), frame(WINDOW_UPDATE, 0, 3, &open)].concat();
            stream.write_all(&[frame(DATA, 0, 1, b"x"), opened].concat()).await.unwrap();
        }
        let all = u32::try_from(SIZE).unwrap().to_be_bytes();
        let opened = [frame(WINDOW_UPDATE, 0, 0, &all), frame(WINDOW_UPDATE, 0, 3, &all)].concat();
        stream.write_all(&[frame(DATA, END_STREAM, 1, b""), opened].concat()).await.unwrap();
        sent.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let (mut is_sent, mut bytes) = (false, 0);
        let is_whole = frames(&mut stream, |kind, flags, id, payload| {
            assert_ne!(kind, RST_STREAM, "stream {id}");
            is_sent |= kind == HEADERS && id == 1;
            bytes += if kind == DATA { payload.len() } else { 0 };
            assert!(kind != DATA || flags & END_STREAM == 0 || id == 1 || bytes == SIZE);
            is_sent && bytes == SIZE
        });
        assert!(is_whole.await);
        sent_by_http1.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        by_http1.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        answering.await.unwrap();
        assert_eq!(mesh.workers.take().await.counters.stalled_total, 0);
    });
}
