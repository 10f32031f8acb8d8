//! Which requests a rule takes, and which endpoint those of a session, through a worker from a real client to real servers.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mesh::{
    Backend, Ejection, GrpcCode, GrpcMatch, HeaderMatch, MatchKind, PathMatch, Protocol, QueryMatch,
    RequestPolicy, Retry, RouteMatch, RouteRule, Session, SessionToken,
};
use support::{
    Answered, App, Declared, app, ask, endpoint, get, http1, http2, mesh, run, service, serving, settings,
    snapshot, whole,
};

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
            // As it comes over xDS: a path, and that it is gRPC.
            let call = GrpcMatch {
                service: Some(service.to_owned()),
                method: method.map(str::to_owned),
                is_pattern: false,
            };
            let grpc = Some(GrpcMatch::default());
            RouteRule {
                matches: vec![RouteMatch { path: call.path(), grpc, ..RouteMatch::default() }],
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

/// A client that keeps what answers give it, as a browser or a caller of a header-based session does.
#[derive(Default)]
struct Jar(Option<(&'static str, String)>);

impl Jar {
    async fn ask(&mut self, mesh: &support::Mesh) -> Answered {
        let mut request = get("web", "/");
        if let Some((name, value)) = &self.0 {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = ask(&mut http1(mesh.outbound).await, request).await;
        let text = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        if let Some(given) = text("set-cookie") {
            self.0 = Some(("cookie", given.split(';').next().unwrap().to_owned()));
        } else if let Some(given) = text("x-cart") {
            self.0 = Some(("x-cart", given));
        }
        answer
    }
}

fn with_sessions(apps: &[(&'static str, &App)], token: SessionToken) -> Declared {
    let endpoints = apps.iter().map(|(name, app)| endpoint(name, app.address, 100)).collect();
    let session = Some(Session { name: "x-cart".to_owned(), token });
    let rule = RouteRule {
        backends: vec![Backend { authority: "web".parse().unwrap(), weight: 1 }],
        policy: RequestPolicy { session, ..RequestPolicy::default() },
        ..RouteRule::default()
    };
    Declared { rules: vec![rule], ..service("web", Protocol::Http1, endpoints) }
}

#[test]
fn a_session_stays_with_the_endpoint_that_answered_first_and_moves_once_that_is_gone() {
    run(async {
        for token in [SessionToken::Cookie(None), SessionToken::Header] {
            let (a, b) = (app("a", Protocol::Http1).await, app("b", Protocol::Http1).await);
            let mesh = mesh(&settings(), &[with_sessions(&[("a", &a), ("b", &b)], token)]);
            let mut first_answers = std::collections::BTreeSet::new();
            for _ in 0..8 {
                let mut jar = Jar::default();
                let first = jar.ask(&mesh).await.body;
                for _ in 0..10 {
                    let answer = jar.ask(&mesh).await;
                    assert_eq!(answer.body, first);
                    let given = ["set-cookie", "x-cart"].map(|name| answer.headers.contains_key(name));
                    assert_eq!(given, [false, false], "what the caller has is not given again");
                }
                first_answers.insert(first);
            }
            assert_eq!(first_answers.len(), 2, "sessions are spread");

            let mut jar = Jar::default();
            let first = jar.ask(&mesh).await.body;
            let left = if first == "a" { ("b", &b) } else { ("a", &a) };
            mesh.published.publish(snapshot(&[with_sessions(&[left], token)]));
            assert_eq!(jar.ask(&mesh).await.body, left.0);
            mesh.published.publish(snapshot(&[with_sessions(&[("a", &a), ("b", &b)], token)]));
            for _ in 0..10 {
                assert_eq!(jar.ask(&mesh).await.body, left.0, "it was given to the other for good");
            }
        }
    });
}

#[test]
fn a_session_stays_where_it_is_though_its_rule_shares_requests_out_to_several_services() {
    run(async {
        let (a, b) = (app("a", Protocol::Http1).await, app("b", Protocol::Http1).await);
        let mut web = with_sessions(&[("a", &a)], SessionToken::Cookie(None));
        web.rules[0].backends.push(Backend { authority: "other".parse().unwrap(), weight: 1 });
        let other = service("other", Protocol::Http1, vec![endpoint("b", b.address, 100)]);
        let mesh = mesh(&settings(), &[web, other]);
        for _ in 0..8 {
            let mut jar = Jar::default();
            let first = jar.ask(&mesh).await.body;
            for _ in 0..10 {
                assert_eq!(jar.ask(&mesh).await.body, first);
            }
        }
    });
}

#[test]
fn a_session_whose_endpoint_is_ejected_moves_and_one_that_nobody_gave_is_none() {
    run(async {
        let bad = serving(Protocol::Http1, |_, _| {
            Response::builder().status(500).body(Full::from("bad").boxed()).unwrap()
        })
        .await;
        let good = app("good", Protocol::Http1).await;
        let mut web = with_sessions(&[("bad", &bad), ("good", &good)], SessionToken::Cookie(None));
        let path = Some(PathMatch::Prefix("/".to_owned()));
        web.rules[0].matches = vec![RouteMatch { path, ..RouteMatch::default() }];
        web.policy.ejection = Some(Ejection { consecutive_failures: Some(1), ..Ejection::default() });
        let mesh = mesh(&settings(), &[web]);
        let mut jar = Jar::default();
        while jar.ask(&mesh).await.body != "bad" {
            jar = Jar::default();
        }
        let moved = jar.ask(&mesh).await;
        assert_eq!(moved.body, "good");
        assert!(moved.headers["set-cookie"].to_str().unwrap().ends_with("; Path=/; HttpOnly"));
        assert!(!jar.ask(&mesh).await.headers.contains_key("set-cookie"), "it has its place again");

        let mut forged = Jar(Some(("cookie", "x-cart=00000000000000ff".to_owned())));
        let answer = forged.ask(&mesh).await;
        assert!(answer.body == "good" && answer.headers.contains_key("set-cookie"));
    });
}

#[test]
fn an_expression_leads_the_requests_that_match_it_as_a_whole_and_no_others() {
    run(async {
        let (web, versions) = (app("web", Protocol::Http1).await, app("versions", Protocol::Http1).await);
        let header =
            HeaderMatch { name: "x-user".to_owned(), value: "ann|bob".to_owned(), kind: MatchKind::Pattern };
        let query = QueryMatch { name: "q".to_owned(), value: "[0-9]+".to_owned(), kind: MatchKind::Pattern };
        let matched = RouteMatch {
            path: Some(PathMatch::Pattern("/v[0-9]+/.*".to_owned())),
            headers: vec![header],
            query: vec![query],
            ..RouteMatch::default()
        };
        let backends = vec![Backend { authority: "versions".parse().unwrap(), weight: 1 }];
        let rule = RouteRule { matches: vec![matched], backends, ..RouteRule::default() };
        let at = |name: &'static str, app: &App| {
            service(name, Protocol::Http1, vec![endpoint(name, app.address, 100)])
        };
        let declared = Declared { rules: vec![rule], ..at("web", &web) };
        let mesh = mesh(&settings(), &[declared, at("versions", &versions)]);
        let mut client = http1(mesh.outbound).await;
        for (path, user, answered) in [
            ("/v12/x?q=%317", "ann", "versions"),
            ("/v12/x?q=7", "bob", "versions"),
            ("/v12/x?q=7", "bobby", "web"),
            ("/v12/x?q=7a", "ann", "web"),
            ("/v12/x", "ann", "web"),
            ("/a/v12/x?q=7", "ann", "web"),
        ] {
            let mut request = get("web", path);
            request.headers_mut().insert("x-user", user.parse().unwrap());
            assert_eq!(ask(&mut client, request).await.body, answered, "{path} {user}");
        }
    });
}
