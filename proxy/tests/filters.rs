//! What rules do to requests beside sending them on, through a worker from a real client to real servers: changes, redirects,
//! copies, faults.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use mesh::{
    Abort, Backend, Fault, Filters, HeaderChanges, Mirror, PathChange, PathMatch, Protocol, Redirect,
    RouteMatch, RouteRule,
};
use support::{App, Declared, app, ask, endpoint, get, http1, http2, mesh, run, service, settings, whole};

/// `web` with one rule for requests below `/old`.
fn web(protocol: Protocol, web: &App, filters: Filters) -> Declared {
    let backends = vec![Backend { authority: "web".parse().unwrap(), weight: 1 }];
    let path = Some(PathMatch::Prefix("/old".to_owned()));
    let matches = vec![RouteMatch { path, ..RouteMatch::default() }];
    let rules = vec![RouteRule { matches, backends, filters, ..RouteRule::default() }];
    Declared { rules, ..service("web", protocol, vec![endpoint("web", web.address, 100)]) }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn changing() -> Filters {
    Filters {
        request_headers: HeaderChanges {
            remove: vec!["x-gone".to_owned()],
            set: vec![pair("x-set", "rule")],
            add: vec![pair("x-add", "rule")],
        },
        response_headers: HeaderChanges { set: vec![pair("x-app", "rule")], ..HeaderChanges::default() },
        host: Some("other.example".to_owned()),
        path: Some(PathChange::Prefix("/new".to_owned())),
        ..Filters::default()
    }
}

#[test]
fn a_rule_changes_its_requests_and_their_answers_over_either_protocol_and_leaves_others_alone() {
    run(async {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let app = app("web-1", protocol).await;
            let mesh = mesh(&settings(), &[web(protocol, &app, changing())]);
            let request = |path: &str| {
                let uri = format!("http://web{path}");
                let request =
                    Request::get(uri).header("x-gone", "1").header("x-set", "a").header("x-add", "a");
                request.body(Full::default()).unwrap()
            };
            let mut client = http2(mesh.outbound).await;
            let changed = whole(client.send_request(request("/old/x?q=1")).await.unwrap()).await;
            assert_eq!((changed.status, &changed.headers["x-app"]), (200, &"rule".parse().unwrap()));
            let other = whole(client.send_request(request("/x")).await.unwrap()).await;
            assert_eq!(other.headers["x-app"], "web-1");
            let seen = app.requests.borrow();
            assert_eq!(seen[0].uri.path_and_query().unwrap(), "/new/x?q=1");
            let host = seen[0].uri.host().or(seen[0].headers.get("host").map(|host| host.to_str().unwrap()));
            assert_eq!(host, Some("other.example"), "{protocol:?}");
            assert!(!seen[0].headers.contains_key("x-gone") && seen[0].headers["x-set"] == "rule");
            assert_eq!(seen[0].headers.get_all("x-add").iter().count(), 2);
            assert_eq!((seen[1].uri.path(), &seen[1].headers["x-set"]), ("/x", &"a".parse().unwrap()));
        }
    });
}

#[test]
fn a_redirect_is_answered_without_an_endpoint() {
    run(async {
        let app = app("web-1", Protocol::Http1).await;
        let redirect = Redirect {
            scheme: Some("https".to_owned()),
            host: None,
            port: None,
            path: Some(PathChange::Prefix("/new".to_owned())),
            status: 308,
        };
        let filters = Filters { redirect: Some(redirect), ..Filters::default() };
        let mut declared = web(Protocol::Http1, &app, filters);
        declared.rules[0].backends.clear();
        let mesh = mesh(&settings(), &[declared]);
        let answer = ask(&mut http1(mesh.outbound).await, get("web", "/old/x?q")).await;
        assert_eq!(
            (answer.status, &answer.headers["location"]),
            (308, &"https://web/new/x?q".parse().unwrap())
        );
        assert!(app.requests.borrow().is_empty());
    });
}

fn mirrored(millionths: u32) -> Filters {
    Filters {
        mirrors: vec![Mirror { authority: "shadow".parse().unwrap(), millionths }],
        ..Filters::default()
    }
}

#[test]
fn copies_with_their_bodies_reach_the_mirror_whose_answers_nobody_sees() {
    run(async {
        let app = app("web-1", Protocol::Http1).await;
        let shadow = support::app("shadow", Protocol::Http1).await;
        let declared = [
            web(Protocol::Http1, &app, mirrored(Mirror::ALL)),
            service("shadow", Protocol::Http1, vec![endpoint("shadow", shadow.address, 100)]),
        ];
        let mesh = mesh(&settings(), &declared);
        let mut client = http1(mesh.outbound).await;
        let body = "x".repeat(20_000);
        let post = Request::post("/old/x").header("host", "web").body(Full::from(body.clone())).unwrap();
        assert_eq!(ask(&mut client, post).await.body, body);
        assert_eq!(ask(&mut client, get("web", "/old/y")).await.body, "web-1");
        while shadow.requests.borrow().len() < 2 {
            tokio::task::yield_now().await;
        }
        let mut seen: Vec<_> = shadow.requests.borrow().iter().map(|parts| parts.uri.to_string()).collect();
        seen.sort();
        assert_eq!(seen, ["/old/x", "/old/y"]);
        assert_eq!(app.requests.borrow().len(), 2);
        let large = "x".repeat(100_000);
        let post = Request::post("/old/z").header("host", "web").body(Full::from(large.clone())).unwrap();
        assert_eq!(ask(&mut client, post).await.body, large, "whole, though too large to be copied");
        while mesh.workers.take().await.counters.copies_dropped_large_total == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(mesh.workers.take().await.counters.copies_sent_total, 2);
    });
}

#[test]
fn a_mirror_that_hangs_or_is_not_there_neither_delays_nor_fails_a_request() {
    run(async {
        let app = app("web-1", Protocol::Http1).await;
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for shadow in [vec![endpoint("shadow", silent.local_addr().unwrap(), 100)], Vec::new()] {
            let declared = [
                web(Protocol::Http1, &app, mirrored(Mirror::ALL)),
                service("shadow", Protocol::Http1, shadow),
            ];
            let mesh = mesh(&settings(), &declared);
            let mut client = http1(mesh.outbound).await;
            for _ in 0..300 {
                assert_eq!(ask(&mut client, get("web", "/old")).await.status, 200);
            }
            let counters = mesh.workers.take().await.counters;
            assert_eq!(counters.copies_sent_total + counters.copies_dropped_busy_total, 300);
        }
    });
}

#[test]
fn a_fault_aborts_and_delays_its_share_of_the_requests() {
    run(async {
        let app = app("web-1", Protocol::Http1).await;
        let mut declared = web(Protocol::Http1, &app, Filters::default());
        let delay = Duration::from_millis(30);
        declared.rules[0].policy.fault =
            Some(Fault { delay: Some((100, delay)), abort: Some((100, Abort::Http(418))) });
        let mesh = mesh(&settings(), &[declared]);
        let mut client = http1(mesh.outbound).await;
        let begun = std::time::Instant::now();
        let answer = ask(&mut client, get("web", "/old")).await;
        assert_eq!(answer.status, 418);
        assert!(begun.elapsed() >= delay, "never shorter, however fast the machine is");
        assert!(answer.headers["penstock-error"].to_str().unwrap().contains("fault"));
        assert_eq!(ask(&mut client, get("web", "/")).await.status, 200);
        assert_eq!(app.requests.borrow().len(), 1);
        let counters = mesh.workers.take().await.counters;
        assert_eq!((counters.faults_delayed_total, counters.faults_aborted_total), (1, 1));
    });
}

#[test]
fn a_delay_ends_with_the_time_that_the_request_has() {
    run(async {
        let app = app("web-1", Protocol::Http1).await;
        let mut declared = web(Protocol::Http1, &app, Filters::default());
        declared.rules[0].request_timeout = Some(Duration::from_millis(30));
        // Longer than any run of this test.
        declared.rules[0].policy.fault =
            Some(Fault { delay: Some((100, Duration::from_secs(600))), abort: None });
        let mesh = mesh(&settings(), &[declared]);
        assert_eq!(ask(&mut http1(mesh.outbound).await, get("web", "/old")).await.status, 504);
        let call = Request::post("http://web/old").header("content-type", "application/grpc");
        let call = call.header("grpc-timeout", "20m").body(Full::default()).unwrap();
        let answer = whole(http2(mesh.outbound).await.send_request(call).await.unwrap()).await;
        assert_eq!(answer.headers["grpc-status"], "4");
        assert!(app.requests.borrow().is_empty());
    });
}
