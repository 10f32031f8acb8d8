//! The drain under load: real clients that keep their connections busy while the worker ends. A client does what any
//! client does: it opens a new connection when it was told that the old one closes, and stops when none is taken.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use mesh::{Direction, Protocol};
use proxy::worker::{DrainPlan, Idle, WorkerSettings};
use support::{ask, endpoint, get, http1, http2, mesh, run, service, whole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PLAN: DrainPlan =
    DrainPlan { accept_for: Duration::ZERO, finish_within: Duration::from_secs(60), idle: Idle::CloseSoon };

/// A worker at a port that nobody else is given once it has ended: a caller who tries it then must find nobody there.
fn settings() -> WorkerSettings {
    WorkerSettings { outbound: runtime::ports::addresses(1).unwrap()[0], ..support::settings() }
}

/// The same, with an inbound side for `app`.
fn with_inbound(app: SocketAddr, protocol: Protocol) -> WorkerSettings {
    let mut settings = support::with_inbound(app, protocol);
    settings.inbound.as_mut().unwrap().listen = runtime::ports::addresses(1).unwrap()[0];
    settings
}

/// Sends requests over kept connections until none is taken any more; each one that was sent must be answered.
async fn caller(address: SocketAddr, answered: Rc<Cell<u64>>) {
    while let Ok(stream) = TcpStream::connect(address).await {
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        let mut is_open = true;
        while is_open {
            let response =
                sender.send_request(get("web", "/")).await.expect("a request that was sent is answered");
            assert_eq!(response.status(), 200);
            is_open = response.headers().get("connection").is_none_or(|value| value != "close");
            response.into_body().collect().await.expect("an answer that began ends");
            answered.set(answered.get() + 1);
            is_open = is_open && sender.ready().await.is_ok();
        }
    }
}

#[test]
fn what_a_caller_sends_behind_the_last_request_does_not_cost_it_the_answer() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])]);
        let mut caller = TcpStream::connect(mesh.outbound).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
        caller.write_all(request).await.unwrap();
        let mut first = [0; 1024];
        assert!(caller.read(&mut first).await.unwrap() > 0);
        mesh.workers.drain(PLAN);
        tokio::task::yield_now().await;
        caller.write_all(request).await.unwrap();
        caller.readable().await.unwrap();
        // The proxy has said that it closes; this was on its way already.
        caller.write_all(request).await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("a reset would have eaten what was not read yet");
        assert!(answer.contains("connection: close") && answer.ends_with("web-1"), "{answer}");
    });
}

#[test]
fn no_request_is_lost_when_the_drain_comes_under_load() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])]);
        let answered = Rc::new(Cell::new(0));
        let callers: Vec<_> =
            (0..16).map(|_| tokio::task::spawn_local(caller(mesh.outbound, Rc::clone(&answered)))).collect();
        while answered.get() < 500 {
            tokio::task::yield_now().await;
        }
        mesh.workers.drain(PLAN);
        mesh.workers.drain(PLAN);
        let last = mesh.workers.finished().await;
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!((last.counters.cut_off_total, last.counters.outbound_connections), (0, 0));
        let counted: u64 = last
            .edges
            .iter()
            .filter(|(edge, _)| edge.direction == Direction::Outbound)
            .map(|(_, traffic)| traffic.successes)
            .sum();
        assert_eq!(counted, answered.get(), "what was counted equals what the callers saw");
        assert_eq!(web.requests.borrow().len() as u64, answered.get());
    });
}

#[test]
fn running_streams_of_http2_end_well_and_their_connection_is_told_to_go_away() {
    run(async {
        let web = support::app("web-1", Protocol::Http2).await;
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http2, vec![endpoint("web", web.address, 100)])]);
        let client = http2(mesh.outbound).await;
        let answered = Rc::new(Cell::new(0));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (mut client, answered) = (client.clone(), Rc::clone(&answered));
                tokio::task::spawn_local(async move {
                    loop {
                        if client.ready().await.is_err() {
                            return;
                        }
                        let request = Request::get("http://web/").body(Full::default()).unwrap();
                        // A stream that the far side never took may be sent anew; one that it took must be answered.
                        let Ok(response) = client.send_request(request).await else { return };
                        response.into_body().collect().await.expect("an answer that began ends");
                        answered.set(answered.get() + 1);
                    }
                })
            })
            .collect();
        while answered.get() < 200 {
            tokio::task::yield_now().await;
        }
        mesh.workers.drain(PLAN);
        let last = mesh.workers.finished().await;
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(last.counters.cut_off_total, 0);
        let failed: u64 = last.edges.iter().map(|(_, traffic)| traffic.requests() - traffic.successes).sum();
        assert_eq!(failed, 0);
        assert_eq!(web.requests.borrow().len() as u64, answered.get());
    });
}

#[test]
fn what_still_runs_at_the_deadline_is_cut_off_and_counted() {
    run(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let services =
            [service("web", Protocol::Http1, vec![endpoint("web", silent.local_addr().unwrap(), 100)])];
        let mesh = mesh(&settings(), &services);
        let mut client = http1(mesh.outbound).await;
        let asking =
            tokio::task::spawn_local(async move { client.send_request(get("web", "/")).await.is_ok() });
        let (mut endpoint, _) = silent.accept().await.unwrap();
        endpoint.read_u8().await.unwrap();
        mesh.workers.drain(DrainPlan {
            accept_for: Duration::ZERO,
            finish_within: Duration::from_millis(50),
            idle: Idle::CloseSoon,
        });
        assert_eq!(mesh.workers.finished().await.counters.cut_off_total, 1);
        drop(asking);
    });
}

/// A callee behind its own proxy is drained while a caller's proxy sends to it and to a sibling; nobody told the caller.
async fn drain_one_of_two(protocol: Protocol) {
    let (one, two) = (support::app("one", protocol).await, support::app("two", protocol).await);
    let first = mesh(&with_inbound(one.address, protocol), &[]);
    let second = mesh(&with_inbound(two.address, protocol), &[]);
    let endpoints = [&first, &second].map(|mesh| endpoint("web", mesh.workers.inbound_address.unwrap(), 100));
    let caller = mesh(&settings(), &[service("web", protocol, endpoints.to_vec())]);
    let (answered, is_over) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
    let callers: Vec<_> = (0..12)
        .map(|number| {
            let (answered, is_over, outbound) = (Rc::clone(&answered), Rc::clone(&is_over), caller.outbound);
            tokio::task::spawn_local(async move {
                let mut client = http1(outbound).await;
                while !is_over.get() {
                    let body = if number % 3 == 0 { "a body" } else { "" };
                    let method = if body.is_empty() { "GET" } else { "POST" };
                    let request = Request::builder().method(method).uri("/").header("host", "web");
                    let answer = ask(&mut client, request.body(Full::from(body)).unwrap()).await;
                    assert_eq!(answer.status, 200, "{:?}", answer.body);
                    answered.set(answered.get() + 1);
                }
            })
        })
        .collect();
    let until = |count: u64| {
        let answered = Rc::clone(&answered);
        async move {
            while answered.get() < count {
                tokio::task::yield_now().await;
            }
        }
    };
    until(300).await;
    first.workers.drain(PLAN);
    assert_eq!(first.workers.finished().await.counters.cut_off_total, 0);
    until(answered.get() + 300).await;
    is_over.set(true);
    for caller in callers {
        caller.await.unwrap();
    }
    let edges = support::edges(&caller.workers, Direction::Outbound).await;
    let (asked, failed) = edges.iter().fold((0, 0), |(asked, failed), (_, traffic)| {
        (asked + traffic.requests(), failed + traffic.requests() - traffic.successes)
    });
    assert_eq!((asked, failed), (answered.get(), 0));
}

#[test]
fn callers_do_not_notice_when_one_of_two_instances_drains() {
    run(drain_one_of_two(Protocol::Http1));
}

#[test]
fn callers_do_not_notice_over_http2_either() {
    run(drain_one_of_two(Protocol::Http2));
}

#[test]
fn while_callers_learn_of_it_new_connections_are_served_and_told_to_close() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let mesh =
            mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", web.address, 100)])]);
        mesh.workers.drain(DrainPlan {
            accept_for: Duration::from_secs(3), // for as long as two callers need to come, also on a busy machine
            finish_within: Duration::from_secs(9),
            idle: Idle::CloseSoon,
        });
        mesh.workers.take().await; // comes after the drain
        let answer = ask(&mut http1(mesh.outbound).await, get("web", "/")).await;
        assert_eq!((answer.status, answer.headers["connection"].to_str().unwrap()), (200, "close"));
        let request = Request::get("http://web/").body(Full::default()).unwrap();
        let answer = whole(http2(mesh.outbound).await.send_request(request).await.unwrap()).await;
        assert_eq!(answer.status, 200);
        mesh.workers.finished().await;
        assert!(
            TcpStream::connect(web.address).await.is_ok() && TcpStream::connect(mesh.outbound).await.is_err()
        );
    });
}

#[test]
fn two_workers_share_an_address_and_end_together() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let published = proxy::snapshot::Published::new();
        published.publish(support::snapshot(&[service(
            "web",
            Protocol::Http1,
            vec![endpoint("web", web.address, 100)],
        )]));
        let (demand, _demands) = tokio::sync::mpsc::channel(1);
        let settings = WorkerSettings { workers: 2, ..settings() };
        let workers = proxy::worker::start(&settings, &published, &demand).unwrap();
        for _ in 0..20 {
            let answer = ask(&mut http1(workers.outbound_address).await, get("web", "/")).await;
            assert_eq!(answer.status, 200);
        }
        workers.drain(PLAN);
        let last = workers.finished().await;
        assert_eq!(last.counters.accepted_total, 20);
        assert_eq!(last.edges.iter().map(|(_, traffic)| traffic.successes).sum::<u64>(), 20);
    });
}
