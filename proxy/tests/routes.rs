//! Which requests a rule takes, through a worker from a real client to real servers.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mesh::{Backend, GrpcCode, GrpcMatch, Protocol, RequestPolicy, Retry, RouteMatch, RouteRule};
use support::{App, Declared, endpoint, http2, mesh, run, service, serving, settings, whole};

/// A service of gRPC that says its name, and answers UNAVAILABLE to each first of `failures` calls.
async fn calls(name: &'static str, failures: usize) -> App {
    let left = std::rc::Rc::new(std::cell::Cell::new(failures));
    serving(Protocol::Grpc, move |_, _| {
        let fails = left.get() > 0;
        left.set(left.get().saturating_sub(1));
        let answer = Response::builder().header("content-type", "application/grpc").header("x-app", name);
        let answer = answer.header("grpc-status", if fails { "14" } else { "0" });
        answer.body(Full::default().boxed()).unwrap()
    })
    .await
}

fn at(name: &'static str, app: &App) -> Declared {
    service(name, Protocol::Grpc, vec![endpoint(name, app.address, 100)])
}

fn call(path: &str, content_type: &str) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://web{path}")).header("content-type", content_type);
    request.body(Full::from("message")).unwrap()
}

#[test]
fn calls_go_where_their_service_and_method_lead_and_are_tried_again_by_grpcs_codes() {
    run(async {
        let (web, carts, adds) = (calls("web", 0).await, calls("carts", 0).await, calls("adds", 2).await);
        let rule = |service: &str, method: Option<&str>, to: &str, retry| {
            let grpc = GrpcMatch { service: Some(service.to_owned()), method: method.map(str::to_owned) };
            RouteRule {
                matches: vec![RouteMatch { grpc: Some(grpc), ..RouteMatch::default() }],
                backends: vec![Backend { authority: to.parse().unwrap(), weight: 1 }],
                policy: RequestPolicy { retry, ..RequestPolicy::default() },
                ..RouteRule::default()
            }
        };
        let retry = Retry {
            codes: Vec::new(),
            grpc_codes: vec![GrpcCode::Unavailable],
            attempts: 2,
            backoff: std::time::Duration::from_millis(1),
        };
        let mut declared = at("web", &web);
        declared.rules = vec![
            rule("shop.Carts", Some("Add"), "adds", Some(retry)),
            rule("shop.Carts", None, "carts", None),
            RouteRule { backends: Vec::new(), ..rule("shop.Nowhere", None, "carts", None) },
        ];
        let mesh = mesh(&settings(), &[declared, at("carts", &carts), at("adds", &adds)]);
        let mut client = http2(mesh.outbound).await;
        for (path, content_type, answered, grpc_status) in [
            ("/shop.Carts/Add", "application/grpc", "adds", "0"),
            ("/shop.Carts/Remove", "application/grpc+proto", "carts", "0"),
            ("/shop.Cartsx/Add", "application/grpc", "web", "0"),
            ("/shop.Carts/Add", "application/json", "web", "0"),
            ("/shop.Nowhere/Add", "application/grpc", "", "14"),
        ] {
            let answer = whole(client.send_request(call(path, content_type)).await.unwrap()).await;
            let app = answer.headers.get("x-app").map_or("", |name| name.to_str().unwrap());
            let told = (app, answer.headers["grpc-status"].to_str().unwrap());
            assert_eq!(told, (answered, grpc_status), "{path} {content_type}");
        }
        assert_eq!(adds.requests.borrow().len(), 3, "the first and two more");
    });
}
