//! Policies on endpoints, through a worker from a real client to real servers: ejection, probes, turns, rings, cookies.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mesh::{Backend, Balancer, Ejection, HashKey, Protocol, RouteRule, ServicePolicy};
use support::{App, Declared, app, ask, endpoint, get, http1, mesh, run, service, serving, settings};

fn web(apps: &[&App], policy: ServicePolicy) -> Declared {
    let endpoints = apps.iter().map(|app| endpoint("web", app.address, 100)).collect();
    Declared { policy, ..service("web", Protocol::Http1, endpoints) }
}

#[test]
fn an_endpoint_that_fails_is_set_aside_and_comes_back_when_it_is_well_again() {
    run(async {
        let is_well = Rc::new(Cell::new(false));
        let well = Rc::clone(&is_well);
        let ailing = serving(Protocol::Http1, move |_, _| {
            let status = if well.get() { 200 } else { 500 };
            Response::builder().status(status).body(Full::new(Bytes::from_static(b"ailing")).boxed()).unwrap()
        })
        .await;
        let sound = app("sound", Protocol::Http1).await;
        let ejection = Ejection {
            consecutive_failures: Some(3),
            base_time: Duration::from_millis(500), // longer than one request takes, also on a busy machine
            max_time: Duration::from_millis(500),
            ..Ejection::default()
        };
        let policy = ServicePolicy {
            ejection: Some(ejection),
            balancer: Balancer::RoundRobin,
            ..ServicePolicy::default()
        };
        let mesh = mesh(&settings(), &[web(&[&ailing, &sound], policy)]);
        let mut client = http1(mesh.outbound).await;
        let mut failures = 0;
        for _ in 0..6 {
            failures += u32::from(ask(&mut client, get("web", "/")).await.status == 500);
        }
        assert_eq!(failures, 3, "in turn, until the third failure");
        let counters = mesh.workers.take().await.counters;
        assert_eq!((counters.ejected_in_a_row_total, counters.endpoints_ejected), (1, 1));
        is_well.set(true);
        // The first probe after its time brings it back; each request here is a chance for one.
        while mesh.workers.take().await.counters.endpoints_ejected > 0 {
            assert_eq!(ask(&mut client, get("web", "/")).await.status, 200);
        }
        let before = ailing.requests.borrow().len();
        for _ in 0..10 {
            assert_eq!(ask(&mut client, get("web", "/")).await.status, 200);
        }
        assert_eq!(ailing.requests.borrow().len(), before + 5, "its whole share again");
    });
}

#[test]
fn a_key_leads_to_the_same_endpoint_and_a_cookie_is_given_where_there_is_none() {
    run(async {
        let apps = [
            app("a", Protocol::Http1).await,
            app("b", Protocol::Http1).await,
            app("c", Protocol::Http1).await,
        ];
        let policy = ServicePolicy { balancer: Balancer::RingHash, ..ServicePolicy::default() };
        let mut declared = web(&[&apps[0], &apps[1], &apps[2]], policy);
        let backends = vec![Backend { authority: "web".parse().unwrap(), weight: 1 }];
        declared.rules = vec![RouteRule { backends, ..RouteRule::default() }];
        let hash = HashKey::Cookie { name: "user".to_owned(), ttl: Some(Duration::from_secs(60)) };
        declared.rules[0].policy.hash = Some(hash);
        let mesh = mesh(&settings(), &[declared]);
        let mut client = http1(mesh.outbound).await;
        let mut met = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let first = ask(&mut client, get("web", "/")).await;
            met.insert(first.body.clone());
            let given = first.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
            for _ in 0..3 {
                let request = Request::get("/").header("host", "web").header("cookie", &given);
                let again = ask(&mut client, request.body(Full::default()).unwrap()).await;
                assert_eq!(again.body, first.body);
                assert!(!again.headers.contains_key("set-cookie"));
            }
        }
        assert!(met.len() > 1, "different cookies lead to different endpoints");
    });
}

#[test]
fn what_a_caller_does_wrong_ejects_no_endpoint() {
    run(async {
        let (one, two) = (app("one", Protocol::Http1).await, app("two", Protocol::Http1).await);
        let ejection = Ejection { consecutive_failures: Some(1), ..Ejection::default() };
        let policy = ServicePolicy { ejection: Some(ejection), ..ServicePolicy::default() };
        let mesh = mesh(&settings(), &[web(&[&one, &two], policy)]);
        let malformed = "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0x0\r\n\r\n";
        for _ in 0..4 {
            let told = support::raw(mesh.outbound, malformed.as_bytes()).await;
            assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
        }
        assert_eq!(mesh.workers.take().await.counters.ejected_in_a_row_total, 0);
    });
}
