//! What an HTTP/1 caller may do, byte by byte: old versions, interim answers, trailers, bodies that nobody wants, upgrades
//! with bytes that came early, and ends that must not look like something else.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::net::SocketAddr;

use mesh::Protocol;
use support::{SHORT, endpoint, get, http1, mesh_with, raw, run, service, settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An endpoint that reads one request up to `until` on each connection and then says `answers` in turn; what it read comes
/// back by the channel.
async fn scripted(
    until: &'static [u8],
    answers: &[&'static str],
) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let answers = answers.to_vec();
    tokio::task::spawn_local(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(until.len()).any(|window| window == until) {
                if stream.read_buf(&mut seen).await.unwrap() == 0 {
                    break;
                }
            }
            sender.try_send(String::from_utf8_lossy(&seen).into_owned()).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, receiver)
}

fn mesh_of(address: SocketAddr) -> support::Mesh {
    mesh_with(&settings(), SHORT, &[service("web", Protocol::Http1, vec![endpoint("web", address, 100)])])
}

/// Reads until `end` has come.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "{}", String::from_utf8_lossy(&seen));
    }
    String::from_utf8(seen).unwrap()
}

#[test]
fn early_hints_reach_the_caller_before_the_answer_and_the_word_to_continue_does_not() {
    run(async {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x\r\nx: y\r\n\r\n\
                      HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let (address, _seen) = scripted(b"\r\n\r\n", &[answer, answer]).await;
        let mesh = mesh_of(address);
        let told = raw(mesh.outbound, b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").await;
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        assert_eq!(told, expected);
        let old = raw(mesh.outbound, b"GET / HTTP/1.0\r\nhost: web\r\n\r\n").await;
        assert!(old.starts_with("HTTP/1.0 200 OK\r\n"), "HTTP/1.0 has no interim answers: {old}");
    });
}

#[test]
fn trailers_pass_in_both_directions() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\n\r\n";
        let (address, mut seen) = scripted(b"0\r\nX-Sum: 5\r\n\r\n", &[answer]).await;
        let mesh = mesh_of(address);
        let ask = "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                   5\r\nhello\r\n0\r\nX-Sum: 5\r\nConnection: x\r\n\r\n";
        let told = raw(mesh.outbound, ask.as_bytes()).await;
        assert!(told.ends_with("\r\n\r\n2\r\nok\r\n0\r\nSum: 7\r\n\r\n"), "{told}");
        assert!(seen.recv().await.unwrap().ends_with("5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n"));
    });
}

#[test]
fn an_answer_says_why_in_the_endpoints_words_and_which_protocol_it_insists_on() {
    run(async {
        let insists = "HTTP/1.1 426 Not like this\r\nUpgrade: wired/2\r\nConnection: Upgrade, X-Mine\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n";
        let unknown = "HTTP/1.1 299 \r\nUpgrade: wired/2\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n";
        let (address, _seen) = scripted(b"\r\n\r\n", &[insists, unknown]).await;
        let mesh = mesh_of(address);
        let ask = b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
        let told = raw(mesh.outbound, ask).await;
        assert!(told.starts_with("HTTP/1.1 426 Not like this\r\n"), "{told}");
        assert!(told.contains("Upgrade: wired/2\r\n") && told.contains("Connection: upgrade\r\n"), "{told}");
        assert!(!told.contains("X-Mine"), "{told}");
        let told = raw(mesh.outbound, ask).await;
        assert_eq!(
            told, "HTTP/1.1 299 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "an offer is for the neighbour"
        );
    });
}

/// The story: the first half of an empty line counted as a head that began, and its other half did not end that, so that an
/// idle connection was told 408.
#[test]
fn an_empty_line_in_two_halves_is_no_slow_head() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let (address, _seen) = scripted(b"\r\n\r\n", &[answer, answer]).await;
        let mesh = mesh_of(address);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        caller.set_nodelay(true).unwrap();
        for half in [b"\r", b"\n"] {
            caller.write_all(half).await.unwrap();
            // When this is answered, the worker has read the half.
            raw(mesh.outbound, b"GET /?\r\n\r\n").await;
        }
        // Another head that begins later and does not end: when it is given up, so would the one before it be.
        assert!(raw(mesh.outbound, b"GET / HT").await.starts_with("HTTP/1.1 408 "));
        caller.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        assert!(read_until(&mut caller, "ok").await.starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn an_old_caller_that_asks_for_it_keeps_its_connection_and_one_that_does_not_gets_the_body_up_to_the_end() {
    run(async {
        let sized = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let (address, _seen) = scripted(b"\r\n\r\n", &[sized, chunked]).await;
        let mesh = mesh_of(address);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        caller.write_all(b"GET / HTTP/1.0\r\nhost: web\r\nconnection: keep-alive\r\n\r\n").await.unwrap();
        let told = read_until(&mut caller, "ok").await;
        assert_eq!(told, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok");
        caller.write_all(b"GET / HTTP/1.0\r\nhost: web\r\n\r\n").await.unwrap();
        let mut told = String::new();
        caller.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nok");
    });
}

#[test]
fn half_an_answer_to_an_old_caller_does_not_end_like_a_whole_one() {
    run(async {
        let (address, _seen) =
            scripted(b"\r\n\r\n", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal"]).await;
        let mesh = mesh_of(address);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        caller.write_all(b"GET / HTTP/1.0\r\nhost: web\r\n\r\n").await.unwrap();
        let ended = caller.read_to_end(&mut Vec::new()).await;
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_body_that_the_endpoint_did_not_want_is_dropped_and_the_next_request_is_served() {
    run(async {
        let early = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
        let (address, _seen) =
            scripted(b"\r\n\r\n", &[early, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]).await;
        let mesh = mesh_of(address);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        caller.write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10\r\n\r\nhello").await.unwrap();
        read_until(&mut caller, "\r\n\r\nno").await;
        caller.write_all(b"worldGET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        let told = read_until(&mut caller, "\r\n\r\nok").await;
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
    });
}

#[test]
fn a_caller_that_still_waits_for_the_word_to_continue_is_told_that_the_connection_closes() {
    run(async {
        let (address, _seen) =
            scripted(b"\r\n\r\n", &["HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno"]).await;
        let ask = "PUT / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        let mesh = mesh_of(address);
        let told = raw(mesh.outbound, ask.as_bytes()).await;
        assert_eq!(told, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    });
}

#[test]
fn a_malformed_chunk_is_told_while_no_answer_began() {
    run(async {
        let (address, _seen) = scripted(b"never", &[""]).await;
        let mesh = mesh_of(address);
        let ask =
            "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0x0\r\n\r\n";
        let told = raw(mesh.outbound, ask.as_bytes()).await;
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("chunked coding"), "{told}");
        assert_eq!(mesh.workers.take().await.counters.malformed_total, 1);
    });
}

#[test]
fn what_a_caller_sends_right_behind_its_upgrade_is_not_lost() {
    run(async {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nback";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(switch.as_bytes()).await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let mesh = mesh_of(address);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        let ask = b"GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly";
        caller.write_all(ask).await.unwrap();
        caller.shutdown().await.unwrap();
        let mut told = String::new();
        caller.read_to_string(&mut told).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 101 ") && told.ends_with("\r\n\r\nbackearly"), "{told}");
    });
}

#[test]
fn an_answer_of_unknown_length_is_chunked_and_its_connection_is_used_again() {
    run(async {
        let endless = "HTTP/1.1 200 OK\r\n\r\nup to the end";
        let (address, _seen) =
            scripted(b"\r\n\r\n", &[endless, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]).await;
        let mesh = mesh_of(address);
        let mut client = http1(mesh.outbound).await;
        for expected in ["up to the end", "ok"] {
            let answer = support::ask(&mut client, get("web", "/")).await;
            assert_eq!((answer.status, &answer.body[..]), (200, expected.as_bytes()));
        }
    });
}

#[test]
fn names_of_headers_keep_their_spelling_in_both_directions() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\nX-CamelCase: One\r\nContent-Length: 2\r\nETAG: \"x\"\r\n\r\nok";
        let (address, mut seen) = scripted(b"\r\n\r\n", &[answer]).await;
        let mesh = mesh_of(address);
        let ask =
            "GET / HTTP/1.1\r\nHost: web\r\nX-CamelCase: Two\r\nsoapACTION: x\r\nConnection: close\r\n\r\n";
        let told = raw(mesh.outbound, ask.as_bytes()).await;
        for line in ["X-CamelCase: One\r\n", "ETAG: \"x\"\r\n", "Content-Length: 2\r\n"] {
            assert!(told.contains(line), "{told}");
        }
        let seen = seen.recv().await.unwrap();
        for line in ["Host: web\r\n", "X-CamelCase: Two\r\n", "soapACTION: x\r\n"] {
            assert!(seen.contains(line), "{seen}");
        }
    });
}

/// Once this was a panic: the rest of the body is polled inside the answer's, and both are of one connection.
#[test]
fn an_answer_may_begin_before_the_body_of_its_request_has_ended() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_until(&mut stream, "5\r\nfirst\r\n").await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
                .await
                .unwrap();
            read_until(&mut stream, "6\r\nsecond\r\n0\r\n\r\n").await;
            stream.write_all(b"4\r\nmore\r\n0\r\n\r\n").await.unwrap();
            stream.read_u8().await.unwrap_err();
        });
        let mesh = mesh_of(address);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        let ask = "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        caller.write_all(ask.as_bytes()).await.unwrap();
        read_until(&mut caller, "2\r\nok\r\n").await;
        caller.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(read_until(&mut caller, "0\r\n\r\n").await, "4\r\nmore\r\n0\r\n\r\n");
    });
}

/// Once it lay in front of what the next connection read or wrote: the memory of both is lent by the worker.
#[test]
fn what_a_caller_that_left_did_not_take_reaches_no_other_connection() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, is_asked) = tokio::sync::oneshot::channel();
        let (leave, has_left) = tokio::sync::oneshot::channel::<()>();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            asked.send(()).unwrap();
            has_left.await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        });
        let mesh = mesh_of(address);
        let ask = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        // Behind a second request the proxy does not see that the caller leaves before it writes to it.
        caller.write_all(ask.repeat(2).as_bytes()).await.unwrap();
        is_asked.await.unwrap();
        socket2::SockRef::from(&caller).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(caller);
        leave.send(()).unwrap();
        while mesh.workers.asker().connections(0).await.0 > 0 {}
        let mut other = TcpStream::connect(mesh.outbound).await.unwrap();
        other.write_all(ask.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut other, "ok").await, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
}

/// Once the connection stayed open, and the next answer was taken for the rest of this one.
#[test]
fn an_answer_that_the_callers_deadline_cuts_off_ends_its_connection_where_no_trailers_can_tell() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            let half =
                "HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web\r\ncontent-length: 10\r\n\r\nhal";
            stream.write_all(half.as_bytes()).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
        let mesh = mesh_of(address);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        let ask =
            "GET / HTTP/1.1\r\nhost: web\r\ncontent-type: application/grpc-web\r\ngrpc-timeout: 500m\r\n\r\n";
        caller.write_all(ask.as_bytes()).await.unwrap();
        let mut told = String::new();
        caller.read_to_string(&mut told).await.unwrap();
        assert!(told.ends_with("\r\n\r\nhal"), "{told}");
    });
}
