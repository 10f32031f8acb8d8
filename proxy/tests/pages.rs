//! The pages of a whole proxy's admin port, over real sockets, while a client is connected.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use mesh::Protocol;
use proxy::settings::Application;
use proxy::{Running, Settings};
use serde_json::Value;
use support::{ask, get, http1, run};

/// GETs a page on a thread of its own, as the admin server answers on one of its own.
async fn page(admin: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let asked = move || {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(asked).await.unwrap()
}

fn body(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn started(application: SocketAddr) -> Running {
    let mut settings = Settings::alone("web-1", "web.demo".parse().unwrap());
    settings.application = Some(Application {
        address: application,
        protocol: Protocol::Http1,
        serves: vec!["web.demo".parse().unwrap()],
        inbound_address: "127.0.0.1:0".parse().unwrap(),
        requests_max: None,
        advertise: None,
        weight: 100,
        lease: std::time::Duration::from_secs(15),
    });
    proxy::start(settings).unwrap()
}

#[test]
fn open_connections_are_shown_with_what_went_over_them() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let running = started(web.address);
        let mut client = http1(running.inbound_address.unwrap()).await;
        for _ in 0..3 {
            assert_eq!(ask(&mut client, get("web.demo", "/")).await.status, 200);
        }
        let _silent = TcpStream::connect(running.outbound_address).unwrap();
        let shown = loop {
            let shown = body(&page(running.admin_address, "/connections").await);
            if shown["open"] == 2 {
                break shown;
            }
        };
        let connections = shown["connections"].as_array().unwrap();
        let served = connections.iter().find(|one| one["direction"] == "inbound").unwrap();
        assert_eq!((&served["requests"], &served["requests_running"]), (&3.into(), &0.into()), "{served}");
        assert_eq!(served["service"], "web.demo.svc.cluster.local:80");
        assert_eq!(served["bytes"], 15, "five bytes of each answer");
        let silent = connections.iter().find(|one| one["direction"] == "outbound").unwrap();
        assert_eq!((&silent["requests"], &silent["service"]), (&0.into(), &Value::Null));
        let bounded = body(&page(running.admin_address, "/connections?limit=1").await);
        assert_eq!((&bounded["open"], bounded["connections"].as_array().unwrap().len()), (&2.into(), 1));
        assert!(page(running.admin_address, "/connections?limit=many").await.starts_with("HTTP/1.1 400"));
        running.drain(std::future::ready(())).await;
    });
}

#[test]
fn the_config_page_says_who_holds_it_and_unknown_pages_list_all_of_them() {
    run(async {
        let web = support::app("web-1", Protocol::Http1).await;
        let running = started(web.address);
        let shown = body(&page(running.admin_address, "/config").await);
        assert_eq!(
            (&shown["proxy"]["name"], &shown["proxy"]["workload"]),
            (&"web-1".into(), &"web.demo".into())
        );
        assert_eq!(
            (&shown["control_connected"], &shown["services"]),
            (&false.into(), &serde_json::json!({}))
        );
        let unknown = page(running.admin_address, "/conf").await;
        assert!(
            unknown.ends_with("there are /live, /ready, /metrics, /log-level, /config, /connections\n"),
            "{unknown}"
        );
        running.drain(std::future::ready(())).await;
    });
}
