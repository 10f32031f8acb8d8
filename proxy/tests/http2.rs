//! HTTP/2 and gRPC through a worker: prior knowledge, shared connections, trailers, streams in both directions, and what
//! becomes of requests that change protocol on their way.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use mesh::{Direction, Protocol};
use support::{
    Answered, AppBody, Mesh, ask, endpoint, get, http1, http2, mesh, run, service, settings, whole,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn request(host: &str, path: &str) -> http::request::Builder {
    Request::post(format!("http://{host}{path}"))
}

async fn call(mesh: &Mesh, request: Request<Full<Bytes>>) -> Answered {
    whole(http2(mesh.outbound).await.send_request(request).await.unwrap()).await
}

#[test]
fn many_streams_share_one_connection_to_the_endpoint() {
    run(async {
        let web = support::app("web-1", Protocol::Http2).await;
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http2, vec![endpoint("web", web.address, 100)])]);
        let client = http2(mesh.outbound).await;
        let mut running = Vec::new();
        for number in 0..50_usize {
            let mut client = client.clone();
            let body = vec![b'x'; number * 3_000];
            let request = request("web", "/a").body(Full::from(body.clone())).unwrap();
            running.push(tokio::task::spawn_local(async move {
                let answer = whole(client.send_request(request).await.unwrap()).await;
                let expected = if body.is_empty() { b"web-1".to_vec() } else { body };
                assert!(answer.body == expected, "{number}");
                answer.status
            }));
        }
        for answer in running {
            assert_eq!(answer.await.unwrap(), 200);
        }
        assert_eq!(web.connections.get(), 1);
        let seen = web.requests.borrow()[0].clone();
        assert_eq!(seen.uri.authority().unwrap(), "web");
        assert_eq!(seen.headers["penstock-caller"], "shop.demo");
        let edges = support::edges(&mesh.workers, Direction::Outbound).await;
        assert_eq!((edges[0].1.successes, edges[0].1.connections), (50, 1));
    });
}

/// An answer of one message and `grpc-status` in the trailers.
fn grpc_answer(status: &'static str) -> Response<AppBody> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\x02hi")), Frame::trailers(trailers)];
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)));
    Response::builder().header("content-type", "application/grpc").body(BodyExt::boxed(body)).unwrap()
}

#[test]
fn grpc_trailers_reach_the_caller_and_decide_whether_the_request_succeeded() {
    run(async {
        let web = support::serving(Protocol::Grpc, |parts, _| {
            assert_eq!(parts.headers["te"], "trailers");
            match parts.uri.path() {
                "/web.Web/Fail" => grpc_answer("13"),
                "/web.Web/NotFound" => grpc_answer("5"),
                "/web.Web/Gone" => Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "14")
                    .body(Full::default().boxed())
                    .unwrap(),
                _ => grpc_answer("0"),
            }
        })
        .await;
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Grpc, vec![endpoint("web", web.address, 100)])]);
        for (path, status) in [
            ("/web.Web/Get", "0"),
            ("/web.Web/NotFound", "5"),
            ("/web.Web/Fail", "13"),
            ("/web.Web/Gone", "14"),
        ] {
            let request = request("web.default:80", path)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::from("\0\0\0\0\x02ho"))
                .unwrap();
            let answer = call(&mesh, request).await;
            assert_eq!(answer.status, 200);
            let told = answer.trailers.as_ref().unwrap_or(&answer.headers);
            assert_eq!(told["grpc-status"], status, "{path}");
        }
        let edges = support::edges(&mesh.workers, Direction::Outbound).await;
        assert_eq!((edges[0].1.successes, edges[0].1.failures[0]), (2, 2));
    });
}

#[test]
fn a_grpc_caller_is_told_of_the_proxys_own_errors_in_grpc() {
    run(async {
        let mesh = mesh(&settings(), &[service("empty", Protocol::Grpc, Vec::new())]);
        for (host, status) in [("absent", "12"), ("empty", "14")] {
            let request = request(host, "/x.X/Y")
                .header("content-type", "application/grpc")
                .body(Full::default())
                .unwrap();
            let answer = call(&mesh, request).await;
            assert_eq!(
                (answer.status, answer.headers["grpc-status"].to_str().unwrap()),
                (200, status),
                "{host}"
            );
            assert!(
                answer.headers.contains_key("grpc-message") && answer.headers.contains_key("penstock-error")
            );
        }
    });
}

/// An HTTP/2 server that sends back each piece as it comes, and says `grpc-status: 0` at the end.
async fn echo_streams() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::task::spawn_local(async move {
                        let head =
                            Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                        let mut answer = respond.send_response(head, false).unwrap();
                        let mut body = request.into_body();
                        while let Some(piece) = body.data().await {
                            let piece = piece.unwrap();
                            body.flow_control().release_capacity(piece.len()).unwrap();
                            answer.send_data(piece, false).unwrap();
                        }
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        answer.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    address
}

#[test]
fn a_stream_flows_both_ways_piece_by_piece() {
    run(async {
        let address = echo_streams().await;
        let mesh =
            mesh(&settings(), &[service("chat", Protocol::Grpc, vec![endpoint("chat", address, 100)])]);
        let stream = TcpStream::connect(mesh.outbound).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::task::spawn_local(connection);
        let head =
            request("chat", "/chat.Chat/Talk").header("content-type", "application/grpc").body(()).unwrap();
        let (answer, mut out) = client.ready().await.unwrap().send_request(head, false).unwrap();
        let mut back = answer.await.unwrap().into_body();
        for number in 0..10_u8 {
            out.send_data(Bytes::from(vec![number; 100]), false).unwrap();
            let mut received = 0;
            while received < 100 {
                let piece = back.data().await.unwrap().unwrap();
                assert!(piece.iter().all(|byte| *byte == number));
                received += piece.len();
            }
        }
        out.send_data(Bytes::new(), true).unwrap();
        assert!(back.data().await.is_none());
        assert_eq!(back.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        let edges = support::edges(&mesh.workers, Direction::Outbound).await;
        assert_eq!(
            (edges[0].1.successes, edges[0].1.request_bytes, edges[0].1.response_bytes),
            (1, 1000, 1000)
        );
    });
}

#[test]
fn a_caller_that_resets_its_stream_frees_the_endpoint_and_counts_as_reset() {
    run(async {
        let address = echo_streams().await;
        let mesh =
            mesh(&settings(), &[service("chat", Protocol::Grpc, vec![endpoint("chat", address, 100)])]);
        let stream = TcpStream::connect(mesh.outbound).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::task::spawn_local(connection);
        let head =
            request("chat", "/chat.Chat/Talk").header("content-type", "application/grpc").body(()).unwrap();
        let (answer, mut out) = client.clone().ready().await.unwrap().send_request(head, false).unwrap();
        let back = answer.await.unwrap();
        out.send_reset(h2::Reason::CANCEL);
        drop(back);
        let failed = loop {
            let edges = support::edges(&mesh.workers, Direction::Outbound).await;
            if let Some((_, traffic)) = edges.iter().find(|(_, traffic)| traffic.requests() > 0) {
                break traffic.failures;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(failed, [0, 0, 0, 1, 0]);
    });
}

#[test]
fn requests_change_protocol_where_the_caller_and_the_service_speak_different_ones() {
    run(async {
        let (old, new) =
            (support::app("old", Protocol::Http1).await, support::app("new", Protocol::Http2).await);
        let services = [
            service("old", Protocol::Http1, vec![endpoint("old", old.address, 100)]),
            service("new", Protocol::Http2, vec![endpoint("new", new.address, 100)]),
        ];
        let mesh = mesh(&settings(), &services);
        let big = vec![b'z'; 300_000];
        for body in [Vec::new(), b"hello".to_vec(), big] {
            let down = call(&mesh, request("old", "/a?b").body(Full::from(body.clone())).unwrap()).await;
            let expected = if body.is_empty() { b"old".to_vec() } else { body.clone() };
            assert!(down.status == 200 && down.body == expected);
            let post = Request::post("/a?b").header("host", "new").body(Full::from(body.clone())).unwrap();
            let up = ask(&mut http1(mesh.outbound).await, post).await;
            let expected = if body.is_empty() { b"new".to_vec() } else { body };
            assert!(up.status == 200 && up.body == expected);
        }
        assert_eq!(old.requests.borrow()[0].headers["host"], "old");
        assert_eq!(new.requests.borrow()[0].uri, "http://new/a?b");
    });
}

#[test]
fn a_shared_connection_that_died_is_replaced() {
    run(async {
        let web = support::app("web-1", Protocol::Http2).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, mut cuts) = tokio::sync::mpsc::channel::<()>(1);
        // Carries bytes to the application until it is told to cut the connection.
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(web.address).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut stream, &mut far) => {}
                    _ = cuts.recv() => {}
                }
            }
        });
        let mesh = mesh(&settings(), &[service("web", Protocol::Http2, vec![endpoint("web", address, 100)])]);
        for _ in 0..3 {
            assert_eq!(call(&mesh, request("web", "/").body(Full::default()).unwrap()).await.status, 200);
            cut.send(()).await.unwrap();
            // The worker hears of the cut when it next polls the connection; a request in between may be lost with it.
            while support::edges(&mesh.workers, Direction::Outbound).await.is_empty() {
                let answer = call(&mesh, request("web", "/").body(Full::default()).unwrap()).await;
                assert!([200, 502].contains(&answer.status));
            }
        }
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 200);
    });
}

/// Once such a request was routed by the one and delivered for the other.
#[test]
fn a_host_header_beside_an_authority_does_not_reach_the_endpoint() {
    run(async {
        let (old, new) =
            (support::app("old", Protocol::Http1).await, support::app("new", Protocol::Http2).await);
        let services = [
            service("old", Protocol::Http1, vec![endpoint("old", old.address, 100)]),
            service("new", Protocol::Http2, vec![endpoint("new", new.address, 100)]),
        ];
        let mesh = mesh(&settings(), &services);
        for name in ["old", "new"] {
            let asked = request(name, "/").header("host", "other").body(Full::default()).unwrap();
            assert_eq!(call(&mesh, asked).await.body, name);
        }
        let seen = old.requests.borrow()[0].clone();
        assert_eq!(seen.headers.get_all("host").iter().collect::<Vec<_>>(), ["old"]);
        assert_eq!(new.requests.borrow()[0].uri.authority().unwrap(), "new");
    });
}

/// Once this was told as an endpoint that broke off, and counted against it.
#[test]
fn an_upgrade_that_http_2_cannot_carry_is_left_out_and_the_request_is_answered() {
    run(async {
        let web = support::app("web", Protocol::Http2).await;
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http2, vec![endpoint("web", web.address, 100)])]);
        let mut asked = get("web", "/");
        asked.headers_mut().insert("connection", "upgrade".parse().unwrap());
        asked.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        let answer = ask(&mut http1(mesh.outbound).await, asked).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"web"[..]));
    });
}

#[test]
fn a_length_that_a_caller_states_twice_is_stated_once_to_an_http1_endpoint() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let callee = mesh(&support::with_inbound(web.address, Protocol::Http1), &[]);
        let inbound = callee.workers.inbound_address.unwrap();
        let mesh = mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", inbound, 100)])]);
        let twice = Request::post("http://web/").header("content-length", "5").header("content-length", "5");
        let answer = call(&mesh, twice.body(Full::from("hello")).unwrap()).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    });
}

/// Says goodbye to the first request on a connection, as one that was not begun on (RFC 9113, section 6.8).
async fn goodbye(mut stream: TcpStream) {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap(); // settings
    let (mut read, mut at) = (Vec::new(), PREFACE);
    loop {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        while let Some(frame) = read.get(at..at + 9) {
            if frame[3] == HEADERS {
                stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
                // Until the caller has read it, and closes.
                while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {}
                return;
            }
            at += 9 + usize::from(frame[0]) * 65_536 + usize::from(frame[1]) * 256 + usize::from(frame[2]);
        }
    }
}

/// Serves a connection; leaves each first of `left` requests unbegun by a reset.
async fn answering(stream: TcpStream, left: Rc<Cell<u32>>, answered: Rc<Cell<u32>>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if left.get() > 0 {
            left.set(left.get() - 1);
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        answered.set(answered.get() + 1);
        let answer = Response::builder().header("x-method", request.method().as_str()).body(()).unwrap();
        respond.send_response(answer, true).unwrap();
    }
}

/// A server of HTTP/2 that leaves each first of `unbegun` requests unbegun, by a reset or by a goodbye, and answers the others.
async fn leaving(unbegun: u32, by_goodbye: bool) -> (std::net::SocketAddr, Rc<Cell<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answered, left) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(unbegun)));
    let counted = Rc::clone(&answered);
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if by_goodbye && left.get() > 0 {
                left.set(left.get() - 1);
                tokio::task::spawn_local(goodbye(stream));
            } else {
                tokio::task::spawn_local(answering(stream, Rc::clone(&left), Rc::clone(&counted)));
            }
        }
    });
    (address, answered)
}

#[test]
fn a_request_that_an_endpoint_left_unbegun_is_sent_again_whatever_its_method_though_no_route_allows_retries()
{
    run(async {
        for by_goodbye in [false, true] {
            for endpoints in [1, 2] {
                let mut declared = service("web", Protocol::Http2, Vec::new());
                let mut servers = Vec::new();
                for _ in 0..endpoints {
                    let server = leaving(1, by_goodbye).await;
                    declared.endpoints.push(endpoint("web", server.0, 100));
                    servers.push(server.1);
                }
                let mesh = mesh(&settings(), &[declared]);
                let mut client = http1(mesh.outbound).await;
                let no_body = Request::post("/").header("host", "web").body(Full::default()).unwrap();
                let answer = ask(&mut client, no_body).await;
                assert_eq!((answer.status, &answer.headers["x-method"]), (200, &"POST".parse().unwrap()));
                assert_eq!(servers.iter().map(|count| count.get()).sum::<u32>(), 1);
            }
        }
        // One that leaves all unbegun is given up.
        let (address, answered) = leaving(1000, false).await;
        let mesh = mesh(&settings(), &[service("web", Protocol::Http2, vec![endpoint("web", address, 100)])]);
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 502);
        assert_eq!(answered.get(), 0);
    });
}
