//! Bounds on what is under way, through a worker from a real client to a real server: circuit breaker, rate limit, and what
//! the application is given.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use mesh::{CircuitBreaker, Protocol, RateLimit, ServicePolicy};
use proxy::metrics::pools::SetCounts;
use support::{Declared, Mesh, app, ask, endpoint, get, http1, mesh, run, service, settings, with_inbound};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn web(address: std::net::SocketAddr, policy: ServicePolicy) -> Declared {
    Declared { policy, ..service("web", Protocol::Http1, vec![endpoint("web", address, 100)]) }
}

/// Sends a request that is not answered yet; the server's side of it.
async fn held(mesh: &Mesh, server: &TcpListener) -> (tokio::task::JoinHandle<u16>, TcpStream) {
    let mut client = http1(mesh.outbound).await;
    let answer = tokio::task::spawn_local(async move { ask(&mut client, get("web", "/")).await.status });
    let (mut stream, _) = server.accept().await.unwrap();
    let mut head = [0; 1024];
    assert!(stream.read(&mut head).await.unwrap() > 0);
    (answer, stream)
}

async fn answer(stream: &mut TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
}

#[test]
fn more_requests_than_the_breaker_allows_are_refused_until_one_is_answered() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let breaker = CircuitBreaker { max_requests: Some(1), ..CircuitBreaker::default() };
        let policy = ServicePolicy { breaker: Some(breaker), ..ServicePolicy::default() };
        let mesh = mesh(&settings(), &[web(server.local_addr().unwrap(), policy)]);
        let (first, mut stream) = held(&mesh, &server).await;
        let refused = ask(&mut http1(mesh.outbound).await, get("web", "/")).await;
        assert_eq!(refused.status, 503);
        assert!(refused.headers["penstock-error"].to_str().unwrap().contains("as its policy allows"));
        answer(&mut stream).await;
        assert_eq!(first.await.unwrap(), 200);
        let mut client = http1(mesh.outbound).await;
        let third = tokio::task::spawn_local(async move { ask(&mut client, get("web", "/")).await.status });
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        answer(&mut stream).await;
        assert_eq!(third.await.unwrap(), 200);
        assert_eq!(mesh.workers.take().await.counters.breaker_requests_total, 1);
    });
}

#[test]
fn past_the_bound_on_connections_a_request_waits_for_one_and_past_that_on_waiting_it_is_refused() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let breaker =
            CircuitBreaker { max_connections: Some(1), max_pending: Some(1), ..CircuitBreaker::default() };
        let policy = ServicePolicy { breaker: Some(breaker), ..ServicePolicy::default() };
        let mesh = mesh(&settings(), &[web(server.local_addr().unwrap(), policy)]);
        let (first, mut stream) = held(&mesh, &server).await;
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let outbound = mesh.outbound;
                tokio::task::spawn_local(async move {
                    ask(&mut http1(outbound).await, get("web", "/")).await.status
                })
            })
            .collect();
        while mesh.workers.take().await.counters.breaker_pending_total == 0 {
            tokio::task::yield_now().await;
        }
        let sets = mesh.workers.take().await.sets;
        let now = SetCounts { busy: 1, waiting: 1, ready: 1, ..SetCounts::default() };
        assert_eq!(sets, [("web".parse().unwrap(), now)]);
        answer(&mut stream).await;
        assert_eq!(first.await.unwrap(), 200);
        let mut head = [0; 1024];
        assert!(
            stream.read(&mut head).await.unwrap() > 0,
            "the one that waited comes over the same connection"
        );
        answer(&mut stream).await;
        let mut statuses = Vec::new();
        for one in waiting {
            statuses.push(one.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 503]);
        let kept = SetCounts { idle: 1, ready: 1, ..SetCounts::default() };
        assert_eq!(mesh.workers.take().await.sets, [("web".parse().unwrap(), kept)]);
    });
}

#[test]
fn a_rate_limit_lets_a_burst_through_and_tells_http_and_grpc_callers_to_come_later() {
    run(async {
        let app = app("web-1", Protocol::Http1).await;
        // Longer than any run of this test, so that nothing is filled again.
        let limit = RateLimit { requests: 1, interval: Duration::from_secs(3600), burst: 3 };
        let policy = ServicePolicy { rate_limit: Some(limit), ..ServicePolicy::default() };
        let mesh = mesh(&settings(), &[web(app.address, policy)]);
        let mut client = http1(mesh.outbound).await;
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(ask(&mut client, get("web", "/")).await.status);
        }
        assert_eq!(statuses, [200, 200, 200, 429, 429]);
        let call = Request::post("/a.B/C").header("host", "web").header("content-type", "application/grpc");
        let refused = ask(&mut client, call.body(Full::default()).unwrap()).await;
        assert_eq!(refused.headers["grpc-status"], "8");
        assert_eq!(mesh.workers.take().await.counters.rate_limited_total, 3);
        assert_eq!(app.requests.borrow().len(), 3);
    });
}

#[test]
fn the_application_is_given_no_more_requests_at_a_time_than_it_is_set_to_take() {
    run(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = with_inbound(server.local_addr().unwrap(), Protocol::Http1);
        settings.inbound.as_mut().unwrap().requests_max = Some(1);
        let mut mesh = mesh(&settings, &[]);
        mesh.outbound = mesh.workers.inbound_address.unwrap();
        let (first, mut stream) = held(&mesh, &server).await;
        let refused = ask(&mut http1(mesh.outbound).await, get("web", "/")).await;
        assert_eq!(refused.status, 503);
        answer(&mut stream).await;
        assert_eq!(first.await.unwrap(), 200);
        assert_eq!(mesh.workers.take().await.counters.overloaded_total, 1);
    });
}

/// What waited did so for a place under limits that were gone.
#[test]
fn what_waits_for_a_connection_gets_one_once_the_limits_are_wider_or_gone() {
    run(async {
        for wider in [Some(CircuitBreaker { max_connections: Some(2), ..CircuitBreaker::default() }), None] {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            let declared = |breaker| web(address, ServicePolicy { breaker, ..ServicePolicy::default() });
            let narrow = CircuitBreaker {
                max_connections: Some(1),
                max_pending: Some(1),
                ..CircuitBreaker::default()
            };
            let mesh = mesh(&settings(), &[declared(Some(narrow))]);
            let (first, mut stream) = held(&mesh, &server).await;
            let ask_one = || {
                let outbound = mesh.outbound;
                tokio::task::spawn_local(async move {
                    ask(&mut http1(outbound).await, get("web", "/")).await.status
                })
            };
            let (waiting, refused) = (ask_one(), ask_one());
            while mesh.workers.take().await.counters.breaker_pending_total == 0 {
                tokio::task::yield_now().await;
            }
            mesh.published.publish(support::snapshot(&[declared(wider)]));
            let serving = tokio::task::spawn_local(async move {
                loop {
                    let (mut stream, _) = server.accept().await.unwrap();
                    tokio::task::spawn_local(async move {
                        let mut head = [0; 1024];
                        while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                            answer(&mut stream).await;
                        }
                    });
                }
            });
            // By a request that comes now a worker looks at the new limits.
            assert_eq!(ask_one().await.unwrap(), 200);
            let mut statuses = Vec::new();
            for one in [waiting, refused] {
                let answered = tokio::time::timeout(Duration::from_secs(60), one).await;
                statuses.push(answered.expect("it waits for ever").unwrap());
            }
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 503]);
            serving.abort();
            answer(&mut stream).await;
            assert_eq!(first.await.unwrap(), 200);
        }
    });
}

/// It counted from the moment on at which it came, and let as many through again as it was told to.
#[test]
fn a_breaker_that_comes_later_counts_what_is_under_way_already() {
    run(async {
        for limits in [
            CircuitBreaker { max_requests: Some(1), ..CircuitBreaker::default() },
            CircuitBreaker { max_connections: Some(1), max_pending: Some(0), ..CircuitBreaker::default() },
        ] {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            let declared = |breaker| web(address, ServicePolicy { breaker, ..ServicePolicy::default() });
            let mesh = mesh(&settings(), &[declared(None)]);
            let (first, mut stream) = held(&mesh, &server).await;
            mesh.published.publish(support::snapshot(&[declared(Some(limits))]));
            assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/")).await.status, 503, "{limits:?}");
            answer(&mut stream).await;
            assert_eq!(first.await.unwrap(), 200);
        }
    });
}
