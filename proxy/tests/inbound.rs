//! The inbound side of a worker: requests of others reach the application as they were sent, and count under their caller.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mesh::{Direction, Protocol};
use support::{ask, edges, endpoint, get, http1, http2, mesh, run, service, settings, whole, with_inbound};

#[test]
fn the_caller_is_counted_and_the_application_does_not_see_the_meshs_header() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let callee = mesh(&with_inbound(web.address, Protocol::Http1), &[]);
        let inbound = callee.workers.inbound_address.unwrap();
        let caller =
            mesh(&settings(), &[service("web", Protocol::Http1, vec![endpoint("web", inbound, 100)])]);
        let mut client = http1(caller.outbound).await;
        for _ in 0..3 {
            // What the application says of itself must not pass for what the mesh says.
            let request = Request::get("/").header("host", "web").header("penstock-caller", "forged.evil");
            let answer = ask(&mut client, request.body(Full::default()).unwrap()).await;
            assert_eq!((answer.status, &answer.body[..]), (200, &b"web-1"[..]));
        }
        let outside = ask(&mut http1(inbound).await, get("web", "/")).await;
        assert_eq!(outside.status, 200);
        assert!(web.requests.borrow().iter().all(|seen| !seen.headers.contains_key("penstock-caller")));
        let edges = edges(&callee.workers, Direction::Inbound).await;
        let of = |name: Option<&str>| {
            let caller = name.map(|name| name.parse().unwrap());
            let (edge, traffic) = edges.iter().find(|(edge, _)| edge.caller == caller).unwrap();
            assert_eq!(edge.authority, "web".parse().unwrap());
            assert_eq!(edge.callee.as_ref().unwrap().to_string(), "shop.demo");
            traffic.successes
        };
        assert_eq!((of(Some("shop.demo")), of(None), edges.len()), (3, 1, 2));
    });
}

#[test]
fn an_application_that_speaks_http2_is_reached_in_http2() {
    run(async {
        let web = support::app("web-1", Protocol::Grpc).await;
        let callee = mesh(&with_inbound(web.address, Protocol::Grpc), &[]);
        let mut client = http2(callee.workers.inbound_address.unwrap()).await;
        for _ in 0..3 {
            let request = Request::get("http://web/").body(Full::default()).unwrap();
            assert_eq!(whole(client.send_request(request).await.unwrap()).await.body, "web-1");
        }
        assert_eq!(web.connections.get(), 1);
    });
}

#[test]
fn an_application_that_does_not_listen_yet_is_told_and_failures_of_it_count() {
    run(async {
        let gone = runtime::ports::addresses(1).unwrap()[0];
        let callee = mesh(&with_inbound(gone, Protocol::Http1), &[]);
        let inbound = callee.workers.inbound_address.unwrap();
        let answer = ask(&mut http1(inbound).await, get("web", "/")).await;
        assert_eq!(answer.status, 503);
        let broken = support::serving(Protocol::Http1, |_, _| {
            Response::builder().status(500).body(Full::new(Bytes::new()).boxed()).unwrap()
        })
        .await;
        let failing = mesh(&with_inbound(broken.address, Protocol::Http1), &[]);
        let answer = ask(&mut http1(failing.workers.inbound_address.unwrap()).await, get("web", "/")).await;
        assert_eq!(answer.status, 500);
        assert!(!answer.headers.contains_key("penstock-error"), "the application's own error is its own");
        assert_eq!(edges(&callee.workers, Direction::Inbound).await[0].1.failures, [0, 0, 1, 0, 0]);
        assert_eq!(edges(&failing.workers, Direction::Inbound).await[0].1.failures, [1, 0, 0, 0, 0]);
    });
}

#[test]
fn an_old_caller_that_names_no_host_reaches_the_application_with_one() {
    run(async {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let web = support::app("web-1", protocol).await;
            let callee = mesh(&with_inbound(web.address, protocol), &[]);
            let inbound = callee.workers.inbound_address.unwrap();
            let answer = support::raw(inbound, b"GET / HTTP/1.0\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("web-1"), "{answer}");
            let seen = &web.requests.borrow()[0];
            let host = seen.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
            let named = host.or_else(|| seen.uri.authority().map(ToString::to_string));
            assert_eq!(named, Some(web.address.to_string()), "{protocol:?}");
        }
    });
}
