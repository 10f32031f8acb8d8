//! Opaque TCP through a worker: by a listener of its own, by CONNECT, and inbound to the application; ends, resets, counts.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use mesh::{Authority, Balancer, Direction, Failure, Protocol, ServicePolicy};
use proxy::tcp::{Ends, Tools, carry};
use proxy::worker::WorkerSettings;
use socket2::SockRef;
use support::{
    Declared, Mesh, app, ask, edges, endpoint, get, http1, mesh, run, service, settings, with_inbound,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Settings with a listener for the service `db`.
fn with_upstream(name: &str) -> WorkerSettings {
    WorkerSettings { upstreams: vec![("127.0.0.1:0".parse().unwrap(), name.parse().unwrap())], ..settings() }
}

/// On a port that nobody else is given once this listener is gone.
async fn listening() -> (TcpListener, SocketAddr) {
    let listener = runtime::ports::reserve(1).unwrap().remove(0);
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A worker with a listener for `db`, which is at `address`.
fn db_at(address: SocketAddr) -> Mesh {
    mesh(
        &with_upstream("db:5432"),
        &[service("db:5432", Protocol::Opaque, vec![endpoint("db", address, 100)])],
    )
}

/// A connection through the listener for one service, and the endpoint's end of it.
async fn through(mesh: &Mesh, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let caller = TcpStream::connect(mesh.workers.upstream_addresses[0]).await.unwrap();
    (caller, listener.accept().await.unwrap().0)
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}

async fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}

#[test]
fn either_side_may_speak_first_and_either_may_end_before_the_other() {
    run(async {
        let (listener, address) = listening().await;
        let mesh = db_at(address);
        let (mut caller, mut db) = through(&mesh, &listener).await;
        db.write_all(b"ready").await.unwrap();
        expect(&mut caller, b"ready").await;
        caller.write_all(b"dump").await.unwrap();
        caller.shutdown().await.unwrap();
        expect(&mut db, b"dump").await;
        expect_end(&mut db).await;
        db.write_all(b"all of it").await.unwrap();
        expect(&mut caller, b"all of it").await;
        drop(db);
        expect_end(&mut caller).await;

        let (mut caller, mut db) = through(&mesh, &listener).await;
        db.shutdown().await.unwrap();
        expect_end(&mut caller).await;
        caller.write_all(b"still here").await.unwrap();
        expect(&mut db, b"still here").await;
        drop(caller);
        expect_end(&mut db).await;
    });
}

#[test]
fn a_connection_counts_as_one_request_with_its_bytes_while_it_is_open_and_its_end() {
    run(async {
        let (listener, address) = listening().await;
        let mesh = db_at(address);
        let (mut caller, mut db) = through(&mesh, &listener).await;
        caller.write_all(b"four").await.unwrap();
        expect(&mut db, b"four").await;
        db.write_all(b"seventeen").await.unwrap();
        expect(&mut caller, b"seventeen").await;
        let open = edges(&mesh.workers, Direction::Outbound).await;
        let (edge, traffic) = &open[0];
        assert_eq!(edge.authority.to_string(), "db.default.svc.cluster.local:5432");
        assert_eq!(edge.callee.as_ref().unwrap().name(), "db");
        assert_eq!((traffic.successes, traffic.connections, traffic.closes), (1, 1, 0));
        assert_eq!((traffic.request_bytes, traffic.response_bytes), (4, 9));
        assert_eq!(mesh.workers.take().await.counters.tunnels, 1);
        drop(db);
        expect_end(&mut caller).await;
        drop(caller);
        let closed = closes(&mesh).await;
        assert_eq!(closed, 1);
        assert_eq!(mesh.workers.take().await.counters.tunnels, 0);
    });
}

/// The story: for days of traffic a database's connection was shown as one to nobody over which nothing went, since only
/// requests told the page of themselves.
#[test]
fn an_open_connection_is_shown_with_its_service_and_the_bytes_so_far_however_it_came() {
    run(async {
        let (listener, address) = listening().await;
        let callee = mesh(&with_inbound(address, Protocol::Opaque), &[]);
        let caller_side = db_at(callee.workers.inbound_address.unwrap());
        let mut by_listener = TcpStream::connect(caller_side.workers.upstream_addresses[0]).await.unwrap();
        let (mut db, _) = listener.accept().await.unwrap();
        by_listener.write_all(b"four").await.unwrap();
        expect(&mut db, b"four").await;
        db.write_all(b"seventeen").await.unwrap();
        expect(&mut by_listener, b"seventeen").await;
        let mut by_connect = TcpStream::connect(caller_side.outbound).await.unwrap();
        by_connect.write_all(b"CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\nhello").await.unwrap();
        let (mut db, _) = listener.accept().await.unwrap();
        expect(&mut db, b"hello").await;
        let of_db = Some("db:5432".parse().unwrap());
        assert_eq!(shown(&caller_side).await, [(of_db.clone(), 5), (of_db, 13)]);
        let of_application = shown(&callee).await;
        assert_eq!(of_application.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [5, 13]);
        assert!(of_application.iter().all(|(service, _)| service.is_some()), "{of_application:?}");
    });
}

/// Service and bytes of each open connection, those with the fewest bytes first.
async fn shown(mesh: &Mesh) -> Vec<(Option<Authority>, u64)> {
    let (_, open) = mesh.workers.asker().connections(10).await;
    let mut shown: Vec<_> = open.into_iter().map(|one| (one.service, one.bytes)).collect();
    shown.sort_by_key(|(_, bytes)| *bytes);
    shown
}

/// Takes until an end was counted.
async fn closes(mesh: &Mesh) -> u64 {
    loop {
        if let [(_, traffic)] = &edges(&mesh.workers, Direction::Outbound).await[..] {
            return traffic.closes;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn an_endpoint_that_does_not_listen_is_passed_over_and_without_any_the_caller_is_reset() {
    run(async {
        let (listener, address) = listening().await;
        let gone = listening().await.1;
        let both = vec![endpoint("db", gone, 100), endpoint("db", address, 100)];
        let mesh = mesh(&with_upstream("db:5432"), &[service("db:5432", Protocol::Opaque, both)]);
        for _ in 0..4 {
            let (mut caller, mut db) = through(&mesh, &listener).await;
            db.write_all(b"hello").await.unwrap();
            expect(&mut caller, b"hello").await;
        }
        let carried = edges(&mesh.workers, Direction::Outbound).await;
        assert_eq!((carried[0].1.successes, carried[0].1.failures), (4, [0; 5]));
        assert!(carried[0].1.retries >= 1, "the one that is gone was tried");

        let lost = db_at(gone);
        let mut caller = TcpStream::connect(lost.workers.upstream_addresses[0]).await.unwrap();
        let error = caller.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let failed = edges(&lost.workers, Direction::Outbound).await;
        assert_eq!(failed[0].1.failures[Failure::Connect as usize], 1);
    });
}

/// Of two endpoints the one with fewer open connections gets the next: as many each, whatever chance and a busy machine do. (By latency,
/// as is the default, one that was slow to connect gets fewer, and how many fewer is the machine's to say.)
#[test]
fn open_connections_are_spread_over_the_endpoints() {
    run(async {
        let (first, second) = (listening().await, listening().await);
        let both = vec![endpoint("db", first.1, 100), endpoint("db", second.1, 100)];
        let policy = ServicePolicy { balancer: Balancer::LeastRequest, ..ServicePolicy::default() };
        let db = Declared { policy, ..service("db:5432", Protocol::Opaque, both) };
        let mesh = mesh(&with_upstream("db:5432"), &[db]);
        let mut open = Vec::new();
        let mut counts = [0, 0];
        for _ in 0..20 {
            let caller = TcpStream::connect(mesh.workers.upstream_addresses[0]).await.unwrap();
            let (place, endpoint) = tokio::select! {
                accepted = first.0.accept() => (0, accepted.unwrap().0),
                accepted = second.0.accept() => (1, accepted.unwrap().0),
            };
            counts[place] += 1;
            open.push((caller, endpoint));
        }
        assert_eq!(counts, [10, 10]);
    });
}

#[test]
fn a_side_that_breaks_off_breaks_off_the_other_and_does_not_end_it() {
    run(async {
        let (listener, address) = listening().await;
        let mesh = db_at(address);
        let (mut caller, db) = through(&mesh, &listener).await;
        SockRef::from(&db).set_linger(Some(Duration::ZERO)).unwrap();
        drop(db);
        let error = caller.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn connect_on_the_outbound_port_opens_a_tunnel_to_an_endpoint() {
    run(async {
        let (listener, address) = listening().await;
        let mesh =
            mesh(&settings(), &[service("db:5432", Protocol::Opaque, vec![endpoint("db", address, 100)])]);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        caller.write_all(b"CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\n").await.unwrap();
        let (mut db, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(caller.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        db.write_all(b"ready").await.unwrap();
        expect(&mut caller, b"ready").await;
        caller.write_all(b"GET no request\n\n").await.unwrap();
        expect(&mut db, b"GET no request\n\n").await;
        let carried = edges(&mesh.workers, Direction::Outbound).await;
        assert_eq!((carried[0].1.successes, carried[0].1.request_bytes), (1, 16));
    });
}

#[test]
fn connect_to_what_cannot_be_reached_is_answered_with_the_reason() {
    run(async {
        let gone = listening().await.1;
        let mesh =
            mesh(&settings(), &[service("db:5432", Protocol::Opaque, vec![endpoint("db", gone, 100)])]);
        for (asked, told) in [("db:5432", "503"), ("absent:80", "404"), ("www.example.com:443", "404")] {
            let request = format!("CONNECT {asked} HTTP/1.1\r\nhost: {asked}\r\nconnection: close\r\n\r\n");
            let answer = support::raw(mesh.outbound, request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {told}")), "{asked}: {answer}");
            assert!(answer.contains("penstock-error: "), "{answer}");
        }
    });
}

#[test]
fn a_listener_for_an_http_service_serves_requests_whatever_host_they_name() {
    run(async {
        let web = app("web-1", Protocol::Http1).await;
        let services = [service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])];
        let mesh = mesh(&with_upstream("web"), &services);
        let mut client = http1(mesh.workers.upstream_addresses[0]).await;
        let answer = ask(&mut client, get("localhost:8080", "/cart")).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"web-1"[..]));
        assert_eq!(web.requests.borrow()[0].headers["host"], "localhost:8080");
        let old = support::raw(mesh.workers.upstream_addresses[0], b"GET / HTTP/1.0\r\n\r\n").await;
        assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
        let host = web.requests.borrow()[1].headers["host"].to_str().unwrap().to_owned();
        assert_eq!(
            host.parse::<Authority>().unwrap(),
            "web".parse().unwrap(),
            "one that names none has its own"
        );
        let carried = edges(&mesh.workers, Direction::Outbound).await;
        assert_eq!(carried[0].0.authority, "web".parse().unwrap());
    });
}

#[test]
fn an_opaque_application_is_reached_through_inbound_and_counted() {
    run(async {
        let (listener, address) = listening().await;
        let callee = mesh(&with_inbound(address, Protocol::Opaque), &[]);
        let inbound = callee.workers.inbound_address.unwrap();
        let mut caller = TcpStream::connect(inbound).await.unwrap();
        let (mut db, _) = listener.accept().await.unwrap();
        db.write_all(b"220 ready\r\n").await.unwrap();
        expect(&mut caller, b"220 ready\r\n").await;
        caller.write_all(b"QUIT\r\n").await.unwrap();
        expect(&mut db, b"QUIT\r\n").await;
        let carried = edges(&callee.workers, Direction::Inbound).await;
        let (edge, traffic) = &carried[0];
        assert_eq!((&edge.caller, edge.authority.clone()), (&None, "web".parse().unwrap()));
        assert_eq!((traffic.successes, traffic.request_bytes, traffic.response_bytes), (1, 6, 11));
        drop((listener, db));
        expect_end(&mut caller).await;
        let mut late = TcpStream::connect(inbound).await.unwrap();
        assert_eq!(late.read(&mut [0; 1]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

/// Bytes that no other place of the stream has.
fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 24) as u8
    };
    (0..length).map(|_| next(&mut state)).collect()
}

async fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listening().await;
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

#[test]
fn megabytes_pass_unchanged_both_ways_at_once_by_splice_and_by_copy() {
    const BYTES: usize = 6 * 1024 * 1024;
    for tools in [Tools::default(), Tools::copying()] {
        run(async {
            let ((caller, near), (far, endpoint)) = (pair().await, pair().await);
            let exchange = |mut stream: TcpStream, seed: u32| async move {
                let sent = pattern(BYTES, seed);
                let (mut read, mut write) = stream.split();
                let mut received = Vec::new();
                let send = async {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                let (_, length) = tokio::join!(send, read.read_to_end(&mut received));
                assert_eq!(length.unwrap(), BYTES);
                received
            };
            let counted = std::cell::Cell::new(0);
            let count = |_, bytes: usize| counted.set(counted.get() + bytes);
            let ends = Ends::of(&near, &far);
            let carried = carry(near, far, Default::default(), Default::default(), &tools, &ends, count);
            let (ended, of_endpoint, of_caller) =
                tokio::join!(carried, exchange(caller, 1), exchange(endpoint, 2));
            ended.unwrap();
            assert!(of_endpoint == pattern(BYTES, 2) && of_caller == pattern(BYTES, 1));
            assert_eq!(counted.get(), 2 * BYTES);
        });
    }
}
