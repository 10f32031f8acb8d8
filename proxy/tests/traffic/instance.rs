//! Instances of an application in Node, each of which answers in a manner of its own, and curl, which asks for them by a proxy.

use std::net::SocketAddr;

use mesh::{Backend, Endpoint, Protocol, RouteRule};
use tokio::process::Command;

use crate::process::{Server, curl, node, said};
use crate::support::{Declared, endpoint, service};

/// One instance; `programs/instance.mjs` says which manners there are.
pub struct Instance {
    server: Server,
}

impl Instance {
    pub async fn start(manner: &str) -> Self {
        Self { server: Server::ours(node("instance.mjs", &[manner])).await }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub fn endpoint(&self) -> Endpoint {
        endpoint("web", self.address(), 100)
    }

    /// Changes its manner, and answers in it what it held.
    pub async fn becomes(&self, manner: &str) {
        said(curl(&[&format!("http://{}/become?{manner}", self.address())])).await;
    }

    /// How many requests came to it, as it counts them itself.
    pub async fn asked(&self) -> usize {
        said(curl(&[&format!("http://{}/asked", self.address())])).await.parse().unwrap()
    }

    /// Waits until one more request has come to it.
    pub async fn is_asked(&mut self) {
        assert_eq!(self.server.line().await, "asked");
    }
}

/// The service `web` at these endpoints, with one rule for all requests.
pub fn web(endpoints: Vec<Endpoint>) -> Declared {
    let backends = vec![Backend { authority: "web".parse().unwrap(), weight: 1 }];
    let rules = vec![RouteRule { backends, ..RouteRule::default() }];
    Declared { rules, ..service("web", Protocol::Http1, endpoints) }
}

/// A curl that asks for `url` by the proxy at `proxy`, and tells of each answer what `told` says.
pub fn asking(proxy: SocketAddr, told: &str, words: &[&str], url: &str) -> Command {
    let to = format!("::{proxy}");
    let own = ["--connect-to", &to, "--output", "/dev/null", "--write-out", told];
    curl(&[&own[..], words, &[url]].concat())
}

/// The status of one request.
pub async fn status(proxy: SocketAddr) -> String {
    said(asking(proxy, "%{http_code}", &[], "http://web/")).await
}

/// The statuses of so many requests, one after the other on one connection.
pub async fn statuses(proxy: SocketAddr, times: usize) -> Vec<String> {
    let url = format!("http://web/[1-{times}]");
    let told = said(asking(proxy, "%{http_code} ", &[], &url)).await;
    let statuses: Vec<String> = told.split_whitespace().map(str::to_owned).collect();
    assert_eq!(statuses.len(), times, "{told}");
    statuses
}
