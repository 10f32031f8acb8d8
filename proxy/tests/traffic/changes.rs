//! What rules do to requests beside sending them on, as real programs see it: Node hears what was changed, curl goes where it is sent
//! to, and an instance that is asked on the side is not waited for.

use mesh::{
    Backend, Filters, HeaderChanges, HeaderMatch, MatchKind, Mirror, PathChange, PathMatch, Protocol,
    Redirect, RouteMatch, RouteRule,
};
use serde_json::{Value, json};

use crate::instance::{Instance, statuses, web};
use crate::process::{Server, curl, node, said};
use crate::stage::SPOKEN;
use crate::support::{Declared, Mesh, endpoint, mesh, run, service, settings};

/// A caller's proxy before Node, which says what it heard; below `/old` there are filters.
async fn before_node(spoken: &str, protocol: Protocol, filters: Filters) -> (Server, Mesh) {
    let server = Server::ours(node("server.mjs", &[spoken])).await;
    let mut declared = web(vec![endpoint("web", server.address, 100)]);
    declared.protocol = protocol;
    let plain = declared.rules[0].clone();
    let path = Some(PathMatch::Prefix("/old".to_owned()));
    declared.rules[0].matches = vec![RouteMatch { path, ..RouteMatch::default() }];
    declared.rules[0].filters = filters;
    declared.rules.push(plain);
    (server, mesh(&settings(), &[declared]))
}

/// What Node heard, and what curl is told of the answer: its status, how often curl was sent elsewhere, and who answered.
async fn heard(mesh: &Mesh, words: &[&str], url: &str) -> (Value, String) {
    let to = format!("::{}", mesh.outbound);
    let own = ["--connect-to", &to, "--write-out", "\n%{http_code} %{num_redirects} %header{x-answered-by}"];
    let told = said(curl(&[&own, words, &[url]].concat())).await;
    let (body, answer) = told.split_once('\n').unwrap();
    (serde_json::from_str(body).unwrap(), answer.to_owned())
}

/// The values of a header, of which Node tells names and values in turn.
fn values<'l>(heard: &'l Value, name: &str) -> Vec<&'l str> {
    let lines: Vec<&str> =
        heard["headers"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    lines.chunks(2).filter(|line| line[0].eq_ignore_ascii_case(name)).map(|line| line[1]).collect()
}

#[test]
fn headers_host_and_path_are_changed_for_the_requests_of_a_rule_and_for_no_others() {
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let filters = Filters {
        request_headers: HeaderChanges {
            remove: vec!["x-gone".to_owned()],
            set: pair("x-set", "rule"),
            add: pair("x-add", "rule"),
        },
        response_headers: HeaderChanges { set: pair("x-answered-by", "rule"), ..HeaderChanges::default() },
        host: Some("other.example".to_owned()),
        path: Some(PathChange::Prefix("/new".to_owned())),
        ..Filters::default()
    };
    for (spoken, protocol) in SPOKEN {
        run(async {
            let (_server, mesh) = before_node(spoken, protocol, filters.clone()).await;
            let words = ["--header", "x-gone: 1", "--header", "x-set: curl", "--header", "x-add: curl"];
            let host = if spoken == "http1" { "host" } else { ":authority" };
            let (changed, answer) = heard(&mesh, &words, "http://web/old/x?q=1").await;
            assert_eq!((&*answer, &changed["url"]), ("200 0 rule", &json!("/new/x?q=1")));
            assert_eq!(values(&changed, host), ["other.example"], "{changed}");
            assert_eq!(values(&changed, "x-gone"), [""; 0], "{changed}");
            assert_eq!(values(&changed, "x-set"), ["rule"], "{changed}");
            assert_eq!(values(&changed, "x-add").join(", "), "curl, rule", "{changed}");

            let (other, answer) = heard(&mesh, &words, "http://web/x?q=1").await;
            assert_eq!((&*answer, &other["url"]), ("200 0 node", &json!("/x?q=1")));
            assert_eq!(values(&other, host), ["web"], "{other}");
            let kept = ["x-gone", "x-set", "x-add"].map(|name| values(&other, name).join(", "));
            assert_eq!(kept, ["1", "curl", "curl"], "{other}");
        });
    }
}

#[test]
fn requests_go_where_their_headers_and_methods_lead() {
    run(async {
        let instances =
            [Instance::start("well").await, Instance::start("well").await, Instance::start("well").await];
        let [any, next, post] = instances.each_ref().map(Instance::address);
        let names = ["web", "web-next", "web-post"];
        let at = |name, address| service(name, Protocol::Http1, vec![endpoint(name, address, 100)]);
        let mut declared = Declared { rules: Vec::new(), ..at("web", any) };
        let header =
            HeaderMatch { name: "x-version".to_owned(), value: "next".to_owned(), kind: MatchKind::Exact };
        let matches = [
            RouteMatch { headers: vec![header], ..RouteMatch::default() },
            RouteMatch { method: Some("POST".to_owned()), ..RouteMatch::default() },
        ];
        for (name, one) in names[1..].iter().zip(matches) {
            let backends = vec![Backend { authority: name.parse().unwrap(), weight: 1 }];
            declared.rules.push(RouteRule { matches: vec![one], backends, ..RouteRule::default() });
        }
        declared.rules.extend(web(Vec::new()).rules);
        let mesh = mesh(&settings(), &[declared, at("web-next", next), at("web-post", post)]);
        let to = format!("::{}", mesh.outbound);
        for (words, asked) in [
            (&["--header", "X-Version: next"][..], [0, 1, 0]),
            (&["--header", "x-version: nexts"], [1, 0, 0]),
            (&["--request", "POST", "--header", "x-version: next"], [0, 1, 0]),
            (&["--request", "POST"], [0, 0, 1]),
            (&[], [1, 0, 0]),
        ] {
            let mut before = Vec::new();
            for instance in &instances {
                before.push(instance.asked().await);
            }
            said(curl(&[&["--connect-to", &to], words, &["http://web/"]].concat())).await;
            for ((instance, before), asked) in instances.iter().zip(before).zip(asked) {
                assert_eq!(instance.asked().await - before, asked, "{words:?}");
            }
        }
    });
}

#[test]
fn curl_goes_where_a_redirect_sends_it() {
    run(async {
        let path = Some(PathChange::Prefix("/new".to_owned()));
        let redirect = Redirect { scheme: None, host: None, port: None, path, status: 307 };
        let filters = Filters { redirect: Some(redirect), ..Filters::default() };
        let (_server, mesh) = before_node("http1", Protocol::Http1, filters).await;
        let words = ["--location", "--data", "hello"];
        let (heard, answer) = heard(&mesh, &words, "http://web/old/x?q=1").await;
        assert_eq!(answer, "200 1 node");
        let told = (&heard["method"], &heard["url"], &heard["body"]);
        assert_eq!(told, (&json!("POST"), &json!("/new/x?q=1"), &json!("hello")));
    });
}

#[test]
fn copies_come_to_an_instance_beside_whose_silence_nobody_waits_for() {
    run(async {
        let (well, mut silent) = (Instance::start("well").await, Instance::start("holds").await);
        let mut declared = web(vec![well.endpoint()]);
        let mirror = Mirror { authority: "shadow".parse().unwrap(), millionths: Mirror::ALL };
        declared.rules[0].filters.mirrors = vec![mirror];
        let shadow = endpoint("shadow", silent.address(), 100);
        let shadow: Declared = service("shadow", Protocol::Http1, vec![shadow]);
        let mesh = mesh(&settings(), &[declared, shadow]);
        assert_eq!(statuses(mesh.outbound, 5).await, ["200"; 5]);
        for _ in 0..5 {
            silent.is_asked().await;
        }
        assert_eq!((well.asked().await, silent.asked().await), (5, 5));
    });
}
