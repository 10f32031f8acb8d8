//! HTTP in all its versions, between Node's client and Node's server, each of which speaks HTTP/1 or HTTP/2: what one says, the
//! other hears.

use std::net::SocketAddr;

use mesh::Protocol;
use serde_json::{Value, json};

use crate::process::{Server, node, told};
use crate::stage::{Hops, SPOKEN};
use crate::support::{endpoint, mesh, run, service, settings};

/// Asks the application behind `outbound` in what `caller` speaks; also what the application says it saw.
async fn exchange(caller: &str, outbound: SocketAddr, asked: Value) -> (Value, Value) {
    let port = outbound.port().to_string();
    let seen = told(node("client.mjs", &[caller, &port, &asked.to_string()])).await;
    let heard = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap_or(Value::Null);
    (seen, heard)
}

/// The value of a name in a list of names and values in turn, without regard to the case of letters.
fn value<'l>(lines: &'l Value, name: &str) -> Option<&'l str> {
    let lines = lines.as_array().unwrap();
    let at = lines.iter().step_by(2).position(|line| line.as_str().unwrap().eq_ignore_ascii_case(name));
    at.and_then(|at| lines[2 * at + 1].as_str())
}

fn has_name(lines: &Value, spelled: &str) -> bool {
    lines.as_array().unwrap().iter().step_by(2).any(|line| line == spelled)
}

/// Every pair of what a caller and an application may speak.
async fn each_way(mut story: impl AsyncFnMut(&'static str, &'static str, &Hops)) {
    for (application, protocol) in SPOKEN {
        let server = Server::ours(node("server.mjs", &[application])).await;
        let hops = Hops::to(server.address, protocol);
        for (caller, _) in SPOKEN {
            story(caller, application, &hops).await;
        }
    }
}

#[test]
fn requests_and_answers_with_bodies_and_trailers_pass_over_http1_over_http2_and_across() {
    run(each_way(async |caller, application, hops| {
        let way = format!("{caller} to {application}");
        let asked = json!({
            "method": "POST",
            "path": "/a/b%20c?d=e",
            "headers": {"Host": "web", "Trailer": "X-Check", "TE": "trailers", "X-Two": ["a", "b"], "X-Caller": "node"},
            "body": "hello",
            "trailers": {"X-Check": "yes"},
        });
        let (seen, heard) = exchange(caller, hops.outbound(), asked).await;
        assert_eq!((&seen["status"], &heard["method"]), (&json!(200), &json!("POST")), "{way}: {seen}");
        assert_eq!(heard["url"], "/a/b%20c?d=e", "{way}");
        assert_eq!(heard["body"], "hello", "{way}");
        assert_eq!(value(&heard["headers"], "x-caller"), Some("node"), "{way}: {heard}");
        let named = heard["headers"].to_string().to_lowercase();
        assert!(!named.contains("penstock"), "{way}: the application sees nothing of the mesh: {named}");
        assert_eq!(value(&heard["trailers"], "x-check"), Some("yes"), "{way}: {heard}");
        assert_eq!(
            (&seen["trailers"]["x-sum"], &seen["headers"]["x-answered-by"]),
            (&json!("7"), &json!("node")),
            "{way}: {seen}"
        );
        if (caller, application) == ("http1", "http1") {
            assert!(has_name(&heard["headers"], "X-Caller"), "{heard}");
            assert!(has_name(&heard["trailers"], "X-Check"), "{heard}");
            assert!(has_name(&seen["rawHeaders"], "X-Answered-By"), "{seen}");
            assert!(has_name(&seen["rawTrailers"], "X-Sum"), "{seen}");
        }
    }));
}

/// From applications of either kind where one proxy stands between; between two of them HTTP/2 is spoken where the application
/// speaks it, and callers of HTTP/2 get none (docs/decisions/0017-own-http1-server.md).
#[test]
fn early_hints_reach_a_caller_of_http1_before_the_answer() {
    run(async {
        for (application, protocol) in SPOKEN {
            let server = Server::ours(node("server.mjs", &[application])).await;
            let one =
                mesh(&settings(), &[service("web", protocol, vec![endpoint("web", server.address, 100)])]);
            let two = Hops::to(server.address, protocol);
            let ways =
                if application == "http1" { vec![one.outbound, two.outbound()] } else { vec![one.outbound] };
            for outbound in ways {
                let asked = json!({"path": "/hints", "headers": {"Host": "web"}});
                let (seen, heard) = exchange("http1", outbound, asked).await;
                assert_eq!(
                    (&seen["status"], &heard["url"]),
                    (&json!(200), &json!("/hints")),
                    "{application}"
                );
                let hints = seen["interim"].as_array().unwrap();
                assert_eq!((hints.len(), &hints[0]["status"]), (1, &json!(103)), "{application}: {seen}");
                assert_eq!(
                    hints[0]["headers"]["link"], "</style.css>; rel=preload; as=style",
                    "{application}: {seen}"
                );
                assert_eq!(hints[0]["headers"]["x-trace"], "1", "{application}: {seen}");
            }
        }
    });
}

#[test]
fn a_body_that_is_announced_waits_for_the_applications_word_and_is_not_sent_where_it_wants_none() {
    run(async {
        let server = Server::ours(node("server.mjs", &["http1"])).await;
        let hops = Hops::to(server.address, Protocol::Http1);
        let headers = json!({"Host": "web", "Expect": "100-continue", "Content-Length": "5"});
        let wanted = json!({"method": "PUT", "path": "/", "headers": headers, "body": "hello"});
        let (seen, heard) = exchange("http1", hops.outbound(), wanted).await;
        assert_eq!((&seen["status"], &seen["sentBody"]), (&json!(200), &json!(true)), "{seen}");
        assert_eq!(seen["interim"][0]["status"], 100, "{seen}");
        assert_eq!(
            (&heard["body"], value(&heard["headers"], "expect")),
            (&json!("hello"), Some("100-continue"))
        );
        let unwanted = json!({"method": "PUT", "path": "/refuse", "headers": headers, "body": "hello"});
        let (seen, _) = exchange("http1", hops.outbound(), unwanted).await;
        assert_eq!((&seen["status"], &seen["body"]), (&json!(417), &json!("not this")), "{seen}");
        assert_eq!((&seen["sentBody"], &seen["interim"]), (&json!(false), &json!([])), "{seen}");
    });
}
