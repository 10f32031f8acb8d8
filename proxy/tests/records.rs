//! Records of requests, through real workers: what a line and a span say, and that nothing is touched while both are off.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::net::SocketAddr;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use mesh::Protocol;
use proxy::records::{Record, Recorder, Sampler, queue};
use proxy::settings::AccessLogFormat;
use proxy::worker::WorkerSettings;
use serde_json::{Value, json};
use support::{Declared, ask, endpoint, get, http1, http2, mesh, run, service, settings, with_inbound};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Settings of a worker that logs, and what it logs.
fn logging(settings: WorkerSettings) -> (WorkerSettings, Receiver<Box<Record>>) {
    let (sender, receiver) = queue();
    let recorder = Recorder::new(Some((AccessLogFormat::Json, sender)), None);
    (WorkerSettings { recorder, ..settings }, receiver)
}

/// Settings of a worker that exports spans.
fn exporting(settings: WorkerSettings) -> (WorkerSettings, Receiver<Box<Record>>) {
    let (sender, receiver) = queue();
    let recorder = Recorder::new(None, Some((Sampler::ratio(0.0), sender)));
    (WorkerSettings { recorder, ..settings }, receiver)
}

fn web_at(address: SocketAddr, protocol: Protocol) -> Vec<Declared> {
    vec![service("web", protocol, vec![endpoint("web", address, 100)])]
}

/// The records so far, as the JSON log shows them, without the fields that differ from run to run.
fn logged(records: &Receiver<Box<Record>>) -> Vec<Value> {
    let line = |record: Box<Record>| {
        let mut line: Value = serde_json::from_str(&record.line(AccessLogFormat::Json)).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert!(fields.remove("duration_ms").unwrap().as_f64().unwrap() > 0.0);
        assert!(fields.remove("time").unwrap().as_str().unwrap().ends_with('Z'));
        assert!(fields.remove("peer").unwrap().as_str().unwrap().starts_with("127.0.0.1:"));
        line
    };
    records.try_iter().map(line).collect()
}

#[test]
fn a_line_tells_who_called_what_and_how_it_ended() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let (settings, records) = logging(settings());
        let mesh = mesh(&settings, &web_at(web.address, Protocol::Http1));
        let mut client = http1(mesh.outbound).await;
        let request = Request::post("/cart?id=7").header("host", "web").header("traceparent", TRACEPARENT);
        ask(&mut client, request.body(Full::from("four")).unwrap()).await;
        ask(&mut client, get("absent", "/")).await;
        let expected = json!({
            "direction": "outbound", "caller": "shop.demo", "callee": "web.default", "method": "POST",
            "service": "web.default.svc.cluster.local:80", "endpoint": web.address.to_string(),
            "path": "/cart?id=7", "status": 200, "request_bytes": 4, "response_bytes": 4, "retries": 0,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "protocol": "HTTP/1.1", "tls": false,
        });
        let refused = json!({
            "direction": "outbound", "caller": "shop.demo", "service": "absent.default.svc.cluster.local:80",
            "method": "GET", "path": "/", "status": 404, "failure": "unavailable", "request_bytes": 0,
            "response_bytes": 0, "retries": 0, "protocol": "HTTP/1.1", "tls": false,
        });
        assert_eq!(logged(&records), [expected, refused]);
        let seen = &web.requests.borrow()[0].headers;
        assert_eq!(seen["traceparent"], TRACEPARENT, "a log alone changes no header");
    });
}

#[test]
fn a_grpc_status_is_found_in_the_trailers_and_a_refusal_has_one_too() {
    run(async {
        let web = support::serving(Protocol::Grpc, |_, _| {
            let trailers: HeaderMap =
                [("grpc-status".parse().unwrap(), "5".parse().unwrap())].into_iter().collect();
            let frames = [Ok(Frame::data(Bytes::from_static(b"piece"))), Ok(Frame::trailers(trailers))];
            let body = StreamBody::new(tokio_stream::iter(frames)).boxed();
            Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        })
        .await;
        let (settings, records) = logging(with_inbound(web.address, Protocol::Grpc));
        let mesh = mesh(&settings, &[]);
        let call = |uri: &str| {
            let request = Request::post(uri).header("content-type", "application/grpc");
            request.header("penstock-caller", "shop.demo").body(Full::default()).unwrap()
        };
        let mut inbound = http2(mesh.workers.inbound_address.unwrap()).await;
        support::whole(inbound.send_request(call("http://web/a.B/C")).await.unwrap()).await;
        let mut outbound = http2(mesh.outbound).await;
        support::whole(outbound.send_request(call("http://absent/a.B/C")).await.unwrap()).await;
        let lines = logged(&records);
        let told = |line: &Value| {
            ["direction", "status", "grpc_status", "protocol", "caller"].map(|field| line[field].clone())
        };
        assert_eq!(
            told(&lines[0]),
            [json!("inbound"), json!(200), json!(5), json!("HTTP/2"), json!("shop.demo")]
        );
        assert_eq!(
            told(&lines[1]),
            [json!("outbound"), json!(200), json!(12), json!("HTTP/2"), json!("shop.demo")]
        );
    });
}

#[test]
fn trace_headers_pass_unchanged_while_nothing_is_exported() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let mesh = mesh(&settings(), &web_at(web.address, Protocol::Http1));
        let mut client = http1(mesh.outbound).await;
        for traceparent in [TRACEPARENT, "not a trace"] {
            let request = Request::get("/").header("host", "web").header("traceparent", traceparent);
            let request = request.header("tracestate", "a=1,b=2").body(Full::default()).unwrap();
            ask(&mut client, request).await;
            let seen = web.requests.borrow_mut().pop().unwrap().headers;
            assert_eq!(
                (&seen["traceparent"], &seen["tracestate"]),
                (&traceparent.parse().unwrap(), &"a=1,b=2".parse().unwrap())
            );
        }
        ask(&mut client, get("web", "/")).await;
        assert!(!web.requests.borrow()[0].headers.contains_key("traceparent"));
    });
}

#[test]
fn both_proxies_on_a_requests_way_hang_their_spans_one_below_the_other() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let (callee_settings, callee_spans) = exporting(with_inbound(web.address, Protocol::Http1));
        let callee = mesh(&callee_settings, &[]);
        let (caller_settings, caller_spans) = exporting(settings());
        let caller =
            mesh(&caller_settings, &web_at(callee.workers.inbound_address.unwrap(), Protocol::Http1));
        let request = Request::get("/").header("host", "web").header("traceparent", TRACEPARENT);
        let request = request.header("tracestate", "a=1").body(Full::default()).unwrap();
        ask(&mut http1(caller.outbound).await, request).await;
        let (outer, inner) = (caller_spans.try_recv().unwrap(), callee_spans.try_recv().unwrap());
        let (outer, inner) = (outer.span().unwrap(), inner.span().unwrap());
        assert_eq!((outer.trace_id.len(), &outer.trace_id), (16, &inner.trace_id));
        assert_eq!(outer.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert_eq!(inner.parent_span_id, outer.span_id);
        let seen = &web.requests.borrow()[0].headers;
        let told = seen["traceparent"].to_str().unwrap();
        let own: String = inner.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(told, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{own}-01"));
        assert_eq!(seen["tracestate"], "a=1");
    });
}

#[test]
fn responses_are_counted_by_the_status_that_the_caller_got() {
    run(async {
        let web = support::serving(Protocol::Http1, |parts, _| {
            Response::builder().status(&parts.uri.path()[1..]).body(Full::default().boxed()).unwrap()
        })
        .await;
        let mesh = mesh(&settings(), &web_at(web.address, Protocol::Http1));
        let mut client = http1(mesh.outbound).await;
        for path in ["/200", "/200", "/404", "/503"] {
            ask(&mut client, get("web", path)).await;
        }
        let taken = mesh.workers.take().await;
        let mut counts = taken.statuses[0].1.clone();
        counts.sort_by_key(|one| one.status);
        let counts: Vec<_> = counts.iter().map(|one| (one.status, one.failed, one.count)).collect();
        assert_eq!(counts, [(200, false, 2), (404, false, 1), (503, true, 1)]);
    });
}
