//! Bad input and bounds: what is refused, how it is told, that it is counted, and that the next request is served.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use http::Request;
use http_body_util::{BodyExt, Full};
use mesh::Protocol;
use proxy::worker::Limits;
use support::{App, Mesh, SHORT, ask, endpoint, get, http1, http2, mesh_with, raw, run, service, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn one_service() -> (App, Mesh) {
    let web = support::app("web-1", Protocol::Http1).await;
    let services = [service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])];
    let mesh = mesh_with(&settings(), SHORT, &services);
    (web, mesh)
}

/// A service whose one endpoint is what the test does with each accepted connection.
async fn mesh_before_a_listener() -> (Mesh, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = endpoint("web", listener.local_addr().unwrap(), 100);
    let mesh = mesh_with(&settings(), SHORT, &[service("web", Protocol::Http1, vec![at])]);
    (mesh, listener)
}

#[test]
fn a_request_with_two_lengths_is_answered_400_and_never_reaches_the_service() {
    run(async {
        let (web, mesh) = one_service().await;
        for lengths in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 5",
            "content-length: 5\r\ncontent-length: 6",
        ] {
            let text = format!(
                "POST / HTTP/1.1\r\nhost: web\r\n{lengths}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
            );
            let answer = raw(mesh.outbound, text.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("penstock-error: "), "{answer}");
            assert!(answer.contains("twice") && answer.contains("connection: close"), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        }
        assert!(web.requests.borrow().is_empty());
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 200);
        assert_eq!(mesh.workers.take().await.counters.malformed_total, 3);
    });
}

#[test]
fn a_header_of_a_mebibyte_is_answered_431_and_the_answer_arrives() {
    run(async {
        let (web, mesh) = one_service().await;
        let text = format!("GET / HTTP/1.1\r\nhost: web\r\nx: {}\r\n\r\n", "a".repeat(1024 * 1024));
        let answer = raw(mesh.outbound, text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("penstock-error: "), "{answer}");
        let many = format!("GET / HTTP/1.1\r\nhost: web\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert!(raw(mesh.outbound, many.as_bytes()).await.starts_with("HTTP/1.1 431 "));
        assert!(web.requests.borrow().is_empty());
        assert_eq!(mesh.workers.take().await.counters.head_too_large_total, 2);
        let large = Request::get("/").header("host", "web").header("x", "a".repeat(60_000));
        let answer = ask(&mut http1(mesh.outbound).await, large.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, 200, "a head within the bound passes");
    });
}

#[test]
fn a_large_header_list_is_refused_in_http2_too() {
    run(async {
        let (web, mesh) = one_service().await;
        let mut client = http2(mesh.outbound).await;
        let request = Request::get("http://web/").header("x", "a".repeat(1024 * 1024));
        let refused = match client.send_request(request.body(Full::default()).unwrap()).await {
            Ok(answer) => answer.status() == 431,
            Err(_) => true,
        };
        assert!(refused && web.requests.borrow().is_empty());
    });
}

#[test]
fn a_head_that_comes_too_slowly_is_answered_408_and_an_idle_connection_is_left_alone() {
    run(async {
        let (_web, mesh) = one_service().await;
        let mut idle = http1(mesh.outbound).await;
        assert_eq!(ask(&mut idle, get("web", "/")).await.status, 200);
        for start in ["GET / HTTP/1.1\r\nhost: web\r\nx: y", "PRI * HTTP/2", "G"] {
            let mut slow = TcpStream::connect(mesh.outbound).await.unwrap();
            slow.write_all(start.as_bytes()).await.unwrap();
            let mut answer = String::new();
            slow.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("penstock-error"), "{answer}");
        }
        let mut hello = TcpStream::connect(mesh.outbound).await.unwrap();
        hello.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
        assert_eq!(hello.read(&mut [0; 16]).await.unwrap(), 0, "nothing can be said to TLS");
        assert_eq!(mesh.workers.take().await.counters.head_timeout_total, 4);
        assert_eq!(ask(&mut idle, get("web", "/")).await.status, 200);
    });
}

#[test]
fn a_caller_that_stops_sending_its_body_or_reading_its_answer_is_given_up() {
    run(async {
        let web = support::serving(Protocol::Http1, |_, _| {
            http::Response::new(Full::from(vec![b'x'; 64 * 1024 * 1024]).boxed())
        })
        .await;
        let services = [service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])];
        let limits = Limits { idle: std::time::Duration::from_millis(60), ..SHORT };
        let mesh = mesh_with(&settings(), limits, &services);
        let mut sender = TcpStream::connect(mesh.outbound).await.unwrap();
        sender.write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10\r\n\r\nhello").await.unwrap();
        let mut answer = String::new();
        sender.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("penstock-error"), "{answer}");
        let mut reader = TcpStream::connect(mesh.outbound).await.unwrap();
        reader.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        while mesh.workers.take().await.counters.stalled_total < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(mesh.workers.take().await.counters.requests_running, 0);
    });
}

#[test]
fn a_caller_over_http2_that_does_not_read_its_answer_is_given_up_and_one_that_waits_for_it_is_not() {
    run(async {
        let web = support::serving(Protocol::Http1, |_, _| {
            http::Response::new(Full::from(vec![b'x'; 64 * 1024 * 1024]).boxed())
        })
        .await;
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let services = [
            service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)]),
            service("slow", Protocol::Http1, vec![endpoint("slow", silent.local_addr().unwrap(), 100)]),
        ];
        let limits = Limits { idle: std::time::Duration::from_millis(60), ..SHORT };
        let mesh = mesh_with(&settings(), limits, &services);
        let mut client = http2(mesh.outbound).await;
        let to = |host: &str| {
            Request::get(format!("http://{host}/")).body(Full::<bytes::Bytes>::default()).unwrap()
        };
        let waiting = client.send_request(to("slow"));
        let (mut endpoint, _) = silent.accept().await.unwrap();
        endpoint.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
        let waiting = waiting.await.unwrap();
        let unread = client.send_request(to("web")).await.unwrap();
        while mesh.workers.take().await.counters.stalled_total < 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(mesh.workers.take().await.counters.requests_running, 1);
        assert!(unread.into_body().collect().await.is_err(), "what is missing must not look whole");
        endpoint.write_all(b"llo").await.unwrap();
        assert_eq!(support::whole(waiting).await.body, "hello");
    });
}

#[test]
fn past_the_ceiling_of_memory_requests_are_shed_and_one_is_always_served() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let services =
            [service("web", Protocol::Http1, vec![endpoint("web", listener.local_addr().unwrap(), 100)])];
        let settings = settings();
        let mesh = mesh_with(&settings, SHORT, &services);
        settings.pressure.set(true);
        let mut first = TcpStream::connect(mesh.outbound).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        let (mut endpoint, _) = listener.accept().await.unwrap();
        let shed = raw(mesh.outbound, b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        assert!(shed.starts_with("HTTP/1.1 503 ") && shed.contains("short of memory"), "{shed}");
        let shed = http2(mesh.outbound)
            .await
            .send_request(Request::get("http://web/").body(Full::<bytes::Bytes>::default()).unwrap());
        assert_eq!(shed.await.unwrap().status(), 503);
        endpoint.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        first.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        assert_eq!(mesh.workers.take().await.counters.shed_total, 2);
        settings.pressure.set(false);
    });
}

#[test]
fn what_is_not_http_is_refused_with_a_reason() {
    run(async {
        let (_web, mesh) = one_service().await;
        for (text, status) in [
            ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nhost: web\r\nhost: other\r\n\r\n", "400"),
            ("GET / HTTP/3.0\r\nhost: web\r\n\r\n", "400"),
        ] {
            let answer = raw(mesh.outbound, text.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text:?}: {answer}");
            assert!(answer.contains("penstock-error: "), "{text:?}: {answer}");
        }
    });
}

#[test]
fn a_caller_that_leaves_in_the_middle_leaks_nothing() {
    run(async {
        let (mesh, listener) = mesh_before_a_listener().await;
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        caller.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        let (mut endpoint, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        assert!(endpoint.read(&mut head).await.unwrap() > 0);
        assert_eq!(mesh.workers.take().await.counters.requests_running, 1);
        drop(caller);
        assert_eq!(endpoint.read(&mut head).await.unwrap(), 0, "the endpoint hears that nobody waits");
        let taken = mesh.workers.take().await;
        assert_eq!((taken.counters.requests_running, taken.counters.outbound_connections), (0, 0));
        assert_eq!(taken.edges[0].1.failures[3], 1);
    });
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_no_answer() {
    run(async {
        let (mesh, listener) = mesh_before_a_listener().await;
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        caller.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        let (mut endpoint, _) = listener.accept().await.unwrap();
        let upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n\
                       HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
        endpoint.write_all(upgrade.as_bytes()).await.unwrap();
        caller.write_all(b"GET /next HTTP/1.1\r\nhost: absent\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        caller.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("HTTP/1.1 502 ") && answers.contains("HTTP/1.1 404 "), "{answers}");
        assert!(!answers.contains("smuggled"), "{answers}");
    });
}

#[test]
fn a_caller_that_reads_nothing_before_it_has_sent_everything_gets_an_answer_that_began_before() {
    const BYTES: usize = 48 * 1024 * 1024; // more than all sockets between them hold
    run(async {
        let (mesh, listener) = mesh_before_a_listener().await;
        let endpoint = tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut from, mut to) = stream.into_split();
            let answering = tokio::task::spawn_local(async move {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
                to.write_all(head.as_bytes()).await.unwrap();
                to.write_all(&vec![b'a'; BYTES]).await.unwrap();
                to
            });
            let (mut read, mut piece) = (0, vec![0; 64 * 1024]);
            while read < BYTES {
                read += from.read(&mut piece).await.unwrap();
            }
            answering.await.unwrap();
        });
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        let head =
            format!("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: {BYTES}\r\nconnection: close\r\n\r\n");
        caller.write_all(head.as_bytes()).await.unwrap();
        caller.write_all(&vec![b'q'; BYTES]).await.unwrap();
        let mut answer = Vec::new();
        caller.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.len() > BYTES);
        endpoint.await.unwrap();
    });
}

#[test]
fn an_upgrade_carries_bytes_both_ways() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let text = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
            assert!(text.contains("upgrade: websocket") && text.contains("connection: upgrade"), "{text}");
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let services = [service("web", Protocol::Http1, vec![endpoint("web", address, 100)])];
        let mesh = mesh_with(&settings(), SHORT, &services);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        let ask = "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        caller.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"first") {
            assert!(caller.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        caller.write_all(b"\n\n not http \x00").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut echoed = Vec::new();
        caller.read_to_end(&mut echoed).await.unwrap();
        assert_eq!(echoed, b"\n\n not http \x00");
    });
}
