//! Trying again, through a worker from a real client to real servers: what is tried again and what is not, within which
//! bounds, and how deadlines travel.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mesh::{
    Backend, Balancer, Direction, GrpcCode, HashKey, Protocol, RequestPolicy, Retry, RetryBudget, RouteRule,
};
use support::{
    App, AppBody, Declared, ask, edges, endpoint, get, http1, http2, mesh, run, service, serving, settings,
    whole, with_inbound,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn retry(codes: &[u16], grpc_codes: &[GrpcCode], attempts: u32) -> Retry {
    let backoff = Duration::from_millis(1);
    Retry { codes: codes.to_vec(), grpc_codes: grpc_codes.to_vec(), attempts, backoff }
}

/// `web` at these endpoints, with one rule for all requests.
fn web(protocol: Protocol, apps: &[&App], retry: Option<Retry>) -> Declared {
    let endpoints = apps.iter().map(|app| endpoint("web", app.address, 100)).collect();
    let backends = vec![Backend { authority: "web".parse().unwrap(), weight: 1 }];
    let policy = RequestPolicy { retry, ..RequestPolicy::default() };
    let rules = vec![RouteRule { backends, policy, ..RouteRule::default() }];
    Declared { rules, ..service("web", protocol, endpoints) }
}

/// An application that answers `status` to each first of `failures` requests, and then what it was sent.
async fn failing(failures: u32, status: u16) -> App {
    let left = Rc::new(Cell::new(failures));
    serving(Protocol::Http1, move |_, body: Bytes| {
        let fails = left.get() > 0;
        left.set(left.get().saturating_sub(1));
        let status = if fails { status } else { 200 };
        Response::builder().status(status).body(Full::new(body).boxed()).unwrap()
    })
    .await
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("/").header("host", "web").body(Full::new(body.into())).unwrap()
}

#[test]
fn a_status_that_the_route_names_is_tried_again_with_the_whole_body_until_the_attempts_are_used_up() {
    run(async {
        let app = failing(2, 503).await;
        let mesh = mesh(&settings(), &[web(Protocol::Http1, &[&app], Some(retry(&[503], &[], 2)))]);
        let mut client = http1(mesh.outbound).await;
        let body = vec![b'x'; 30_000];
        let answer = ask(&mut client, post(body.clone())).await;
        assert_eq!((answer.status, answer.body.len()), (200, body.len()));
        assert_eq!(app.requests.borrow().len(), 3);
        let taken = mesh.workers.take().await;
        assert_eq!(taken.edges[0].1.retries, 2);
        let counters = taken.counters;
        assert_eq!((counters.retries_made_total, counters.retries_succeeded_total), (2, 1));
        assert_eq!(counters.connects.count(), u64::from(app.connections.get()));

        let app = failing(9, 503).await;
        let mesh = support::mesh(&settings(), &[web(Protocol::Http1, &[&app], Some(retry(&[503], &[], 2)))]);
        let answer = ask(&mut http1(mesh.outbound).await, post("x")).await;
        assert_eq!((answer.status, app.requests.borrow().len()), (503, 3));
        let answer = ask(&mut http1(mesh.outbound).await, get("web", "/")).await;
        assert_eq!((answer.status, app.requests.borrow().len()), (503, 6));
        let counters = mesh.workers.take().await.counters;
        assert_eq!((counters.retries_made_total, counters.retries_succeeded_total), (4, 0));
    });
}

#[test]
fn a_request_is_saved_by_a_retry_only_if_what_it_came_to_is_no_failure() {
    run(async {
        let answers = Rc::new(Cell::new(0));
        let number = Rc::clone(&answers);
        // Each second answer is the one after a retry: a failure that the route does not name; statuses of gRPC that only the trailers
        // tell, a failure, none, none that the route names all the same, and one of the request's own.
        let app = serving(Protocol::Http2, move |_, _| {
            number.set(number.get() + 1);
            let status = |status: &str| {
                http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
            };
            let answer = Response::builder().header("content-type", "application/grpc");
            let body =
                |trailers| Full::default().with_trailers(std::future::ready(Some(Ok(trailers)))).boxed();
            match number.get() {
                2 => answer.status(500).body(Full::default().boxed()).unwrap(),
                4 => answer.body(body(status("13"))).unwrap(),
                6 => answer.body(body(status("0"))).unwrap(),
                8 => answer.body(body(status("8"))).unwrap(),
                10 => answer.body(body(status("5"))).unwrap(),
                _ => answer.header("grpc-status", "14").body(Full::default().boxed()).unwrap(),
            }
        })
        .await;
        let named = retry(&[], &[GrpcCode::Unavailable, GrpcCode::ResourceExhausted], 1);
        let mut declared = web(Protocol::Grpc, &[&app], Some(named));
        declared.policy.retry_budget = Some(RetryBudget { percent: 100, ..RetryBudget::default() });
        let mesh = mesh(&settings(), &[declared]);
        for (made, saved) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)] {
            let call = Request::post("http://web/").header("content-type", "application/grpc");
            let call = call.body(Full::default()).unwrap();
            whole(http2(mesh.outbound).await.send_request(call).await.unwrap()).await;
            let counters = mesh.workers.take().await.counters;
            assert_eq!((counters.retries_made_total, counters.retries_succeeded_total), (made, saved));
        }
    });
}

#[test]
fn a_status_that_no_route_names_and_a_body_too_large_to_keep_are_sent_once() {
    run(async {
        let app = failing(9, 500).await;
        let mesh = mesh(&settings(), &[web(Protocol::Http1, &[&app], Some(retry(&[503], &[], 2)))]);
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 500);
        assert_eq!(app.requests.borrow().len(), 1);

        let app = failing(9, 503).await;
        let mesh = support::mesh(&settings(), &[web(Protocol::Http1, &[&app], Some(retry(&[503], &[], 2)))]);
        let answer = ask(&mut http1(mesh.outbound).await, post(vec![b'x'; 70_000])).await;
        assert_eq!((answer.status, app.requests.borrow().len()), (503, 1));
        assert_eq!(mesh.workers.take().await.counters.retries_too_large_total, 1);
    });
}

#[test]
fn another_endpoint_is_tried_than_the_one_that_failed() {
    run(async {
        let (bad, good) = (failing(1000, 503).await, failing(0, 503).await);
        let mut declared = web(Protocol::Http1, &[&bad, &good], Some(retry(&[503], &[], 1)));
        declared.policy.retry_budget = Some(RetryBudget { percent: 100, ..RetryBudget::default() });
        let mesh = mesh(&settings(), &[declared]);
        let mut client = http1(mesh.outbound).await;
        for _ in 0..30 {
            assert_eq!(ask(&mut client, get("web", "/")).await.status, 200);
        }
        assert!(!bad.requests.borrow().is_empty());
    });
}

#[test]
fn retries_end_where_the_budget_does() {
    run(async {
        let app = failing(1000, 503).await;
        let mut declared = web(Protocol::Http1, &[&app], Some(retry(&[503], &[], 1)));
        let budget = RetryBudget { percent: 0, min_retries: 3, ..RetryBudget::default() };
        // Longer than any run of this test, so that the floor is granted once.
        declared.policy.retry_budget = Some(RetryBudget { min_window: Duration::from_secs(3600), ..budget });
        let mesh = mesh(&settings(), &[declared]);
        let mut client = http1(mesh.outbound).await;
        for _ in 0..10 {
            assert_eq!(ask(&mut client, get("web", "/")).await.status, 503);
        }
        assert_eq!(app.requests.borrow().len(), 13);
        assert_eq!(mesh.workers.take().await.counters.retries_over_budget_total, 7);
    });
}

/// A server that breaks off after the head of each first request of a connection, without an answer; counts requests.
async fn breaking() -> (std::net::SocketAddr, Rc<Cell<u32>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            if stream.read(&mut head).await.unwrap() > 0 {
                counted.set(counted.get() + 1);
            }
        }
    });
    (address, count)
}

#[test]
fn what_broke_off_is_tried_again_only_where_doing_it_twice_does_no_harm() {
    run(async {
        let (address, count) = breaking().await;
        let mut declared = web(Protocol::Http1, &[], Some(retry(&[], &[], 2)));
        declared.endpoints = vec![endpoint("web", address, 100)];
        let mesh = mesh(&settings(), &[declared]);
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 502);
        assert_eq!(count.get(), 3);
        assert_eq!(ask(&mut http1(mesh.outbound).await, post("x")).await.status, 502);
        assert_eq!(count.get(), 4);
    });
}

/// A server that answers only connections after the first.
async fn silent_at_first() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let _kept = listener.accept().await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    address
}

#[test]
fn a_try_that_takes_too_long_is_given_up_for_another() {
    run(async {
        // Several tries: on a machine so busy that one at the server that answers takes too long too, there are more.
        let mut declared = web(Protocol::Http1, &[], Some(retry(&[], &[], 5)));
        declared.rules[0].try_timeout = Some(Duration::from_millis(100));
        declared.endpoints = vec![endpoint("web", silent_at_first().await, 100)];
        let mesh = mesh(&settings(), &[declared]);
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 200);
        let mut declared = web(Protocol::Http1, &[], None);
        declared.rules[0].try_timeout = Some(Duration::from_millis(30));
        declared.endpoints = vec![endpoint("web", silent_at_first().await, 100)];
        let mesh = support::mesh(&settings(), &[declared]);
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 504);
    });
}

fn call(timeout: Option<&str>) -> Request<Full<Bytes>> {
    let request =
        Request::post("/pkg.Svc/Do").header("host", "web").header("content-type", "application/grpc");
    let request = timeout.into_iter().fold(request, |request, time| request.header("grpc-timeout", time));
    request.body(Full::from("message")).unwrap()
}

fn grpc_answer(status: &str) -> Response<AppBody> {
    let answer = Response::builder().header("content-type", "application/grpc").header("grpc-status", status);
    answer.body(Full::default().boxed()).unwrap()
}

#[test]
fn a_grpc_status_without_a_message_is_tried_again_where_the_policy_names_it() {
    run(async {
        let left = Rc::new(Cell::new(2));
        let app = serving(Protocol::Grpc, move |_, _| {
            left.set(left.get() - 1);
            grpc_answer(if left.get() >= 0 { "14" } else { "0" })
        })
        .await;
        let retry = retry(&[], &[GrpcCode::Unavailable], 3);
        let mesh = mesh(&settings(), &[web(Protocol::Grpc, &[&app], Some(retry))]);
        let mut client = http2(mesh.outbound).await;
        let answer = whole(client.send_request(call(None)).await.unwrap()).await;
        assert_eq!(answer.headers["grpc-status"], "0");
        assert_eq!(app.requests.borrow().len(), 3);
    });
}

#[test]
fn a_grpc_deadline_travels_on_lowered_and_ends_the_call_on_either_side() {
    run(async {
        let app = serving(Protocol::Grpc, |_, _| grpc_answer("0")).await;
        let mut declared = web(Protocol::Grpc, &[&app], None);
        declared.rules[0].request_timeout = Some(Duration::from_secs(20));
        let mesh = mesh(&settings(), &[declared]);
        let mut client = http2(mesh.outbound).await;
        let told = |at: usize| {
            let headers = &app.requests.borrow()[at].headers;
            proxy::http::deadline::grpc_timeout(headers).unwrap()
        };
        for (sent, longest) in [(Some("10S"), 10), (Some("60S"), 20), (None, 20)] {
            whole(client.send_request(call(sent)).await.unwrap()).await;
            let left = told(app.requests.borrow().len() - 1);
            assert!(left < Duration::from_secs(longest), "{sent:?}: {left:?}");
            assert!(left > Duration::from_secs(longest - 5), "{sent:?}: {left:?}");
        }

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap();
        let mut declared = web(Protocol::Grpc, &[], None);
        declared.endpoints = vec![endpoint("web", silent, 100)];
        let mesh = support::mesh(&with_inbound(silent, Protocol::Grpc), &[declared]);
        for side in [mesh.outbound, mesh.workers.inbound_address.unwrap()] {
            let mut client = http2(side).await;
            let answer = whole(client.send_request(call(Some("30m"))).await.unwrap()).await;
            assert_eq!(answer.headers["grpc-status"], "4");
        }
    });
}

/// A server whose answer begins and never goes on.
async fn stalling() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await.unwrap();
            kept.push(stream);
        }
    });
    address
}

#[test]
fn an_answer_that_falls_silent_is_broken_off_and_counts_as_timeout() {
    run(async {
        let mut declared = web(Protocol::Http1, &[], None);
        declared.rules[0].policy.stream_idle = Some(Duration::from_millis(30));
        declared.endpoints = vec![endpoint("web", stalling().await, 100)];
        let mesh = mesh(&settings(), &[declared]);
        let mut client = http1(mesh.outbound).await;
        client.ready().await.unwrap();
        let half = match client.send_request(get("web", "/")).await {
            Ok(response) => response.into_body().collect().await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(half.is_err(), "half an answer must not look like a whole one");
        assert_eq!(edges(&mesh.workers, Direction::Outbound).await[0].1.failures[1], 1);
    });
}

#[test]
fn a_connection_that_takes_longer_than_the_policy_allows_is_given_up() {
    run(async {
        // A listener whose queue is full neither answers nor refuses a SYN.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let full = socket.local_addr().unwrap().as_socket().unwrap();
        let _queued = tokio::net::TcpStream::connect(full).await.unwrap();
        let mut declared = web(Protocol::Http1, &[], None);
        declared.endpoints = vec![endpoint("web", full, 100)];
        declared.policy.connect_timeout = Some(Duration::from_millis(20));
        // Far above three tries of the policy's time, far below three of the default.
        declared.rules[0].request_timeout = Some(Duration::from_secs(2));
        let mesh = mesh(&settings(), &[declared]);
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 503);
    });
}

/// A ring leads the same key to the same endpoint each time, however slow that is.
#[test]
fn a_try_that_took_too_long_is_not_given_to_the_same_endpoint_again() {
    run(async {
        let good = failing(0, 503).await;
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut declared = web(Protocol::Http1, &[&good], Some(retry(&[], &[], 1)));
        declared.endpoints.push(endpoint("web", silent.local_addr().unwrap(), 100));
        declared.policy.balancer = Balancer::RingHash;
        declared.policy.retry_budget = Some(RetryBudget { percent: 100, ..RetryBudget::default() });
        declared.rules[0].policy.hash = Some(HashKey::Header("x-user".to_owned()));
        // Far longer than the good one needs, also on a busy machine.
        declared.rules[0].try_timeout = Some(Duration::from_millis(500));
        let mesh = mesh(&settings(), &[declared]);
        let mut client = http1(mesh.outbound).await;
        // Until two belonged to the silent one.
        let mut user = 0;
        while mesh.workers.take().await.counters.retries_made_total < 2 {
            user += 1;
            let mut request = get("web", "/");
            request.headers_mut().insert("x-user", user.into());
            assert_eq!(ask(&mut client, request).await.status, 200, "{user}");
        }
    });
}

#[test]
fn a_kept_connection_that_dies_under_the_next_request_is_replaced_in_silence_and_counted() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            for answers in [&[true, false][..], &[true]] {
                let (mut stream, _) = listener.accept().await.unwrap();
                for is_answered in answers {
                    let mut head = [0; 1024];
                    assert!(stream.read(&mut head).await.unwrap() > 0);
                    if *is_answered {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            }
        });
        let mesh = mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", address, 100)])]);
        let mut client = http1(mesh.outbound).await;
        for _ in 0..2 {
            assert_eq!(ask(&mut client, get("web", "/")).await.status, 200);
        }
        let counters = mesh.workers.take().await.counters;
        assert_eq!((counters.reused_dead_total, counters.connects.count()), (1, 2));
    });
}

/// Once the half of a head stayed in the buffer that the next connection read into, and both made one answer.
#[test]
fn half_a_head_from_a_kept_connection_is_no_part_of_another_answer() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            for answers in [&[whole, "HTTP/1.1 200 OK\r\nx-half: "][..], &[whole]] {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in answers {
                    let mut head = [0; 1024];
                    let _ = stream.read(&mut head).await.unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        let mesh = mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", address, 100)])]);
        let mut client = http1(mesh.outbound).await;
        assert_eq!(ask(&mut client, get("web", "/")).await.status, 200);
        let answer = ask(&mut client, get("web", "/")).await;
        assert_eq!((answer.status, answer.headers.get("x-half")), (502, None));
        assert_eq!(ask(&mut client, get("web", "/")).await.status, 200);
    });
}
