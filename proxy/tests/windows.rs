//! Callers over HTTP/2 that open no window for their answers: what waits for them is bounded, goes on once they do, holds nobody's
//! connection longer than the call's time, and holds up nothing that they send themselves.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mesh::{Backend, Ejection, Protocol, RequestPolicy, RouteRule, ServicePolicy};
use proxy::worker::Limits;
use support::frames::*;
use support::{Declared, Mesh, SHORT, ask, endpoint, get, http1, http2, mesh_with, run, service, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// SETTINGS_INITIAL_WINDOW_SIZE of zero, and of one.
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];
const WINDOW_OF_ONE: &[u8] = &[0, 4, 0, 0, 0, 1];

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
        let mut stream = caller(&mesh, NO_WINDOW).await;
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
        assert_eq!(
            ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status,
            200,
            "others are served"
        );
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

/// A literal header in HPACK that is not indexed (RFC 7541, section 6.2.2).
fn header(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// A service whose endpoint begins an answer and never ends it; whatever it fails by ejects it.
async fn endless(stream_idle: Option<Duration>) -> (Mesh, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint("web", listener.local_addr().unwrap(), 100);
    let backends = vec![Backend { authority: "web".parse().unwrap(), weight: 1 }];
    let rule = RouteRule {
        backends,
        policy: RequestPolicy { stream_idle, ..RequestPolicy::default() },
        ..RouteRule::default()
    };
    let ejection = Ejection { consecutive_failures: Some(1), ..Ejection::default() };
    let policy = ServicePolicy { ejection: Some(ejection), ..ServicePolicy::default() };
    let web = Declared { rules: vec![rule], policy, ..service("web", Protocol::Http1, vec![at]) };
    (mesh_with(&settings(), SHORT, &[web]), listener)
}

#[test]
fn a_call_that_is_over_frees_its_endpoint_although_its_caller_opens_no_window() {
    let call = [POST, &header("content-type", "application/grpc"), &header("grpc-timeout", "500m")].concat();
    for (ask, stream_idle) in [(call, None), (GET.to_vec(), Some(Duration::from_millis(500)))] {
        run(async {
            let (mesh, listener) = endless(stream_idle).await;
            let mut stream = caller(&mesh, NO_WINDOW).await;
            stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &ask)).await.unwrap();
            let (mut endpoint, _) = listener.accept().await.unwrap();
            endpoint.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n").await.unwrap();
            endpoint.write_all(&[b'x'; 40_000]).await.unwrap();
            let mut rest = Vec::new();
            let _ = endpoint.read_to_end(&mut rest).await; // an end or a reset: it is let go of
            let was_reset = frames(&mut stream, |kind, _, id, _| {
                assert!(kind != DATA, "no window is open");
                kind == RST_STREAM && id == 1
            });
            assert!(was_reset.await, "the caller is told, and its connection goes on");
            let counters = mesh.workers.take().await.counters;
            assert_eq!((counters.requests_running, counters.ejected_in_a_row_total), (0, 0));
        });
    }
}

/// Once the rest of what such a caller sent waited until it had read what was there of the answer.
#[test]
fn a_caller_that_reads_nothing_before_it_has_sent_everything_gets_an_answer_that_began_before() {
    const BYTES: usize = 24 * 1024 * 1024; // more than all windows and sockets between them hold
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = endpoint("web", listener.local_addr().unwrap(), 100);
        let mesh = mesh_with(&settings(), SHORT, &[service("web", Protocol::Http1, vec![at])]);
        let mut client = http2(mesh.outbound).await;
        let asked = Request::post("http://web/").body(Full::from(vec![b'q'; BYTES])).unwrap();
        let answer = client.send_request(asked);
        let (endpoint, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = endpoint.into_split();
        let answering = tokio::task::spawn_local(async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
            to.write_all(head.as_bytes()).await.unwrap();
            to.write_all(&vec![b'a'; BYTES]).await.unwrap();
            to
        });
        let answer = answer.await.unwrap();
        let (mut read, mut piece) = (0, vec![0; 64 * 1024]);
        while read < BYTES {
            read += from.read(&mut piece).await.unwrap();
        }
        assert_eq!(support::whole(answer).await.body.len(), BYTES);
        answering.await.unwrap();
    });
}

#[test]
fn the_end_of_an_answer_that_waits_for_a_window_does_not_keep_a_connection_open() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let limits = Limits { idle: Duration::from_millis(500), ..SHORT };
        let services = [service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])];
        let mesh = mesh_with(&settings(), limits, &services);
        let mut stream = caller(&mesh, WINDOW_OF_ONE).await;
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, GET)).await.unwrap();
        let (mut bytes, mut goes_away) = (0, false);
        frames(&mut stream, |kind, flags, _, payload| {
            if kind == DATA {
                bytes += payload.len();
                assert_eq!(flags & END_STREAM, 0, "most of it is still held");
            }
            goes_away |= kind == GOAWAY;
            false
        })
        .await;
        assert_eq!((bytes, goes_away), (1, true));
        assert_eq!(mesh.workers.take().await.counters.stalled_total, 1);
    });
}
